"""Every kind of source is read as rasterio reads its whole file: any reduction, either decoding, 8 and 16 bit."""

import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from s2fast.config import Ingest
from s2fast.files.source import Source
from s2fast.model import Window
from s2fast.raster.reader import open_raster
from s2fast.raster.stretch import stretch_table
from s2fast.raster.windows import chunk_shape, grid, reduced, reduced_shape
from tests.archives import ORIGINS, UTM36, textured

SHAPE = (203, 359)
COG_SHAPE = (403, 717)
"""GDAL writes no blocks of less than 128 px into a COG: its levels have several, too."""

KINDS = [
    "tiled.jp2", "no_levels.jp2", "lossy.jp2", "striped.tif", "one_strip.tif", "tiled.tif", "interleaved.tif",
    "cog.tif", "of_jp2.vrt", "of_two.vrt", "product.zip",
]  # fmt: skip


def make(folder: Path, kind: str, pixels: npt.NDArray[Any]) -> Path | Source:
    """Write (bands, rows, cols) as one kind of source."""
    path = folder / kind
    profile: dict[str, Any] = {
        "driver": "JP2OpenJPEG" if path.suffix == ".jp2" else "GTiff",
        "width": pixels.shape[2],
        "height": pixels.shape[1],
        "count": len(pixels),
        "dtype": pixels.dtype,
        "crs": UTM36,
        "transform": from_origin(*ORIGINS["36UXA"], 10, 10),
        "photometric": "MINISBLACK",
    } | {
        "tiled.jp2": {"QUALITY": "100", "REVERSIBLE": "YES", "blockxsize": 128, "blockysize": 128, "RESOLUTIONS": "4"},
        "no_levels.jp2": {"QUALITY": "100", "REVERSIBLE": "YES", "blockxsize": 1024, "blockysize": 1024},
        "lossy.jp2": {"QUALITY": "30", "REVERSIBLE": "NO", "blockxsize": 128, "blockysize": 128, "RESOLUTIONS": "4"},
        "striped.tif": {"compress": "deflate", "blockysize": 7},
        "one_strip.tif": {"compress": "deflate", "blockysize": pixels.shape[1]},
        "tiled.tif": {"tiled": True, "blockxsize": 32, "blockysize": 64, "interleave": "band"},
        "interleaved.tif": {"tiled": True, "blockxsize": 32, "blockysize": 64, "interleave": "pixel"},
    }.get(kind, {})  # fmt: skip
    if path.suffix == ".jp2":
        del profile["photometric"]
    if kind == "cog.tif":
        rows, cols = (side // 4 * 4 for side in pixels.shape[1:])
        source = make(folder, "tiled.tif", pixels[:, :rows, :cols])
        rasterio.shutil.copy(
            source, path, driver="COG", BLOCKSIZE="128", OVERVIEW_RESAMPLING="AVERAGE", COMPRESS="DEFLATE"
        )
    elif kind == "of_jp2.vrt":
        rasterio.shutil.copy(make(folder, "tiled.jp2", pixels), path, driver="VRT")
    elif kind == "of_two.vrt":
        path.write_text(mosaic(make(folder, "tiled.jp2", pixels), pixels))
    elif kind == "product.zip":
        source = make(folder, "tiled.jp2", pixels)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(source, "in/scene.jp2")
        return Source.local(path).member("in/scene.jp2")
    else:
        with rasterio.open(path, "w", **profile) as dataset:
            if len(pixels) == 3:
                dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
            dataset.write(pixels)
    return path


def mosaic(source: Path, pixels: npt.NDArray[Any]) -> str:
    """Write a VRT whose left part comes from one place of a file and whose right part from another."""
    rows, cols = pixels.shape[1:]
    left = cols // 3
    kind = {"uint8": "Byte", "uint16": "UInt16"}[pixels.dtype.name]
    bands = ""
    for band in range(1, len(pixels) + 1):
        parts = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>{band}</SourceBand>'
            f'<SrcRect xOff="{start}" yOff="0" xSize="{width}" ySize="{rows}"/>'
            f'<DstRect xOff="{to}" yOff="0" xSize="{width}" ySize="{rows}"/></SimpleSource>'
            for start, width, to in ((cols - left, left, 0), (0, cols - left, left))
        )
        bands += f'<VRTRasterBand dataType="{kind}" band="{band}">{parts}</VRTRasterBand>'
    x, y = ORIGINS["36UXA"]
    head = f"<SRS>{UTM36}</SRS><GeoTransform>{x}, 10, 0, {y}, 0, -10</GeoTransform>"
    return f'<VRTDataset rasterXSize="{cols}" rasterYSize="{rows}">{head}{bands}</VRTDataset>'


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int, str], Path | Source]:
    """Sources by kind, bands and type, each made once."""

    @cache
    def made(kind: str, bands: int, dtype: str) -> Path | Source:
        return make(
            tmp_path_factory.mktemp("source"),
            kind,
            scene_pixels(bands, dtype, COG_SHAPE if kind == "cog.tif" else SHAPE),
        )

    return made


