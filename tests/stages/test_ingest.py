from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from s2fast.archive.find import find_scenes
from s2fast.archive.identity import identity
from s2fast.config import Config, Ingest, load_config
from s2fast.files.source import Source
from s2fast.folder.record import SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Raster, Window
from s2fast.raster.reader import open_raster
from s2fast.raster.stretch import stretch_table
from s2fast.raster.windows import grid
from s2fast.regions.file import RegionFile
from s2fast.regions.mask import place_regions
from s2fast.stages.extract import extract_scene
from s2fast.stages.held_tile import HeldTile
from s2fast.stages.ingest import ingest_scene
from s2fast.stages.keys import tile_key
from tests.archives import Archive, write_scene


class CountingReader:
    """Hands on to a real reader and counts every pixel read."""

    at_once = 1

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.windows: list[Window] = []

    @property
    def raster(self) -> Raster:
        return self.inner.raster

    @property
    def stretch(self) -> tuple[int, int] | None:
        return self.inner.stretch

    def read(self, window: Window, wanted: Any = None) -> Any:
        self.windows.append(window)
        return self.inner.read(window, wanted)


def first_scene(archive: Archive) -> SceneInput:
    scene = find_scenes([archive.scenes]).scenes[0]
    with open_raster(scene.source) as reader:
        return SceneInput(scene=scene, raster=reader.raster, identity=identity(scene.source))


