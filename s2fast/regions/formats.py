"""Polygon file formats: detect a file's format, list its layers and read their rows as stored.

GDAL detects formats by content, and files of some formats make it read other files or send requests to servers. Only
files of the formats in `FORMATS` are passed to it, and only the drivers of that format may open them.
"""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from s2fast.errors import ConfigError
from s2fast.files.parquet import check_size, read_table
from s2fast.regions.contents import (
    DamagedError,
    check_csv,
    check_flatgeobuf,
    check_geodatabase,
    check_geopackage,
    check_json,
    check_mapinfo,
    check_shapefile,
    check_xml,
    is_gml,
)
from s2fast.regions.drivers import only_drivers
from s2fast.regions.file import is_geodatabase

UNKNOWN = "Unknown"
"""Geometry type of a layer that may hold any type."""

_MAX_MESSAGE_CHARS = 300
"""GDAL's messages are cut to this length in errors."""


@dataclass(frozen=True, slots=True)
class Format:
    """One polygon file format."""

    name: str
    """Its name in messages."""
    drivers: tuple[str, ...]
    """GDAL's drivers that may open it."""
    begins: bytes = rb""
    """Regular expression that the file's first bytes match."""
    suffixes: tuple[str, ...] = ()
    """Allowed file name suffixes; empty: any, the content decides."""
    check: Callable[[Path], object] = lambda _: None
    """Raises DamagedError for files that GDAL would read only in part, or must not read."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Open options for GDAL."""


_JSON = ("GeoJSON", "GeoJSONSeq", "ESRIJSON", "TopoJSON", "JSONFG")
_XML = ("LIBKML", "KML", "GML", "GPX")

_BLANK = rb"(\xef\xbb\xbf)?[\s\x1e]*"

GEODATABASE = Format("file geodatabase", ("OpenFileGDB",), check=check_geodatabase)
XML = Format("KML, GML or GPX", _XML, _BLANK + rb"<", (), check_xml, {"WRITE_GFS": "NO"})
PARQUET = Format("GeoParquet", (), rb"PAR1")
FLATGEOBUF = Format("FlatGeobuf", ("FlatGeobuf",), rb"fgb\x03fgb", (), check_flatgeobuf)

FORMATS = (
    Format("shapefile", ("ESRI Shapefile",), rb"\x00\x00\x27\x0a", (".shp",), check_shapefile),
    Format("GeoPackage", ("GPKG",), rb"SQLite format 3\x00", (), check_geopackage),
    FLATGEOBUF,
    PARQUET,
    Format("GeoJSON", _JSON, _BLANK + rb"[{\[]", (), check_json),
    XML,
    Format("MapInfo", ("MapInfo File",), rb"", (".tab", ".mif"), check_mapinfo),
    Format("CSV", ("CSV",), rb"", (".csv",), check_csv, {"GEOM_POSSIBLE_NAMES": "WKT,geometry,geom,the_geom,wkt_geom"}),
)
"""The supported formats that are single files; the first match wins."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a file."""

    path: Path
    """The file."""
    format: Format
    """The file's format."""
    name: str
    """The layer's name."""
    geometry: str
    """GDAL's name of its geometry type."""

    @property
    def may_have_area(self) -> bool:
        """Whether its geometries may be other than points and lines."""
        return not re.search("Point|String|CompoundCurve|MultiCurve", self.geometry)


@dataclass(frozen=True, slots=True)
class StoredRows:
    """A layer's rows as they are stored."""

    ids: npt.NDArray[np.int64]
    """GDAL's feature ids, or row numbers from 0."""
    wkb: npt.NDArray[np.object_]
    """Geometries as WKB; None: the row has no geometry."""
    crs: Any
    """Coordinate reference system; None: the file declares none."""


def list_layers(path: Path) -> list[Layer]:
    """List a file's layers that may hold geometries.

    Raises
    ------
    DamagedError
        The file is of an unsupported format, or damaged.
    """
    kind = _format(path)
    if kind is PARQUET:
        return [Layer(path, kind, path.stem, UNKNOWN)]
    if kind is XML and is_gml(path):
        found = _quietly(lambda: list(_opened_layers(path, kind)), kind.drivers)
    else:
        found = _quietly(lambda: pyogrio.list_layers(path), kind.drivers)
    if kind is FLATGEOBUF and not len(found):
        raise DamagedError("it is truncated within its header or index")
    # Whether a CSV file has geometries is known only after reading it.
    return [
        Layer(path, kind, str(name), str(geometry or UNKNOWN))
        for name, geometry in found
        if geometry is not None or kind.name == "CSV"
    ]


