"""Which bands are the picture, and which pixels a file marks as missing, in every way of marking."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil
import shapely
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import from_origin

from s2fast.config import Ingest, load_config
from s2fast.errors import SceneError
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Features, Window
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.raster.reader import open_raster
from tests.archives import ORIGINS, UTM36, textured, write_regions, write_scene

SIDE = 300
RED, GREEN, BLUE, ALPHA, GRAY = (
    ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha, ColorInterp.gray
)  # fmt: skip
HOLE = np.zeros((SIDE, SIDE), bool)
HOLE[60:140, 100:220] = True
HOLE[::40, :3] = True
RGB = np.stack([np.clip(textured(np.random.default_rng(seed), (SIDE, SIDE)), 5, 250) for seed in range(3)])


def write(path: Path, pixels: npt.NDArray[Any], meaning: Any = None, **options: Any) -> Path:
    """Write (bands, rows, cols) as a GeoTIFF, or by way of one as a lossless JP2."""
    tiff = path if path.suffix == ".tif" else path.with_suffix(".source.tif")
    path.parent.mkdir(parents=True, exist_ok=True)
    mask, colours, levels = (options.pop(name, None) for name in ("mask", "colours", "levels"))
    with rasterio.open(
        tiff, "w", driver="GTiff", width=pixels.shape[2], height=pixels.shape[1], count=len(pixels), tiled=True,
        blockxsize=128, blockysize=128, dtype=pixels.dtype, crs=UTM36, transform=from_origin(*ORIGINS["36UXA"], 10, 10),
        **options,
    ) as sink:  # fmt: skip
        if meaning:
            sink.colorinterp = meaning
        sink.write(pixels)
        if mask is not None:
            sink.write_mask(mask)
        if colours:
            sink.write_colormap(1, colours)
    if levels:
        with rasterio.open(tiff, "r+") as sink:
            sink.build_overviews(levels, Resampling.average)
    if path != tiff:
        rasterio.shutil.copy(tiff, path, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    return path


def hidden(seed: int, bands: int = 3) -> npt.NDArray[np.uint8]:
    """Return the picture with another one in its hole."""
    other = np.stack([np.clip(textured(np.random.default_rng(seed + n), (SIDE, SIDE)), 5, 250) for n in range(bands)])
    return np.where(HOLE, other, RGB[:bands])


def with_alpha(path: Path, pixels: npt.NDArray[Any], *, last: bool = True, **options: Any) -> Path:
    alpha = np.where(HOLE, 0, 255).astype(pixels.dtype)[None]
    colours = (RED, GREEN, BLUE) if len(pixels) == 3 else (GRAY,)
    bands, meaning = ([pixels, alpha], (*colours, ALPHA)) if last else ([alpha, pixels], (ALPHA, *colours))
    return write(path, np.concatenate(bands), meaning, photometric="MINISBLACK", **options)


def with_mask(path: Path, pixels: npt.NDArray[Any], *, internal: bool, **options: Any) -> Path:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        return write(path, pixels, mask=~HOLE, **options)


def with_late_mask(path: Path, pixels: npt.NDArray[Any]) -> Path:
    """Add the mask after the overviews: it has none."""
    write(path, pixels, levels=[2, 4])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as sink:
        sink.write_mask(~HOLE)
    return path


def with_nodata(path: Path, pixels: npt.NDArray[Any], *values: int) -> Path:
    """Declare nodata: one value, or by way of a VRT one for each band."""
    pixels = pixels.copy()
    for band, value in zip(pixels, values * 3, strict=False):
        band[HOLE] = value
    if len(values) == 1:
        return write(path, pixels, nodata=values[0])
    write(path.with_suffix(".tif"), pixels)
    rasterio.shutil.copy(path.with_suffix(".tif"), path, driver="VRT")
    text = path.read_text()
    for number, value in enumerate(values, 1):
        head, band, tail = text.partition(f'band="{number}"')
        text = head + band + tail.replace(">", f">\n<NoDataValue>{value}</NoDataValue>", 1)
    path.write_text(text)
    return path


def with_palette(path: Path, pixels: npt.NDArray[Any], dtype: str = "uint8") -> Path:
    """Write the first band as indices that mean nothing by themselves; index 7 is nodata, or transparent in a VRT."""
    order = np.random.default_rng(0).permutation(256)
    order[[7, int(np.flatnonzero(order == 255)[0])]] = 255, order[7]
    index = np.where(HOLE, 7, np.argsort(order)[pixels[0]]).astype(dtype)
    colours = {number: (int(value),) * 3 + (255,) for number, value in enumerate(order)}
    nodata = None if path.suffix == ".vrt" else 7
    source = path if path.suffix == ".jp2" else path.with_suffix(".tif")
    write(source, index[None], colours=colours, photometric="PALETTE", nodata=nodata)
    if path != source:
        rasterio.shutil.copy(source, path, driver="VRT")
        entry = '<Entry c1="255" c2="255" c3="255" c4="{}"'
        text = path.read_text()
        assert text.count(entry.format(255)) == 1
        path.write_text(text.replace(entry.format(255), entry.format(0)))
    return path


Maker = Callable[[Path, int], Path]

KINDS: dict[str, tuple[Maker, int]] = {
    "alpha.tif": (lambda path, seed: with_alpha(path, hidden(seed)), 3),
    "alpha_first.tif": (lambda path, seed: with_alpha(path, hidden(seed), last=False), 3),
    "alpha_levels.tif": (lambda path, seed: with_alpha(path, hidden(seed), levels=[2, 4]), 3),
    "alpha.jp2": (lambda path, seed: with_alpha(path, hidden(seed)), 3),
    "alpha_first.jp2": (lambda path, seed: with_alpha(path, hidden(seed), last=False), 3),
    "grey_alpha.tif": (lambda path, seed: with_alpha(path, hidden(seed, 1)), 1),
    "grey_alpha.jp2": (lambda path, seed: with_alpha(path, hidden(seed, 1)), 1),
    "mask.tif": (lambda path, seed: with_mask(path, hidden(seed), internal=True), 3),
    "mask_levels.tif": (lambda path, seed: with_mask(path, hidden(seed), internal=True, levels=[2, 4]), 3),
    "late_mask.tif": (lambda path, seed: with_late_mask(path, hidden(seed)), 3),
    "nodata_255.tif": (lambda path, seed: with_nodata(path, hidden(seed), 255), 3),
    "nodata_by_band.vrt": (lambda path, seed: with_nodata(path, hidden(seed), 251, 252, 253), 3),
    "palette.tif": (lambda path, seed: with_palette(path, hidden(seed)), 1),
    "palette.vrt": (lambda path, seed: with_palette(path, hidden(seed)), 1),
    "palette_16.tif": (lambda path, seed: with_palette(path, hidden(seed), "uint16"), 1),
}
"""How a file can say that pixels are missing, and how many bands its picture has."""


def read(path: Path, settings: Ingest | None = None) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    with open_raster(path, settings) as reader:
        return reader.read(Window(0, 0, SIDE, SIDE))


@pytest.fixture(scope="module", autouse=True)
def _places(tmp_path_factory: pytest.TempPathFactory) -> None:
    for bands in (1, 3):
        write(tmp_path_factory.getbasetemp() / f"plain{bands}.tif", RGB[:bands], photometric="MINISBLACK")


@pytest.mark.slow
@pytest.mark.parametrize("decode", ["full", "reduced"])
@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_missing_pixels_are_black_and_all_others_are_the_pictures(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, kind: str, reduction: int, decode: str
) -> None:
    make, bands = KINDS[kind]
    settings = Ingest(reduction=reduction, decode=decode)  # type: ignore[arg-type]  # parametrised
    path = make(tmp_path / kind, 10)
    grey, has_data = read(path, settings)
    hole = HOLE.reshape(SIDE // reduction, reduction, SIDE // reduction, reduction).any(axis=(1, 3))
    plain, _ = read(tmp_path_factory.getbasetemp() / f"plain{bands}.tif", settings)
    np.testing.assert_array_equal(has_data, ~hole)
    np.testing.assert_array_equal(grey, np.where(hole, 0, plain))


def test_a_msk_beside_the_file_counts(tmp_path: Path) -> None:
    path = with_mask(tmp_path / "scene.tif", hidden(10), internal=False)
    assert path.with_name("scene.tif.msk").exists()
    np.testing.assert_array_equal(read(path)[1], ~HOLE)


def extracted(places: list[Path], mode: str, folder: Path) -> list[Features]:
    """Return the features of scenes, under a polygon that leaves their edges out."""
    x, y = ORIGINS["36UXA"]
    box = shapely.Polygon([(x + 200, y - 200), (x + 2800, y - 300), (x + 2700, y - 2700), (x + 300, y - 2600)])
    regions = write_regions(folder / "regions.geojson", [box])
    config = load_config(overrides={"regions.mode": mode, "features.nodata_px": 0})
    record = run_stages(Job(config, places, regions, folder / "out"), stages=["ingest", "extract"])
    return [RunFolder(folder / "out").features(item.scene.scene_id) for item in record.usable]


def in_the_hole(features: Features) -> npt.NDArray[np.bool_]:
    column, row = np.rint(features.xy).astype(int).T
    return HOLE[row, column]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["none", "keep", "zero"])
def test_without_a_mask_there_are_keypoints_in_the_hole(tmp_path: Path, mode: str) -> None:
    (features,) = extracted([write_scene(tmp_path / "plain.tif", RGB)], mode, tmp_path)
    assert in_the_hole(features).any()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["none", "keep", "zero"])
@pytest.mark.parametrize("kind", ["alpha.tif", "mask.tif", "alpha.jp2", "nodata_255.tif", "palette.tif"])
def test_what_lies_under_a_mask_decides_nothing(tmp_path: Path, kind: str, mode: str) -> None:
    make, _ = KINDS[kind]
    for name, seed in (("a", 10), ("b", 20)):
        make(tmp_path / name / kind, seed).rename(tmp_path / f"{name}{Path(kind).suffix}")
    a, b = extracted([tmp_path / f"{name}{Path(kind).suffix}" for name in "ab"], mode, tmp_path)
    for field in ("xy", "descriptors", "response"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert len(a) > 100
    assert not in_the_hole(a).any()


def test_what_lies_under_a_mask_has_no_share_in_an_automatic_stretch(tmp_path: Path) -> None:
    stretches = []
    for value in (20, 60_000):
        deep = np.where(HOLE, value, RGB.astype(np.uint16) * 30)
        for kind, make in {"alpha": with_alpha, "late": with_late_mask}.items():
            with open_raster(make(tmp_path / f"{kind}{value}.tif", deep), Ingest(stretch="auto")) as reader:
                stretches.append(reader.stretch)
    assert len(set(stretches)) == 1


def test_bands_are_selected_by_their_colour(tmp_path: Path) -> None:
    plain, _ = read(write(tmp_path / "rgb.tif", RGB, photometric="RGB"))
    nir = np.zeros((1, SIDE, SIDE), np.uint8)
    undefined = ColorInterp.undefined
    for name, pixels, meaning in (
        ("bgr.tif", RGB[::-1], (BLUE, GREEN, RED)),
        ("bgr.jp2", RGB[::-1], (BLUE, GREEN, RED)),
        ("nir_first.tif", np.concatenate([nir, RGB]), (ColorInterp.undefined, RED, GREEN, BLUE)),
        ("rgb_nir.tif", np.concatenate([RGB, nir]), (RED, GREEN, BLUE, undefined)),
        ("rgb_nir.jp2", np.concatenate([RGB, nir]), (RED, GREEN, BLUE, undefined)),
        ("untold.tif", np.concatenate([RGB, nir]), (GRAY, undefined, undefined, undefined)),
    ):
        path = write(tmp_path / name, np.ascontiguousarray(pixels), meaning, photometric="MINISBLACK")
        # The weights show the order of the bands; the luma of a lossless file does not.
        grey, has_data = read(path, Ingest(grey="opencv"))
        np.testing.assert_array_equal(grey, plain, err_msg=name)
        assert has_data.all(), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["palette.jp2", "bgr.jp2", "mask.jp2", "alpha.jp2"])
def test_part_of_a_jp2_is_what_the_whole_has_there(tmp_path: Path, kind: str) -> None:
    """Mode zero asks for parts, keep for whole windows: both must be GDAL's values."""
    if kind == "palette.jp2":
        path = with_palette(tmp_path / kind, RGB)
    elif kind == "bgr.jp2":
        path = write(tmp_path / kind, RGB[::-1].copy(), (BLUE, GREEN, RED), photometric="MINISBLACK")
    else:
        path = with_alpha(tmp_path / kind, RGB)
    wanted = np.zeros((SIDE, SIDE), bool)
    wanted[50:150, 90:170] = True
    with open_raster(path) as reader:
        whole = reader.read(Window(0, 0, SIDE, SIDE))
        part = reader.read(Window(0, 0, SIDE, SIDE), wanted)
    for got, all_of_it in zip(part, whole, strict=True):
        np.testing.assert_array_equal(got[wanted], all_of_it[wanted])


