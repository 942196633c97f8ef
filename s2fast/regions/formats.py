"""Polygon file formats: detect a file's format, list its layers and read their rows as stored.

GDAL detects formats by content, and files of some formats make it read other files or send requests to servers. Only
files of the formats in `FORMATS` are passed to it.
"""

from __future__ import annotations

import json
import re
import sqlite3
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from s2fast.errors import ConfigError, InputError
from s2fast.regions.file import is_geodatabase

UNKNOWN = "Unknown"
"""Geometry type of a layer that may hold any type."""

_EXTERNAL = re.compile(rb"OGR\w*DataSource|OGCAPI|WFS_Capabilities|gdal_streamed_alg|VirtualOGR", re.IGNORECASE)
"""Content that makes GDAL read other files or send requests to servers."""

_XML_ROOTS = ("kml", "gpx", "FeatureCollection")

_MAX_MESSAGE_CHARS = 300
"""GDAL's messages are cut to this length in errors."""

_HEAD_BYTES = 1 << 20
"""GDAL reads at most this much of a file to detect its format."""


class DamagedError(InputError):
    """A file is damaged or of an unsupported format; the message gives the reason without the file's name."""


def _read_text(path: Path) -> bytes:
    """Read a text file; raise DamagedError if GDAL must not open it."""
    text = path.read_bytes()
    if _EXTERNAL.search(text[:_HEAD_BYTES]):
        raise DamagedError("it makes GDAL read other files or ask servers: convert it, for example with ogr2ogr")
    return text


def _check_shapefile(path: Path) -> None:
    with path.open("rb") as source:
        expected_bytes = 2 * int.from_bytes(source.read(28)[24:], "big")
    actual_bytes = path.stat().st_size
    if actual_bytes < expected_bytes:
        raise DamagedError(f"it is truncated: it has {actual_bytes} bytes, its header declares {expected_bytes}")


