"""`Source`: a file, a member of a zip, or a file on a server, by the name GDAL opens it by."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from s2fast.errors import InputError
from s2fast.files.redaction import WITH_OPTIONS, public

SCHEMES = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
"""GDAL's prefixes of addresses, by the scheme that a user writes."""

_ADDRESS = re.compile(r"^(?P<scheme>[a-z0-9+]+)://(?P<rest>.*)$", re.DOTALL | re.IGNORECASE)
_WEB = re.compile(r"^(?:/vsicurl/)?(?P<scheme>https?):/{1,2}(?P<user>[^/]*@)?(?P<rest>.*)$", re.DOTALL | re.IGNORECASE)
"""One slash is enough: a user's `Path` of an address has lost the other."""

_OBJECT = re.compile(r"^(?P<prefix>/vsi(?:s3|gs|az)/)(?P<key>.*)$", re.DOTALL)
_PLAIN_ZIP = re.compile(r"(?P<archive>.+?\.zip(?:\?[^/]*)?)(?:/(?P<member>.*))?$", re.IGNORECASE | re.DOTALL)

_LEAST_SECRET = 4
"""Shorter parts of an address are no secrets, or only between others that are left out with them [characters]."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, a member of a zip, or a file on a server.

    Sources are equal if their names are, whatever signatures they are opened with. What pydantic writes of a source is
    its name; what pickle writes, for worker processes, includes the secret.

    Examples
    --------
    >>> source = Source.of("https://example.org/T36UYA_TCI.tif?sv=2024&sig=Zq7k1x")
    >>> source
    Source(name='/vsicurl/https://example.org/T36UYA_TCI.tif')
    >>> source.url
    'https://example.org/T36UYA_TCI.tif?sv=2024&sig=Zq7k1x'
    """

    name: str
    """What GDAL calls it, or the path of a local file; without signature and password. For messages, tables, records
    and comparison."""

    secret: str = field(default="", repr=False, compare=False)
    """What GDAL opens it by if that holds a signature or a password, else empty; see `address`."""

    @classmethod
    def of(cls, place: Source | PurePath | str) -> Source:
        """Return the source that a user names.

        Files keep their path. ``s3://``, ``gs://``, ``az://``, ``http(s)://`` and ``zip://ARCHIVE!/MEMBER`` become
        GDAL's names, in which a zip stands in braces. GDAL's own names are accepted too.

        Raises
        ------
        InputError
            The address has a scheme that is not among these, or a query where there can be none.

        Examples
        --------
        >>> Source.of("s3://bucket/T36UYA_20160830T083602_TCI.jp2").name
        '/vsis3/bucket/T36UYA_20160830T083602_TCI.jp2'
        >>> Source.of("zip:///data/product.zip!/IMG_DATA/TCI.jp2").name
        '/vsizip/{/data/product.zip}/IMG_DATA/TCI.jp2'
        """
        if isinstance(place, Source):
            return place
        text = str(place)
        if with_options := WITH_OPTIONS.fullmatch(text):
            text = unquote(with_options["url"])
        if web := _WEB.match(text):
            return cls._at(f"/vsicurl/{web['scheme'].lower()}://{_tidied(_quoted(web['user'] or '', web['rest']))}")
        if address := _ADDRESS.match(text):
            if address["scheme"] == "zip":
                # A signature may hold an exclamation mark, hardly one with a slash.
                archive, _, member = address["rest"].partition("!/" if "!/" in address["rest"] else "!")
                return cls.of(archive).resolved().member(member)
            scheme = address["scheme"].lower()
            if scheme not in SCHEMES:
                known = ", ".join(f"{scheme}://" for scheme in (*SCHEMES, "zip"))
                raise InputError(f"{public(text)}: scenes are read from files, folders and {known}, not {scheme}://")
            text = SCHEMES[scheme] + address["rest"]
        if text.startswith("/vsizip/"):
            archive, member = _split_zip(text)
            return cls.of(archive).resolved().member(member) if archive else cls._at(text)
        if stored := _OBJECT.match(text):
            if "=" in text.partition("?")[2]:
                raise InputError(
                    f"{text.partition('?')[0]}: an object store takes no query; give its key or token by the "
                    "environment (AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_SAS_TOKEN), or name the signed https:// address"
                )
            return cls._at(stored["prefix"] + _tidied(stored["key"]))
        return cls._at(text) if text.startswith("/vsi") else cls.local(Path(text))

    @classmethod
    def local(cls, path: Path) -> Source:
        """Return the source of a file or folder on disk."""
        return cls(str(path))

    @classmethod
    def _at(cls, address: str) -> Source:
        """Return the source that GDAL opens by an address, secrets included."""
        if not address.startswith("/vsi"):
            return cls(address)
        name = public(address)
        return cls(name, "" if address == name else address)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Write the name alone, and read it again."""
        return core_schema.no_info_after_validator_function(
            cls.of,
            core_schema.union_schema([core_schema.is_instance_schema(cls), core_schema.str_schema()]),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def address(self) -> str:
        """What GDAL opens it by, secrets included; for opening alone."""
        return self.secret or self.name

    @property
    def is_local(self) -> bool:
        """Whether it is a file or folder of its own on disk."""
        return not self.name.startswith("/vsi")

    @property
    def path(self) -> Path | None:
        """The file or folder on disk; None of a zip's member and of a file on a server."""
        return Path(self.name) if self.is_local else None

    @property
    def is_web(self) -> bool:
        """Whether it is a file on a web server, not one in a zip there."""
        return self.name.startswith("/vsicurl/http")

    @property
    def url(self) -> str:
        """The address of a file on a web server, secrets included; for opening alone."""
        return self.address.removeprefix("/vsicurl/")

    @property
    def is_remote(self) -> bool:
        """Whether it lies on a server, by itself or in a zip there."""
        return not self.outermost.is_local

    @property
    def posix(self) -> PurePosixPath:
        """The name as a path, to read its file and folder names from, not to open it by."""
        return PurePosixPath(self.name)

    @property
    def zip_parts(self) -> tuple[Source, str] | None:
        """The zip and the path in it, empty for the zip as a folder; None if it does not lie in a zip."""
        archive, member = _split_zip(self.address)
        return (Source._at(archive), member) if archive else None

    @property
    def outermost(self) -> Source:
        """The zip that holds it, or the zip that holds that zip, and so on; itself outside zips."""
        zipped = self.zip_parts
        return zipped[0].outermost if zipped else self

    def member(self, path: str) -> Source:
        """Return a file or folder in this zip; with an empty path the zip as a folder."""
        depth = 0
        for character in self.address:
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth < 0:
                break
        # GDAL counts braces; where they do not match, it finds the zip by its suffix.
        archive = self.address if depth else f"{{{self.address}}}"
        return Source._at("/".join(filter(None, ("/vsizip", archive, _tidied(path)))))

    def absolute(self) -> Source:
        """Return the source as it is named from any working directory; links are kept, since their names may matter."""
        return Source(str(Path(self.name).absolute())) if self.is_local else self

    def resolved(self) -> Source:
        """Return the source as it is named from any working directory, links followed."""
        return Source(str(Path(self.name).resolve())) if self.is_local else self

    def redacted(self, error: BaseException) -> str:
        """Return GDAL's words on this source without what is secret: GDAL may repeat a part of the address alone.

        Examples
        --------
        >>> source = Source.of("https://example.org/TCI.tif?sig=Zq7k1x")
        >>> source.redacted(OSError("TCI.tif?sig=Zq7k1x: read error"))
        'TCI.tif?sig=...: read error'
        """
        text = str(error)
        words = {word for word in re.split(r"[/?&=@#:]", self.address) if len(word) >= _LEAST_SECRET}
        for word in sorted(words, key=len, reverse=True):
            if word not in self.name:
                for form in (word, unquote(word), quote(unquote(word), safe="")):
                    text = text.replace(form, "...")
        return public(text)


def _quoted(user: str, rest: str) -> str:
    """Quote what a line of text would break a web address at; no server is sent the fragment."""
    path, mark, query = rest.partition("#")[0].partition("?")
    allowed = "%:!$&()*+,;=~[]"
    return (
        (quote(user[:-1], safe=allowed) + "@" if user else "")
        + quote(path, safe=f"{allowed}/@")
        + mark
        + quote(query, safe=f"{allowed}@?")
    )


def _tidied(path: str) -> str:
    """Drop empty and ``.`` steps, as a path on disk does."""
    return "/".join(step for step in path.split("/") if step not in ("", "."))


def _split_zip(address: str) -> tuple[str, str]:
    """Split GDAL's name of a zip's member into archive and member; empty if it is no such name."""
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
