"""Shapes across the 180th meridian and around a pole."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest
import rasterio
import shapely

import s2fast
from s2fast.config import load_config
from s2fast.geometry.antimeridian import footprint, joined, split, wrapped
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.report import layers
from s2fast.report.gis import geopackage
from s2fast.report.payload import footprints
from tests.archives import textured, write_scene

UTM60 = pyproj.CRS("EPSG:32660").to_wkt()
ACROSS = PixelGrid(UTM60, (60.0, 0.0, 632_000.0, 0.0, -60.0, 7_200_000.0), (300, 300))
"""Reaches over the meridian, north of the polar circle's neighbourhood."""
BESIDE = PixelGrid(UTM60, (60.0, 0.0, 600_000.0, 0.0, -60.0, 7_200_000.0), (300, 300))
BEYOND = PixelGrid(UTM60, (60.0, 0.0, 640_000.0, 0.0, -60.0, 7_200_000.0), (300, 300))
"""Lies before the meridian, and with its centre beyond it."""


def geodesic_m2(shape: shapely.Geometry) -> float:
    return abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(shape, 0.01))[0])


def page_data(path: Path) -> Any:
    text = path.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_footprint_across_the_meridian_has_two_parts_that_join_again() -> None:
    shape = footprint(ACROSS)
    assert shape.geom_type == "MultiPolygon"
    assert shape.is_valid
    assert shape.bounds[0] == -180
    assert shape.bounds[2] == 180
    assert geodesic_m2(shape) == pytest.approx(18_000**2, rel=0.003)
    whole = joined(shape)
    assert whole.geom_type == "Polygon"
    assert whole.area == pytest.approx(shape.area)
    assert joined(shape, -170).centroid.x == pytest.approx(whole.centroid.x - 360)


def test_any_other_footprint_is_its_four_corners() -> None:
    shape = footprint(BESIDE)
    to_lonlat = pyproj.Transformer.from_crs(UTM60, 4326, always_xy=True)
    corners = [(600_000, 7_200_000), (618_000, 7_200_000), (618_000, 7_182_000), (600_000, 7_182_000)]
    assert list(shape.exterior.coords)[:4] == [to_lonlat.transform(*corner) for corner in corners]
    assert joined(shape) is shape


def test_the_footprint_of_a_scene_beyond_its_projection_is_what_is_covered() -> None:
    disk, far = (
        pyproj.CRS.from_proj4(f"+proj=geos +h=35786023 +lon_0={lon} +ellps=GRS80").to_wkt() for lon in (-75, 170)
    )
    transform = (10_000.0, 0.0, -5.5e6, 0.0, -10_000.0, 5.5e6)
    whole, across = (footprint(PixelGrid(crs, transform, (1100, 1100))) for crs in (disk, far))
    # The satellite sees 81 degrees around its place; the lattice has points near the limb.
    west, south, east, north = whole.bounds
    assert west == pytest.approx(-75 - 73, abs=8)
    assert east == pytest.approx(-75 + 73, abs=8)
    assert (-south, north) == pytest.approx((73, 73), abs=8)
    assert across.bounds[::2] == (-180, 180)
    assert across.area == pytest.approx(whole.area, rel=1e-6)
    wide = footprint(PixelGrid(pyproj.CRS(32636).to_wkt(), (32_418.0, 0.0, 6e5, 0.0, -10.0, 5_600_040.0), (512, 512)))
    assert wide.bounds[0] == pytest.approx(34.41, abs=0.01)
    assert footprint(PixelGrid(disk, (10.0, 0.0, 7e6, 0.0, -10.0, 7e6), (512, 512))).is_empty


@pytest.mark.parametrize("west", [179.9, -180.1])
def test_longitudes_may_be_counted_on(west: float) -> None:
    grid = PixelGrid(pyproj.CRS("EPSG:4326").to_wkt(), (0.001, 0.0, west, 0.0, -0.001, -16.5), (200, 200))
    shape = footprint(grid)
    assert [round(part.area, 6) for part in shape.geoms] == [0.02, 0.02]
    assert (shape.bounds[0], shape.bounds[2]) == (-180, 180)
    world = PixelGrid(grid.crs_wkt, (1.0, 0.0, -180.0, 0.0, -1.0, 90.0), (180, 360))
    assert footprint(world).equals(shapely.box(-180, -90, 180, 90))


def test_the_page_has_one_map_of_scenes_on_both_sides() -> None:
    scenes = geopandas.GeoDataFrame(
        {"scene_id": ["east", "west"]},
        geometry=[shapely.box(-179.9, 0, -179.7, 0.2), shapely.box(179.7, 0, 179.9, 0.2)],
        crs=4326,
    )
    longitudes = [point[0] for outline in footprints(scenes) for point in outline]
    assert (min(longitudes), max(longitudes)) == (-180.3, -179.7)


