"""Where a raster lies: a file, a member of a zip, an address; and what GDAL calls it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from s2fast.errors import InputError

SCHEMES = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
"""GDAL's names for addresses, by their scheme."""

_ADDRESS = re.compile(r"^(?P<scheme>[a-z0-9+]+)://(?P<rest>.*)$", re.DOTALL)
_ZIP = re.compile(r"^/vsizip/(?:\{(?P<braced>[^}]+)\}|(?P<plain>.+?\.zip))(?:/(?P<member>.*))?$", re.IGNORECASE)


def source_path(place: Path | str) -> Path:
    """Turn what a user writes into a path that keeps its meaning as a `Path`.

    Files stay as they are. ``s3://``, ``gs://``, ``az://``, ``http(s)://`` and ``zip://ARCHIVE!/MEMBER`` become GDAL's
    names, and a zip goes into braces, since a `Path` would drop the second slash of ``/vsizip//ARCHIVE``.

    Raises
    ------
    InputError
        The address has a scheme that is not among these.

    Examples
    --------
    >>> source_path("s3://bucket/T36UYA_20160830T083602_TCI.jp2").as_posix()
    '/vsis3/bucket/T36UYA_20160830T083602_TCI.jp2'
    >>> source_path("zip:///data/product.zip!/IMG_DATA/TCI.jp2").as_posix()
    '/vsizip/{/data/product.zip}/IMG_DATA/TCI.jp2'
    """
    text = str(place)
    address = _ADDRESS.match(text)
    if address and address["scheme"] == "zip":
        archive, _, member = address["rest"].partition("!")
        return zip_member(_archive_path(archive), member)
    if address:
        if address["scheme"] not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in (*SCHEMES, "zip"))
            raise InputError(f"{text}: scenes are read from files, folders and {known}, not {address['scheme']}://")
        return Path(SCHEMES[address["scheme"]] + address["rest"])
    zipped = _ZIP.match(text)
    if zipped:
        return zip_member(_archive_path(zipped["braced"] or zipped["plain"]), zipped["member"] or "")
    return Path(text)


def _archive_path(archive: str) -> Path:
    return Path(archive) if archive.startswith("/vsi") else Path(archive).resolve()


def zip_member(archive: Path, member: str) -> Path:
    """Name a member of a zip, or with an empty member the zip as a folder."""
    return Path(f"/vsizip/{{{archive}}}", member.lstrip("/"))


def zip_parts(path: Path) -> tuple[Path, str] | None:
    """Split a path made by `zip_member` into archive and member; None if it is no such path."""
    match = _ZIP.match(str(path))
    return (Path(match["braced"] or match["plain"]), match["member"] or "") if match else None


def zip_names(archive: Path) -> list[str]:
    """List the files in a zip, sorted.

    Raises
    ------
    zipfile.BadZipFile
        The file is no zip, or a part of one.
    """
    with zipfile.ZipFile(archive) as opened:
        return sorted(name for name in opened.namelist() if not name.endswith("/"))


def is_virtual(path: Path) -> bool:
    """Whether a path is GDAL's name of something that is no file of its own."""
    return str(path).startswith("/vsi")


def gdal_name(path: Path) -> str:
    """Return what GDAL calls the source: of an address a `Path` keeps all but the second slash.

    Examples
    --------
    >>> gdal_name(source_path("https://example.org/T36UYA_TCI.tif"))
    '/vsicurl/https://example.org/T36UYA_TCI.tif'
    """
    return re.sub(r"^(/vsicurl/https?:)/(?!/)", r"\1//", str(path))


def anchored(place: Path | str) -> Path:
    """Make a place mean the same from every working directory; links are kept, since their names tell the product."""
    path = source_path(place)
    return path if is_virtual(path) else path.absolute()


def absolute(place: Path | str) -> str:
    """Write a place so that it means the same from every working directory."""
    path = source_path(place)
    return gdal_name(path) if is_virtual(path) else str(path.resolve())
