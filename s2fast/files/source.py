"""`Source`: a file, a member of a zip, or a file on a server, identified by GDAL's name for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from s2fast.errors import InputError
from s2fast.files.legible import legible, shortened
from s2fast.files.redaction import SIGNATURE, WITH_OPTIONS, public
from s2fast.files.suffixes import check_characters, check_path, shown

SCHEMES = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
"""GDAL's address prefixes, by the scheme that a user writes."""

HELD = "xarray://"
"""Beginning of the names of arrays in memory; see `Source.held`."""

_ADDRESS = re.compile(r"^(?P<scheme>[a-z0-9+]+)://(?P<rest>.*)$", re.DOTALL | re.IGNORECASE)
_WEB = re.compile(r"^(?:/vsicurl/)?(?P<scheme>https?):/{1,2}(?P<user>[^/]*@)?(?P<rest>.*)$", re.DOTALL | re.IGNORECASE)
"""One slash is enough: converting an address to a `Path` drops the other."""

_ENCODED = re.compile(r"https?%3A%2F%2F", re.IGNORECASE)
_OBJECT = re.compile(r"^(?P<prefix>/vsi(?:s3|gs|az)/)(?P<key>.*)$", re.DOTALL)
_PLAIN_ZIP = re.compile(r"(?P<archive>.+?\.zip(?:\?[^/]*)?)(?:/(?P<member>.*))?$", re.IGNORECASE | re.DOTALL)

_OPTIONS = {
    "url", "use_head", "list_dir", "empty_dir", "max_retry", "retry_delay", "retry_codes", "useragent", "timeout",
    "connecttimeout", "low_speed_time", "low_speed_limit",
}  # fmt: skip
"""Options of ``/vsicurl?`` that do not change what is asked for; the settings of every request serve instead."""

_LEAST_SECRET = 4
"""Minimum length of a secret part of an address [characters]; shorter parts are of no use alone."""