def ingest(archive: Archive, out: Path, config: Config) -> tuple[RunFolder, SceneInput, list[Window]]:
    opened: list[CountingReader] = []

    @contextmanager
    def counting(source: Source, settings: Ingest) -> Iterator[CountingReader]:
        with open_raster(source, settings) as reader:
            opened.append(CountingReader(reader))
            yield opened[-1]

    folder, item = RunFolder(out), first_scene(archive)
    folder.create()
    ingest_scene(item, config, RegionFile.at(archive.regions), folder, counting)
    assert len(opened) == 1, "each file is opened once"
    return folder, item, opened[0].windows


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "halo_px"), [("zero", 512), ("keep", 0), ("keep", 40), ("keep", 512), ("none", 0)])
def test_blocks_are_read_once_and_only_where_a_region_is(
    archive: Archive, tmp_path: Path, mode: str, halo_px: int
) -> None:
    config = load_config(overrides={"regions.mode": mode, "ingest.halo_px": halo_px})
    _, item, windows = ingest(archive, tmp_path, config)
    placed = place_regions(RegionFile.at(archive.regions), config.regions, item.raster)
    halo = {"zero": 0, "keep": halo_px, "none": 10_000}[mode]
    wanted = [window for window in grid(item.raster.shape, item.raster.block) if placed.meets(window, halo)]
    assert windows == wanted
    if halo == 0:
        assert 0 < len(windows) < len(grid(item.raster.shape, item.raster.block))
    read = Counter(
        (r, c) for w in windows for r in range(w.row, w.row + w.height) for c in (w.col, w.col + w.width - 1)
    )
    assert set(read.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("reduction", [1, 2, 4])
@pytest.mark.parametrize("mode", ["zero", "keep", "none"])
def test_tile_equals_the_whole_image_masked(archive: Archive, tmp_path: Path, mode: str, reduction: int) -> None:
    config = load_config(overrides={"regions.mode": mode, "ingest.reduction": reduction, "ingest.halo_px": 0})
    folder, item, windows = ingest(archive, tmp_path, config)
    scene_id = item.scene.scene_id
    assert item.raster.luma
    with rasterio.open(item.scene.source.name) as dataset:
        red, green, blue = dataset.read().astype(np.uint16)
    grey = ((red + 2 * green + blue) // 4).astype(np.uint8)
    placed = place_regions(RegionFile.at(archive.regions), config.regions, item.raster)
    inside = placed.mask(Window(0, 0, *item.raster.shape))
    rows, cols = (side // reduction for side in item.raster.shape)
    small = cv2.resize(grey, (cols, rows), interpolation=cv2.INTER_AREA)
    small_inside = inside.reshape(rows, reduction, cols, reduction).any(axis=(1, 3))
    if mode == "zero":
        wanted_grey, wanted_valid = np.where(small_inside, small, 0), np.ones_like(small_inside)
    else:
        read = np.zeros((rows, cols), bool)
        for window in windows:
            read[tuple(slice(s.start // reduction, s.stop // reduction) for s in window.slices)] = True
        wanted_grey = np.where(read, small, 0)
        wanted_valid = small_inside if mode == "keep" else np.ones_like(small_inside)
    np.testing.assert_array_equal(folder.grey(scene_id), wanted_grey)
    np.testing.assert_array_equal(folder.valid(scene_id), wanted_valid)


def test_no_data_is_not_valid(archive: Archive, tmp_path: Path) -> None:
    item = first_scene(archive)
    with rasterio.open(item.scene.source.name) as dataset:
        profile, pixels = dataset.profile, dataset.read()
    pixels[:, 100:201, :] = 0
    holed = tmp_path / item.scene.source.posix.name
    with rasterio.open(holed, "w", **profile, QUALITY="100", REVERSIBLE="YES") as dataset:
        dataset.write(pixels)
    folder = RunFolder(tmp_path / "out")
    folder.create()
    moved = item.model_copy(update={"scene": find_scenes([holed]).scenes[0], "identity": identity(Source.local(holed))})
    ingest_scene(moved, load_config(overrides={"ingest.reduction": 2}), None, folder)
    valid = folder.valid(moved.scene.scene_id)
    # Row 100 of the reduced grid covers rows 200 and 201: half of it has no data.
    assert not valid[50:101].any()
    assert valid[:50].all()
    assert valid[101:].all()


def test_only_files_with_luma_are_ingested_anew(archive: Archive, tmp_path: Path) -> None:
    """The setting is in the key of what it changes, and of nothing else."""
    settings = [Config(), load_config(overrides={"ingest.grey": "opencv"})]
    with_luma = first_scene(archive).scene.source.path
    assert with_luma is not None
    geotiff = write_scene(tmp_path / "scene.tif", np.full((3, 300, 300), 90, np.uint8))
    keys = [[tile_key(item_of(path, config), config, None) for config in settings] for path in (with_luma, geotiff)]
    assert keys[0][0] != keys[0][1]
    assert keys[1][0] == keys[1][1]


@pytest.mark.slow
@pytest.mark.parametrize("reduction", [1, 2, 4])
@pytest.mark.parametrize("mode", ["zero", "keep", "none"])
@pytest.mark.parametrize("side", [255, 512])
def test_tile_in_memory_is_the_stored_one(
    archive: Archive, tmp_path: Path, mode: str, reduction: int, side: int
) -> None:
    """Also for windows that end within a byte of the packed mask, and for pixels that a file marks as missing."""
    config = load_config(overrides={"regions.mode": mode, "ingest.reduction": reduction, "ingest.halo_px": 0})
    path = write_scene(
        tmp_path / "scene.tif", np.random.default_rng(5).integers(0, 99, (2, side, side), np.uint8), block=80
    )
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    folder, item = RunFolder(tmp_path / "out"), item_of(path, config)
    folder.create()
    assert item.raster.masked
    shape = (side // reduction, side // reduction)
    held = HeldTile(shape, valid_outside=mode == "zero", with_missing=True)
    ingest_scene(item, config, RegionFile.at(archive.regions), folder, held=held)
    np.testing.assert_array_equal(held.grey, folder.grey("scene"), strict=True)
    np.testing.assert_array_equal(held.missing, folder.missing("scene"), strict=True)
    valid, stored = folder.valid("scene"), folder.valid_source("scene")
    assert valid.any()
    for rows, columns in ((slice(0, side), slice(0, side)), (slice(3, 9), slice(5, 6)), (slice(1, 60), slice(7, 61))):
        np.testing.assert_array_equal(held.valid(rows, columns), stored(rows, columns), strict=True)


def test_empty_chunks_are_not_written(archive: Archive, tmp_path: Path) -> None:
    _, item, windows = ingest(archive, tmp_path, load_config(overrides={"ingest.halo_px": 0}))
    chunks = [
        path
        for path in (tmp_path / "store.zarr/scenes" / item.scene.scene_id / "grey" / "c").rglob("*")
        if path.is_file()
    ]
    assert len(chunks) == len(windows)


@pytest.mark.slow
@pytest.mark.parametrize("reduction", [2, 4])
@pytest.mark.parametrize("mode", ["zero", "keep"])
def test_reduced_tile_is_the_files_level_masked(archive: Archive, tmp_path: Path, mode: str, reduction: int) -> None:
    source = leveled(first_scene(archive), tmp_path)
    overrides = {"regions.mode": mode, "ingest.reduction": reduction, "ingest.decode": "reduced", "ingest.halo_px": 0}
    config = load_config(overrides={**overrides, "ingest.grey": "opencv"})
    folder = RunFolder(tmp_path / "out")
    folder.create()
    item = item_of(source, config)
    ingest_scene(item, config, RegionFile.at(archive.regions), folder)
    with rasterio.open(source, OVERVIEW_LEVEL={2: 0, 4: 1}[reduction]) as dataset:
        bands = dataset.read()
    level, has_data = cv2.cvtColor(np.dstack(list(bands)), cv2.COLOR_RGB2GRAY), bands.any(axis=0)
    placed = place_regions(RegionFile.at(archive.regions), config.regions, item.raster)
    rows, cols = level.shape
    inside = placed.mask(Window(0, 0, *item.raster.shape)).reshape(rows, reduction, cols, reduction).any(axis=(1, 3))
    scene_id = item.scene.scene_id
    if mode == "zero":
        np.testing.assert_array_equal(folder.grey(scene_id), np.where(inside, level, 0))
        assert folder.valid(scene_id).all()
    else:
        np.testing.assert_array_equal(folder.grey(scene_id)[inside], level[inside])
        np.testing.assert_array_equal(folder.valid(scene_id), inside & has_data)
    tile = folder.tile(scene_id)
    assert (tile.decode, tile.centre_px, tile.stretch) == ("reduced", 0.0, None)


def leveled(item: SceneInput, folder: Path) -> Path:
    """Write a scene again, with coarser levels whatever its block's side."""
    with rasterio.open(item.scene.source.name) as dataset:
        profile, pixels = dataset.profile, dataset.read()
    path = folder / item.scene.source.posix.name
    with rasterio.open(path, "w", **profile, QUALITY="100", REVERSIBLE="YES", RESOLUTIONS="4") as dataset:
        dataset.write(pixels)
    return path


def item_of(path: Path, config: Config) -> SceneInput:
    scene = find_scenes([path]).scenes[0]
    with open_raster(path, config.ingest) as reader:
        return SceneInput(scene=scene, raster=reader.raster, identity=identity(scene.source))


def test_sixteen_bits_are_stretched_and_the_tile_records_the_limits(archive: Archive, tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(1, 9000, (1, 512, 512), np.uint16)
    path = write_scene(tmp_path / "scene.tif", pixels)
    folder = RunFolder(tmp_path / "out")
    folder.create()
    for stretch, used in (([100, 7000], [100, 7000]), ("auto", [180, 8820])):
        config = load_config(overrides={"ingest.stretch": stretch})
        item = item_of(path, config)
        ingest_scene(item, config, RegionFile.at(archive.regions), folder)
        tile = folder.tile("scene")
        np.testing.assert_allclose(tile.stretch, used, atol=0 if stretch != "auto" else 40)
        assert tile.decode == "full"
        got = folder.grey("scene")
        np.testing.assert_array_equal(got, stretch_table(*tile.stretch)[pixels[0]])


@pytest.mark.slow
@pytest.mark.shared
def test_real_reflectances_give_keypoints(shared_data: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    counts = {}
    for stretch in ("auto", [0, 3558]):
        config = load_config(overrides={"ingest.stretch": stretch})
        for path in sorted((shared_data / "arosics").glob("*.jp2")):
            item = item_of(path, config)
            ingest_scene(item, config, None, folder)
            scene_id = item.scene.scene_id
            found = extract_scene(folder.grey(scene_id), folder.valid_source(scene_id), config, "numba").features
            counts[path.name[:3], str(stretch)] = len(found)
    # 8 million pixels each, partly cloud and no data: the budget is not the question, finding any is.
    assert min(counts.values()) > 2500, counts


@pytest.mark.slow
def test_key_depends_on_what_the_tile_depends_on(archive: Archive) -> None:
    item, regions = first_scene(archive), RegionFile.at(archive.regions)
    base = tile_key(item, Config(), regions)
    for override in (
        {"regions.buffer_m": 5.0},
        {"ingest.reduction": 2},
        {"ingest.halo_px": 64},
        {"regions.mode": "zero"},
    ):
        assert tile_key(item, load_config(overrides=override), regions) != base, override
    for override in ({"features.threshold": 0.002}, {"matching.ratio": 0.7}, {"compute.threads": 3}):
        assert tile_key(item, load_config(overrides=override), regions) == base, override
    # What decodes the same, or needs no stretch, is not computed again.
    for override in ({"ingest.decode": "reduced"}, {"ingest.stretch": "auto"}):
        assert tile_key(item, load_config(overrides=override), regions) == base, override
    bands = item.model_copy(update={"raster": replace(item.raster, luma=False)})
    assert item.raster.luma
    assert tile_key(bands, Config(), regions) != base
    level = item.model_copy(update={"raster": replace(item.raster, level=2)})
    assert tile_key(level, Config(), regions) != base
    deep = item.model_copy(update={"raster": replace(item.raster, dtype="uint16")})
    stretches = ["none", "auto", [0, 3558], [0, 2000]]
    assert (
        len({tile_key(deep, load_config(overrides={"ingest.stretch": stretch}), regions) for stretch in stretches}) == 4
    )
    assert tile_key(item.model_copy(update={"identity": "two"}), Config(), regions) != base
    assert tile_key(item, Config(), None) != base
    assert tile_key(item, load_config(overrides={"regions.mode": "none"}), regions) == tile_key(item, Config(), None)
    # The halo means nothing where the outside is painted.
    zero = {"regions.mode": "zero"}
    assert tile_key(item, load_config(overrides=zero), regions) == tile_key(
        item, load_config(overrides={**zero, "ingest.halo_px": 64}), regions
    )
