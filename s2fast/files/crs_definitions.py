"""Definitions of coordinate reference systems from strangers, which may name files and servers.

PROJ opens the grids that a definition names, and GDAL's general parser takes any other text for a path or an address.
"""

from __future__ import annotations

import html
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyproj

_FORMS = re.compile(
    r"""\s*(?:
    [a-z]\w*\s*[\[(].*  # WKT
    |\{.*  # PROJJSON
    |\+.*  # PROJ's own
    |[a-z]\w*:\w+  # a code of an authority
    |urn:ogc:def:crs:[\w:.,-]+
    |https?://(?:www\.)?opengis\.net/def/crs/[\w/.-]+
    )\s*""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
"""The forms of a definition that name neither a path nor a server."""

_WORDS = re.compile(r"[\w+:. -]*")
"""Other texts that GDAL knows, such as WGS84; it may not take them for files where it reads a raster."""

_PATH = r'[^"]*[/\\~]'

_FILE = re.compile(
    rf"""PARAMETERFILE\s*[\[(]\s*"[^"]*"\s*,\s*"{_PATH}
    |PROJ4_GRIDS"\s*,\s*"{_PATH}
    |"PROJ\ +{_PATH}
    |"value"\s*:\s*"{_PATH}
    |\w=(?:"{_PATH}|[^\s"\]]*[/\\~])
    """.encode(),
    re.VERBOSE | re.IGNORECASE,
)
"""Names of grids in WKT, PROJJSON and PROJ's own form that are paths; plain names are those of PROJ's own grids."""

_IN_XML = re.compile(
    rb"""<(?:SRS|WKT)\b[^>]*>(.*?)</|\bProjection\s*=\s*("[^"]*"|'[^']*')""", re.DOTALL | re.IGNORECASE
)

CURE = "assign another, for example with gdal_edit.py -a_srs EPSG:32636"
"""What to do about a raster whose CRS names a file."""


def names_file(text: bytes | str) -> bool:
    r"""Return whether a text, which may hold more than a definition, makes PROJ open a file outside its own folders.

    Examples
    --------
    >>> names_file('BOUNDCRS[..., PARAMETERFILE["Latitude and longitude difference file", "/home/me/a.gsb"]]')
    True
    >>> names_file('EXTENSION["PROJ4", "+proj=merc +a=6378137 +nadgrids=@null"]')
    False
    """
    content = text.encode(errors="replace") if isinstance(text, str) else text
    return _FILE.search(content) is not None


def xml_names_file(text: bytes) -> bool:
    """Return whether a definition in a virtual raster, or in the metadata beside a raster, names a file or a server."""
    found = (html.unescape(part.decode(errors="replace")) for parts in _IN_XML.findall(text) for part in parts)
    return any(not _is_plain(part) and not _WORDS.fullmatch(part) for part in map(_bare, found))


def _bare(text: str) -> str:
    """Return a definition without blanks and quotes around it."""
    return text.strip().removeprefix("<![CDATA[").removesuffix("]]>").strip(" \t\r\n\"'")


def is_definition(value: Any) -> bool:
    """Return whether a value defines a CRS by itself, and names no file and no server.

    Examples
    --------
    >>> [is_definition(value) for value in ("EPSG:32636", 32636, "http://127.0.0.1/crs", "/home/me/crs.txt")]
    [True, True, False, False]
    """
    if isinstance(value, dict):
        return not names_file(json.dumps(value))
    return _is_plain(value) if isinstance(value, str) else isinstance(value, int)


def is_horizontal(crs: pyproj.CRS) -> bool:
    """Return whether a CRS has longitude and latitude, or is a projection of them; PROJ also takes heights for these.

    Examples
    --------
    >>> import pyproj
    >>> [is_horizontal(pyproj.CRS(code)) for code in ("EPSG:32636", "EPSG:4979", "EPSG:7405", "EPSG:5773", "EPSG:4978")]
    [True, True, True, False, False]
    """
    return bool(crs.is_geographic or crs.is_projected)


@lru_cache(maxsize=256)
def _is_plain(text: str) -> bool:
    return _FORMS.fullmatch(text) is not None and not names_file(text)
