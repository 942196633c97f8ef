"""Where a raster lies: a file, a member of a zip, an address; what GDAL calls it, and what of that may be shown."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from s2fast.errors import InputError
from s2fast.files.redaction import WITH_OPTIONS, public

SCHEMES = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
"""GDAL's names for addresses, by their scheme."""

_ADDRESS = re.compile(r"^(?P<scheme>[a-z0-9+]+)://(?P<rest>.*)$", re.DOTALL | re.IGNORECASE)
_WEB = re.compile(r"^(?:/vsicurl/)?(?P<scheme>https?):/{1,2}(?P<user>[^/]*@)?(?P<rest>.*)$", re.DOTALL | re.IGNORECASE)
_PLAIN_ZIP = re.compile(r"(?P<archive>.+?\.zip(?:\?[^/]*)?)(?:/(?P<member>.*))?$", re.IGNORECASE | re.DOTALL)


_LEAST_SECRET = 4
"""Shorter parts of an address are no secrets, or only between others that are left out with them [characters]."""


def source_path(place: Path | str) -> Path:
    """Turn what a user writes into a path that keeps its meaning as a `Path`.

    Files stay as they are. ``s3://``, ``gs://``, ``az://``, ``http(s)://`` and ``zip://ARCHIVE!/MEMBER`` become GDAL's
    names, and a zip goes into braces, since a `Path` would drop the second slash of ``/vsizip//ARCHIVE``. A web
    address keeps its query and its password: such a path is for opening alone, `gdal_name` is for showing.

    Raises
    ------
    InputError
        The address has a scheme that is not among these, or a query where there can be none.

    Examples
    --------
    >>> source_path("s3://bucket/T36UYA_20160830T083602_TCI.jp2").as_posix()
    '/vsis3/bucket/T36UYA_20160830T083602_TCI.jp2'
    >>> source_path("zip:///data/product.zip!/IMG_DATA/TCI.jp2").as_posix()
    '/vsizip/{/data/product.zip}/IMG_DATA/TCI.jp2'
    """
    text = gdal_address(place) if isinstance(place, Path) else place
    if with_options := WITH_OPTIONS.fullmatch(text):
        text = unquote(with_options["url"])
    web, address = _WEB.match(text), _ADDRESS.match(text)
    if web:
        return Path(f"/vsicurl/{web['scheme'].lower()}://{_quoted(web['user'] or '', web['rest'])}")
    if address and address["scheme"] == "zip":
        # A signature may hold an exclamation mark, hardly one with a slash.
        archive, _, member = address["rest"].partition("!/" if "!/" in address["rest"] else "!")
        return zip_member(_archive_path(archive), member)
    if address:
        scheme = address["scheme"].lower()
        if scheme not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in (*SCHEMES, "zip"))
            raise InputError(f"{public(text)}: scenes are read from files, folders and {known}, not {scheme}://")
        text = SCHEMES[scheme] + address["rest"]
    if text.startswith("/vsizip/"):
        archive, member = _split_zip(text)
        return zip_member(_archive_path(archive), member) if archive else Path(text)
    if re.match(r"/vsi(s3|gs|az)/[^?]*\?.*=", text):
        raise InputError(
            f"{text.partition('?')[0]}: an object store takes no query; give its key or token by the environment "
            "(AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_SAS_TOKEN), or name the signed https:// address"
        )
    return Path(text)


def _quoted(user: str, rest: str) -> str:
    """Quote what a path, or a line of text, would break a web address at; no server is sent the fragment."""
    path, mark, query = rest.partition("#")[0].partition("?")
    allowed = "%:!$&()*+,;=~[]"
    return (
        (quote(user[:-1], safe=allowed) + "@" if user else "")
        + quote(path, safe=f"{allowed}/@")
        + mark
        + quote(query, safe=f"{allowed}@?")
    )


def _archive_path(archive: str) -> Path:
    path = source_path(archive)
    return path if is_virtual(path) else path.resolve()


def zip_member(archive: Path, member: str) -> Path:
    """Name a member of a zip, or with an empty member the zip as a folder."""
    text, depth = str(archive), 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            break
    # GDAL counts braces; where they do not match, it finds the zip by its suffix.
    return Path(f"/vsizip/{text}" if depth else f"/vsizip/{{{text}}}", member.lstrip("/"))


