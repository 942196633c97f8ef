"""The predicted peaks of `s2fast.stages.memory` against measured ones."""

import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from s2fast.config import load_config
from s2fast.detectors import orb
from s2fast.detectors.akaze import extract_bytes
from s2fast.errors import ConfigError
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.model import Raster
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.stages.held_tile import held_bytes, valid_bytes
from s2fast.stages.memory import ingest_bytes, match_bytes, scene_bytes
from s2fast_kernels.machine import MIB
from tests.archives import ORIGINS, Archive, textured, write_regions, write_scene
from tests.stages import peaks
from tests.stages.peaks import measured

pytestmark = pytest.mark.slow

FULL_PX, HALF_PX, NOISE_PX = 10980, 5490, 3072

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


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
    # Bands that compression makes no smaller.
    noise = np.random.default_rng(0).integers(1, 255, (3, NOISE_PX, NOISE_PX), np.uint8)
    write_scene(folder / "noise.jp2", noise, block=1024)
    west, north = ORIGINS["36UXA"]
    places = range(5_000, 105_000, 10_000)
    boxes = [shapely.box(west + x, north - y, west + x + 900, north - y + 700) for x in places for y in places]
    write_regions(folder / "regions.geojson", boxes)
    return folder


SIDES = {"full.jp2": FULL_PX, "half.jp2": HALF_PX, "noise.jp2": NOISE_PX}


def header_of(scene: str, *, luma: bool = True) -> Raster:
    return Raster((SIDES[scene],) * 2, (1024, 1024), "", (10, 0, 0, 0, -10, 0), luma=luma)


@reads_proc
def test_ingesting_a_tile_stays_within_its_prediction(tiles: Path) -> None:
    polygons = "regions.geojson"
    cases = [
        ("half.jp2", "opencv", 2, None), ("half.jp2", "opencv", 2, polygons),
        ("half.jp2", "luma", 1, None), ("half.jp2", "luma", 1, polygons),
        ("half.jp2", "luma", 4, None), ("half.jp2", "luma", 4, polygons),
        ("full.jp2", "luma", 2, polygons), ("noise.jp2", "luma", 4, None),
    ]  # fmt: skip
    for scene, grey, threads, regions in cases:
        peak = measured(peaks.ingesting, tiles, scene, grey, threads, regions)
        header, masked = header_of(scene, luma=grey == "luma"), regions is not None
        predicted = ingest_bytes(header, 1, masked=masked, auto_stretch=False, threads=threads)
        # A prediction that is far too high would promise nothing; of the masks of four tiles there is one. Of luma, the
        # compressed tile is predicted as large as noise, of which flat tiles have nothing.
        absent = 3 * SIDES[scene] ** 2 // 8 if masked else 0
        least = 0.45 * (predicted - absent)
        assert least <= peak <= predicted <= 800 * MIB, (scene, grey, threads, regions)


@reads_proc
def test_a_tile_in_memory_until_it_is_extracted_stays_within_the_prediction(tiles: Path) -> None:
    for scene, reduction in (("half.jp2", 1), ("half.jp2", 2)):
        peak = measured(peaks.ingesting_and_extracting, tiles, scene, reduction)
        shape = (SIDES[scene] // reduction,) * 2
        reading = ingest_bytes(header_of(scene), reduction, masked=False, auto_stretch=False, threads=2)
        extracting = extract_bytes(shape, 2) + valid_bytes(shape)
        assert peak <= max(reading + held_bytes(shape, masked=False), extracting), scene
        # The tile itself and its masks.
        assert peak >= 2 * shape[0] * shape[1], scene


@reads_proc
def test_several_scenes_at_once_stay_within_their_prediction(archive: Archive, tmp_path: Path) -> None:
    peak, predicted = measured(peaks.several_at_once, archive.scenes, tmp_path)
    assert 0.2 * predicted <= peak <= predicted


@reads_proc
def test_extracting_a_tile_stays_within_its_prediction() -> None:
    """A tile, dense; and one of which one part in seven is wanted."""
    akaze, predicted = ("akaze", "numba", 4), extract_bytes((HALF_PX, HALF_PX), 2)
    dense, peak = measured(peaks.extracting, *akaze, HALF_PX, HALF_PX, 1.2)
    few, peak_of_few = measured(peaks.extracting, *akaze, HALF_PX, 2000, 3.0)
    assert dense > 300_000
    # The part that is the same for tiles of all sizes is predicted generously; a tile of 10980 px needs 0.89.
    assert 0.6 * predicted <= peak <= 0.86 * predicted
    assert few > 25_000
    assert peak_of_few <= 0.55 * predicted
    assert extract_bytes((FULL_PX, FULL_PX), 2) <= 1500 * MIB


@reads_proc
def test_extracting_with_orb_stays_within_its_prediction() -> None:
    """With 4 layers, and with 8."""
    for layers, side, least in ((4, 2500, 150_000), (8, 5000, 500_000)):
        keypoints, peak = measured(peaks.extracting, "orb", "opencv", layers, side, side, 0.5)
        assert keypoints > least
        predicted = orb.extract_bytes((side, side), 2)
        assert 0.5 * predicted <= peak <= predicted
    # A full tile fits into the default of compute.budget_mb.
    assert orb.extract_bytes((FULL_PX, FULL_PX), 2, masked=True) <= 2048 * MIB


@reads_proc
def test_matching_a_block_stays_within_its_prediction(tmp_path: Path) -> None:
    """Many scenes, and many keypoints."""
    for mode, keypoints, side in [("exhaustive", 2_000, 16), ("windowed", 2_000, 16), ("windowed", 100_000, 1)]:
        peak = measured(peaks.matching, tmp_path, mode, keypoints, side)
        predicted = match_bytes(keypoints, side)
        # 100,000 keypoints need 0.56 of it, 16 scenes less: the more so, the fewer keypoints they have. None of them
        # has pixels, whose samples are predicted too.
        assert 0.18 * predicted <= peak <= 0.75 * predicted, (mode, keypoints)


def test_what_is_computed_of_the_sampled_blocks_is_predicted() -> None:
    grey = np.random.default_rng(0).integers(1, 255, (2048, 2048), np.uint8)
    clear, none = np.ones(grey.shape, np.bool_), np.zeros((0, 2), np.float32)
    pattern = FixedPattern.of(grey, clear, lambda rows: ~clear[rows], none, none[:, 0])
    arrays = [pattern.sample, pattern.sample_at, pattern.spectra, pattern.power, pattern.place]
    for parts in (pattern.squares, pattern.areas):
        arrays += [getattr(parts, field.name) for field in fields(parts)]
    assert len(pattern.sample) == 64
    assert 0.9 * scene_bytes(0) <= sum(array.nbytes for array in arrays) <= scene_bytes(0)


def test_what_does_not_fit_is_refused(archive: Archive, tmp_path: Path) -> None:
    config = load_config(overrides={"features.backend": "opencv", "compute.budget_mb": 128})
    run_stages(Job(config, [archive.scenes], archive.regions, tmp_path / "fits"))
    run_stages(Job(config, [archive.scenes], archive.regions, tmp_path / "ingested"), stages=["ingest"])
    tight = config.model_copy(update={"compute": config.compute.model_copy(update={"budget_mb": 5})})
    with pytest.raises(ConfigError, match="extracting .* may take 105 MiB and compute.budget_mb is 5"):
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
    with pytest.raises(ConfigError, match="extracting .* 512 x 512 px, .* take 105 MiB and compute.budget_mb is 100"):
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
