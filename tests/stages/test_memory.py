"""The predicted peaks of `s2fast.stages.memory` against measured ones, each in a process of its own."""

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
FULL_PX = 10980

PREPARE = f"""
import ctypes, gc, sys
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
"""

INGEST = """
from s2fast.stages.ingest import ingest_scene
from s2fast.planning import Job, plan

folder, regions = Path({folder!r}), {regions!r}
def ingest(scene, regions):
    record = plan(Job(load_config(overrides={{"ingest.grey": {grey!r}}}), [scene], regions, "", strict=True))
    out = RunFolder(folder / "out" / scene.stem)
    out.create()
    resident = forget_peak()
    ingest_scene(record.usable[0], record.config, record.regions, out)
    return memory("VmHWM") - resident

ingest(folder / "small.jp2", None)  # what is loaded is not counted
print(ingest(folder / "full.jp2", regions and folder / regions))
"""

UNIT = """
from s2fast.planning import Job, plan
from s2fast.stages.ingest import Unit, ingest_unit
from s2fast.work.executors import limit_threads

folder = Path({folder!r})
limit_threads(2)
def both(scene):
    settings = load_config(overrides={{"features.upright": True, "ingest.reduction": {reduction}}})
    record = plan(Job(settings, [scene], None, "", strict=True))
    out = RunFolder(folder / "out" / ("unit of " + scene.stem))
    out.create()
    resident = forget_peak()
    found = ingest_unit(Unit(record.usable[0], "key"), record.config, None, out.address)
    assert found.extracted_s is not None
    return memory("VmHWM") - resident

both(folder / "small.jp2")  # what is loaded and compiled is not counted
print(both(folder / "full.jp2"))
"""

EXTRACT = """
from s2fast.stages.extract import extract_scene

side, wanted_side = {side}, {wanted_side}
as_it_is = {{"ingest.clouds": False, "ingest.contrast": "none", "features.upright": True}}
config = load_config(overrides={{
    "regions.mode": "none", "features.max_per_scene": 0, "features.threshold": 0.001, "features.detector": {detector!r},
    "features.layers": {layers}, **as_it_is,
}})
patch = cv2.GaussianBlur(textured(np.random.default_rng(1), (1098, 1098)), (0, 0), {blur})
patch = cv2.normalize(patch, None, 1, 255, cv2.NORM_MINMAX)
valid = lambda rows, columns: np.pad(
    np.ones((max(0, min(rows.stop, wanted_side) - rows.start), min(columns.stop, wanted_side) - columns.start), bool),
    ((0, min(rows.stop - rows.start, max(0, rows.stop - wanted_side))), (0, max(0, columns.stop - wanted_side))),
)
extract_scene(patch[:200, :200].copy(), valid, config, {backend!r}, 2)  # what is loaded and compiled is not counted
resident = memory("VmRSS")
mirrored = np.block([[patch, patch[:, ::-1]], [patch[::-1], patch[::-1, ::-1]]])
grey = np.tile(mirrored, (5, 5))[:side, :side].copy()
found = extract_scene(grey, valid, config, {backend!r}, 2).features
print(len(found), memory("VmHWM") - resident)
"""

MATCH = """
from s2fast.stages.match import match_unit
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.memory import MIB
from s2fast.stages.pairs import Pair
from s2fast.work.executors import limit_threads
from tests.folders import put_scene, random_features

def match(keypoints, side):
    folder = RunFolder(Path({folder!r}) / str(keypoints))
    folder.create()
    for scene in range(2 * side):
        put_scene(folder, str(scene), random_features(np.random.default_rng(scene), keypoints))
    pairs = tuple(Pair(str(q), str(side + t), f"{{q}}-{{t}}") for q in range(side) for t in range(side))
    resident = forget_peak()
    # All that is a second neighbour away is good: as many matches as there can be.
    config = load_config(overrides={{
        "matching.mode": {mode!r}, "matching.mutual": False, "matching.ratio": 1.0,
        "matching.max_distance_bits": 512,
    }})
    limit_threads(2)
    match_unit(pairs, MatchingRule(config.matching, "numba"), config.compute.budget_mb * MIB, folder.address)
    return memory("VmHWM") - resident

match(50, 1)  # what is loaded and compiled is not counted
print(match({keypoints}, {side}))
"""

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def measured(program: str, **values: object) -> list[int]:
    """Run a program in a process of its own; the numbers it prints."""
    code = PREPARE + program.format(**values)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [int(number) for number in told.stdout.split()]