def test_a_raster_that_is_no_picture_is_an_error(tmp_path: Path) -> None:
    hsl = (ColorInterp.hue, ColorInterp.saturation, ColorInterp.lightness)
    with pytest.raises(SceneError, match=r"hsl\.tif: its bands are hue, saturation, lightness"):
        read(write(tmp_path / "hsl.tif", RGB, hsl, photometric="MINISBLACK"))
    wide = write(tmp_path / "wide.tif", RGB[:1].astype(np.uint16))
    mixed = tmp_path / "mixed.vrt"
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{n}"><SimpleSource><SourceFilename relativeToVRT="1">{wide.name}'
        f"</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for n, kind in enumerate(("Byte", "UInt16", "Byte"), 1)
    )
    mixed.write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>{UTM36}</SRS>'
        f"<GeoTransform>600000, 10, 0, 5600040, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    with pytest.raises(SceneError, match=r"mixed\.vrt: pixels are uint8, uint16, uint8"):
        read(mixed)
    line = write_scene(tmp_path / "line.tif", RGB[:, :1])
    with pytest.raises(SceneError, match=r"line\.tif: 1 x 300 px .* leave no pixel with ingest\.reduction = 2"):
        read(line, Ingest(reduction=2))
    for dtype in ("float32", "int16"):
        with pytest.raises(
            SceneError, match=rf"pixels are {dtype} and no stretch is set; set ingest.stretch = \[low, high"
        ):
            read(write(tmp_path / f"{dtype}.tif", RGB[:1].astype(dtype)))
    for dtype in ("int8", "complex64"):
        with pytest.raises(SceneError, match=f"pixels are {dtype}; they must be real numbers"):
            read(write(tmp_path / f"{dtype}.tif", RGB[:1].astype(dtype)))


