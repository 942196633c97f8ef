"""Map layers and the raster of displacements, read back with the libraries a GIS is made of."""

from __future__ import annotations

import re
import sqlite3
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely
from rasterio.transform import Affine

import s2fast
from s2fast.errors import InputError, RunFolderError
from s2fast.geometry.pixel_grid import PixelGrid, to_ground, to_pixels
from s2fast.report import gis, layers
from s2fast.report.displacement_raster import cells
from s2fast.report.displacements import KeypointPositions
from s2fast.report.match_columns import MatchColumns
from s2fast.report.shown_matches import MOST_LINES, spread
from tests.archives import ORIGINS, PIXEL_M, UTM36, Archive
from tests.judged import Judged

FIRST_OF_BOTH = MatchColumns(*np.array([[0], [0], [1], [0], [0], [0], [1]]))
"""A match of the first keypoints of scenes 0 and 1."""

LAYERS = ("scenes", "pairs", "displacements", "misregistration", "clear_ground", "regions")


def verified_pair(judged: Judged) -> tuple[str, str, pd.DataFrame]:
    run = s2fast.open_run(judged.out)
    query, train = next(
        (q, t) for q, t, ok in run.pairs()[["query", "train", "verified"]].to_numpy() if ok and q[-5:] != t[-5:]
    )
    matches = run.matches(query, train)
    return query, train, matches[matches["inlier"]]


def ground_positions(run: s2fast.results.Run, scene: str, rows: pd.Series) -> np.ndarray:  # type: ignore[type-arg,name-defined]
    """Map positions by rasterio's own rule for pixel centres."""
    west, north = ORIGINS[scene[-5:]]
    xy = run.features(scene).xy[rows].astype(float)
    transform = rasterio.transform.from_origin(west, north, PIXEL_M, PIXEL_M)
    return np.column_stack(rasterio.transform.xy(transform, xy[:, 1], xy[:, 0], offset="center"))


@pytest.mark.slow
def test_displacements_join_the_ground_of_both_ends(judged: Judged) -> None:
    query, train, inliers = verified_pair(judged)
    run = s2fast.open_run(judged.out)
    lines = geopandas.read_file(judged.out / "run.gpkg", layer="displacements")
    of_pair = lines[(lines["query"] == query) & (lines["train"] == train)]
    assert lines.crs == UTM36
    assert len(of_pair) == min(len(inliers), MOST_LINES)
    assert set(of_pair["of_inliers"]) == {len(inliers)}
    start = ground_positions(run, query, inliers["query_row"])
    end = ground_positions(run, train, inliers["train_row"])
    expected = {tuple(np.round(ends, 3)) for ends in np.hstack([start, end])}
    drawn = shapely.get_coordinates(of_pair.geometry).reshape(-1, 4)
    assert {tuple(np.round(ends, 3)) for ends in drawn} <= expected
    np.testing.assert_allclose(of_pair[["dx_m", "dy_m"]], drawn[:, 2:] - drawn[:, :2], atol=1e-6)
    assert (of_pair["length_m"] < 2 * PIXEL_M).all()


def test_many_vectors_are_taken_evenly_over_the_ground() -> None:
    rng = np.random.default_rng(0)
    crowd, few = rng.uniform(0, 1000, (5000, 2)), rng.uniform([4000, 0], [5000, 1000], (20, 2))
    points = np.vstack([crowd, few])
    chosen = spread(points, np.zeros(len(points), np.intp), MOST_LINES)
    assert len(set(chosen)) == MOST_LINES
    assert (np.diff(chosen) > 0).all()
    assert (chosen >= 5000).sum() >= 15
    # Groups do not affect each other.
    groups = np.repeat([3, 5, 7], [50, len(points), 300])
    several = spread(np.vstack([points[:50], points, np.zeros((300, 2))]), groups, MOST_LINES)
    after = 50 + len(points)
    np.testing.assert_array_equal(several, np.r_[:50, chosen + 50, after : after + MOST_LINES])


@pytest.mark.slow
def test_geoparquet_holds_what_the_geopackage_does(judged: Judged) -> None:
    for layer, file in {"scenes": "scenes.parquet", **gis.GEOPARQUET}.items():
        packed = geopandas.read_file(judged.out / "run.gpkg", layer=layer)
        plain = geopandas.read_parquet(judged.out / file)
        assert packed.crs == plain.crs
        assert shapely.equals_exact(packed.geometry.to_numpy(), plain.geometry.to_numpy(), 1e-9).all()
        assert set(packed.columns) == set(plain.columns)
        assert len(packed) == len(plain) > 0


