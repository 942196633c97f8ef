"""Rows of a file of polygons: invalid ones, ones that meet no scene, and shapes larger than the map."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from rasterio import Affine
from rasterio.features import rasterize

from s2fast.config import Regions
from s2fast.errors import InputError
from s2fast.model import Raster
from s2fast.regions import rows
from s2fast.regions.file import RegionFile
from tests.archives import UTM36
from tests.regions.polygons import (
    FIELDS,
    NORTH,
    RASTER,
    WEST,
    as_parquet,
    box,
    by_ogr,
    checked,
    features,
    frame,
    mask,
    ring,
)

CLOSED = ring(FIELDS[0])
WRONG: dict[str, tuple[object, str]] = {
    "null": (None, "no geometry"),
    "one point": ({"type": "Polygon", "coordinates": [CLOSED[:1]]}, "point"),
    "two points": ({"type": "Polygon", "coordinates": [CLOSED[:2]]}, "area|points"),
    "empty": ({"type": "Polygon", "coordinates": []}, "empty"),
    "not a number": (
        {"type": "Polygon", "coordinates": [[CLOSED[0], [float("nan"), 50.0], *CLOSED[1:]]]},
        "not finite numbers",
    ),
    "infinite": (
        {"type": "Polygon", "coordinates": [[CLOSED[0], [float("inf"), 50.0], *CLOSED[1:]]]},
        "not finite numbers",
    ),
    "NaN in a part": (
        {"type": "MultiPolygon", "coordinates": [[CLOSED], [[CLOSED[0], [float("nan"), 50.0], *CLOSED[1:]]]]},
        "not finite numbers",
    ),
    "no latitude": (
        {"type": "Polygon", "coordinates": [[CLOSED[0], [CLOSED[1][0], 1e30], *CLOSED[2:]]]},
        "no longitude and latitude",
    ),
    "unknown type": ({"type": "Polygone", "coordinates": [CLOSED]}, "no geometry"),
    "a text": ({"type": "Polygon", "coordinates": "here"}, "no geometry|empty"),
    "a point": (FIELDS[0].centroid, "no area"),
    "a line": (FIELDS[0].exterior, "no area"),
    "no area": ({"type": "Polygon", "coordinates": [[*CLOSED[:2], CLOSED[0], CLOSED[0]]]}, "without area"),
    "smaller than a pixel": (box(100.6, 20.6, 100.8, 20.8), "to contain the centre of a pixel"),
    "thin": (box(5, 5.1, 290, 5.4), "to contain the centre of a pixel"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_row_is_named_and_the_rest_is_used(
    name: str, tmp_path: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    geometry, why = WRONG[name]
    path = features(tmp_path / "fields.geojson", FIELDS[0], geometry, FIELDS[1])
    rows = checked(path)
    assert (rows.used, list(rows.dropped)) == (2, ["fid 1"])
    assert re.search(why, rows.dropped["fid 1"])
    assert "fields.geojson: 1 of 3 rows left out: fid 1: " in caplog.text
    assert (mask(path) != expected).sum() <= 2
    with pytest.raises(InputError, match="holds no polygons that can be used: fid 0"):
        checked(features(path, geometry))


@pytest.mark.parametrize("first", [True, False])
def test_all_wrong_rows_at_once_leave_the_others_whole(first: bool, tmp_path: Path, expected: np.ndarray) -> None:
    wrong = [WRONG[name][0] for name in WRONG if not name.startswith(("smaller", "thin"))]
    far = {"type": "Polygon", "coordinates": [[[179.9, 50], [-179.9, 50], [-179.9, 50.1], [179.9, 50.1], [179.9, 50]]]}
    path = features(tmp_path / "fields.geojson", *([*wrong, far, *FIELDS] if first else [*FIELDS, far, *wrong]))
    rows = checked(path)
    assert (rows.used, len(rows.dropped), len(rows.outside)) == (len(FIELDS), len(wrong), 1)
    np.testing.assert_array_equal(mask(path), expected)


def test_a_wrong_row_in_parquet(tmp_path: Path) -> None:
    path = as_parquet(frame([*FIELDS, FIELDS[0]]), tmp_path)
    table = pq.read_table(path)
    wkb = table["outline"].to_pylist()
    wkb[1:] = [wkb[1][:60], None]
    pq.write_table(table.set_column(table.schema.names.index("outline"), "outline", [wkb]), path)
    assert list(checked(path).dropped) == ["fid 1", "fid 2"]


DAMAGED_METADATA: dict[str, Callable[[dict[str, Any]], object]] = {
    "no encoding": lambda geo: geo["columns"]["outline"].pop("encoding"),
    "another column": lambda geo: geo.update(primary_column="other", columns={"other": geo["columns"]["outline"]}),
    "no columns": lambda geo: geo.pop("columns"),
}


@pytest.mark.parametrize("damage", DAMAGED_METADATA)
def test_damaged_metadata_of_parquet(tmp_path: Path, damage: str) -> None:
    path = as_parquet(frame(FIELDS), tmp_path)
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    DAMAGED_METADATA[damage](geo)
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo)}), path)
    with pytest.raises(InputError, match=r"fields\.pq: it (is a Parquet file without|has no column other, which)"):
        checked(path)


TIE = shapely.Polygon([(WEST + x, NORTH - y) for x, y in ((301, 302), (903, 904), (905, 307), (306, 908))])
SPIKE = shapely.Polygon([*FIELDS[0].exterior.coords[:2], (WEST + 2500, NORTH - 800), *FIELDS[0].exterior.coords[1:]])
MENDED: dict[str, tuple[object, shapely.Geometry]] = {
    "not closed": ({"type": "Polygon", "coordinates": [CLOSED[:-1]]}, FIELDS[0]),
    "a hole without points": ({"type": "Polygon", "coordinates": [CLOSED, []]}, FIELDS[0]),
    "a hole without points in a collection": (
        {"type": "GeometryCollection", "geometries": [{"type": "MultiPolygon", "coordinates": [[CLOSED, [], []]]}]},
        FIELDS[0],
    ),
    "a hole not closed": (
        {"type": "Polygon", "coordinates": [CLOSED, ring(box(40, 40, 60, 60))[:-1]]},
        FIELDS[0] - box(40, 40, 60, 60),
    ),
    "bow tie": (TIE, shapely.make_valid(TIE)),
    "spike": (SPIKE, FIELDS[0]),
    "parts that overlap": (
        shapely.MultiPolygon([FIELDS[0], box(60, 40, 120, 120)]),
        FIELDS[0] | box(60, 40, 120, 120),
    ),
    "a hole outside": (shapely.Polygon(FIELDS[0].exterior, [FIELDS[1].exterior]), shapely.MultiPolygon(FIELDS)),
    "in a collection": (
        shapely.GeometryCollection([shapely.GeometryCollection([TIE, shapely.Point(WEST, NORTH)]), FIELDS[1]]),
        shapely.make_valid(TIE) | FIELDS[1],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("buffer_m", [0, 60])
@pytest.mark.parametrize("name", MENDED)
def test_what_is_invalid_is_mended_and_named(
    name: str, buffer_m: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    geometry, meant = MENDED[name]
    path = features(tmp_path / "fields.geojson", geometry)
    rows = checked(path, Regions(buffer_m=buffer_m))
    assert (rows.used, list(rows.mended), rows.dropped) == (1, ["fid 0"], {})
    assert "fields.geojson: 1 of 1 rows repaired: fid 0: " in caplog.text
    whole = rasterize([meant.buffer(buffer_m)], RASTER.shape, transform=Affine(10, 0, WEST, 0, -10, NORTH)).astype(bool)
    differ = mask(path, Regions(buffer_m=buffer_m)) != whole
    if buffer_m and name in ("in a collection", "spike"):
        # The point is widened too, and what the spike comes to.
        differ[:20] = differ[:, 88:] = False
    assert differ.sum() <= 3


@pytest.mark.parametrize("holes", [True, False])
def test_collections_in_collections(holes: bool, tmp_path: Path) -> None:
    ringed = FIELDS[1] - box(180, 120, 200, 140)
    nested = shapely.GeometryCollection(
        [
            shapely.Point(WEST + 5, NORTH - 5),
            shapely.GeometryCollection(
                [shapely.MultiPolygon([ringed]), FIELDS[0].exterior, shapely.GeometryCollection()]
            ),
        ]
    )
    path = features(tmp_path / "fields.geojson", nested)
    plain = features(tmp_path / "plain.geojson", ringed)
    assert checked(path, Regions(holes=holes)).used == 1
    np.testing.assert_array_equal(mask(path, Regions(holes=holes)), mask(plain, Regions(holes=holes)))


def test_heights_measures_and_curves(tmp_path: Path, expected: np.ndarray) -> None:
    (x0, y0), (x1, y1) = FIELDS[0].bounds[:2], FIELDS[0].bounds[2:]
    west, south, east, north = FIELDS[1].bounds
    corners = f"{x0} {y0} 1 5,{x1} {y0} 2 5,{x1} {y1} 3 5,{x0} {y1} nan 5,{x0} {y0} 1 5"
    sides = f"({west} {south},{east} {south},{east} {north},{west} {north},{west} {south})"
    rows = [f"POLYGON ZM(({corners}))", f"MULTISURFACE(CURVEPOLYGON(COMPOUNDCURVE({sides})))"]
    path = tmp_path / "fields.csv"
    path.write_text("\n".join(["id,WKT", *(f'{n},"{row}"' for n, row in enumerate(rows))]))
    assert checked(path, Regions(crs=UTM36)).used == 2
    np.testing.assert_array_equal(mask(path, Regions(crs=UTM36)), expected)


def test_rows_outside_and_at_a_corner(tmp_path: Path) -> None:
    raster_box = box(0, 0, 300, 200)
    corner = box(-10, -10, 0, 0)
    path = by_ogr("gpkg")(frame([FIELDS[0], corner, box(900, 0, 950, 50), raster_box.buffer(500)]), tmp_path)
    rows = checked(path)
    assert (rows.used, rows.outside, rows.dropped) == (2, ["fid 2", "fid 3"], {})
    with pytest.raises(InputError, match="no polygon of .* meets a scene: they only touch the first scene"):
        checked(by_ogr("shp")(frame([corner]), tmp_path))
    sliver = box(299.6, 10, 400, 20)
    assert checked(features(tmp_path / "fields.geojson", FIELDS[0], sliver)).outside == ["fid 1"]
    with pytest.raises(InputError, match="holds no polygons that can be used: they only touch the edges of scenes"):
        checked(features(tmp_path / "fields.geojson", sliver))
    # Seen by another scene, a row is not outside.
    east = Raster(RASTER.shape, RASTER.block, RASTER.crs_wkt, (10.0, 0.0, WEST + 8000, 0.0, -10.0, NORTH))
    assert checked(path, None, RASTER, east).outside == ["fid 2"]


def test_thin_polygons_that_cover_pixels_are_used(tmp_path: Path) -> None:
    diagonal = shapely.LineString([(WEST + 5, NORTH - 5), (WEST + 1995, NORTH - 1995)]).buffer(0.4)
    # Its end alone covers a centre.
    needle = shapely.LineString([(WEST + 105, NORTH - 105), (WEST + 402, NORTH - 319)]).buffer(0.2)
    path = by_ogr("gpkg")(frame([diagonal, box(5, 5.4, 290, 5.6), box(10.4, 20.4, 10.6, 20.6), needle]), tmp_path)
    assert checked(path).used == 4
    assert mask(path).sum() > 200 + 280


WORLD = shapely.box(-180, -90, 180, 90)


@pytest.mark.slow
@pytest.mark.parametrize("buffer_m", [0, 30])
@pytest.mark.parametrize(
    "shape",
    [
        WORLD,
        shapely.segmentize(WORLD, 1),
        shapely.box(0, -90, 360, 90),
        shapely.box(-30, -60, 100, 60),
        shapely.box(-180, 48, 180, 53),  # a band around the Earth, whose ends are one place
        WORLD - shapely.box(0, -10, 1, 10),
    ],
)
def test_what_is_larger_than_the_map_covers_all(shape: shapely.Geometry, buffer_m: float, tmp_path: Path) -> None:
    path = tmp_path / "world.geojson"
    geopandas.GeoDataFrame(geometry=[shape], crs=4326).to_file(path)
    assert checked(path, Regions(buffer_m=buffer_m)).used == 1
    assert mask(path, Regions(buffer_m=buffer_m)).all()


@pytest.mark.slow
@pytest.mark.parametrize("zone", [1, 20, 60])
@pytest.mark.parametrize("west", [-180, 0])
def test_the_world_from_everywhere(zone: int, west: float, tmp_path: Path) -> None:
    path = tmp_path / "world.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.box(west, -90, west + 360, 90)], crs=4326).to_file(path)
    crs = pyproj.CRS(f"EPSG:{32600 + zone}")
    for easting in (160_000, 500_000, 830_000):
        raster = Raster((50, 50), (50, 50), crs.to_wkt(), (10.0, 0.0, easting, 0.0, -10.0, 1_000_000))
        assert mask(path, None, raster).all()


@pytest.mark.slow
def test_half_the_world(tmp_path: Path) -> None:
    """A border along a meridian, which is no straight line on the map."""
    middle = geopandas.GeoSeries([box(150, 0, 150, 200).centroid], crs=UTM36).to_crs(4326).iloc[0]
    path = tmp_path / "half.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.box(-180, -90, middle.x, 90)], crs=4326).to_file(path)
    col, row = np.meshgrid(np.arange(300) + 0.5, np.arange(200) + 0.5)
    points = geopandas.GeoSeries(shapely.points(WEST + 10 * col.ravel(), NORTH - 10 * row.ravel()), crs=UTM36)
    whole = (points.to_crs(4326).x < middle.x).to_numpy().reshape(200, 300)
    assert (mask(path) != whole).sum() <= 2
    other = tmp_path / "other.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.box(-170, -80, -10, 80)], crs=4326).to_file(other)
    with pytest.raises(InputError, match="no polygon of .* meets a scene: they lie") as told:
        checked(other)
    assert "swapped" not in str(told.value)


@pytest.mark.slow
@pytest.mark.parametrize("zone", [60, 1])
@pytest.mark.parametrize("written", ["east", "west", "jump", "split"])
def test_polygons_across_180_degrees(zone: int, written: str, tmp_path: Path) -> None:
    utm = f"EPSG:{32600 + zone}"
    x, y = pyproj.Transformer.from_crs(4326, utm, always_xy=True).transform(180, 50)
    raster = Raster((200, 200), (200, 200), pyproj.CRS(utm).to_wkt(), (10.0, 0.0, x - 1000, 0.0, -10.0, y + 1000))
    # Highest and lowest on one side: written with a jump, the ring crosses itself.
    blob = shapely.Point(x - 250, y).buffer(700)
    there = geopandas.GeoSeries([blob], crs=utm).to_crs(4326).iloc[0]
    points = shapely.get_coordinates(there)
    rings = {
        "east": [shapely.Polygon(np.column_stack([points[:, 0] % 360, points[:, 1]]))],
        "west": [shapely.Polygon(np.column_stack([points[:, 0] % 360 - 360, points[:, 1]]))],
        "jump": [shapely.Polygon(np.column_stack([(points[:, 0] + 180) % 360 - 180, points[:, 1]]))],
    }
    halves = shapely.MultiPolygon(
        [rings["east"][0] & shapely.box(0, 0, 180, 90), rings["west"][0] & shapely.box(-180, 0, 0, 90)]
    )
    path = tmp_path / "fields.geojson"
    geopandas.GeoDataFrame(geometry=rings.get(written, [halves]), crs=4326).to_file(path)
    whole = rasterize([blob], raster.shape, transform=Affine(*raster.transform)).astype(bool)
    rows = checked(path, None, raster)
    assert (rows.used, rows.mended) == (1, {})
    assert (mask(path, None, raster) != whole).sum() <= 4


def test_messages_about_polygons_elsewhere(tmp_path: Path) -> None:
    """By geodesics, in words that hold for degrees too."""
    degrees = Raster((90, 90), (90, 90), pyproj.CRS("EPSG:4326").to_wkt(), (0.01, 0.0, 34.0, 0.0, -0.01, 51.0))
    path = tmp_path / "fields.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.box(34, 48, 35, 49)], crs=4326).to_file(path)
    with pytest.raises(InputError, match=r"they lie 12[0-9] km from the first scene, at 34\.000 48\.000"):
        checked(path, None, degrees)
    path = by_ogr("shp")(frame(FIELDS), tmp_path)
    with pytest.raises(InputError, match=r"which are not degrees; set regions\.crs"):
        checked(path, Regions(crs="EPSG:4326"))


@pytest.mark.parametrize(
    ("written", "crs", "limit", "kind"),
    [
        (shapely.Point(34.5, 50.5), "EPSG:4326", 9, rows.UnusableError),
        (shapely.box(34, 50, 35, 51), None, 9, rows.UnplacedError),
        (shapely.box(34, 50, 35, 51), "EPSG:4326", 1, rows.TooManyError),
    ],
)
def test_what_a_worker_raises_arrives(
    written: shapely.Geometry, crs: str | None, limit: int, kind: type[InputError], tmp_path: Path
) -> None:
    """An error that cannot be made again from its pickle ends the pool, as if the worker had died."""
    path = tmp_path / "regions.parquet"
    geopandas.GeoDataFrame(geometry=[written] * 2, crs=crs).to_parquet(path)
    with pytest.raises(kind) as caught:
        rows.load_regions(RegionFile.at(path), Regions(max_polygons=limit))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (kind, str(caught.value))
    assert str(again).startswith(f"{path} h")


def test_a_file_is_read_once_while_its_content_and_the_settings_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    read_layers = rows._read_layers

    def noted(file: RegionFile, settings: Regions) -> object:
        read.append(settings.where)
        return read_layers(file, settings)

    def used(where: str = "") -> int:
        return len(rows.load_regions(RegionFile.at(path), Regions(where=where)).shapes)

    monkeypatch.setattr(rows, "_read_layers", noted)
    path = features(tmp_path / "fields.geojson", *FIELDS)
    assert [used(), used()] == [2, 2]
    assert len(read) == 1
    assert used("fid = 0") == 1
    features(path, FIELDS[0])
    assert used() == 1
    assert len(read) == 3
    # The vertices of many rows are not held.
    monkeypatch.setattr(rows, "_KEPT_VERTICES", 4)
    features(path, FIELDS[1])
    assert [used(), used()] == [1, 1]
    assert len(read) == 5
