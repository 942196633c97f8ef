"""Check the content of polygon files: what GDAL would read only in part, and what leads to other files or servers."""

from __future__ import annotations

import glob
import html
import json
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from xml.parsers import expat

from s2fast.errors import InputError
from s2fast.files.crs_definitions import names_file
from s2fast.files.places import exists
from s2fast.regions.repeated import (
    problem_of_database,
    problem_of_geodatabase,
    problem_of_shapefile,
    problem_of_topology,
)

_EXTERNAL = re.compile(rb"OGR\w*DataSource|OGCAPI|WFS_Capabilities|gdal_streamed_alg|VirtualOGR", re.IGNORECASE)
"""Content that makes GDAL read other files or send requests to servers."""

_VIRTUAL_TABLE = re.compile(r"\s*CREATE\s+VIRTUAL\b", re.IGNORECASE)

_INDEX = re.compile(
    r"""\s*CREATE\s+VIRTUAL\s+TABLE\s+("[^"]*"|'[^']*'|\w+)\s+USING\s+(rtree|fts[345])\s*\(""", re.IGNORECASE
)

_RECURSIVE = re.compile(r"\bWITH\b", re.IGNORECASE)
"""In the definition of a view: SQLite needs no other word for tables that are made of themselves."""

_EXTERNAL_WORDS = (b"datasource", b"ogcapi", b"wfs_capabilities", b"gdal_streamed_alg", b"virtualogr")
"""In lower case, one of these is in all that `_EXTERNAL` matches."""

_LINKED_CRS = re.compile(rb"""["'](?:link|url)["']\s*[^:\s]|\\u00[4-7]""", re.IGNORECASE)
"""Values that make a CRS of GeoJSON an address, and escaped letters, which may spell them."""

_LINKED_WORDS = (b"link", b"url", b"\\u00")
"""As `_EXTERNAL_WORDS`."""

_GRIDS = re.compile(rb"PARAMETERFILE|PROJ4_GRIDS|(?:grids|init)=|PROJ-based", re.IGNORECASE)
"""Beginnings of the names of files in definitions of a CRS."""

_GRID_WORDS = (b"parameterfile", b"proj4_grids", b"grids=", b"init=", b"proj-based")
"""As `_EXTERNAL_WORDS`."""

_ESCAPED = re.compile(rb"\\u00([0-9a-f]{2})", re.IGNORECASE)

_DEFINITION_BYTES = 4096

_NO_BLANK = re.compile(r"[^\s\x1e]")

_OTHER_TABLES = re.compile(rb"open\s+table|create\s+view|isseamless|type\s+linked", re.IGNORECASE)
"""Content that makes a MapInfo table a view of other tables."""

_MIF_OBJECT = re.compile(
    rb"^\s*(?:none|point|line|pline|region|arc|text|rect|roundrect|ellipse|multipoint|collection)\b",
    re.IGNORECASE | re.MULTILINE,
)
"""Beginning of an object of a MIF file."""

_GML_ROOT = "FeatureCollection"

_PLACEMARK, _NETWORK_LINK = re.compile(rb"<(\w+:)?Placemark\b"), re.compile(rb"<(\w+:)?NetworkLink\b")

_XML_ROOTS = ("kml", "gpx", _GML_ROOT)

_MAX_SCHEMAS = 4
"""Schemas that include schemas are followed to this depth."""

_NAMES_FILE = "names a file, which PROJ would open: convert it, for example with ogr2ogr -a_srs EPSG:4326"

_MAX_TEXT_BYTES = 4 << 30
"""Largest text: it is read as a whole."""

_HEAD_BYTES = 1 << 20
"""GDAL reads at most this much of a file to detect its format."""


class DamagedError(InputError):
    """A file is damaged or of an unsupported format; the message gives the reason without the file's name."""


def read_text(path: Path) -> bytes:
    """Read a text file; raise DamagedError if GDAL must not open it."""
    size = path.stat().st_size
    if size > _MAX_TEXT_BYTES:
        raise DamagedError(f"it has {size} bytes, a text at most {_MAX_TEXT_BYTES}: convert it to GeoPackage")
    text = path.read_bytes()
    if _occurs(_EXTERNAL, _EXTERNAL_WORDS, text[:_HEAD_BYTES]):
        raise DamagedError("it makes GDAL read other files or ask servers: convert it, for example with ogr2ogr")
    return text


def _occurs(pattern: re.Pattern[bytes], words: Sequence[bytes], text: bytes) -> bool:
    """Return whether a pattern matches anywhere; its words are looked for first, which is faster."""
    lower = text.lower()
    return any(word in lower for word in words) and pattern.search(text) is not None


