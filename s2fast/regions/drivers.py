"""GDAL's drivers of the polygon formats that are read, and those that a command switches off."""

from __future__ import annotations

import os
import sys

DRIVERS = (
    "CSV", "ESRI Shapefile", "ESRIJSON", "FlatGeobuf", "GML", "GPKG", "GPX", "GeoJSON", "GeoJSONSeq", "JSONFG", "KML",
    "LIBKML", "MapInfo File", "MEM", "OpenFileGDB", "TopoJSON",
)  # fmt: skip
"""Drivers of `s2fast.regions.formats.FORMATS`, and of datasets in memory."""

_OTHERS = (
    "ADBC", "AIVector", "AVCBin", "AVCE00", "AmigoCloud", "Arrow", "CAD", "CSW", "Carto", "DB2ODBC", "DGN", "DXF",
    "EDIGEO", "EEDA", "Elasticsearch", "GDALG", "GMLAS", "GPSBabel", "GTFS", "GeoRSS", "HANA", "HTTP", "IDB", "Idrisi",
    "Interlis 1", "Interlis 2", "JML", "LVBAG", "MBTiles", "MSSQLSpatial", "MVT", "MapML", "MiraMonVector", "MongoDBv3",
    "MySQL", "NAS", "NGW", "OAPIF", "OCI", "ODBC", "ODS", "OGCAPI", "OGR_GMT", "OGR_PDS", "OGR_VRT", "OSM", "PCIDSK",
    "PDF", "PDS4", "PGDUMP", "PGeo", "PLSCENES", "PMTiles", "Parquet", "PostgreSQL", "S57", "SOSI", "SQLite", "SXF",
    "Selafin", "VDV", "VFK", "VICAR", "WAsP", "WFS", "XLS", "XLSX",
)  # fmt: skip
"""GDAL's other drivers of vectors; a test fails if GDAL has more."""


def switch_others_off() -> None:
    """Let GDAL register only the drivers that are read, in this process and in its workers.

    The formats are told by content before GDAL opens a file; then no other driver can take it for its own either. A
    process that uses GDAL already, as a notebook may, keeps its drivers.
    """
    if not {"pyogrio", "rasterio", "fiona"} & sys.modules.keys():
        os.environ["OGR_SKIP"] = ",".join(_OTHERS)
