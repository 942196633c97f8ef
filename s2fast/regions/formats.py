"""Formats of polygons: what a file is, its layers, and their rows as they are stored.

GDAL opens files by their content, and some of its formats are orders to read other files or to ask servers. Only the
formats in `FORMATS` are handed to it.
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
"""Geometry type of a layer that may hold any."""

_REFERS = re.compile(rb"OGR\w*DataSource|OGCAPI|WFS_Capabilities|gdal_streamed_alg|VirtualOGR", re.IGNORECASE)
"""What makes GDAL read other files or ask servers."""

_XML_ROOTS = ("kml", "gpx", "FeatureCollection")

_MOST_TOLD = 300
"""Characters of GDAL's own words that an error repeats."""

_HEAD_BYTES = 1 << 20
"""GDAL looks no further to tell a format."""


class DamagedError(InputError):
    """A file is not whole, or none that is read; says why, and not which file."""


def _text(path: Path) -> bytes:
    """Read a text file that GDAL may open."""
    text = path.read_bytes()
    if _REFERS.search(text[:_HEAD_BYTES]):
        raise DamagedError("it makes GDAL read other files or ask servers: convert it, for example with ogr2ogr")
    return text


def _check_shapefile(path: Path) -> None:
    with path.open("rb") as source:
        told = 2 * int.from_bytes(source.read(28)[24:], "big")
    there = path.stat().st_size
    if there < told:
        raise DamagedError(f"it is cut off: its header promises {told} bytes and {there} are there")


def _check_geopackage(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            made = "\n".join(str(sql) for (sql,) in base.execute("SELECT sql FROM sqlite_master"))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error
    # Other SQLite files, and tables of this kind, make GDAL read whatever they name.
    if "gpkg_contents" not in made or _REFERS.search(made.encode()):
        raise DamagedError("it is an SQLite file and no plain GeoPackage")


def _check_json(path: Path) -> None:
    """Check a sequence of features, one a line: GDAL passes over those that it cannot read."""
    lines = [line for line in re.split(rb"[\n\x1e]", _text(path)) if line.strip()]
    if len(lines) < 2 or not _is_json(lines[0]):
        return
    wrong = next((number for number, line in enumerate(lines, 1) if not _is_json(line)), 0)
    if wrong:
        raise DamagedError(f"feature {wrong} is not whole JSON")


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
        parser.Parse(_text(path), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DamagedError(f"it is not whole XML: {error}") from error
    if roots[0] not in _XML_ROOTS:
        raise DamagedError(f"its root element is {roots[0]}, not one of {', '.join(_XML_ROOTS)}")


def _check_csv(path: Path) -> None:
    if _text(path).count(b'"') % 2:
        raise DamagedError("it is cut off inside quotes")


@dataclass(frozen=True, slots=True)
class Format:
    """One format of polygons."""

    name: str
    begins: bytes = rb""
    """Regular expression that the file's first bytes match."""
    suffixes: tuple[str, ...] = ()
    """What its name must end in; empty: anything, the content tells."""
    check: Callable[[Path], object] = lambda _: None
    """Raises DamagedError for what GDAL would read in part, or should not read."""
    options: Mapping[str, str] = field(default_factory=dict)
    """GDAL's open options."""


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
    Format("MapInfo", rb"", (".tab", ".mif"), _text),
    Format("CSV", rb"", (".csv",), _check_csv, {"GEOM_POSSIBLE_NAMES": "WKT,geometry,geom,the_geom,wkt_geom"}),
)
"""What is read, told by content."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a file."""

    path: Path
    """The file."""
    format: Format
    """What the file is."""
    name: str
    """The layer's name."""
    geometry: str
    """Its type of geometry, as GDAL calls it."""

    @property
    def may_have_area(self) -> bool:
        """Whether its geometries may be more than points and lines."""
        return not re.search("Point|String|CompoundCurve|MultiCurve", self.geometry)


@dataclass(frozen=True, slots=True)
class StoredRows:
    """A layer's rows as they are stored."""

    ids: npt.NDArray[np.int64]
    """GDAL's feature ids, or row numbers from 0."""
    wkb: npt.NDArray[np.object_]
    """Geometries, None where there is none."""
    crs: Any
    """Coordinate reference system, None if the file does not say."""


def list_layers(path: Path) -> list[Layer]:
    """List a file's layers that may hold geometries.

    Raises
    ------
    DamagedError
        It is none of the formats that are read, or not whole.
    """
    kind = _format(path)
    if kind is PARQUET:
        return [Layer(path, kind, path.stem, UNKNOWN)]
    found = _quietly(lambda: pyogrio.list_layers(path))
    # Of a CSV it is known only when it is read whether it has geometries.
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
    raise DamagedError(f"it is none of {', '.join(kind.name for kind in (*FORMATS, GEODATABASE))}")


def read_rows(layer: Layer, where: str) -> StoredRows:
    """Read the rows that meet an SQL condition, all if it is empty.

    Raises
    ------
    DamagedError
        They cannot be read.
    ConfigError
        The condition is not understood.
    """
    if layer.format is PARQUET:
        return _read_parquet(layer.path, where)
    try:
        meta, ids, wkb, _ = _quietly(
            lambda: pyogrio.raw.read(
                layer.path,
                layer=layer.name,
                # Columns that are not read meet no condition.
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
    """Read; what GDAL warns of is found in the rows, and what pyogrio trips over in damaged files is of any type."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read()
        except Exception as error:
            told = " ".join(str(error).partition("; It might help")[0].split())
            raise DamagedError(told[:_MOST_TOLD]) from error


def _read_parquet(path: Path, where: str) -> StoredRows:
    table = _quietly(lambda: pq.read_table(path, partitioning=None))
    try:
        geo = json.loads(table.schema.metadata[b"geo"])
        name = geo["primary_column"]
        column = geo["columns"][name]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError("it is Parquet without geometries") from error
    ids = np.arange(table.num_rows)
    if where:
        plain = [told.name for told in table.schema if told.name != name and not pa.types.is_nested(told.type)]
        ids = _selected(table.select(plain).to_pandas(), where, path.stem)
    if column["encoding"] == "WKB":
        wkb = table.column(name).to_numpy()
    else:
        wkb = _quietly(lambda: geopandas.read_parquet(path).geometry.to_wkb().to_numpy())
    return StoredRows(ids, wkb[ids], column.get("crs", "OGC:CRS84"))


def _selected(table: pd.DataFrame, where: str, name: str) -> npt.NDArray[np.int64]:
    """Return the positions of the rows that meet an SQL condition."""
    with closing(sqlite3.connect(":memory:")) as base:
        try:
            table.to_sql("rows", base, index=False)
            found = base.execute(f"SELECT _rowid_ - 1 FROM rows WHERE {where}").fetchall()  # noqa: S608  the user's own
        except (sqlite3.Error, pd.errors.DatabaseError, ValueError) as error:
            raise ConfigError(f"regions.where = {where!r} does not work on {name}: {error}") from error
    return np.sort(np.array(found, np.int64).reshape(-1))