def scene_pixels(bands: int, dtype: str, shape: tuple[int, int] = SHAPE) -> npt.NDArray[Any]:
    """Draw bands with a swath edge and single zeros."""
    rng = np.random.default_rng(5)
    grey = textured(rng, shape)
    pixels = np.stack([np.roll(grey, shift, 1) for shift in range(bands)]).astype(dtype)
    if dtype == "uint16":
        pixels = pixels * np.uint16(37) + rng.integers(0, 5, pixels.shape, np.uint16)
    pixels[:, :, 5 * shape[1] // 6 :] = 0
    pixels[0, ::50, ::50] = 0
    return pixels


def whole(
    path: Path | Source, settings: Ingest, stretch: tuple[int, int] | None = None, level: int | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Read a whole file with rasterio alone and shrink it: what all windows together must give."""
    options = {} if level is None else {"OVERVIEW_LEVEL": level}
    with rasterio.open(str(path), **options) as dataset:
        pixels = dataset.read([1, 2, 3] if dataset.count >= 3 else [1])
    has_data = (pixels != 0).any(axis=0)
    if stretch:
        pixels = stretch_table(*stretch)[pixels]
    grey = pixels[0] if len(pixels) == 1 else cv2.cvtColor(np.dstack(list(pixels)), cv2.COLOR_RGB2GRAY)
    factor = settings.reduction if level is None else 1
    rows, cols = grey.shape[0] // factor, grey.shape[1] // factor
    if factor > 1:
        trimmed = np.ascontiguousarray(grey[: rows * factor, : cols * factor])
        grey = cv2.resize(trimmed, (cols, rows), interpolation=cv2.INTER_AREA)
        blocks = has_data[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor)
        has_data = blocks.all(axis=(1, 3))
    return grey, has_data


def by_windows(path: Path | Source, settings: Ingest) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], int]:
    """Read a file window by window as ingest does; also the level read."""
    factor = settings.reduction
    with open_raster(path, settings) as reader:
        shape = reduced_shape(reader.raster.shape, factor)
        grey, has_data = np.full(shape, 77, np.uint8), np.zeros(shape, np.bool_)
        for window in grid(reader.raster.shape, chunk_shape(reader.raster.block, factor)):
            target = reduced(window, factor)
            if target:
                grey[target.slices], has_data[target.slices] = reader.read(window)
        return grey, has_data, reader.raster.level


@pytest.mark.slow
@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint8"), (3, "uint8"), (3, "uint16")])
@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_the_whole_file(
    source: Callable[[str, int, str], Path | Source], kind: str, bands: int, dtype: str
) -> None:
    path = source(kind, bands, dtype)
    stretch = (300, 9000) if dtype == "uint16" else None
    for reduction in (1, 2, 4):
        settings = Ingest(grey="opencv", reduction=reduction, stretch=stretch or "none")  # type: ignore[arg-type]  # 1, 2 or 4
        grey, has_data, level = by_windows(path, settings)
        wanted_grey, wanted_data = whole(path, settings, stretch)
        np.testing.assert_array_equal(grey, wanted_grey)
        np.testing.assert_array_equal(has_data, wanted_data)
        assert level == 1
    assert 0 < np.count_nonzero(has_data) < has_data.size


@pytest.mark.slow
@pytest.mark.parametrize(("bands", "dtype"), [(3, "uint8"), (1, "uint16")])
@pytest.mark.parametrize("reduction", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_reduced_decoding_gives_the_files_own_level(
    source: Callable[[str, int, str], Path | Source], kind: str, reduction: int, bands: int, dtype: str
) -> None:
    path = source(kind, bands, dtype)
    stretch = (300, 9000) if dtype == "uint16" else None
    settings = Ingest(grey="opencv", reduction=reduction, decode="reduced", stretch=stretch or "none")  # type: ignore[arg-type]
    grey, has_data, level = by_windows(path, settings)
    has_levels = kind in ("tiled.jp2", "lossy.jp2", "cog.tif", "product.zip")
    assert level == (reduction if has_levels else 1)
    wanted_grey, wanted_data = whole(path, settings, stretch, {2: 0, 4: 1}[reduction] if has_levels else None)
    # The level's last row and column stand for the one pixel left over; no reduced pixel does.
    np.testing.assert_array_equal(grey, wanted_grey[: grey.shape[0], : grey.shape[1]])
    np.testing.assert_array_equal(has_data, wanted_data[: grey.shape[0], : grey.shape[1]])
    if kind in ("tiled.jp2", "lossy.jp2", "product.zip"):
        # Had the full image been decoded and thinned out, it would be every second pixel of it.
        thinned = whole(path, Ingest(grey="opencv"), stretch)[0][::reduction, ::reduction][
            : grey.shape[0], : grey.shape[1]
        ]
        assert (grey != thinned).mean() > 0.1


@pytest.mark.parametrize("kind", ["tiled.jp2", "lossy.jp2", "cog.tif"])
@pytest.mark.parametrize("reduction", [2, 4])
def test_a_level_is_read_by_its_own_blocks(
    source: Callable[[str, int, str], Path | Source], kind: str, reduction: int
) -> None:
    path = source(kind, 1, "uint8")
    with open_raster(path, Ingest(grey="opencv", reduction=reduction, decode="reduced")) as reader:
        block = reader.raster.block
    with rasterio.open(path, OVERVIEW_LEVEL={2: 0, 4: 1}[reduction]) as level:
        assert block == tuple(side * reduction for side in level.block_shapes[0])


def test_a_level_that_is_not_quite_half_is_not_used(tmp_path: Path) -> None:
    # The COG driver squeezes 203 rows into 101: far down, such a level lies a row beside the full image.
    source = make(tmp_path, "tiled.tif", scene_pixels(1, "uint8"))
    path = tmp_path / "odd.tif"
    rasterio.shutil.copy(source, path, driver="COG", BLOCKSIZE="128", OVERVIEW_RESAMPLING="AVERAGE")
    with rasterio.open(path) as dataset:
        assert 2 in dataset.overviews(1)
    grey, _, level = by_windows(path, Ingest(grey="opencv", reduction=2, decode="reduced"))
    assert level == 1
    np.testing.assert_array_equal(grey, whole(path, Ingest(grey="opencv", reduction=2))[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "decode"),
    [("tiled.jp2", "full"), ("tiled.jp2", "reduced"), ("lossy.jp2", "reduced"), ("cog.tif", "reduced")],
)
@pytest.mark.parametrize("reduction", [2, 4])
def test_a_blob_lies_where_it_was_drawn(tmp_path: Path, kind: str, decode: str, reduction: int) -> None:
    x, y = 201.25, 152.75
    rows, cols = np.mgrid[:300, :420]
    blob = 200 * np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / (2 * 12.0**2))
    path = make(tmp_path, kind, np.rint(blob + 20).astype(np.uint8)[None])
    settings = Ingest(grey="opencv", reduction=reduction, decode=decode)  # type: ignore[arg-type]  # parametrised
    with open_raster(path, settings) as reader:
        grey, _ = reader.read(Window(0, 0, 300, 420))
        centre_px = reader.raster.level_centre_px if reader.raster.level > 1 else (reduction - 1) / 2
    weight = np.clip(grey.astype(float) - 40, 0, None)
    found = [
        (weight * axis).sum() / weight.sum() * reduction + centre_px
        for axis in np.mgrid[: 300 // reduction, : 420 // reduction]
    ]
    # Half a pixel is what a wrong rule would be off at reduction 2, 1.5 at 4; bytes leave a few hundredths.
    np.testing.assert_allclose(found, [y, x], atol=0.1)


def test_declared_nodata_is_no_data_and_black(tmp_path: Path) -> None:
    pixels = scene_pixels(1, "uint8")
    path = make(tmp_path, "tiled.tif", pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 120
    with open_raster(path) as reader:
        grey, has_data = reader.read(Window(0, 0, *SHAPE))
    outside = (pixels[0] == 0) | (pixels[0] == 120)
    np.testing.assert_array_equal(has_data, ~outside)
    np.testing.assert_array_equal(grey, np.where(outside, 0, pixels[0]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiled.jp2", "striped.tif", "cog.tif"])
@pytest.mark.parametrize("bands", [1, 3])
def test_auto_stretch_is_of_the_scene_not_of_what_is_read(
    source: Callable[[str, int, str], Path | Source], kind: str, bands: int
) -> None:
    path = source(kind, bands, "uint16")
    settings = Ingest(grey="opencv", stretch="auto")
    stretches = []
    for window in (Window(0, 0, 128, 128), Window(128, 128, 64, 64)):
        with open_raster(path, settings) as reader:
            reader.read(window)
            stretches.append(reader.stretch)
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    valid = np.sort(pixels[:, (pixels != 0).any(axis=0)].ravel())
    wanted = tuple(int(valid[-(-share * len(valid) // 100) - 1]) for share in (2, 98))
    # The side is below 512 px at every coarser level: all pixels count.
    assert stretches == [wanted, wanted]
    grey, _, _ = by_windows(path, settings)
    np.testing.assert_array_equal(grey, whole(path, settings, wanted)[0])


@pytest.mark.slow
def test_auto_stretch_looks_at_the_coarsest_level_of_512_pixels(tmp_path: Path) -> None:
    pixels = np.kron(scene_pixels(1, "uint16"), np.ones((1, 6, 6), np.uint16))
    path = make(tmp_path, "tiled.jp2", pixels)
    with open_raster(path, Ingest(grey="opencv", stretch="auto")) as reader:
        got = reader.stretch
    with rasterio.open(path, OVERVIEW_LEVEL=0) as level:
        assert min(level.shape) == 609
        valid = np.sort(level.read()[level.read() != 0])
    assert got == tuple(int(valid[-(-share * len(valid) // 100) - 1]) for share in (2, 98))


def test_eight_bits_are_never_stretched(source: Callable[[str, int, str], Path | Source]) -> None:
    path = source("tiled.tif", 1, "uint8")
    for stretch in ("auto", (5, 10)):
        with open_raster(path, Ingest(grey="opencv", stretch=stretch)) as reader:  # type: ignore[arg-type]  # parametrised
            assert reader.stretch is None
            np.testing.assert_array_equal(reader.read(Window(0, 0, *SHAPE))[0], whole(path, Ingest(grey="opencv"))[0])