@pytest.mark.parametrize(("code", "pole"), [(3413, 90), (3031, -90)])
def test_a_scene_around_a_pole_shows_it(code: int, pole: int) -> None:
    crs = pyproj.CRS(code).to_wkt()
    shape = footprint(PixelGrid(crs, (60.0, 0.0, -5000.0, 0.0, -60.0, 7000.0), (300, 300)))
    assert shape.is_valid
    assert shape.contains(shapely.Point(10, pole * 0.9999))
    assert geodesic_m2(shape) == pytest.approx(18_000**2 / 0.97**2, rel=0.03)
    aside = footprint(PixelGrid(crs, (60.0, 0.0, 300_000.0, 0.0, -60.0, 7000.0), (300, 300)))
    assert len(aside.exterior.coords) == 5


def test_splitting_keeps_the_kind_and_drops_what_only_touches() -> None:
    assert split(shapely.box(180, 0, 181, 1)).equals(shapely.box(-180, 0, -179, 1))
    assert split(shapely.LineString([(180, 0), (180, 2)])).wkt == "LINESTRING (180 0, 180 2)"
    np.testing.assert_allclose(wrapped(np.array([[181.0, 1], [-181, 2], [179, 3]])), [[-179, 1], [179, 2], [179, 3]])


def test_links_and_points_stay_near_the_meridian_and_the_layers_hold_both_kinds(tmp_path: Path) -> None:
    scenes = geopandas.GeoDataFrame(
        {"scene_id": list("abcd")}, geometry=[footprint(grid) for grid in (ACROSS, ACROSS, BESIDE, BEYOND)], crs=4326
    )
    points = layers.scene_points(scenes)
    assert (np.abs(points.x) <= 180).all()
    assert (180 - np.abs(points.x) < 1.5).all()
    assert points.x[3] < 0 < points.x[2]
    pairs = pd.DataFrame({"query": ["a", "a", "b", "c"], "train": ["b", "c", "c", "d"]})
    links = layers.pair_links(pairs, scenes)
    longitudes = shapely.get_coordinates(links.geometry.array)[:, 0]
    assert (180 - np.abs(longitudes) < 1.5).all()
    assert (shapely.length(links.geometry.array) < 2).all()
    (tmp_path / "run.gpkg").write_bytes(geopackage({"scenes": scenes, "pairs": links}))
    for name, layer in (("scenes", scenes), ("pairs", links)):
        back = pyogrio.read_dataframe(tmp_path / "run.gpkg", layer=name)
        assert len(set(back.geom_type)) == 1
        assert shapely.equals(shapely.normalize(back.geometry.array), shapely.normalize(layer.geometry.array)).all()


@pytest.mark.slow
def test_a_run_across_the_meridian_tells_metres_and_stays_there(tmp_path: Path) -> None:
    # At 60 degrees north a metre of EPSG:3857 is half a metre of ground.
    ground = textured(np.random.default_rng(1), (400, 400))
    west, pixel, latitude = 20_037_508.34 - 14_000, 80.0, 60.4
    north = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(0, latitude)[1]
    for name, right in (("a", 0), ("b", 3)):
        write_scene(tmp_path / f"in/{name}.tif", ground, crs=None)
        with rasterio.open(tmp_path / f"in/{name}.tif", "r+") as sink:
            sink.crs, sink.transform = "EPSG:3857", rasterio.Affine(pixel, 0, west + pixel * right, 0, -pixel, north)
    run_stages(Job(load_config(), [tmp_path / "in"], None, tmp_path / "out"))
    middle = north - 200 * pixel
    ends = pyproj.Transformer.from_crs(3857, 4326, always_xy=True).transform([0, 3 * pixel], [middle, middle])
    _, _, wanted_m = pyproj.Geod(ellps="WGS84").inv(*np.ravel(np.transpose(ends)))
    pair = pd.read_parquet(tmp_path / "out/pairs.parquet").iloc[0]
    lines = geopandas.read_parquet(tmp_path / "out/displacements.parquet")
    offsets = geopandas.read_parquet(tmp_path / "out/offsets.parquet")
    data = page_data(tmp_path / "out/report.html")
    vectors = np.frombuffer(base64.b64decode(data["matches"][0]), "<f4", count=len(lines))
    assert pair["verified"]
    assert pair["dx_m"] == pytest.approx(wanted_m, rel=0.02)
    assert np.median(vectors) == pytest.approx(wanted_m, rel=0.02)
    assert lines["dx_m"].median() == pytest.approx(wanted_m, rel=0.02)
    assert shapely.length(lines.geometry.array).max() < 1.1 * wanted_m
    assert np.ptp(offsets["offset_x_m"]) == pytest.approx(wanted_m, rel=0.02)
    packed = bytes(s2fast.open_run(tmp_path / "out").displacement("a", "b", 2000))
    with rasterio.MemoryFile(packed) as memory, memory.open() as raster:
        assert raster.crs.to_epsg() in (32660, 32601)
        assert np.nanmedian(raster.read(1)) == pytest.approx(wanted_m, rel=0.02)
    scenes = geopandas.read_parquet(tmp_path / "out/scenes.parquet")
    assert set(scenes.geom_type) == {"MultiPolygon"}
    assert shapely.area(scenes.geometry.array).max() < 0.1
    drawn = np.array([point for scene in data["scenes"] for point in scene["footprint"]])
    assert (np.ptp(drawn, axis=0) < 0.5).all()