def test_links_set_the_scenes_of_a_tile_apart(judged: Judged) -> None:
    links = geopandas.read_parquet(judged.out / "links.parquet")
    assert len(links) == 6
    assert (shapely.length(links.geometry.to_numpy()) > 0.005).all()
    scenes = geopandas.read_parquet(judged.out / "scenes.parquet")
    points = layers.scene_points(scenes).to_numpy()
    assert shapely.contains(scenes.geometry.to_numpy(), points).all()
    assert shapely.distance(points[1:], points[:-1]).min() > 0.005


def test_misregistration_is_drawn_where_it_is_known(judged: Judged) -> None:
    points = geopandas.read_file(judged.out / "run.gpkg", layer="misregistration")
    assert points["offset_x_m"].tolist()[:3] == [5.0, -5.0, 2.0]
    assert np.isnan(points["offset_x_m"][3])
    # The tile is 5120 m wide and the median offset 5.1 m: 40 times that is 4 % of the width.
    assert set(points["exaggeration"]) == {20.0}


def test_every_layer_opens_with_its_style(judged: Judged) -> None:
    found = [name for name, _ in pyogrio.list_layers(judged.out / "run.gpkg")]
    assert found == [*LAYERS, "layer_styles"]
    with sqlite3.connect(judged.out / "run.gpkg") as connection:
        query = "SELECT f_table_name, f_geometry_column, styleQML FROM layer_styles WHERE useAsDefault"
        styles = {name: (column, qml) for name, column, qml in connection.execute(query)}
        geometry = dict(connection.execute("SELECT table_name, column_name FROM gpkg_geometry_columns"))
    connection.close()
    assert set(styles) == set(LAYERS)
    for name, (column, qml) in styles.items():
        assert column == geometry[name]
        root = ET.fromstring(qml)
        asked = [value for element in root.iter() for value in element.attrib.values() if '"' in value]
        columns = {column for text in asked for column in re.findall(r'"(\w+)"', text)}
        assert columns <= set(pyogrio.read_info(judged.out / "run.gpkg", layer=name)["fields"])


