from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window as RasterioWindow

from benchmarks.counts import counting
from s2fast.config import Ingest
from s2fast.model import Window
from s2fast.raster import openjpeg, reader
from s2fast.raster.openjpeg import library, read_part
from s2fast.raster.reader import open_raster
from tests.archives import open_ended, textured

SHAPE, TILE_PX = (1500, 1300), 1024
"""Whole tiles and parts of tiles."""

LARGEST_PX = 160
"""Of a window: three code-blocks and what is decoded around them."""


def write_lossy(path: Path, pixels: np.ndarray, tile_px: int = TILE_PX, **options: str) -> Path:
    """Write (bands, rows, cols) as the ground segment does: tiles, wavelet 9/7, several resolutions."""
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", width=pixels.shape[2], height=pixels.shape[1], count=len(pixels),
        dtype=pixels.dtype, crs="EPSG:32636", transform=(10, 0, 600000, 0, -10, 5600040), blockxsize=tile_px,
        blockysize=tile_px, **{"QUALITY": "30", "REVERSIBLE": "NO", "RESOLUTIONS": "6", **options},
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
    return path


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    # Half of it is harder than any landscape: full contrast from one pixel to the next.
    grey = textured(rng, SHAPE)
    pixels = np.stack([np.roll(grey, 100 * band, axis=0) for band in range(3)])
    pixels[:, :, ::2] = np.where(rng.random(SHAPE) < 0.5, 255 * (pixels > 120), pixels)[:, :, ::2]
    return write_lossy(tmp_path_factory.mktemp("lossy") / "T36UXA_20160830T083602_TCI.jp2", pixels)


def by_gdal(path: Path, factor: int) -> np.ndarray:
    """Read all of one of the file's levels."""
    level = {} if factor == 1 else {"OVERVIEW_LEVEL": factor.bit_length() - 2}
    with rasterio.open(path, **level) as dataset:
        return np.asarray(dataset.read())


