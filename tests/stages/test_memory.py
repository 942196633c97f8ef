"""The predicted peaks of `s2fast.stages.memory` against measured ones.

A program of its own imports what the cases of a test need; every case is measured in a fork of it.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from s2fast.config import load_config
from s2fast.detectors import orb
from s2fast.detectors.akaze import extract_bytes
from s2fast.errors import ConfigError
from s2fast.model import Raster
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.stages.held_tile import held_bytes, valid_bytes
from s2fast.stages.memory import MIB, ingest_bytes, match_bytes
from tests.archives import ORIGINS, Archive, textured, write_regions, write_scene

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FULL_PX, HALF_PX = 10980, 5490

PREPARE = f"""
import ctypes, gc, os, sys
from pathlib import Path
import cv2, numpy as np
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "kernels")!r}]
from s2fast.config import load_config
from s2fast.folder.run_folder import RunFolder
from tests.archives import textured

def memory(name):
    # Not ru_maxrss: a child inherits its parent's peak in that.
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

def forget_peak():
    # What was freed and is still held would be used again, and not be counted.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")

def print_apart(measure, *case):
    # In a fork, which finds nothing in memory that an earlier case has left there.
    if not os.fork():
        print(*measure(*case), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""

INGEST = """
from s2fast.stages.ingest import ingest_scene
from s2fast.planning import Job, plan

folder = Path({folder!r})
def ingest(scene, grey, threads, regions):
    os.environ["GDAL_NUM_THREADS"] = str(threads)
    polygons = regions and folder / regions
    record = plan(Job(load_config(overrides={{"ingest.grey": grey}}), [folder / scene], polygons, "", strict=True))
    out = RunFolder(folder / "out" / f"{{scene}} {{grey}} {{threads}} {{regions}}")
    out.create()
    resident = forget_peak()
    ingest_scene(record.usable[0], record.config, record.regions, out)
    return memory("VmHWM") - resident

def peak(scene, *how):
    ingest("small.jp2", *how)  # what is loaded is not counted
    return [ingest(scene, *how)]

for case in {cases!r}:
    print_apart(peak, *case)
"""

UNIT = """
from s2fast.planning import Job, plan
from s2fast.stages.ingest import Unit, ingest_unit
from s2fast.work.executors import limit_threads

folder = Path({folder!r})
def both(scene, reduction):
    settings = load_config(overrides={{"features.upright": True, "ingest.reduction": reduction}})
    record = plan(Job(settings, [folder / scene], None, "", strict=True))
    out = RunFolder(folder / "out" / f"unit of {{scene}}, {{reduction}}")
    out.create()
    resident = forget_peak()
    found = ingest_unit(Unit(record.usable[0], "key"), record.config, None, out.address)
    assert found.extracted_s is not None
    return memory("VmHWM") - resident

def peak(scene, reduction):
    limit_threads(2)
    both("small.jp2", 1)  # what is loaded and compiled is not counted
    return [both(scene, reduction)]

for case in {cases!r}:
    print_apart(peak, *case)
"""

EXTRACT = """
from s2fast.stages.extract import extract_scene

def extract(detector, backend, layers, side, wanted_side, blur):
    as_it_is = {{"ingest.clouds": False, "ingest.contrast": "none", "features.upright": True}}
    config = load_config(overrides={{
        "regions.mode": "none", "features.max_per_scene": 0, "features.threshold": 0.001, "features.detector": detector,
        "features.layers": layers, **as_it_is,
    }})
    patch = cv2.GaussianBlur(textured(np.random.default_rng(1), (1098, 1098)), (0, 0), blur)
    patch = cv2.normalize(patch, None, 1, 255, cv2.NORM_MINMAX)
    mirrored = np.block([[patch, patch[:, ::-1]], [patch[::-1], patch[::-1, ::-1]]])
    times = -(-side // len(mirrored))
    def valid(rows, columns):
        return (np.arange(rows.start, rows.stop) < wanted_side)[:, None] & (
            np.arange(columns.start, columns.stop) < wanted_side
        )
    resident = forget_peak()
    grey = np.tile(mirrored, (times, times))[:side, :side].copy()
    found = extract_scene(grey, valid, config, backend, 2).features
    return len(found), memory("VmHWM") - resident

def peak(detector, backend, layers, *case):
    extract(detector, backend, layers, 200, 200, 1.0)  # what is loaded and compiled is not counted
    return extract(detector, backend, layers, *case)

for case in {cases!r}:
    print_apart(peak, *case)
"""

MATCH = """
from s2fast.stages.match import match_unit
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.memory import MIB
from s2fast.stages.pairs import Pair
from s2fast.work.executors import limit_threads
from tests.folders import put_scene, random_features

def match(mode, keypoints, side):
    folder = RunFolder(Path({folder!r}) / f"{{mode}} {{keypoints}}")
    folder.create()
    for scene in range(2 * side):
        put_scene(folder, str(scene), random_features(np.random.default_rng(scene), keypoints))
    pairs = tuple(Pair(str(q), str(side + t), f"{{q}}-{{t}}") for q in range(side) for t in range(side))
    resident = forget_peak()
    # All that is a second neighbour away is good: as many matches as there can be.
    config = load_config(overrides={{
        "matching.mode": mode, "matching.mutual": False, "matching.ratio": 1.0,
        "matching.max_distance_bits": 512,
    }})
    limit_threads(2)
    match_unit(pairs, MatchingRule(config.matching, "numba"), config.compute.budget_mb * MIB, folder.address)
    return memory("VmHWM") - resident

def peak(mode, keypoints, side):
    match(mode, 50, 1)  # what is loaded and compiled is not counted
    return [match(mode, keypoints, side)]

for case in {cases!r}:
    print_apart(peak, *case)
"""

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def measured(program: str, **values: object) -> list[int]:
    """Run a program in a process of its own; the numbers it prints."""
    code = PREPARE + program.format(**values)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [int(number) for number in told.stdout.split()]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiles of three bands, full and half as wide, a small one, and polygons all over them."""
    folder = tmp_path_factory.mktemp("tiles")
    pixels = np.full((3, FULL_PX, FULL_PX), 60, np.uint8)
    # Decoding needs as much for one block as for all; flat ones are quick.
    patch = textured(np.random.default_rng(0), (1024, 1024))
    for corner in ((1024, 1024), (2048, 1024), (2048, 2048)):
        pixels[:, corner[0] : corner[0] + 1024, corner[1] : corner[1] + 1024] = patch
    write_scene(folder / "full.jp2", pixels, block=1024)
    write_scene(folder / "half.jp2", pixels[:, :HALF_PX, :HALF_PX], block=1024)
    write_scene(folder / "small.jp2", pixels[:, 1024:1536, 1024:1536])
    west, north = ORIGINS["36UXA"]
    places = range(5_000, 105_000, 10_000)
    boxes = [shapely.box(west + x, north - y, west + x + 900, north - y + 700) for x in places for y in places]
    write_regions(folder / "regions.geojson", boxes)
    return folder


SIDES = {"full.jp2": FULL_PX, "half.jp2": HALF_PX}


def header_of(scene: str, *, luma: bool = True) -> Raster:
    return Raster((SIDES[scene],) * 2, (1024, 1024), "", (10, 0, 0, 0, -10, 0), luma=luma)


@reads_proc
def test_ingesting_a_tile_stays_within_its_prediction(tiles: Path) -> None:
    cases = [
        (scene, grey, threads, regions)
        for grey, threads, scene in (
            ("opencv", 2, "half.jp2"), ("luma", 1, "half.jp2"), ("luma", 2, "full.jp2"), ("luma", 4, "half.jp2"),
        )
        for regions in (None, "regions.geojson")
    ]  # fmt: skip
    for (scene, grey, threads, regions), peak in zip(
        cases, measured(INGEST, folder=str(tiles), cases=cases), strict=True
    ):
        header, masked = header_of(scene, luma=grey == "luma"), regions is not None
        predicted = ingest_bytes(header, 1, masked=masked, auto_stretch=False, threads=threads)
        # A prediction that is far too high would promise nothing; of the masks of four tiles there is one.
        absent = 3 * SIDES[scene] ** 2 // 8 if masked else 0
        least = 0.5 * (predicted - absent)
        assert least <= peak <= predicted <= 800 * MIB, (scene, grey, threads, regions)


@reads_proc
def test_a_tile_in_memory_until_it_is_extracted_stays_within_the_prediction(tiles: Path) -> None:
    cases = [("half.jp2", 1), ("full.jp2", 2)]
    for (scene, reduction), peak in zip(cases, measured(UNIT, folder=str(tiles), cases=cases), strict=True):
        shape = (SIDES[scene] // reduction,) * 2
        reading = ingest_bytes(header_of(scene), reduction, masked=False, auto_stretch=False, threads=2)
        extracting = extract_bytes(shape, 2) + valid_bytes(shape)
        assert peak <= max(reading + held_bytes(shape, masked=False), extracting), scene
        # The tile itself and its masks.
        assert peak >= 2 * shape[0] * shape[1], scene


@reads_proc
def test_extracting_a_tile_stays_within_its_prediction() -> None:
    """A full tile, dense; and one of which one part in seven is wanted."""
    akaze = "akaze", "numba", 4
    cases = [(*akaze, FULL_PX, FULL_PX, 1.2), (*akaze, HALF_PX, 2000, 3.0)]
    dense, peak, few, peak_of_few = measured(EXTRACT, cases=cases)
    predicted = extract_bytes((FULL_PX, FULL_PX), 2)
    assert dense > 100_000
    assert 0.6 * predicted <= peak <= predicted <= 1500 * MIB
    assert few > 25_000
    assert peak_of_few <= 0.55 * extract_bytes((HALF_PX, HALF_PX), 2)


@reads_proc
def test_extracting_with_orb_stays_within_its_prediction() -> None:
    """With 4 layers, and with 8."""
    found = measured(EXTRACT, cases=[("orb", "opencv", layers, 5000, 5000, 0.5) for layers in (4, 8)])
    predicted = orb.extract_bytes((5000, 5000), 2)
    for keypoints, peak in (found[:2], found[2:]):
        assert keypoints > 500_000
        assert 0.5 * predicted <= peak <= predicted
    # A full tile fits into the default of compute.budget_mb.
    assert orb.extract_bytes((FULL_PX, FULL_PX), 2, masked=True) <= 2048 * MIB


@reads_proc
def test_matching_a_block_stays_within_its_prediction(tmp_path: Path) -> None:
    """Many scenes, and many keypoints."""
    cases = [("exhaustive", 4_000, 16), ("windowed", 4_000, 16), ("windowed", 100_000, 1)]
    for (mode, keypoints, side), peak in zip(cases, measured(MATCH, folder=str(tmp_path), cases=cases), strict=True):
        predicted = match_bytes(keypoints, side)
        assert 0.25 * predicted <= peak <= predicted, (mode, keypoints)


def test_what_does_not_fit_is_refused(archive: Archive, tmp_path: Path) -> None:
    config = load_config(overrides={"features.backend": "opencv", "compute.budget_mb": 128})
    run_stages(Job(config, [archive.scenes], archive.regions, tmp_path / "fits"))
    run_stages(Job(config, [archive.scenes], archive.regions, tmp_path / "ingested"), stages=["ingest"])
    tight = config.model_copy(update={"compute": config.compute.model_copy(update={"budget_mb": 5})})
    with pytest.raises(ConfigError, match="extracting .* may take 105 MB and compute.budget_mb is 5"):
        run_stages(Job(tight, [archive.scenes], archive.regions, tmp_path / "ingested"), stages=["extract"])
    with pytest.raises(ConfigError) as refused:
        run_stages(Job(tight, [archive.scenes], archive.regions, tmp_path / "does not"))
    told = str(refused.value)
    assert "ingesting S2A_20190427T083601_T36UXA, stored in blocks of 256 x 256 px" in told
    assert "compute.budget_mb is 5: raise it, or" in told
    assert "\n" not in told
    assert not list((tmp_path / "does not" / "store.zarr" / "scenes").glob("*/grey"))


def test_what_cannot_be_extracted_is_refused_before_it_is_read(archive: Archive, tmp_path: Path) -> None:
    config = load_config(overrides={"features.backend": "opencv"})
    tight = config.model_copy(update={"compute": config.compute.model_copy(update={"budget_mb": 100})})
    with pytest.raises(ConfigError, match="extracting .* 512 x 512 px, .* take 105 MB and compute.budget_mb is 100"):
        run_stages(Job(tight, [archive.scenes], archive.regions, tmp_path))
    assert not list(tmp_path.rglob("*"))
    # What is extracted already is not refused.
    run_stages(Job(config, [archive.scenes], archive.regions, tmp_path))
    run_stages(Job(tight, [archive.scenes], archive.regions, tmp_path))


def test_predictions_grow_with_the_plan() -> None:
    assert extract_bytes((5490, 5490), 2, backend="opencv") > 2.9e9
    assert extract_bytes((2000, 2000), 4) > extract_bytes((2000, 2000), 1)
    assert extract_bytes((2000, 2000), 4, masked=True) > extract_bytes((2000, 2000), 4)
    assert match_bytes(10_000, 16) > match_bytes(10_000, 8) > match_bytes(5_000, 8)


def test_ingest_is_predicted_by_the_window_it_reads() -> None:
    tile = Raster((FULL_PX, FULL_PX), (1024, 1024), "", (10, 0, 0, 0, -10, 0))

    def predicted(raster: Raster, reduction: int = 1, *, masked: bool = False, auto: bool = False) -> int:
        return ingest_bytes(raster, reduction, masked=masked, auto_stretch=auto)

    whole = predicted(tile)
    assert predicted(replace(tile, shape=(2 * FULL_PX, FULL_PX))) == whole
    assert predicted(tile, masked=True) > whole
    assert predicted(replace(tile, dtype="uint16")) > whole
    assert predicted(replace(tile, masked=True)) > whole
    # One strip of a file that is one block: 10980 x 10980 px at once.
    assert predicted(replace(tile, block=(FULL_PX, FULL_PX))) > 5_000 * MIB
    # A scene of 512 px is decoded whole, and its blocks cannot be larger than it.
    small = replace(tile, shape=(512, 512))
    assert predicted(small) == predicted(replace(small, block=(512, 512))) < 32 * MIB
    # Level 2 of blocks that are 2048 px at full resolution: 1024 px are decoded.
    assert predicted(replace(tile, block=(2048, 2048), level=2), 2) == whole
    # Luma needs one band, but of several tiles at once: at most as many as a limit, and as the scene has.
    luma = replace(tile, luma=True)

    def of_threads(raster: Raster, threads: int) -> int:
        return ingest_bytes(raster, 1, masked=False, auto_stretch=False, threads=threads)

    assert of_threads(luma, 1) < of_threads(luma, 2) < of_threads(luma, 4) < whole
    assert of_threads(luma, 64) == of_threads(luma, 4)
    assert of_threads(tile, 64) == whole
    one_tile = replace(luma, shape=(1000, 1000))
    assert of_threads(one_tile, 64) == of_threads(one_tile, 1)
    # Counted values are small change beside a decoder's planes.
    assert predicted(replace(tile, dtype="uint16"), auto=True) >= predicted(replace(tile, dtype="uint16"))