def _check_geopackage(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            schema = "\n".join(str(sql) for (sql,) in base.execute("SELECT sql FROM sqlite_master"))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error
    # GDAL would follow references to other files in other SQLite files and in virtual tables.
    if "gpkg_contents" not in schema or _EXTERNAL.search(schema.encode()):
        raise DamagedError("it is an SQLite file, but not a plain GeoPackage: convert it, for example with ogr2ogr")


def _check_json(path: Path) -> None:
    """Check features stored one per line, because GDAL silently skips those it cannot parse."""
    lines = [line for line in re.split(rb"[\n\x1e]", _read_text(path)) if line.strip()]
    if len(lines) < 2 or not _is_json(lines[0]):
        return
    invalid = next((number for number, line in enumerate(lines, 1) if not _is_json(line)), 0)
    if invalid:
        raise DamagedError(f"feature {invalid} is not complete JSON")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _check_xml(path: Path) -> None:
    roots: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = lambda name, _: roots.append(name.rpartition(" ")[2])
    try:
        parser.Parse(_read_text(path), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DamagedError(f"it is not complete XML: {error}") from error
    if roots[0] not in _XML_ROOTS:
        raise DamagedError(f"its root element is {roots[0]}, not one of {', '.join(_XML_ROOTS)}")


def _check_csv(path: Path) -> None:
    if _read_text(path).count(b'"') % 2:
        raise DamagedError("it is truncated inside quotes")


@dataclass(frozen=True, slots=True)
class Format:
    """One polygon file format."""

    name: str
    begins: bytes = rb""
    """Regular expression that the file's first bytes match."""
    suffixes: tuple[str, ...] = ()
    """Allowed file name suffixes; empty: any, the content decides."""
    check: Callable[[Path], object] = lambda _: None
    """Raises DamagedError for files that GDAL would read only in part, or must not read."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Open options for GDAL."""


_BLANK = rb"(\xef\xbb\xbf)?[\s\x1e]*"

GEODATABASE = Format("file geodatabase")
PARQUET = Format("GeoParquet", rb"PAR1")

FORMATS = (
    Format("shapefile", rb"\x00\x00\x27\x0a", (".shp",), _check_shapefile),
    Format("GeoPackage", rb"SQLite format 3\x00", (), _check_geopackage),
    Format("FlatGeobuf", rb"fgb\x03fgb"),
    PARQUET,
    Format("GeoJSON", _BLANK + rb"[{\[]", (), _check_json),
    Format("KML, GML or GPX", _BLANK + rb"<", (), _check_xml, {"WRITE_GFS": "NO"}),
    Format("MapInfo", rb"", (".tab", ".mif"), _read_text),
    Format("CSV", rb"", (".csv",), _check_csv, {"GEOM_POSSIBLE_NAMES": "WKT,geometry,geom,the_geom,wkt_geom"}),
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
    found = _quietly(lambda: pyogrio.list_layers(path))
    # Whether a CSV file has geometries is known only after reading it.
    return [
        Layer(path, kind, str(name), str(geometry or UNKNOWN))
        for name, geometry in found
        if geometry is not None or kind.name == "CSV"
    ]


def _format(path: Path) -> Format:
    if is_geodatabase(path):
        return GEODATABASE
    try:
        with path.open("rb") as source:
            head = source.read(256)
    except OSError as error:
        raise DamagedError(error.strerror) from error
    for kind in FORMATS:
        if re.match(kind.begins, head) and (not kind.suffixes or path.suffix.lower() in kind.suffixes):
            kind.check(path)
            return kind
    raise DamagedError(f"it is none of {', '.join(kind.name for kind in (*FORMATS, GEODATABASE))}: convert it")


def read_rows(layer: Layer, where: str) -> StoredRows:
    """Read the rows that meet an SQL condition, or all rows if it is empty.

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
                **layer.format.options,
            )
        )
    except DamagedError as error:
        if where and isinstance(error.__cause__, ValueError):
            raise ConfigError(f"regions.where = {where!r} does not work on {layer.name}: {error}") from error
        raise
    if wkb is None:
        raise DamagedError("it has no geometries")
    return StoredRows(ids, wkb, meta["crs"])


def _quietly(read: Callable[[], Any]) -> Any:
    """Call `read` without its warnings, which the checks of the rows repeat; convert any error to DamagedError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read()
        except Exception as error:  # on damaged files pyogrio raises errors of any type
            message = " ".join(str(error).partition("; It might help")[0].split())
            raise DamagedError(message[:_MAX_MESSAGE_CHARS]) from error


def _read_parquet(path: Path, where: str) -> StoredRows:
    table = _quietly(lambda: pq.read_table(path, partitioning=None))
    try:
        geo = json.loads(table.schema.metadata[b"geo"])
        name = geo["primary_column"]
        geometry = geo["columns"][name]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError("it is a Parquet file without geometries") from error
    ids = np.arange(table.num_rows)
    if where:
        plain = [column.name for column in table.schema if column.name != name and not pa.types.is_nested(column.type)]
        ids = _select_rows(table.select(plain).to_pandas(), where, path.stem)
    if geometry["encoding"] == "WKB":
        wkb = table.column(name).to_numpy()
    else:
        wkb = _quietly(lambda: geopandas.read_parquet(path).geometry.to_wkb().to_numpy())
    return StoredRows(ids, wkb[ids], geometry.get("crs", "OGC:CRS84"))


def _select_rows(table: pd.DataFrame, where: str, name: str) -> npt.NDArray[np.int64]:
    """Return the positions of the rows that meet an SQL condition."""
    with closing(sqlite3.connect(":memory:")) as base:
        try:
            table.to_sql("rows", base, index=False)
            found = base.execute(f"SELECT _rowid_ - 1 FROM rows WHERE {where}").fetchall()  # noqa: S608  the user's own condition
        except (sqlite3.Error, pd.errors.DatabaseError, ValueError) as error:
            raise ConfigError(f"regions.where = {where!r} does not work on {name}: {error}") from error
    return np.sort(np.array(found, np.int64).reshape(-1))