@pytest.fixture(scope="module")
def full_tile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a full tile of three bands in blocks of 1024 px, a small one, and polygons all over the tile."""
    folder = tmp_path_factory.mktemp("full")
    pixels = np.full((3, FULL_PX, FULL_PX), 60, np.uint8)
    # Decoding needs as much for one block as for all; flat ones are quick.
    patch = textured(np.random.default_rng(0), (1024, 1024))
    for corner in ((1024, 1024), (2048, 1024), (2048, 2048)):
        pixels[:, corner[0] : corner[0] + 1024, corner[1] : corner[1] + 1024] = patch
    write_scene(folder / "full.jp2", pixels, block=1024)
    write_scene(folder / "small.jp2", pixels[:, 1024:1536, 1024:1536])
    west, north = ORIGINS["36UXA"]
    places = range(5_000, 105_000, 10_000)
    boxes = [shapely.box(west + x, north - y, west + x + 900, north - y + 700) for x in places for y in places]
    write_regions(folder / "regions.geojson", boxes)
    return folder


@reads_proc
@pytest.mark.parametrize("regions", [None, "regions.geojson"], ids=["whole tile", "masked"])
@pytest.mark.parametrize(("grey", "threads"), [("opencv", 2), ("luma", 1), ("luma", 2), ("luma", 4)])
def test_ingesting_a_full_tile_stays_within_its_prediction(
    full_tile: Path, regions: str | None, grey: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_NUM_THREADS", str(threads))
    (peak,) = measured(INGEST, folder=str(full_tile), regions=regions, grey=grey)
    header = Raster((FULL_PX, FULL_PX), (1024, 1024), "", (10, 0, 0, 0, -10, 0), luma=grey == "luma")
    predicted = ingest_bytes(header, 1, masked=regions is not None, auto_stretch=False, threads=threads)
    # A prediction that is far too high would promise nothing; of the masks of four tiles there is one.
    absent = 3 * FULL_PX * FULL_PX // 8 if regions else 0
    least = 0.5 * (predicted - absent)
    assert least <= peak <= predicted <= 800 * MIB


@reads_proc
@pytest.mark.parametrize("reduction", [1, 2])
def test_a_tile_in_memory_until_it_is_extracted_stays_within_the_prediction(full_tile: Path, reduction: int) -> None:
    (peak,) = measured(UNIT, folder=str(full_tile), reduction=reduction)
    header = Raster((FULL_PX, FULL_PX), (1024, 1024), "", (10, 0, 0, 0, -10, 0), luma=True)
    shape = (FULL_PX // reduction, FULL_PX // reduction)
    reading = ingest_bytes(header, reduction, masked=False, auto_stretch=False, threads=2)
    extracting = extract_bytes(shape, 2) + valid_bytes(shape)
    assert peak <= max(reading + held_bytes(shape, masked=False), extracting) <= 1500 * MIB
    # The tile itself and its masks.
    assert peak >= 2 * shape[0] * shape[1]


@reads_proc
@pytest.mark.parametrize(
    ("wanted_side", "blur", "limit"),
    [(FULL_PX, 1.2, 1500 * MIB), (4000, 3.0, 800 * MIB)],
    ids=["whole tile, dense", "one part in seven wanted"],
)
def test_extracting_a_full_tile_stays_within_its_prediction(wanted_side: int, blur: float, limit: int) -> None:
    detector = {"detector": "akaze", "backend": "numba", "layers": 4}
    keypoints, peak = measured(EXTRACT, side=FULL_PX, wanted_side=wanted_side, blur=blur, **detector)
    predicted = extract_bytes((FULL_PX, FULL_PX), 2)
    assert keypoints > 100_000
    assert peak <= predicted <= 1500 * MIB
    assert peak <= limit
    if wanted_side == FULL_PX:
        assert peak >= 0.6 * predicted


@reads_proc
@pytest.mark.parametrize("layers", [4, 8])
def test_extracting_with_orb_stays_within_its_prediction(layers: int) -> None:
    detector = {"detector": "orb", "backend": "opencv", "layers": layers}
    keypoints, peak = measured(EXTRACT, side=5000, wanted_side=5000, blur=0.5, **detector)
    predicted = orb.extract_bytes((5000, 5000), 2)
    assert keypoints > 500_000
    assert 0.5 * predicted <= peak <= predicted
    # A full tile fits into the default of compute.budget_mb.
    assert orb.extract_bytes((FULL_PX, FULL_PX), 2, masked=True) <= 2048 * MIB


@reads_proc
@pytest.mark.parametrize(
    ("mode", "keypoints", "side"),
    [("exhaustive", 4_000, 16), ("windowed", 4_000, 16), ("windowed", 100_000, 1)],
    ids=["many scenes", "many scenes, windowed", "many keypoints, windowed"],
)
def test_matching_a_block_stays_within_its_prediction(tmp_path: Path, mode: str, keypoints: int, side: int) -> None:
    (peak,) = measured(MATCH, folder=str(tmp_path), mode=mode, keypoints=keypoints, side=side)
    predicted = match_bytes(keypoints, side)
    assert 0.25 * predicted <= peak <= predicted


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