@pytest.mark.slow
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "scale", "nodata", "stretch"),
    [
        ("int16", 1, -9999, (300, 7000)), ("int32", 1, -9999, (300, 7000)), ("uint32", 1, None, (300, 7000)),
        ("float32", 1e-4, np.nan, (0.03, 0.7)), ("float64", 1e-4, -1.0, (0.03, 0.7)), ("int16", 1, -9999, "auto"),
        ("float32", 1e-4, np.nan, "auto"),
    ],
)  # fmt: skip
def test_every_type_of_number_is_read_as_16_bits_are(
    dtype: str, scale: float, nodata: float | None, stretch: Any, bands: int, tmp_path: Path
) -> None:
    """Reflectances as integers with sign (HLS, Landsat) and as floats, with NaN or a value where nothing is."""
    deep = RGB[:bands].astype(np.uint16) * 30
    deep[:, HOLE] = 0
    long = np.where(HOLE, 0 if nodata is None else nodata, (deep * scale).astype(dtype))
    path = write(tmp_path / "long.tif", long, nodata=nodata)
    long_stretch, short_stretch = stretch, stretch if stretch == "auto" else (300, 7000)
    got, has_data = read(path, Ingest(stretch=long_stretch))
    wanted, wanted_data = read(write(tmp_path / "deep.tif", deep), Ingest(stretch=short_stretch))
    np.testing.assert_array_equal(has_data, wanted_data)
    # Half-precision bins set the ends of "auto"; decimal fractions are rounded.
    apart = 0 if dtype != "float32" and stretch != "auto" and scale == 1 else 1
    assert np.abs(got.astype(int) - wanted)[has_data].max() <= apart
    assert not got[~has_data].any()


