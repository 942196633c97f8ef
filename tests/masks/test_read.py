"""Masks on a scene's grid: nearest values, widened in metres, against plain definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
import shapely
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject

from s2fast.config import Ingest, Regions
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.masks.kinds import SCL_MASKED
from s2fast.masks.lookup import FoundMask
from s2fast.masks.polygons import parsed
from s2fast.masks.read import open_mask, widened
from s2fast.model import PIXEL_TRANSFORM, Raster, Window
from tests.masks.products import NORTH, WEST, box, gml, write_classes

SCENE = Raster((150, 130), (64, 64), rasterio.CRS.from_epsg(32636).to_wkt(), (10.0, 0.0, WEST, 0.0, -10.0, NORTH))
WINDOWS = [Window(row, col, min(64, 150 - row), min(64, 130 - col)) for row in (0, 64, 128) for col in (0, 64, 128)]


def read(path: Path, kind: str, raster: Raster = SCENE, **settings: Any) -> npt.NDArray[np.bool_]:
    """Read a mask window by window."""
    options = Ingest.model_validate({"mask_buffer_m": 0, **settings})
    step = options.reduction
    whole = np.zeros((raster.shape[0] // step, raster.shape[1] // step), np.bool_)
    with open_mask(FoundMask(kind, Source.local(path), ""), raster, options) as mask:
        for window in WINDOWS:
            part = mask.part(window)
            top, left = window.row // step, window.col // step
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


def classes(shape: tuple[int, int], highest: int = 12, seed: int = 1) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, highest, shape).astype(np.uint8)


def write_on_grid(path: Path, values: npt.NDArray[Any], epsg: int, nodata: float | None = None) -> Path:
    """Write a raster on the scene's grid, or warped by nearest neighbour and beyond the scene to values of 0."""
    transform, shape = rasterio.Affine(*SCENE.transform), values.shape
    if epsg != 32636:
        bounds = rasterio.transform.array_bounds(*values.shape, transform)
        there, cols, rows = calculate_default_transform("EPSG:32636", f"EPSG:{epsg}", 130, 150, *bounds)
        warped = np.full((rows, cols), values[-1, -1])
        reproject(
            values, warped, transform, src_crs="EPSG:32636", dst_transform=there, dst_crs=f"EPSG:{epsg}",
            resampling=Resampling.nearest, init_dest_nodata=False,
        )  # fmt: skip
        values, transform, shape = warped, there, warped.shape
    profile = {"count": 1, "height": shape[0], "width": shape[1], "dtype": values.dtype, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", crs=f"EPSG:{epsg}", transform=transform, **profile) as to:
        to.write(values, 1)
    return path


@pytest.mark.parametrize("pixel_m", [5, 10, 20, 60])
def test_any_resolution_is_looked_up_and_never_interpolated(tmp_path: Path, pixel_m: int) -> None:
    own = classes((1500 // pixel_m + 1, 1300 // pixel_m + 1))
    path = write_classes(tmp_path / "mask.tif", own, pixel_m)
    rows, cols = ((10 * np.arange(side) + 5) // pixel_m for side in SCENE.shape)
    np.testing.assert_array_equal(read(path, "scl"), np.isin(own[np.ix_(rows, cols)], SCL_MASKED))
    np.testing.assert_array_equal(read(path, "scl", mask_values=[4, 300]), own[np.ix_(rows, cols)] == 4)


@pytest.mark.parametrize("epsg", [32635, 4326, 3857])
def test_another_crs_is_looked_up_as_gdal_does(tmp_path: Path, epsg: int) -> None:
    own = classes((60, 60), seed=epsg)
    start = from_origin(WEST - 300, NORTH + 300, 40, 40)
    transform, width, height = calculate_default_transform("EPSG:32636", f"EPSG:{epsg}", 60, 60, *(
        WEST - 300, NORTH + 300 - 2400, WEST - 300 + 2400, NORTH + 300
    ))  # fmt: skip
    moved = np.zeros((height, width), np.uint8)
    reproject(own, moved, src_transform=start, src_crs="EPSG:32636", dst_transform=transform, dst_crs=f"EPSG:{epsg}")
    path = tmp_path / "mask.tif"
    shape = {"height": height, "width": width, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=f"EPSG:{epsg}", transform=transform, **shape) as to:
        to.write(moved, 1)
    wanted = np.zeros(SCENE.shape, np.uint8)
    reproject(
        moved, wanted, src_transform=transform, src_crs=f"EPSG:{epsg}", dst_crs="EPSG:32636",
        dst_transform=from_origin(WEST, NORTH, 10, 10), resampling=Resampling.nearest, tolerance=0,
    )  # fmt: skip
    different = read(path, "scl") != np.isin(wanted, SCL_MASKED)
    # GDAL approximates the position of a pixel by a 40th of one, in windows otherwise than in the whole.
    assert different.mean() < 0.02
    assert len(np.unique(wanted)) > 10


def test_pixels_beyond_the_mask_are_not_ground(tmp_path: Path) -> None:
    path = write_classes(tmp_path / "mask.tif", np.zeros((50, 40), np.uint8), 10, (WEST + 300, NORTH - 200))
    wanted = np.ones(SCENE.shape, np.bool_)
    wanted[20:70, 30:70] = False
    np.testing.assert_array_equal(read(path, "file"), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("reduction", [1, 2, 4])
@pytest.mark.parametrize("buffer_m", [0, 10, 55, 200])
def test_widened_in_metres_also_across_windows(tmp_path: Path, buffer_m: int, reduction: int) -> None:
    own = (np.random.default_rng(3).random((75, 65)) > 0.999).astype(np.uint8)
    own[30:34, 31:33] = 1
    path = write_classes(tmp_path / "mask.jp2", own, 20)
    full = np.repeat(np.repeat(own, 2, axis=0), 2, axis=1)[:150, :130].astype(bool)
    rows, cols = 150 // reduction, 130 // reduction
    small = full[: rows * reduction, : cols * reduction].reshape(rows, reduction, cols, reduction).any(axis=(1, 3))
    y, x = np.mgrid[:rows, :cols]
    at = np.argwhere(small)
    away = np.min([np.hypot(y - row, x - col) for row, col in at], axis=0)
    wanted = away * 10 * reduction <= buffer_m
    np.testing.assert_array_equal(read(path, "file", mask_buffer_m=buffer_m, reduction=reduction), wanted)


def test_nothing_and_everything_stay_so() -> None:
    assert not widened(np.zeros((5, 5), bool), 3).any()
    assert widened(np.ones((5, 5), bool), 3).all()


def test_values_of_every_kind(tmp_path: Path) -> None:
    own = classes((150, 130), 101)
    probability = write_classes(tmp_path / "probability.tif", own, 10)
    np.testing.assert_array_equal(read(probability, "probability", mask_probability=65.5), own > 65)
    bits = write_classes(tmp_path / "fmask.tif", own, 10)
    np.testing.assert_array_equal(read(bits, "fmask"), np.isin(own // 2 % 8, range(1, 8)))
    bands = np.stack([own == 1, own == 2, own == 3]).astype(np.uint8)
    three = write_classes(tmp_path / "classes.jp2", bands, 10)
    np.testing.assert_array_equal(read(three, "classes"), (own == 1) | (own == 2))
    words = own.astype(np.uint16) | np.where(own % 3 == 0, np.uint16(1 << 9), np.uint16(0))
    of_landsat = write_classes(tmp_path / "QA_PIXEL.tif", words, 10)
    np.testing.assert_array_equal(read(of_landsat, "qa_pixel"), own % 32 != 0)
    eight = write_classes(tmp_path / "udm2.tif", np.stack([own == value for value in range(8)]).astype(np.uint8), 10)
    np.testing.assert_array_equal(read(eight, "udm2"), np.isin(own, (2, 4, 5)))


@pytest.mark.slow
@pytest.mark.parametrize("epsg", [32636, 3857], ids=["same axes", "warped"])
@pytest.mark.parametrize(
    ("kind", "dtype", "missing", "clear", "settings"),
    [
        ("file", "uint8", 255, 0, {"mask_values": [1]}),
        ("file", "float32", np.nan, 0, {"mask_values": [1]}),
        ("scl", "uint8", 255, 4, {}),
        ("probability", "float32", np.nan, 0, {}),
        ("probability", "int16", -9999, 3, {}),
    ],
)
def test_what_a_mask_does_not_know_is_not_ground(
    tmp_path: Path, epsg: int, kind: str, dtype: str, missing: float, clear: float, settings: dict[str, Any]
) -> None:
    own = np.full((150, 130), clear, dtype)
    own[:40, :50] = missing
    path = write_on_grid(tmp_path / "mask.tif", own, epsg, nodata=missing)
    got = read(path, kind, **settings)
    assert got[:38, :48].all()
    assert not got[42:, :].any()
    assert not got[:, 52:].any()


@pytest.mark.parametrize("epsg", [32636, 3857], ids=["same axes", "warped"])
def test_a_nodata_value_of_0_says_that_nothing_is_masked(tmp_path: Path, epsg: int) -> None:
    """As gdal_rasterize and QGIS write masks."""
    own = np.zeros((150, 130), np.uint8)
    own[:40, :50] = 1
    got = read(write_on_grid(tmp_path / "mask.tif", own, epsg, nodata=0), "file")
    assert got[:38, :48].all()
    assert not got[42:, :].any()
    assert not got[:, 52:].any()


@pytest.mark.parametrize("epsg", [32636, 3857], ids=["same axes", "warped"])
def test_a_mask_with_a_mask_of_its_own(tmp_path: Path, epsg: int) -> None:
    path = write_on_grid(tmp_path / "mask.tif", np.zeros((150, 130), np.uint8), epsg)
    with rasterio.open(path, "r+") as to:
        covered = np.full(to.shape, 255, np.uint8)
        covered[: to.height // 3] = 0
        to.write_mask(covered)
    got = read(path, "file")
    assert got[:48].all()
    assert not got[52:].any()


def test_polygons_of_a_product_with_holes(tmp_path: Path) -> None:
    path = tmp_path / "MSK_CLOUDS_B00.gml"
    path.write_text(gml(("exterior", box(20, 30, 90, 100)), ("interior", box(40, 50, 60, 70))))
    wanted = np.zeros(SCENE.shape, np.bool_)
    wanted[30:100, 20:90] = True
    wanted[50:70, 40:60] = False
    np.testing.assert_array_equal(read(path, "polygons"), wanted)
    wider = read(path, "polygons", mask_buffer_m=30)
    assert wider[27:103, 20:90].sum() == 76 * 70 - 14 * 14
    assert not wider[26].any()
    path.write_text(gml())
    assert not read(path, "polygons").any()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "declares entities"),
        (gml(("exterior", box(0, 0, 9, 9)))[:-30], "cannot be read as a mask of clouds"),
        (gml(("interior", box(0, 0, 9, 9))), "a polygon has no outline"),
        (gml(("exterior", "1 2 3 4 5")), "cannot be read as a mask of clouds"),
        (gml(("exterior", "1 2 3 4 nan 6 1 2")), "a point is not finite"),
    ],
)
def test_damaged_polygons_are_one_line(text: str, told: str) -> None:
    with pytest.raises(SceneError, match=told) as error:
        parsed(text.encode(), "MSK_CLOUDS_B00.gml")
    assert "\n" not in str(error.value)


def test_own_polygons_in_another_crs(tmp_path: Path) -> None:
    shapes = geopandas.GeoSeries([shapely.box(WEST + 200, NORTH - 900, WEST + 700, NORTH - 300)], crs="EPSG:32636")
    path = tmp_path / "clouds.geojson"
    shapes.to_crs(4326).to_file(path)
    wanted = np.zeros(SCENE.shape, np.bool_)
    wanted[30:90, 20:70] = True
    assert (read(path, "shapes") != wanted).sum() <= 2
    path.write_text("{}")
    with pytest.raises(SceneError, match="the mask .*geojson"):
        read(path, "shapes")
    shapes.to_file(tmp_path / "clouds.shp")
    (tmp_path / "clouds.prj").unlink()
    with pytest.raises(SceneError, match=r"the mask \S*clouds\.shp has no CRS: assign it, for example with ogr2ogr"):
        read(tmp_path / "clouds.shp", "shapes")


def test_what_is_advised_for_polygons_of_masks_are_their_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clouds.geojson"
    point = geopandas.GeoSeries([shapely.Point(WEST + 500, NORTH - 500)], crs="EPSG:32636").to_crs(4326)
    point.to_file(path)
    with pytest.raises(SceneError, match=r"point or line has no area: set ingest\.mask_buffer_m to widen it$"):
        read(path, "shapes")
    assert read(path, "shapes", mask_buffer_m=30).sum() > 20
    monkeypatch.setattr("s2fast.masks.polygons.Regions", lambda buffer_m: Regions(buffer_m=buffer_m, max_polygons=1))
    geopandas.GeoSeries(list(point) * 3, crs=4326).to_file(path)
    with pytest.raises(SceneError, match=r"at most regions\.max_polygons = 1 are read: simplify it, for example"):
        read(path, "shapes")


def test_a_mask_without_a_crs_must_have_the_scenes_size(tmp_path: Path) -> None:
    own = classes((150, 130), 2)
    same = write_classes(tmp_path / "same.tif", own, 2, (0, 0), crs=None)
    np.testing.assert_array_equal(read(same, "file"), own != 0)
    other = write_classes(tmp_path / "other.tif", own[:75], 2, (0, 0), crs=None)
    with pytest.raises(SceneError, match=r"other\.tif has no CRS, and 75 x 130 px where the scene has 150 x 130"):
        read(other, "file")


def test_a_mask_of_other_ground_is_refused(tmp_path: Path) -> None:
    for name, epsg, corner in (("same", 32636, (WEST + 5000, NORTH)), ("other", 32635, (WEST, NORTH))):
        path = write_classes(tmp_path / f"{name}.tif", classes((50, 50)), 10, corner, f"EPSG:{epsg}")
        with pytest.raises(SceneError, match=rf"{name}\.tif lies on other ground than its scene"):
            read(path, "file")
    (tmp_path / "text.tif").write_text("clouds")
    with pytest.raises(SceneError, match=r"^the mask .*text\.tif: cannot be opened as a raster .*: get it again"):
        read(tmp_path / "text.tif", "file")


_MARS = pyproj.CRS.from_authority("IAU_2015", 49900).to_wkt("WKT1_GDAL")
_LOCAL = 'LOCAL_CS["site",UNIT["metre",1]]'


@pytest.mark.parametrize("crs", [_MARS, _LOCAL], ids=["Mars", "local"])
def test_a_mask_that_no_crs_places_is_one_line(tmp_path: Path, crs: str) -> None:
    raster = write_classes(tmp_path / "mask.tif", classes((60, 60)), 20)
    with rasterio.open(raster, "r+") as opened:
        opened.crs = rasterio.CRS.from_wkt(crs)
    with pytest.raises(SceneError, match=r"mask\.tif (cannot be placed on its scene|has no CRS).*gdal_edit"):
        read(raster, "file")
    shapes = tmp_path / "mask.shp"
    geopandas.GeoDataFrame(geometry=[shapely.box(WEST, NORTH - 100, WEST + 100, NORTH)], crs=SCENE.crs_wkt).to_file(
        shapes
    )
    shapes.with_suffix(".prj").write_text(crs)
    with pytest.raises(
        SceneError, match=r"mask\.shp (cannot be placed on its scene|has a CRS that is no CRS of a map).* -a_srs"
    ):
        read(shapes, "shapes")


def test_polygons_of_an_unknown_crs_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mask.gml"
    path.write_text(gml(("exterior", box(0, 0, 20, 20))).replace("8.7:32636", "8.7:999999"))
    with pytest.raises(SceneError, match=r"mask\.gml cannot be placed on its scene"):
        read(path, "polygons")


def test_polygons_cannot_be_placed_on_a_scene_without_a_crs(tmp_path: Path) -> None:
    path = tmp_path / "mask.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.box(33, 50, 34, 51)], crs=4326).to_file(path)
    with pytest.raises(SceneError, match=r"mask\.geojson: its scene has no CRS"):
        read(path, "shapes", Raster((150, 130), (64, 64), "", PIXEL_TRANSFORM))


def test_polygons_without_end_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "mask.gml").symlink_to("/dev/zero")
    with pytest.raises(SceneError, match=r"mask\.gml: cannot be read \(it has more than 64 MiB\)"):
        read(tmp_path / "mask.gml", "polygons")
