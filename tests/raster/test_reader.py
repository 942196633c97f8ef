from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.model import Window
from s2fast.raster.dataset import open_dataset
from s2fast.raster.reader import open_raster, reduce_any, reduce_mean
from s2fast.raster.windows import grid
from tests.archives import write_scene

BANDS = Ingest(grey="opencv")
"""Read all bands; luma has tests of its own."""


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 300, 517), dtype=np.uint8)
    pixels[:, 100:140, 200:260] = 0
    pixels[:2, 150, 150] = 0
    pixels[2, 150, 150] = 1
    return write_scene(tmp_path_factory.mktemp("reader") / "rgb.jp2", pixels)


@pytest.mark.slow
def test_windows_equal_opencv_and_rasterio(rgb: Path) -> None:
    whole = cv2.imread(str(rgb), cv2.IMREAD_GRAYSCALE)
    with rasterio.open(rgb) as dataset:
        has_data = (dataset.read() != 0).any(axis=0)
    with open_raster(rgb, BANDS) as reader:
        for window in grid(reader.raster.shape, (97, 256)):
            grey, data = reader.read(window)
            np.testing.assert_array_equal(grey, whole[window.slices])
            np.testing.assert_array_equal(data, has_data[window.slices])


def test_data_is_any_band_not_zero(rgb: Path) -> None:
    with open_raster(rgb, BANDS) as reader:
        grey, data = reader.read(Window(150, 150, 1, 1))
    assert grey.tolist() == [[0]]
    assert data.tolist() == [[True]]


def test_one_band_is_used_unchanged(tmp_path: Path) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    with open_raster(write_scene(tmp_path / "grey.tif", pixels, block=16)) as reader:
        grey, data = reader.read(Window(0, 0, 64, 64))
        assert reader.raster.block == (16, 16)
    np.testing.assert_array_equal(grey, pixels)
    np.testing.assert_array_equal(data, pixels != 0)


def test_header(rgb: Path) -> None:
    with open_raster(rgb) as reader, rasterio.open(rgb) as dataset:
        assert reader.raster.shape == dataset.shape
        assert reader.raster.block == tuple(dataset.block_shapes[0])
        assert rasterio.crs.CRS.from_wkt(reader.raster.crs_wkt) == dataset.crs
        assert reader.raster.transform == tuple(dataset.transform)[:6]
        left, bottom, right, top = dataset.bounds
    assert reader.raster.outline() == [(left, top), (right, top), (right, bottom), (left, bottom)]


@pytest.mark.parametrize("shape", [(64, 64), (65, 67), (1, 1), (256, 300)])
def test_reduction_by_two_is_opencvs_resize(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    even = grey[: shape[0] // 2 * 2, : shape[1] // 2 * 2]
    wanted = cv2.resize(even, (shape[1] // 2, shape[0] // 2)) if even.size else np.zeros((0, 0), np.uint8)
    np.testing.assert_array_equal(reduce_mean(grey, 2), wanted)


def test_reduction_by_four_is_the_rounded_mean() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (32, 64), dtype=np.uint8)
    mean = grey.reshape(8, 4, 16, 4).mean(axis=(1, 3))
    assert np.abs(reduce_mean(grey, 4) - mean).max() <= 0.5


def test_mask_reduction_is_opencvs_resize() -> None:
    mask = np.random.default_rng(3).random((64, 96)) < 0.2
    resized = cv2.resize(mask.view(np.uint8) * 255, (48, 32)) > 0
    np.testing.assert_array_equal(reduce_any(mask, 2), resized)
    assert reduce_any(mask, 1) is mask


@pytest.mark.parametrize("missing", [1, 2, 3, 2000, 20_000])
def test_a_truncated_file_is_not_begun(rgb: Path, tmp_path: Path, missing: int) -> None:
    """Without the last two bytes, the mark of the end, GDAL decodes some levels and not others."""
    broken = tmp_path / "broken.jp2"
    broken.write_bytes((whole := rgb.read_bytes())[:-missing])
    sizes = f"it has {len(whole) - missing:,} bytes of at least {len(whole):,}: get it again"
    with pytest.raises(SceneError, match=rf"broken\.jp2: it is truncated, {sizes}"), open_raster(broken):
        pass


def test_a_file_whose_end_is_zeros_is_named(rgb: Path, tmp_path: Path) -> None:
    """Some programs write a file's whole size before they download it."""
    broken = tmp_path / "broken.jp2"
    broken.write_bytes(rgb.read_bytes()[:-2000] + bytes(2000))
    with open_raster(broken) as reader:
        windows = grid(reader.raster.shape, (256, 256))
        with pytest.raises(SceneError, match=r"broken\.jp2.*truncated"):
            [reader.read(window) for window in windows]


@pytest.mark.parametrize(
    ("dtype", "crs", "said"),
    [
        ("uint16", "EPSG:32636", "pixels are uint16.*set ingest.stretch"),
        ("int16", "EPSG:32636", "pixels are int16"),
        ("uint8", None, "has no CRS"),
    ],
)
def test_unusable_header_is_an_error(tmp_path: Path, dtype: str, crs: str | None, said: str) -> None:
    path = write_scene(tmp_path / "scene.jp2", np.ones((1, 256, 256), dtype), crs=crs)
    with pytest.raises(SceneError, match=said), open_raster(path):
        pass


def test_a_file_that_is_no_raster_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "scene.jp2"
    path.write_text("not an image")
    with pytest.raises(SceneError, match="cannot be opened"), open_raster(path):
        pass


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["paris/T31UDQ_20240105T105339_TCI_10m.jp2", "lebanon/T36SYC_TCI_60m.jp2"])
def test_real_colours_equal_opencv(shared_data: Path, name: str) -> None:
    whole = cv2.imread(str(shared_data / name), cv2.IMREAD_GRAYSCALE)
    with open_raster(shared_data / name, BANDS) as reader:
        grey, _ = reader.read(Window(0, 0, *reader.raster.shape))
        for window in grid(reader.raster.shape, (512, 512)):
            np.testing.assert_array_equal(reader.read(window)[0], grey[window.slices])
    # OpenCV and GDAL bring JPEG 2000 decoders of their own, which round a lossy wavelet differently now and then.
    difference = cv2.absdiff(grey, whole)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 1e-5 * difference.size


def test_a_png_without_its_end_is_refused_which_gdal_would_read_as_zeros(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (90, 80), np.uint8)
    whole = cv2.imencode(".png", pixels)[1].tobytes()
    path = tmp_path / "scan.png"
    path.write_bytes(whole + b"what some programs write behind")
    with open_dataset(Source.of(path)) as dataset:
        assert (dataset.read(1) == pixels).all()
    for left in (len(whole) - 1, len(whole) // 2):
        path.write_bytes(whole[:left])
        with pytest.raises(SceneError, match=r"scan\.png: it is truncated, the end of the PNG is missing"):
            open_dataset(Source.of(path))