def _opened_layers(path: Path, kind: Format) -> Iterator[tuple[str, str | None]]:
    """Yield name and geometry type of a file's layers, which is opened with the format's options.

    `pyogrio.list_layers` takes none; for GML it would make GDAL write a file beside the one it reads.
    """
    for number in itertools.count():
        try:
            layer = pyogrio.read_info(path, layer=number, **kind.options)
        except pyogrio.errors.DataLayerError:
            return
        yield layer["layer_name"], layer["geometry_type"]


def _format(path: Path) -> Format:
    if is_geodatabase(path):
        GEODATABASE.check(path)
        return GEODATABASE
    try:
        with path.open("rb") as source:
            head = source.read(256)
    except OSError as error:
        raise DamagedError(error.strerror) from error
    if not head:
        raise DamagedError("it is empty: get it again")
    for kind in FORMATS:
        if re.match(kind.begins, head) and (not kind.suffixes or path.suffix.lower() in kind.suffixes):
            kind.check(path)
            return kind
    raise DamagedError(f"it is none of {', '.join(kind.name for kind in (*FORMATS, GEODATABASE))}: convert it")


def read_rows(layer: Layer, where: str, most: int) -> StoredRows:
    """Read the rows that meet an SQL condition, or all rows if it is empty; `most` rows at most, where GDAL reads them.

    Raises
    ------
    DamagedError
        The layer cannot be read.
    ConfigError
        The condition is invalid.
    """
    if layer.format is PARQUET:
        return _read_parquet(layer.path, where)
    try:
        meta, ids, wkb, _ = _quietly(
            lambda: pyogrio.raw.read(
                layer.path,
                layer=layer.name,
                # GDAL evaluates conditions only on columns that are read.
                columns=None if where else [],
                where=where or None,
                force_2d=True,
                return_fids=True,
                max_features=most,
                **layer.format.options,
            ),
            layer.format.drivers,
        )
    except DamagedError as error:
        if where and isinstance(error.__cause__, ValueError):
            raise ConfigError(f"regions.where = {where!r} does not work on {layer.name}: {error}") from error
        raise
    if wkb is None:
        raise DamagedError("it has no geometries")
    if layer.format is FLATGEOBUF and not where:
        declared = _quietly(lambda: pyogrio.read_info(layer.path)["features"], layer.format.drivers)
        if len(ids) < min(declared, most):
            raise DamagedError(f"it is truncated: it has {len(ids)} rows, its header declares {declared}")
    return StoredRows(ids, wkb, meta["crs"])


def _quietly(read: Callable[[], Any], drivers: Sequence[str] = ()) -> Any:
    """Call `read` without its warnings, which the checks of the rows repeat; convert any error to DamagedError.

    pyogrio opens files with these drivers alone.
    """
    with warnings.catch_warnings(), only_drivers(drivers) if drivers else nullcontext():
        warnings.simplefilter("ignore")
        try:
            return read()
        except Exception as error:  # on damaged files pyogrio raises errors of any type
            message = " ".join(str(error).partition("; It might help")[0].split())
            raise DamagedError(message[:_MAX_MESSAGE_CHARS]) from error


def _read_parquet(path: Path, where: str) -> StoredRows:
    schema = _quietly(lambda: pq.read_schema(path))
    try:
        geo = json.loads(schema.metadata[b"geo"])
        name = geo["primary_column"]
        geometry = geo["columns"][name]
        encoding, crs = geometry["encoding"], geometry.get("crs", "OGC:CRS84")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError("it is a Parquet file without geometries as GeoParquet defines them") from error
    if name not in schema.names:
        raise DamagedError(f"it has no column {name}, which should hold its geometries")
    kind = schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if encoding == "WKB" and not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DamagedError(f"its column {name} holds no WKB")
    if encoding == "WKB":
        wkb = _quietly(lambda: read_table(path, [name]).column(name).to_numpy())
    else:
        _quietly(lambda: check_size(path, [name]))
        shapes = _quietly(lambda: geopandas.read_parquet(path, columns=[name], partitioning=None))
        wkb = shapes.geometry.to_wkb().to_numpy()
    ids = np.arange(len(wkb))
    if where:
        plain = [column.name for column in schema if column.name != name and not pa.types.is_nested(column.type)]
        ids = _select_rows(_quietly(lambda: read_table(path, plain).to_pandas()), where, path.stem)
    return StoredRows(ids, wkb[ids], crs)


def _select_rows(table: pd.DataFrame, where: str, name: str) -> npt.NDArray[np.int64]:
    """Return the positions of the rows that meet an SQL condition."""
    with closing(sqlite3.connect(":memory:")) as base:
        try:
            table.to_sql("rows", base, index=False)
            found = base.execute(f"SELECT _rowid_ - 1 FROM rows WHERE {where}").fetchall()  # noqa: S608  the user's own condition
        except (sqlite3.Error, pd.errors.DatabaseError, ValueError) as error:
            raise ConfigError(f"regions.where = {where!r} does not work on {name}: {error}") from error
    return np.sort(np.array(found, np.int64).reshape(-1))