def test_clear_ground_is_where_keypoints_may_lie(judged: Judged, archive: Archive) -> None:
    run = s2fast.open_run(judged.out)
    clear = geopandas.read_file(judged.out / "run.gpkg", layer="clear_ground").set_index("scene_id")
    regions = geopandas.read_file(judged.out / "run.gpkg", layer="regions")
    assert clear.crs == regions.crs == UTM36
    given = geopandas.read_file(archive.regions).to_crs(UTM36)
    assert shapely.area(shapely.symmetric_difference(regions.geometry, given.geometry)).max() < 1
    for scene in run.scene_ids:
        valid = run.folder.valid(scene)
        west, north = ORIGINS[scene[-5:]]
        drawn = rasterio.features.rasterize(
            [clear.geometry[scene]],
            valid.shape,
            transform=rasterio.transform.from_origin(west, north, PIXEL_M, PIXEL_M),
        )
        share = run.folder.clear(scene)
        cells = np.kron(share >= 50, np.ones((valid.shape[0] // share.shape[0],) * 2, bool))
        np.testing.assert_array_equal(drawn.astype(bool), cells)


def test_vectors_on_a_map_lie_apart_at_every_scale() -> None:
    points = np.random.default_rng(1).uniform(0, 10_000, (3000, 2))
    denominators = layers.shown_to(points)
    numbers = []
    away = points - points.min(axis=0)
    for side in away.max() / 2.0 ** np.arange(8):
        shown = away[denominators >= side / layers._APART_M * (1 - 1e-9)]
        cells = shown // side
        assert len(np.unique(cells, axis=0)) == len(shown)
        numbers.append(len(shown))
    assert numbers == sorted(numbers)
    assert 1 <= numbers[0] <= 4
    assert numbers[-1] > 2000
    assert len(layers.shown_to(np.zeros((0, 2)))) == 0
    assert (layers.shown_to(np.zeros((3, 2))) > 0).all()


def test_unverified_run_has_its_layers_too(judged: Judged) -> None:
    assert len(geopandas.read_file(judged.plain / "run.gpkg", layer="pairs")) == 6
    nothing = geopandas.read_file(judged.plain / "run.gpkg", layer="displacements")
    assert (len(nothing), nothing.crs) == (0, UTM36)
    assert geopandas.read_parquet(judged.plain / "offsets.parquet")["offset_x_m"].isna().all()


def test_raster_holds_the_medians_of_its_cells(judged: Judged, tmp_path: Path) -> None:
    query, train, inliers = verified_pair(judged)
    run = s2fast.open_run(judged.out)
    (tmp_path / "shift.tif").write_bytes(bytes(run.displacement(train, query, 1000)))
    start, end = (
        ground_positions(run, scene, inliers[f"{side}_row"]) for scene, side in ((query, "query"), (train, "train"))
    )
    with rasterio.open(tmp_path / "shift.tif") as raster:
        bands = raster.read()
        assert (raster.crs.to_string(), raster.shape) == (UTM36, (6, 6))
        rows, cols = rasterio.transform.rowcol(raster.transform, *start.T)
    assert bands[2].sum() == len(inliers)
    for row, col in {*zip(rows, cols, strict=True)}:
        inside = (np.array(rows) == row) & (np.array(cols) == col)
        expected = np.median((end - start)[inside], axis=0)
        np.testing.assert_allclose(bands[:2, int(row), int(col)], expected, atol=1e-3)
    assert np.isnan(bands[:2, bands[2] == 0]).all()


def test_raster_asks_for_inliers_and_a_cell_that_fits(judged: Judged) -> None:
    query, train, _ = verified_pair(judged)
    with pytest.raises(RunFolderError, match="has no inliers"):
        s2fast.open_run(judged.plain).displacement(query, train)
    with pytest.raises(InputError, match="does not fit: the scene is 5120 x 5120 m"):
        s2fast.open_run(judged.out).displacement(query, train, 6000)
    with pytest.raises(InputError, match="a cell of 9.9 m does not fit: .* at least as large as a pixel, 10 m"):
        s2fast.open_run(judged.out).displacement(query, train, 9.9)


def test_cells_cover_a_scene_that_is_not_north_up() -> None:
    turned = Affine.rotation(90) @ Affine.scale(10, -10)
    size, affine = cells(PixelGrid(UTM36, tuple(turned)[:6], (100, 300)), 500)  # type: ignore[arg-type]
    corners = [turned @ corner for corner in ((0, 0), (300, 0), (300, 100), (0, 100))]
    inside = [~affine @ corner for corner in corners]
    assert all(-1e-9 <= x <= size[1] + 1e-9 and -1e-9 <= y <= size[0] + 1e-9 for x, y in inside)
    assert size == (6, 2)


def test_ground_of_another_zone_is_brought_into_the_querys() -> None:
    """One spot seen from two zones has no displacement."""
    spot = (36.0, 50.2)
    crs = {"west": "EPSG:32636", "east": "EPSG:32637"}
    transforms, pixels = {}, {}
    for name, code in crs.items():
        x, y = pyproj.Transformer.from_crs("EPSG:4326", code, always_xy=True).transform(*spot)
        transforms[name] = (10.0, 0.0, round(x, -3) - 5000, 0.0, -10.0, round(y, -3) + 5000)
        pixels[name] = to_pixels(np.array([[x, y]]), transforms[name])

    def tile(scene: str) -> SimpleNamespace:
        wkt = pyproj.CRS(crs[scene]).to_wkt()
        return SimpleNamespace(crs=wkt, transform=transforms[scene], full_shape=(1000, 1000))

    folder = SimpleNamespace(tile=tile, positions=pixels.__getitem__)
    found = KeypointPositions(folder, ["west", "east"]).displacements(FIRST_OF_BOTH)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.shift, 0, atol=1e-3)
    np.testing.assert_allclose(to_ground(pixels["west"], transforms["west"]), found.start)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", (0.00065, 0.0, 35.8, 0.0, -0.00054, 33.9)),
        ("EPSG:3857", (72.4, 0.0, 3_985_000.0, 0.0, -72.4, 4_015_000.0)),
        ("EPSG:2263", (200.0, 0.0, 960_000.0, 0.0, -200.0, 240_000.0)),
    ],
)
def test_vectors_and_cells_are_in_metres_whatever_the_scenes_are_in(
    crs: str, transform: tuple[float, float, float, float, float, float]
) -> None:
    def tile(_: str) -> SimpleNamespace:
        return SimpleNamespace(crs=pyproj.CRS(crs).to_wkt(), transform=transform, full_shape=(300, 300))

    ends = {"a": np.array([[100.0, 100.0]]), "b": np.array([[102.0, 101.0]])}
    folder = SimpleNamespace(tile=tile, positions=ends.__getitem__)
    ground = KeypointPositions(folder, ["a", "b"])  # type: ignore[arg-type]
    found = ground.displacements(FIRST_OF_BOTH)
    (start, end) = (ground.grids[0].on_map(ends[name], "EPSG:4326")[0] for name in "ab")
    azimuth, _, length = pyproj.Geod(ellps="WGS84").inv(*start, *end)
    wanted = length * np.array([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))])
    # North on the map is within two degrees of true north.
    np.testing.assert_allclose(found.shift[0], wanted, atol=4.5)
    metric = pyproj.CRS(layers.map_crs(ground.grids))
    assert [axis.unit_name for axis in metric.axis_info] == ["metre", "metre"]
    width, height = np.ptp(ground.grids[0].box, axis=0)
    size, _ = cells(ground.grids[0], 1000)
    assert size == (np.ceil(height / 1000), np.ceil(width / 1000))
    assert 15_000 < width < 20_000