@pytest.mark.parametrize("kind", ["jp2", "vrt"])
def test_damage_of_one_tile_among_many_is_told(tmp_path: Path, kind: str) -> None:
    """GDAL's threads lose such errors, and return what lay in memory."""
    whole = tmp_path / "whole.jp2"
    with rasterio.open(
        whole, "w", driver="JP2OpenJPEG", width=SIDE, height=SIDE, count=1, dtype="uint8", crs=UTM36,
        transform=from_origin(*ORIGINS["36UXA"], 10, 10), blockxsize=64, blockysize=64, RESOLUTIONS="4",
    ) as sink:  # fmt: skip
        sink.write(RGB[:1])
    data = whole.read_bytes()
    broken = tmp_path / "broken.jp2"
    path = broken if kind == "jp2" else tmp_path / "broken.vrt"
    wanted = np.zeros((256, 256), bool)
    wanted[:20, :20] = True
    broken.write_bytes(data[: len(data) // 2].ljust(len(data), b"\0"))
    if kind == "vrt":
        rasterio.shutil.copy(broken, path, driver="VRT")
    for window, asked in ((Window(0, 0, SIDE, SIDE), None), (Window(0, 0, 256, 256), wanted)):
        with (
            open_raster(path) as reader,
            pytest.raises(SceneError, match=r"broken\..*: the file is truncated or damaged"),
        ):
            reader.read(window, asked)
    path = whole if kind == "jp2" else path
    broken.write_bytes(data)
    with open_raster(path) as reader:
        grey, _ = reader.read(Window(10, 30, 200, 180))
    with rasterio.open(whole) as dataset:
        np.testing.assert_array_equal(grey, dataset.read(1)[10:210, 30:210])