_ELSEWHERE = "See previous exception"
"""Part of rasterio's messages that say nothing themselves."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Georeferencing from a catalogue."""

    crs: str
    """Coordinate reference system, in any form that PROJ reads."""

    transform: tuple[float, ...] | None
    """Affine a, b, c, d, e, f, at pixel corners [CRS units]; None: unknown."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, a member of a zip, or a file on a server.

    Sources with equal names are equal, even if their signatures differ. Pydantic serialises only the name; pickle, for
    worker processes, includes the secret.

    Examples
    --------
    >>> source = Source.of("https://example.org/T36UYA_TCI.tif?sv=2024&sig=Zq7k1x")
    >>> source
    Source(name='/vsicurl/https://example.org/T36UYA_TCI.tif')
    >>> source.url
    'https://example.org/T36UYA_TCI.tif?sv=2024&sig=Zq7k1x'
    """

    name: str
    """GDAL's name, or the path of a local file, without signature and password. Used in tables and records, and for
    comparison; messages show the address as a user writes it."""

    secret: str = field(default="", repr=False, compare=False)
    """GDAL's name if it contains a signature or a password, else empty; see `address`."""

    trusted: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Folders besides its own that a virtual raster may read; see `s2fast.raster.allowed`."""

    held: Any = field(default=None, repr=False, compare=False)
    """The `xarray.DataArray` itself, of a source that is one; see `s2fast.raster.data_array`."""

    placed: Placed | None = field(default=None, repr=False, compare=False)
    """Where a catalogue says that the raster lies, for files without georeferencing."""

    @classmethod
    def of(cls, place: Source | PurePath | str) -> Source:
        """Return the source for a path or address that a user writes.

        Paths of files are kept. ``s3://``, ``gs://``, ``az://``, ``http(s)://`` and ``zip://ARCHIVE!/MEMBER`` are
        converted to GDAL's names, in which braces enclose a zip. GDAL's own names are accepted too.

        Raises
        ------
        InputError
            It is empty or has a zero byte, the file system does not take the path, the scheme is not one of these, an
            address in an object store has a query, or a user and password, or GDAL's options of an address want a
            request that is never sent.

        Examples
        --------
        >>> Source.of("s3://bucket/T36UYA_20160830T083602_TCI.jp2").name
        '/vsis3/bucket/T36UYA_20160830T083602_TCI.jp2'
        >>> Source.of("zip:///data/product.zip!/IMG_DATA/TCI.jp2").name
        '/vsizip/{/data/product.zip}/IMG_DATA/TCI.jp2'
        """
        source = cls.parsed(place)
        if source is not place and (file := source.outermost).is_local:
            check_path(file.name)
        return source

    @classmethod
    def parsed(cls, place: Source | PurePath | str) -> Source:
        """As `of`, but do not ask whether the file system takes a path: a run folder may come from another system."""
        if isinstance(place, Source):
            return place
        text = _address(str(place))
        if not text:
            raise InputError("a path or an address is empty: give one, for this folder '.'")
        check_characters(text)
        if text.startswith(HELD):
            return cls(text)
        if with_options := WITH_OPTIONS.fullmatch(text):
            _check_options(text)
            text = unquote(with_options["url"])
        if web := _WEB.match(text):
            return cls._at(f"/vsicurl/{web['scheme'].lower()}://{_quoted(web['user'] or '', web['rest'])}")
        if address := _ADDRESS.match(text):
            if address["scheme"] == "zip":
                # A signature may contain "!", but hardly "!/".
                archive, _, member = address["rest"].partition("!/" if "!/" in address["rest"] else "!")
                return cls.parsed(archive).resolved().member(member)
            scheme = address["scheme"].lower()
            if scheme not in SCHEMES:
                known = ", ".join(f"{scheme}://" for scheme in (*SCHEMES, "zip"))
                raise InputError(
                    f"{shown(text)}: scenes are read from files, folders and {known}, not {shortened(scheme)}://"
                )
            text = SCHEMES[scheme] + address["rest"]
        if text.startswith("/vsizip/"):
            archive, member = _split_zip(text)
            return cls.parsed(archive).resolved().member(member) if archive else cls._at(text)
        if stored := _OBJECT.match(text):
            if "=" in text.partition("?")[2]:
                raise InputError(
                    f"{shown(text.partition('?')[0])}: addresses in object stores have no query; set the key or token "
                    "in the environment (AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_SAS_TOKEN), or use the signed https:// "
                    "address"
                )
            if "@" in stored["key"].partition("/")[0]:
                raise InputError(
                    f"{shown(text)}: addresses in object stores have no user and password; set the key in the "
                    "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
                )
            return cls._at(stored["prefix"] + _tidied(stored["key"]))
        return cls._at(text) if text.startswith("/vsi") else cls.local(Path(text))

    @classmethod
    def local(cls, path: Path) -> Source:
        """Return the source of a file or folder on disk."""
        return cls(str(path))

    @classmethod
    def _at(cls, address: str) -> Source:
        """Return the source for GDAL's name of it, which may include secrets."""
        if not address.startswith("/vsi"):
            return cls(address)
        name = public(address)
        return cls(name, "" if address == name else address)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Serialise only the name, and validate from it."""
        return core_schema.no_info_after_validator_function(
            cls.parsed,
            core_schema.union_schema([core_schema.is_instance_schema(cls), core_schema.str_schema()]),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda source: source.name, return_schema=core_schema.str_schema()
            ),
        )

    def __str__(self) -> str:
        """Return the address as a user writes it, without secrets: what messages show.

        Examples
        --------
        >>> str(Source.of("/vsicurl/https://example.org/TCI.tif?sig=Zq7k1x")), str(Source.of("/vsis3/bucket/TCI.tif"))
        ('https://example.org/TCI.tif', 's3://bucket/TCI.tif')
        >>> str(Source.of("/data/a.zip").member("b/TCI.jp2"))
        'zip:///data/a.zip!/b/TCI.jp2'
        """
        archive, member = _split_zip(self.name)
        if archive:
            return f"zip://{Source(archive)}!/{member}" if member else str(Source(archive))
        if self.is_web:
            return self.name.removeprefix("/vsicurl/")
        for scheme, prefix in SCHEMES.items():
            if self.name.startswith(prefix):
                return f"{scheme}://{self.name.removeprefix(prefix)}"
        return self.name

    @property
    def address(self) -> str:
        """GDAL's name including secrets; use it only to open the file."""
        return self.secret or self.name

    @property
    def is_local(self) -> bool:
        """Whether it is a file or folder on disk, not a member of a zip."""
        return not self.name.startswith(("/vsi", HELD))

    @property
    def path(self) -> Path | None:
        """The file or folder on disk; None for a zip's member and for a file on a server."""
        return Path(self.name) if self.is_local else None

    @property
    def is_web(self) -> bool:
        """Whether it is a file on a web server, not a member of a zip there."""
        return self.name.startswith("/vsicurl/http")

    @property
    def url(self) -> str:
        """The URL of a file on a web server, including secrets; use it only to open the file."""
        return self.address.removeprefix("/vsicurl/")

    @property
    def is_remote(self) -> bool:
        """Whether it is on a server, as a file or in a zip."""
        return not (self.outermost.is_local or self.is_held)

    @property
    def is_held(self) -> bool:
        """Whether it is an array in memory."""
        return self.name.startswith(HELD)

    @property
    def posix(self) -> PurePosixPath:
        """The name as a path, for its file and folder names; it cannot be opened."""
        return PurePosixPath(self.name)

    @property
    def zip_parts(self) -> tuple[Source, str] | None:
        """The zip and the path in it, empty for the zip itself as a folder; None if the source is not in a zip."""
        archive, member = _split_zip(self.address)
        return (Source._at(archive), member) if archive else None

    @property
    def outermost(self) -> Source:
        """The outermost zip that contains the source; the source itself if it is not in a zip."""
        zipped = self.zip_parts
        return zipped[0].outermost if zipped else self

    def member(self, path: str) -> Source:
        """Return a file or folder in this zip; with an empty path, the zip as a folder."""
        depth = 0
        for character in self.address:
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth < 0:
                break
        # GDAL counts braces; if they do not match, it finds the zip by its suffix.
        archive = self.address if depth else f"{{{self.address}}}"
        return Source._at("/".join(filter(None, ("/vsizip", archive, _tidied(path)))))

    def below(self, path: str) -> Source:
        """Return a file or folder below this folder, on disk or on a web server, with the same signature."""
        if self.path is not None:
            return replace(self, name=str(self.path / path))
        address, mark, query = self.address.partition("?")
        return replace(Source._at(f"{address.rstrip('/')}/{quote(path)}{mark}{query}"), trusted=self.trusted)

    def absolute(self) -> Source:
        """Return the source with an absolute path; links are not resolved, since their names may hold scene ids."""
        return replace(self, name=str(Path(self.name).absolute())) if self.is_local else self

    def trusting(self, folders: tuple[str, ...]) -> Source:
        """Return the source with the folders that it may read if it is a virtual raster."""
        return replace(self, trusted=folders)

    def resolved(self) -> Source:
        """Return the source with an absolute path, links resolved; a link that leads in a circle stays."""
        return Source(os.path.realpath(self.name)) if self.is_local else self

    def redacted(self, error: BaseException) -> str:
        """Return the message of GDAL's error without secrets, even if GDAL repeats only a part of the address.

        Where rasterio's error only refers to the one before, that one's message is returned.

        Examples
        --------
        >>> source = Source.of("https://example.org/TCI.tif?sig=Zq7k1x")
        >>> source.redacted(OSError("TCI.tif?sig=Zq7k1x: read error"))
        'TCI.tif?sig=...: read error'
        """
        text = str(error.__cause__ if error.__cause__ and _ELSEWHERE in str(error) else error)
        words = {word for word in re.split(r"[/?&=@#:]", self.address) if len(word) >= _LEAST_SECRET}
        for word in sorted(words, key=len, reverse=True):
            if word not in self.name:
                for form in (word, unquote(word), quote(unquote(word), safe="")):
                    text = text.replace(form, "...")
        return public(text)


