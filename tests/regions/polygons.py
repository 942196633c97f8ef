"""Polygons that tests write in many formats, and what a run makes of them."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import shapely

from s2fast.config import Regions
from s2fast.model import Raster, Window
from s2fast.regions.check import check_regions
from s2fast.regions.file import RegionFile, RegionRows
from s2fast.regions.mask import place_regions
from s2fast.regions.rows import Rows, load_regions
from tests.archives import ORIGINS, UTM36

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
