"""Files of polygons in all their formats, and the treatment of invalid rows."""

import http.server
import json
import os
import pickle
import re
import shutil
import sqlite3
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from pydantic import TypeAdapter
from rasterio import Affine
from rasterio.features import rasterize

from s2fast.config import Regions
from s2fast.errors import ConfigError, InputError
from s2fast.model import Raster, Window
from s2fast.regions.check import check_regions
from s2fast.regions.file import RegionFile, RegionRows
from s2fast.regions.mask import place_regions
from s2fast.regions.rows import Rows, load_regions
from tests.archives import ORIGINS, UTM36, write_regions

WEST, NORTH = ORIGINS["36UXA"]
RASTER = Raster((200, 300), (128, 128), pyproj.CRS(UTM36).to_wkt(), (10.0, 0.0, WEST, 0.0, -10.0, NORTH))
WHOLE = Window(0, 0, 200, 300)

Writer = Callable[[geopandas.GeoDataFrame, Path], Path]


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """A rectangle from columns and rows of the raster, in its CRS."""
    return shapely.box(WEST + 10 * left, NORTH - 10 * bottom, WEST + 10 * right, NORTH - 10 * top)


FIELDS = [box(20.2, 30.3, 90.6, 80.4), box(150.3, 100.2, 240.4, 190.1)]


def frame(shapes: list[shapely.Geometry], crs: str | None = UTM36) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame({"owner": [f"owner {n}" for n in range(len(shapes))]}, geometry=shapes, crs=crs)


def features(path: Path, *geometries: object) -> Path:
    """Write GeoJSON in longitude and latitude; shapes are given in the raster's CRS, all else is written as it is."""
    rows = [json.loads(lonlat(shape)) if isinstance(shape, shapely.Geometry) else shape for shape in geometries]
    told = [{"type": "Feature", "properties": {}, "geometry": row} for row in rows]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": told}))
    return path


def lonlat(shape: shapely.Geometry) -> str:
    return shapely.to_geojson(geopandas.GeoSeries([shape], crs=UTM36).to_crs(4326).iloc[0])


def ring(shape: shapely.Polygon) -> list[list[float]]:
    points: list[list[float]] = json.loads(lonlat(shape))["coordinates"][0]
    return points


def mask(path: Path | str, settings: Regions | None = None, raster: Raster = RASTER) -> np.ndarray:
    whole = Window(0, 0, *raster.shape)
    return place_regions(RegionFile.at(path), settings or Regions(), raster).mask(whole)


def loaded(path: Path, settings: Regions | None = None) -> Rows:
    return load_regions(RegionFile.at(path), settings or Regions())


def checked(path: Path | str, settings: Regions | None = None, *rasters: Raster) -> RegionRows:
    """Check the rows, and that each is accounted for once."""
    rows = check_regions(RegionFile.at(path), settings or Regions(), rasters or [RASTER])
    assert rows.used + len(rows.outside) + len(rows.dropped) == sum(rows.layers.values())
    assert not rows.mended.keys() & rows.dropped.keys()
    return rows


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return mask(write_regions(tmp_path_factory.mktemp("plain") / "plain.gpkg", FIELDS))


def by_ogr(suffix: str, **options: str) -> Writer:
    def write(table: geopandas.GeoDataFrame, folder: Path) -> Path:
        path = folder / f"fields.{suffix}"
        table.to_file(path, **options)
        return path

    return write