def check_shapefile(path: Path) -> None:
    """Check that the file is as long as its header declares, and no part of it is a row twice."""
    with path.open("rb") as source:
        expected_bytes = 2 * int.from_bytes(source.read(28)[24:], "big")
    _check_prj(path)
    actual_bytes = path.stat().st_size
    if actual_bytes < expected_bytes:
        raise DamagedError(f"it is truncated: it has {actual_bytes} bytes, its header declares {expected_bytes}")
    _raise_if(problem_of_shapefile(path))


def check_geodatabase(path: Path) -> None:
    """Check that no part of a table is a row twice."""
    _raise_if(problem_of_geodatabase(path))


def _raise_if(problem: str) -> None:
    if problem:
        raise DamagedError(problem)


def _check_prj(path: Path) -> None:
    """Check that the CRS in a file beside another names no files."""
    for beside in path.parent.glob(f"{glob.escape(path.stem)}.[pP][rR][jJ]"):
        if names_file(beside.read_bytes()):
            raise DamagedError(f"the CRS in {beside.name} {_NAMES_FILE}")


def check_flatgeobuf(path: Path) -> None:
    """Check that the CRS names no files."""
    with path.open("rb") as source:
        header_bytes = int.from_bytes(source.read(12)[8:], "little")
        if names_file(source.read(min(header_bytes, _HEAD_BYTES))):
            raise DamagedError(f"its CRS {_NAMES_FILE}")