def _address(text: str) -> str:
    """Return an address without the blanks around it, decoded if it, or its signature, was encoded as a whole.

    Any other text is returned as it is, since names of files may begin and end with blanks.

    Examples
    --------
    >>> _address("https%3A%2F%2Fexample.org%2Fa.tif%3Fsv%3D2024%26sig%3DZq7k1xW")
    'https://example.org/a.tif?sv=2024&sig=Zq7k1xW'
    """
    address = text.strip()
    if _ENCODED.match(address):
        return unquote(address)
    if "://" not in address and not address.startswith("/vsi"):
        return text
    if address.startswith("/vsizip/"):
        address = text.lstrip()  # names of members may end with blanks
    path, _, query = address.partition("%3F")
    return f"{path}?{unquote(query)}" if "?" not in address and SIGNATURE.search(f"?{query}") else address


def _check_options(address: str) -> None:
    """Raise InputError for an option of ``/vsicurl?`` that changes who asks, or what is asked for.

    Examples
    --------
    >>> _check_options("/vsicurl?use_head=no&url=https%3A%2F%2Fexample.org%2Fa.tif")
    """
    names = [option.partition("=")[0] for option in address.partition("?")[2].split("&")]
    if dropped := [name for name in names if name.lower() not in _OPTIONS]:
        raise InputError(
            f"{shown(address)}: {legible(unquote(dropped[0]))[:80]}, an option of /vsicurl?, is not supported: use a "
            "signed address, or write user and password into it"
        )


def _quoted(user: str, rest: str) -> str:
    """Percent-encode the characters that end an address in running text, and tidy its path.

    The fragment is dropped, since servers never get it.
    """
    path, mark, query = rest.partition("#")[0].partition("?")
    allowed = "%:!$&()*+,;=~[]"
    folder = "/" if mark and path.endswith(("/", "/.")) else ""
    return (
        (quote(user[:-1], safe=allowed) + "@" if user else "")
        + _tidied(quote(path, safe=f"{allowed}/@"))
        + folder
        + mark
        + quote(query, safe=f"{allowed}@?")
    )


def _tidied(path: str) -> str:
    """Remove empty and ``.`` components, as `Path` does."""
    return "/".join(step for step in path.split("/") if step not in ("", "."))


def _split_zip(address: str) -> tuple[str, str]:
    """Split GDAL's name of a zip's member into archive and member; both are empty for any other name."""
    text, depth = address.removeprefix("/vsizip/"), 0
    if text == address:
        return "", ""
    if text.startswith("{"):
        for end, character in enumerate(text):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth == 0:
                return text[1:end], text[end + 1 :].lstrip("/")
    plain = _PLAIN_ZIP.match(text)
    return (plain["archive"], plain["member"] or "") if plain else ("", "")
