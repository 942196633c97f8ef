"""Shapes across the 180th meridian and around a pole."""

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest
import shapely

from s2fast.globe import footprint, joined, split, wrapped
from s2fast.ground import PixelGrid
from s2fast.report import layers
from s2fast.report.gis import geopackage

UTM60 = pyproj.CRS("EPSG:32660").to_wkt()
ACROSS = PixelGrid(UTM60, (60.0, 0.0, 632_000.0, 0.0, -60.0, 7_200_000.0), (300, 300))
"""Reaches over the meridian, north of the polar circle's neighbourhood."""
BESIDE = PixelGrid(UTM60, (60.0, 0.0, 600_000.0, 0.0, -60.0, 7_200_000.0), (300, 300))


def geodesic_m2(shape: shapely.Geometry) -> float:
    return abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(shape, 0.01))[0])


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


@pytest.mark.parametrize("west", [179.9, -180.1])
def test_longitudes_may_be_counted_on(west: float) -> None:
    grid = PixelGrid(pyproj.CRS("EPSG:4326").to_wkt(), (0.001, 0.0, west, 0.0, -0.001, -16.5), (200, 200))
    shape = footprint(grid)
    assert [round(part.area, 6) for part in shape.geoms] == [0.02, 0.02]
    assert (shape.bounds[0], shape.bounds[2]) == (-180, 180)


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
        {"scene_id": ["a", "b", "c"]}, geometry=[footprint(ACROSS), footprint(ACROSS), footprint(BESIDE)], crs=4326
    )
    points = layers.scene_points(scenes)
    assert (np.abs(points.x) <= 180).all()
    assert (180 - np.abs(points.x) < 1.5).all()
    pairs = pd.DataFrame({"query": ["a", "a", "b"], "train": ["b", "c", "c"]})
    links = layers.pair_links(pairs, scenes)
    longitudes = shapely.get_coordinates(links.geometry.array)[:, 0]
    assert (180 - np.abs(longitudes) < 1.5).all()
    assert (shapely.length(links.geometry.array) < 2).all()
    (tmp_path / "run.gpkg").write_bytes(geopackage({"scenes": scenes, "pairs": links}))
    for name, layer in (("scenes", scenes), ("pairs", links)):
        back = pyogrio.read_dataframe(tmp_path / "run.gpkg", layer=name)
        assert len(set(back.geom_type)) == 1
        assert shapely.equals(shapely.normalize(back.geometry.array), shapely.normalize(layer.geometry.array)).all()