def windows_of_tiles(rng: np.random.Generator, factor: int, count: int) -> list[Window]:
    """Draw windows that lie in one tile each."""
    found = []
    for _ in range(count):
        corner = [int(rng.integers(0, side // TILE_PX + 1)) * TILE_PX for side in SHAPE]
        rows, cols = (min(TILE_PX, side - start) // factor for side, start in zip(SHAPE, corner, strict=True))
        height, width = (int(rng.integers(1, min(side, LARGEST_PX) + 1)) for side in (rows, cols))
        row, col = int(rng.integers(0, rows - height + 1)), int(rng.integers(0, cols - width + 1))
        found.append(Window(corner[0] + row * factor, corner[1] + col * factor, height * factor, width * factor))
    return found


def test_there_is_a_library() -> None:
    """It comes with rasterio's wheels: where it is missing nothing of this file is tested."""
    assert library() is not None


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "threads"), [(1, 1), (1, 2), (2, 1), (4, 2)])
def test_parts_are_what_gdal_reads(lossy: Path, factor: int, threads: int) -> None:
    whole = by_gdal(lossy, factor)
    for window in windows_of_tiles(np.random.default_rng(factor), factor, 120):
        part = read_part(lossy, window, factor, 3, threads)
        assert part is not None
        rows, cols = (slice(axis.start // factor, axis.stop // factor) for axis in window.slices)
        np.testing.assert_array_equal(part, whole[:, rows, cols], err_msg=str(window))


@pytest.mark.slow
def test_without_a_margin_a_difference_is_seen(lossy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: without the margin values at the right edge are off by one, where that edge lies so."""
    monkeypatch.setattr(openjpeg, "MARGIN_PX", 0)
    whole, unequal = by_gdal(lossy, 1), 0
    for window in (Window(300, right - 200, 150, 200) for right in range(423, 433)):
        part = read_part(lossy, window, 1, 3, 1)
        assert part is not None
        unequal += not np.array_equal(part, whole[:, *window.slices])
    assert unequal


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["paris/T31UDQ_20240105T105339_TCI_10m.jp2", "lebanon/T36SYC_TCI_60m.jp2"])
def test_parts_of_real_files_are_what_gdal_reads(shared_data: Path, name: str) -> None:
    path = shared_data / name
    rng = np.random.default_rng(5)
    with rasterio.open(path) as dataset:
        tile = dataset.block_shapes[0]
        compared = 0
        for _ in range(40):
            height, width = (int(n) for n in rng.integers(1, LARGEST_PX, 2))
            row, col = int(rng.integers(0, dataset.height - height)), int(rng.integers(0, dataset.width - width))
            part = read_part(path, Window(row, col, height, width), 1, 3, 2)
            within = row // tile[0] == (row + height - 1) // tile[0] and col // tile[1] == (col + width - 1) // tile[1]
            if part is None:
                assert not within
                continue
            whole = dataset.read(window=RasterioWindow(col, row, width, height))
            np.testing.assert_array_equal(part, whole)
            compared += 1
    assert compared


@pytest.mark.slow
def test_what_cannot_be_read_is_left_to_gdal(lossy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Window(10, 10, 50, 50)
    assert read_part(lossy, inside, 1, 3, 1) is not None
    assert read_part(lossy, inside, 1, 1, 1) is None, "other bands"
    assert read_part(lossy, Window(TILE_PX - 5, 0, 10, 10), 1, 3, 1) is None, "two tiles"
    assert read_part(tmp_path / "none.jp2", inside, 1, 3, 1) is None
    (tmp_path / "text.jp2").write_text("not an image")
    assert read_part(tmp_path / "text.jp2", inside, 1, 3, 1) is None
    deep = write_lossy(tmp_path / "deep.jp2", np.full((1, 600, 600), 3000, np.uint16))
    assert read_part(deep, inside, 1, 1, 1) is None, "16 bits"
    monkeypatch.setattr(openjpeg, "library", lambda: None)
    assert read_part(lossy, inside, 1, 3, 1) is None


@pytest.mark.slow
@pytest.mark.parametrize(("reduction", "decode"), [(1, "full"), (2, "full"), (4, "full"), (2, "reduced")])
def test_a_reader_decodes_no_more_than_is_wanted(
    lossy: Path, reduction: int, decode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Ingest.model_validate({"grey": "opencv", "reduction": reduction, "decode": decode})
    decoded: list[Window] = []

    def noted(path: Path, window: Window, *rest: int) -> np.ndarray | None:
        decoded.append(window)
        return read_part(path, window, *rest)

    monkeypatch.setattr(reader, "read_part", noted)
    for row, col in product((0, TILE_PX), (0, TILE_PX)):
        window = Window(row, col, min(TILE_PX, SHAPE[0] - row), min(TILE_PX, SHAPE[1] - col))
        wanted = np.zeros((window.height // reduction, window.width // reduction), bool)
        wanted[3:20, 5:9] = wanted[-7:, -30:] = True
        with open_raster(lossy, settings) as opened:
            whole = opened.read(window)
            assert not decoded
            part = opened.read(window, wanted)
        for got, all_of_it in zip(part, whole, strict=True):
            np.testing.assert_array_equal(got[wanted], all_of_it[wanted])
            assert not got[~wanted].all()
        assert 0 < sum(w.height * w.width for w in decoded) <= window.height * window.width
        decoded.clear()


@pytest.mark.slow
def test_a_damaged_file_is_reported_by_gdal(lossy: Path, tmp_path: Path) -> None:
    broken = tmp_path / "T36UXA_20160830T083602_TCI.jp2"
    broken.write_bytes(open_ended(lossy.read_bytes())[:-20_000])
    last = Window(TILE_PX, TILE_PX, SHAPE[0] - TILE_PX, SHAPE[1] - TILE_PX)
    wanted = np.zeros((last.height, last.width), bool)
    wanted[5:9, 5:9] = True
    with open_raster(broken, Ingest()) as opened, pytest.raises(reader.SceneError, match="truncated or damaged"):
        opened.read(last, wanted)


def test_parts_are_counted_as_blocks(lossy: Path) -> None:
    wanted = np.zeros((TILE_PX, TILE_PX), bool)
    wanted[5:9, 5:9] = wanted[900:910, 900:910] = True
    with counting() as done, open_raster(lossy, Ingest(grey="opencv")) as opened:
        opened.read(Window(0, 0, TILE_PX, TILE_PX), wanted)
    assert done["blocks"] == done["reads"] == 2