def in_capitals(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    by_ogr("shp")(table, folder)
    for part in folder.glob("fields.*"):
        part.rename(folder / part.name.upper())
    return folder / "FIELDS.SHP"


def as_parquet(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    table.rename_geometry("outline").to_parquet(folder / "fields.pq")
    return folder / "fields.pq"


def as_geoarrow(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    table.to_parquet(folder / "fields.parquet", geometry_encoding="geoarrow")
    return folder / "fields.parquet"


def as_wkt(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    table.to_wkt().to_csv(folder / "fields.csv")
    return folder / "fields.csv"


def as_kmz(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    kml = by_ogr("kml", driver="LIBKML")(table.to_crs(4326), folder)
    with zipfile.ZipFile(folder / "fields.kmz", "w") as sink:
        sink.write(kml, "doc.kml")
    return folder / "fields.kmz"


def as_folder(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    for row in range(len(table)):
        below = folder / "fields" / str(row)
        below.mkdir(parents=True)
        table.iloc[[row]].to_file(below / "field.shp")
    return folder / "fields"


def as_zip(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    place = as_folder(table, folder)
    (place / "__MACOSX").mkdir()
    (place / "__MACOSX/._field.shp").write_bytes(b"shadow")
    (place / "readme.json").write_text("{}")
    return Path(shutil.make_archive(str(folder / "packed"), "zip", folder, "fields"))


def as_topojson(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    rings = [list(shape.exterior.coords) for shape in table.geometry.to_crs(4326)]
    objects = {
        f"layer {n}": {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "arcs": [[n]]}]}
        for n in range(len(rings))
    }
    (folder / "fields.json").write_text(json.dumps({"type": "Topology", "objects": objects, "arcs": rings}))
    return folder / "fields.json"


def as_old_geojson(table: geopandas.GeoDataFrame, folder: Path) -> Path:
    """With a byte order mark, its CRS in a member, and a suffix that says nothing."""
    told = json.loads(table.to_json(drop_id=True))
    told["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32636"}}
    (folder / "fields.txt").write_text(json.dumps(told), "utf-8-sig")
    return folder / "fields.txt"


FORMATS: dict[str, Writer] = {
    "shapefile": by_ogr("shp"),
    "shapefile in capitals": in_capitals,
    "geodatabase": by_ogr("gdb", driver="OpenFileGDB", TARGET_ARCGIS_VERSION="ARCGIS_PRO_3_2_OR_LATER"),
    "FlatGeobuf": by_ogr("fgb"),
    "GML": by_ogr("gml"),
    "MapInfo": by_ogr("tab", driver="MapInfo File"),
    "MIF": by_ogr("mif", driver="MapInfo File"),
    "GeoJSON lines": lambda table, folder: by_ogr("geojsonl")(table.to_crs(4326), folder),
    "KML": lambda table, folder: by_ogr("kml", driver="LIBKML")(table.to_crs(4326), folder),
    "KMZ": as_kmz,
    "GeoParquet": as_parquet,
    "GeoArrow in Parquet": as_geoarrow,
    "WKT": as_wkt,
    "TopoJSON": as_topojson,
    "old GeoJSON": as_old_geojson,
    "folder": as_folder,
    "zip": as_zip,
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path, expected: np.ndarray) -> None:
    path = FORMATS[name](frame(FIELDS), tmp_path)
    settings = Regions(crs={"WKT": UTM36, "TopoJSON": "EPSG:4326"}.get(name, "file"))
    before = sorted(tmp_path.rglob("*"))
    # Formats in degrees round the coordinates.
    assert (mask(path, settings) != expected).sum() <= 2
    assert checked(path, settings).used == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zips_member_by_name(tmp_path: Path) -> None:
    path = as_zip(frame(FIELDS), tmp_path)
    assert checked(f"zip://{path}!/fields/1/field.shp").layers == {"field": 1}
    with pytest.raises(InputError, match=r"packed\.zip.*no such file in the zip"):
        mask(f"zip://{path}!/fields/3/field.shp")


VRT = "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{file}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
REFERRING = {
    "VRT": VRT,
    "VRT in a comment": f"<kml><!-- {VRT} --></kml>",
    "VRT in CSV": f'"{VRT}"',
    "WFS": "<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>",
    "WFS capabilities": '<WFS_Capabilities version="1.0.0"><x href="{url}"/></WFS_Capabilities>',
    "other XML": "<html>{url}</html>",
    "pipeline": '{{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read {file} ! write x.json"}}',
}


@pytest.mark.parametrize("name", REFERRING)
@pytest.mark.parametrize("suffix", [".geojson", ".csv", ".vrt", ".gml"])
def test_what_refers_to_other_files_and_servers_is_refused(name: str, suffix: str, tmp_path: Path) -> None:
    secret = write_regions(tmp_path / "secret.geojson", FIELDS)
    path = tmp_path / f"fields{suffix}"
    path.write_text(REFERRING[name].format(file=secret, url="http://127.0.0.1:9/"))
    with pytest.raises(InputError, match=r"fields.*(other files|root element|none of shapefile)|no geometry"):
        loaded(path, Regions(crs=UTM36))


def test_an_sqlite_file_that_is_no_geopackage_is_refused(tmp_path: Path) -> None:
    path = by_ogr("sqlite", driver="SQLite")(frame(FIELDS), tmp_path)
    with pytest.raises(InputError, match="not a plain GeoPackage"):
        loaded(path)
    virtual = by_ogr("gpkg")(frame(FIELDS), tmp_path)
    with closing(sqlite3.connect(virtual)) as base:
        base.execute("PRAGMA writable_schema = on")
        table = "CREATE VIRTUAL TABLE other USING VirtualOGR('/vsicurl/http://127.0.0.1:9/a.geojson')"
        base.execute("INSERT INTO sqlite_master VALUES ('table', 'other', 'other', 0, ?)", [table])
        base.commit()
    with pytest.raises(InputError, match="not a plain GeoPackage"):
        loaded(virtual)


CUT = ["shapefile", "FlatGeobuf", "GML", "MIF", "GeoJSON lines", "KML", "GeoParquet", "WKT", "TopoJSON", "zip"]


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_what_is_cut_off_is_refused(name: str, share: float, tmp_path: Path) -> None:
    path = FORMATS[name](frame([shape.segmentize(40) for shape in FIELDS]), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=rf"{path.name}"):
        loaded(path, Regions(crs=UTM36))


def two_layers(folder: Path) -> Path:
    path = folder / "fields.gpkg"
    for shape, layer in zip(FIELDS, ("spring", "autumn"), strict=True):
        frame([shape]).to_file(path, layer=layer)
    frame([FIELDS[0].centroid]).to_file(path, layer="labels")
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY, styleQML TEXT)")
        base.execute("INSERT INTO gpkg_contents (table_name, data_type) VALUES ('layer_styles', 'attributes')")
        base.commit()
    return path


def test_all_layers_with_polygons_are_used_and_named(
    tmp_path: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = two_layers(tmp_path)
    np.testing.assert_array_equal(mask(path), expected)
    assert checked(path).layers == {"spring": 1, "autumn": 1}
    assert "polygons of 2 layers are used: spring (1 rows), autumn (1 rows); regions.layer chooses one" in caplog.text
    assert checked(path, Regions(buffer_m=5)).layers == {"spring": 1, "autumn": 1, "labels": 1}


def test_one_layer_by_name(tmp_path: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    path = two_layers(tmp_path)
    autumn = expected & (np.arange(200)[:, None] >= 90)
    np.testing.assert_array_equal(mask(path, Regions(layer="autumn")), autumn)
    assert checked(path, Regions(layer="autumn")).layers == {"autumn": 1}
    assert caplog.messages == []
    with pytest.raises(ConfigError, match="no such layer; its layers are spring, autumn, labels"):
        loaded(path, Regions(layer="winter"))
    with pytest.raises(InputError, match="a point or line has no area"):
        loaded(path, Regions(layer="labels"))


def test_layers_in_several_crs(tmp_path: Path, expected: np.ndarray) -> None:
    path = tmp_path / "fields.gpkg"
    frame(FIELDS[:1]).to_file(path, layer="a")
    frame(FIELDS[1:]).to_crs(3857).to_file(path, layer="b")
    np.testing.assert_array_equal(mask(path), expected)


@pytest.mark.parametrize("name", ["GeoParquet", "shapefile"])
def test_conditions(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](frame(FIELDS), tmp_path)
    rows = loaded(path, Regions(where="owner = 'owner 1'"))
    assert list(rows.shapes.index) == ["fid 1"]
    with pytest.raises(ConfigError, match=r"regions\.where = 'height > 3' does not work on"):
        loaded(path, Regions(where="height > 3"))
    with pytest.raises(InputError, match=r"no polygons that meet regions\.where"):
        loaded(path, Regions(where="owner = 'nobody'"))


def test_attributes_in_another_encoding_than_said(tmp_path: Path, expected: np.ndarray) -> None:
    table = frame(FIELDS).assign(owner=["M\xfcller", "Andr\xe9"])
    table.to_file(tmp_path / "fields.shp", encoding="ISO-8859-1")
    (tmp_path / "fields.cpg").write_text("UTF-8")
    np.testing.assert_array_equal(mask(tmp_path / "fields.shp"), expected)


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


def test_a_wrong_row_in_parquet(tmp_path: Path) -> None:
    path = as_parquet(frame([*FIELDS, FIELDS[0]]), tmp_path)
    table = pq.read_table(path)
    wkb = table["outline"].to_pylist()
    wkb[1:] = [wkb[1][:60], None]
    pq.write_table(table.set_column(table.schema.names.index("outline"), "outline", [wkb]), path)
    assert list(checked(path).dropped) == ["fid 1", "fid 2"]


TIE = shapely.Polygon([(WEST + x, NORTH - y) for x, y in ((301, 302), (903, 904), (905, 307), (306, 908))])
SPIKE = shapely.Polygon([*FIELDS[0].exterior.coords[:2], (WEST + 2500, NORTH - 800), *FIELDS[0].exterior.coords[1:]])
MENDED: dict[str, tuple[object, shapely.Geometry]] = {
    "not closed": ({"type": "Polygon", "coordinates": [CLOSED[:-1]]}, FIELDS[0]),
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


@pytest.mark.parametrize("zone", [1, 20, 60])
@pytest.mark.parametrize("west", [-180, 0])
def test_the_world_from_everywhere(zone: int, west: float, tmp_path: Path) -> None:
    path = tmp_path / "world.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.box(west, -90, west + 360, 90)], crs=4326).to_file(path)
    crs = pyproj.CRS(f"EPSG:{32600 + zone}")
    for easting in (160_000, 500_000, 830_000):
        raster = Raster((50, 50), (50, 50), crs.to_wkt(), (10.0, 0.0, easting, 0.0, -10.0, 1_000_000))
        assert mask(path, None, raster).all()


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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder to those who know the secret, without byte ranges."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET() if "sig=Zq7k1x" in self.path else self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}", asked
        serving.shutdown()


@pytest.mark.parametrize("name", ["old GeoJSON", "GeoParquet", "zip"])
def test_addresses(name: str, tmp_path: Path, expected: np.ndarray, server: tuple[str, list[str]]) -> None:
    url, asked = server
    path = FORMATS[name](frame(FIELDS), tmp_path)
    file = RegionFile.at(f"{url}/{path.name}?sig=Zq7k1x")
    assert asked == [f"/{path.name}?sig=Zq7k1x"]
    worker = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(place_regions(worker, Regions(), RASTER).mask(WHOLE), expected)
    assert len(asked) == 1
    assert str(file) == f"/vsicurl/{url}/{path.name}"
    assert "Zq7k1x" not in repr(file)
    written = TypeAdapter(RegionFile).dump_python(file, mode="json", by_alias=True)
    assert written == {"path": str(file), "content": file.content}
    with pytest.raises(InputError, match=rf"{path.name}: HTTP Error 403") as told:
        RegionFile.at(f"{url}/{path.name}?sig=wrong")
    assert "wrong" not in str(told.value)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = features(tmp_path / "fields.geojson", FIELDS[0])
    path = path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/ch\xe8ne.geojson"))
    with pytest.raises(InputError, match="is not UTF-8: rename it"):
        RegionFile.at(path)


def test_folders_without_polygons(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"holds no polygons: looked for \.shp, .*\.csv at any depth"):
        RegionFile.at(tmp_path)


@pytest.mark.parametrize(("limit", "found"), [("max_polygons", "2 polygons"), ("max_vertices", "10 vertices")])
def test_more_than_the_limits_is_refused_in_one_line(limit: str, found: str, tmp_path: Path) -> None:
    path = features(tmp_path / "fields.geojson", *FIELDS)
    with pytest.raises(InputError, match=rf"holds {found}, at most regions\.{limit} = 1 are read: raise the limit"):
        loaded(path, Regions(**{limit: 1}))
    assert len(loaded(path, Regions(**{limit: int(found.split()[0])})).shapes) == 2


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.geojson", b" " * (20 << 20))
    with pytest.raises(
        InputError, match=r"bomb\.zip unpacks from \d+ to 20971520 bytes, at most .* unpack it yourself"
    ):
        loaded(path)
    with zipfile.ZipFile(path, "w") as packed:
        for number in range(10_001):
            packed.writestr(f"{number}.geojson", b"")
    with pytest.raises(InputError, match=r"bomb\.zip has 10001 members, at most 10000"):
        loaded(path)
