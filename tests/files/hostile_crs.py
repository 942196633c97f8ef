"""Rasters and polygons whose CRS names a file or a server."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from xml.sax.saxutils import escape

import geopandas
import numpy as np
import pyarrow.parquet as pq
import shapely
import zarr

from tests.archives import UTM36, write_scene
from tests.stac_server import item

_GEOGRAPHIC = (
    'GEOGCS["x",DATUM["y",SPHEROID["WGS 84",6378137,298.257223563]{}],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]]'
)
_PROJECTED = (
    'PROJCS["u",{},PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
    'PARAMETER["central_meridian",33],PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],'
    'PARAMETER["false_northing",0],UNIT["metre",1]]'
)


def definitions(secret: Path, url: str) -> dict[str, str]:
    """Return definitions that make PROJ or GDAL open a file or ask a server."""
    return {
        "grids": _PROJECTED.format(_GEOGRAPHIC.format(f',EXTENSION["PROJ4_GRIDS","{secret}"]')),
        "PROJ": f"+proj=utm +zone=36 +ellps=WGS84 +nadgrids={secret} +type=crs",
        "init": f"+init={secret}:1",
        "path": str(secret),
        "address": f"{url}crs",
    }


def places(folder: Path, secret: Path, url: str) -> list[str]:
    """Write the files, and return them by the kind of input that each is; see `test_system_calls.KINDS`."""
    found = []
    pixels = np.full((3, 64, 64), 90, np.uint8)
    for name, text in definitions(secret, url).items():
        raster = write_scene(folder / f"crs_{name}.tif", pixels, crs=None)
        Path(f"{raster}.aux.xml").write_text(f"<PAMDataset><SRS>{escape(text)}</SRS></PAMDataset>")
        virtual = folder / f"crs_{name}.vrt"
        virtual.write_text(
            f'<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>{escape(text)}</SRS>'
            '<GeoTransform>600000,10,0,5600040,0,-10</GeoTransform><VRTRasterBand dataType="Byte" band="1">'
            '<SimpleSource><SourceFilename relativeToVRT="1">own.tif</SourceFilename><SourceBand>1</SourceBand>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
        found += [f"{kind}={path}" for kind in ("scene", "mask", "align", "picture") for path in (raster, virtual)]
        bare = write_scene(folder / f"bare_{name}.tif", pixels, crs=None)
        document = folder / f"crs_{name}.json"
        document.write_text(json.dumps(item(f"crs_{name}", bare.name, **{"proj:code": text})))
        store = zarr.open_group(folder / f"crs_{name}.zarr", mode="w", zarr_format=2)
        store.attrs["proj:transform"] = [10, 0, 600000, 0, -10, 5600040]
        store.attrs["crs_wkt"] = text
        array = store.create_array("tci", shape=(64, 64), chunks=(64, 64), dtype="u1")
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
        found += [f"found={document}", f"found={folder}/crs_{name}.zarr"]
        found += [f"regions={path}" for path in _polygons(folder / f"crs_{name}", text)]
    return found


def _polygons(stem: Path, text: str) -> list[Path]:
    """Write polygons with a CRS in each format that holds any text as one."""
    frame = geopandas.GeoDataFrame(
        {"a": [1]}, geometry=[shapely.box(600_100, 5_600_000, 600_300, 5_600_200)], crs=UTM36
    )
    shape, package, parquet = (stem.with_name(f"{stem.name}_{end}") for end in ("p.shp", "p.gpkg", "p.parquet"))
    frame.to_file(shape)
    shape.with_suffix(".prj").write_text(text)
    frame.to_file(package)
    base = sqlite3.connect(package)
    base.execute("UPDATE gpkg_spatial_ref_sys SET organization = 'x', definition = ? WHERE srs_id = 32636", [text])
    base.commit()
    base.close()
    frame.to_parquet(parquet)
    table = pq.read_table(parquet)
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"]["geometry"]["crs"] = text
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo)}), parquet)
    gml = stem.with_name(f"{stem.name}_p.gml")
    ring = "<coordinates>33,50 34,50 34,51 33,50</coordinates>"
    name = f"'{text}'" if '"' in text else f'"{text}"'
    gml.write_text(
        "<FeatureCollection xmlns='http://www.opengis.net/gml'><featureMember><a><geometryProperty>"
        f"<Polygon srsName={name}><outerBoundaryIs><LinearRing>{ring}"
        "</LinearRing></outerBoundaryIs></Polygon></geometryProperty></a></featureMember></FeatureCollection>"
    )
    esri = stem.with_name(f"{stem.name}_esri.json")
    esri.write_text(
        json.dumps(
            {
                "geometryType": "esriGeometryPolygon", "spatialReference": {"wkt": text}, "fields": [],
                "features": [{"attributes": {}, "geometry": {"rings": [[[33, 50], [34, 50], [34, 51], [33, 50]]]}}],
            }
        )
    )  # fmt: skip
    return [shape, package, parquet, gml, esri]