def zip_parts(path: Path) -> tuple[Path, str] | None:
    """Split a path made by `zip_member` into archive and member; None if it is no such path."""
    archive, member = _split_zip(gdal_address(path))
    return (Path(archive), member) if archive else None


def _split_zip(name: str) -> tuple[str, str]:
    """Split GDAL's name of a zip's member into archive and member; empty if it is no such name."""
    text, depth = name.removeprefix("/vsizip/"), 0
    if text == name:
        return "", ""
    if text.startswith("{"):
        for end, character in enumerate(text):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth == 0:
                return text[1:end], text[end + 1 :].lstrip("/")
    plain = _PLAIN_ZIP.match(text)
    return (plain["archive"], plain["member"] or "") if plain else ("", "")


def zip_names(archive: Path) -> list[str]:
    """List the files in a zip, which may itself lie in a zip, as GDAL names them, sorted.

    Raises
    ------
    zipfile.BadZipFile
        The file is no zip, or a part of one, or lies in a zip that has a password.
    """
    try:
        with _opened_zip(archive) as opened:
            return sorted(name for name in _members(opened) if not name.endswith("/"))
    except (zlib.error, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise zipfile.BadZipFile(str(error)) from error


def _members(opened: zipfile.ZipFile) -> dict[str, str]:
    """Map members' names with slashes, as GDAL writes them, to those in the zip; some writers use backslashes."""
    return {name.replace("\\", "/"): name for name in opened.namelist()}


@contextmanager
def _opened_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    nested = zip_parts(archive)
    if nested is None:
        with zipfile.ZipFile(archive) as opened:
            yield opened
        return
    archive, member = nested
    with (
        _opened_zip(archive) as outer,
        outer.open(_members(outer)[member]) as inner,
        zipfile.ZipFile(inner) as opened,
    ):
        yield opened


def is_virtual(path: Path) -> bool:
    """Whether a path is GDAL's name of something that is no file of its own."""
    return str(path).startswith("/vsi")


def is_web(path: Path) -> bool:
    """Whether a path is GDAL's name of a file on a web server."""
    return str(path).startswith("/vsicurl/http")


def web_url(path: Path) -> str:
    """Return the address of a file on a web server, secrets included."""
    return gdal_address(path).removeprefix("/vsicurl/")


def gdal_address(path: Path) -> str:
    """Return what GDAL opens the source by, secrets included: a `Path` keeps all but an address's second slash."""
    text = re.sub(r"(/vsicurl/https?:)/(?!/)", r"\1//", str(path))
    return re.sub(r"^/vsizip/(?![{/])", "/vsizip//", text)


def is_remote(path: Path) -> bool:
    """Whether a path lies on a server, by itself or in a zip there."""
    zipped = zip_parts(path)
    return is_remote(zipped[0]) if zipped else is_virtual(path)


def gdal_name(path: Path) -> str:
    """Return what GDAL calls the source, without what is secret: for messages, tables and records.

    Examples
    --------
    >>> gdal_name(source_path("https://example.org/T36UYA_TCI.tif?sv=2024&sig=Zq7k1x"))
    '/vsicurl/https://example.org/T36UYA_TCI.tif'
    """
    return public(gdal_address(path)) if is_virtual(path) else str(path)


def gdal_says(path: Path, error: BaseException) -> str:
    """Return what GDAL says of a source, without what is secret in its address: GDAL may repeat a part of it alone.

    Examples
    --------
    >>> gdal_says(source_path("https://example.org/TCI.tif?sig=Zq7k1x"), OSError("TCI.tif?sig=Zq7k1x: read error"))
    'TCI.tif?sig=...: read error'
    """
    text, shown = str(error), gdal_name(path)
    words = {word for word in re.split(r"[/?&=@#:]", gdal_address(path)) if len(word) >= _LEAST_SECRET}
    for word in sorted(words, key=len, reverse=True):
        if word not in shown:
            for form in (word, unquote(word), quote(unquote(word), safe="")):
                text = text.replace(form, "...")
    return public(text)


def anchored(place: Path | str) -> Path:
    """Make a place mean the same from every working directory; links are kept, since their names tell the product."""
    path = source_path(place)
    return path if is_virtual(path) else path.absolute()


def absolute(place: Path | str) -> str:
    """Write a place so that it means the same from every working directory, without what is secret."""
    path = source_path(place)
    return gdal_name(path) if is_virtual(path) else str(path.resolve())