def check_geopackage(path: Path) -> None:
    """Check that the database is a GeoPackage of bounded size, whose schema and CRSs refer to no other files."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            made = base.execute("SELECT type, sql FROM sqlite_master").fetchall()
            schema, views = "\n".join(str(sql) for _, sql in made), [str(sql) for kind, sql in made if kind == "view"]
            if any(_is_foreign(str(sql)) for _, sql in made):
                raise DamagedError(
                    "it has a virtual table, which may read other files: convert it, for example with ogr2ogr"
                )
            if any(_RECURSIVE.search(view) for view in views):
                raise DamagedError("one of its views uses WITH, and may have no end: store its rows as a table")
            defined = base.execute("SELECT * FROM gpkg_spatial_ref_sys") if "gpkg_spatial_ref_sys" in schema else ()
            if any(names_file(value) for row in defined for value in row if isinstance(value, str)):
                raise DamagedError(f"one of its CRSs {_NAMES_FILE}")
            _raise_if(problem_of_database(base))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error
    # GDAL would follow references to other files in other SQLite files and in virtual tables.
    if "gpkg_contents" not in schema or _EXTERNAL.search(schema.encode()):
        raise DamagedError("it is an SQLite file, but not a plain GeoPackage: convert it, for example with ogr2ogr")


def _is_foreign(sql: str) -> bool:
    """Return whether a definition is a virtual table of another kind than those for boxes and words."""
    plain = re.sub(r"/\*.*?(\*/|$)|--[^\n]*", " ", sql, flags=re.DOTALL)
    return bool(_VIRTUAL_TABLE.match(plain)) and not _INDEX.match(plain)


def check_json(path: Path) -> None:
    """Check that no CRS is an address, how often arcs are used, and features stored one per line.

    GDAL silently skips those it cannot parse.
    """
    text = read_text(path)
    if _occurs(_LINKED_CRS, _LINKED_WORDS, text):
        _check_crs(text)
    _check_grids(text)
    _raise_if(problem_of_topology(text))
    lines = [line for line in re.split(rb"[\n\x1e]", text) if line.strip()]
    if len(lines) < 2 or not _is_json(lines[0]):
        return
    invalid = next((number for number, line in enumerate(lines, 1) if not _is_json(line)), 0)
    if invalid:
        raise DamagedError(f"feature {invalid} is not complete JSON")


def _check_grids(text: bytes) -> None:
    """Raise DamagedError if a definition of a CRS in JSON, as ESRI writes it, names a file."""
    if b"\\u00" in text:
        text = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text)
    if not _occurs(_GRIDS, _GRID_WORDS, text):
        return
    for found in _GRIDS.finditer(text):
        part = text[max(0, found.start() - 1) : found.end() + _DEFINITION_BYTES]
        if names_file(part.replace(b'\\"', b'"').replace(b"\\/", b"/")):
            raise DamagedError(f"its CRS {_NAMES_FILE}")


def _check_crs(text: bytes) -> None:
    """Raise DamagedError if a CRS is the address of one, which GDAL would ask for."""
    decoder = json.JSONDecoder(object_pairs_hook=_is_address)
    content = text.decode("utf-8-sig", errors="replace")
    start = 0
    try:
        while found := _NO_BLANK.search(content, start):
            _, start = decoder.raw_decode(content, found.start())
    except DamagedError:
        raise
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is not complete JSON: {error}") from error


def _is_address(pairs: list[tuple[str, object]]) -> bool:
    """Return whether an object of GeoJSON is an address; raise DamagedError if it has one as its CRS."""
    members = [(key.lower(), value) for key, value in pairs]  # GDAL ignores the case, and a key may occur twice
    if ("crs", True) in members:
        raise DamagedError('its "crs" is the address of one: name it, for example "EPSG:4326"')
    return any(key == "type" and isinstance(value, str) and value.lower() in ("link", "url") for key, value in members)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def check_xml(path: Path) -> None:
    """Check that the file is one complete KML, GML or GPX, whose schema names no files elsewhere."""
    root, *_ = _elements(path)
    if root[0] not in _XML_ROOTS:
        raise DamagedError(f"its root element is {root[0]}, not one of {', '.join(_XML_ROOTS)}")
    if root[0] == "kml" and not _PLACEMARK.search(text := read_text(path)) and _NETWORK_LINK.search(text):
        raise DamagedError("it holds links to other files alone, which are not followed: get those files")
    if root[0] == _GML_ROOT:
        _check_schema(path.with_suffix(".xsd"), _MAX_SCHEMAS)
        described = path.with_suffix(".gfs")
        if exists(described) and names_file(html.unescape(described.read_text(errors="replace"))):
            raise DamagedError(f"the CRS in {described.name} {_NAMES_FILE}")


def is_gml(path: Path) -> bool:
    """Return whether an XML file is GML."""
    roots: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = lambda name, _: roots.append(name.rpartition(" ")[2])
    with path.open("rb") as source, suppress(expat.ExpatError, LookupError, ValueError):
        while not roots and (part := source.read(_HEAD_BYTES)):
            parser.Parse(part)
    return roots[:1] == [_GML_ROOT]


def _elements(path: Path) -> list[tuple[str, Mapping[str, str]]]:
    """Return name and attributes of an XML file's root and of all elements that refer to a schema."""
    elements: list[tuple[str, Mapping[str, str]]] = []

    def start(name: str, attributes: Mapping[str, str]) -> None:
        if any(names_file(value) for key, value in attributes.items() if key.endswith("srsName")):
            raise DamagedError(f"its CRS {_NAMES_FILE}")
        if not elements or "schemaLocation" in attributes:
            elements.append((name.rpartition(" ")[2], attributes))

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    try:
        parser.Parse(read_text(path), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DamagedError(f"it is not complete XML: {error}") from error
    return elements


def _check_schema(path: Path, depth: int) -> None:
    """Check that a schema beside a GML file includes only files in or below its folder; imports are not followed."""
    if not exists(path):
        return
    if re.search(rb"<![^-]", path.read_bytes()):
        raise DamagedError(f"its schema {path.name} has declarations: remove it")
    for name, attributes in _elements(path):
        place = attributes.get("schemaLocation", "")
        if not place or (name == "import" and re.match("https?://", place)):
            continue
        beside = Path(os.path.realpath(path.parent / place))  # unlike Path.resolve, also of links in a circle
        if not depth or not beside.is_relative_to(os.path.realpath(path.parent)):
            raise DamagedError(f"its schema {path.name} leads to {place[:80]}: remove it, or put all into one folder")
        _check_schema(beside, depth - 1)


def check_mapinfo(path: Path) -> None:
    """Check that a MapInfo table is no view of other tables, and that a MIF file has an object for each row of its MID.

    The other tables may lie anywhere.
    """
    text = read_text(path)
    if _OTHER_TABLES.search(text):
        raise DamagedError("it reads other tables: convert it, for example with ogr2ogr")
    if path.suffix.lower() != ".mif":
        return
    objects = len(_MIF_OBJECT.findall(text))
    for beside in path.parent.glob(f"{glob.escape(path.stem)}.[mM][iI][dD]"):
        rows = sum(bool(line.strip()) for line in beside.read_bytes().splitlines())
        if objects < rows:
            raise DamagedError(f"it is truncated: it has {objects} objects, {beside.name} has {rows} rows")


def check_csv(path: Path) -> None:
    """Check that quotes are closed."""
    _check_prj(path)
    if read_text(path).count(b'"') % 2:
        raise DamagedError("it is truncated inside quotes")
