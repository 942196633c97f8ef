"""Where polygons lie: a file, a folder, a zip, an address; and on disk for as long as they are read."""

from __future__ import annotations

import hashlib
import http.client
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from s2fast.errors import InputError
from s2fast.files.source import Source
from s2fast.files.storage import open_storage

_PARTS = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg"),
    ".tab": (".dat", ".map", ".id", ".ind"),
    ".mif": (".mid",),
    ".csv": (".csvt", ".prj"),
    ".gml": (".xsd",),
}
"""Files that belong to another of the same name."""

_SUFFIXES = (
    ".shp", ".gpkg", ".gdb", ".parquet", ".geoparquet", ".fgb", ".geojson", ".geojsonl", ".geojsons", ".topojson",
    ".kml", ".gml", ".gpx", ".tab", ".mif",
)  # fmt: skip
"""What is looked for in a folder or a zip."""

_OTHER_SUFFIXES = (".json", ".csv")
"""What is looked for there if there is nothing else: these often hold no polygons."""

_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class RegionFile:
    """A file of polygons, known by its content."""

    source: Annotated[Source, Field(alias="path")]
    """A file, folder or zip, a zip's member, or an address without password and query; in run.json its name, under
    ``path``."""

    content: str
    """Hash of the bytes of the file and of those that belong to it."""

    data: Annotated[bytes, Field(exclude=True)] = field(default=b"", compare=False, repr=False)
    """The bytes themselves if they came from an address: workers need not ask again. Not part of run.json."""

    @classmethod
    def at(cls, place: Path | str) -> RegionFile:
        """Identify a file, a folder of files, a zip or an address.

        Raises
        ------
        InputError
            There is none, or it cannot be read.
        """
        source = Source.of(place)
        archive, member = source.zip_parts or (source, "")
        digest = hashlib.blake2b(digest_size=16)
        if archive.path is None:
            known, data = _downloaded(str(place))
            digest.update(data)
            return cls(known, digest.hexdigest(), data)
        try:
            source.name.encode()
            for part in _files(archive.path):
                digest.update(part.read_bytes())
        except UnicodeEncodeError as error:
            raise InputError(f"the name of the regions file {source.name!r} is not UTF-8: rename it") from error
        except OSError as error:
            raise InputError(f"cannot read the regions file {source}: {error.strerror}") from error
        return cls(source if member else archive.resolved(), digest.hexdigest())

    def __str__(self) -> str:
        return self.source.name

    @contextmanager
    def datasets(self) -> Iterator[list[Path]]:
        """Yield the files on disk that hold the polygons; of a zip or an address, in a temporary folder.

        Raises
        ------
        InputError
            The zip cannot be unpacked, or nothing in it or in the folder is a file of polygons.
        """
        archive, member = self.source.zip_parts or (self.source, "")
        with tempfile.TemporaryDirectory(prefix="s2fast-") as temporary:
            place = Path(archive.name)
            if self.data:
                place = Path(temporary, place.name)
                place.write_bytes(self.data)
            if _is_zip(place):
                folder = Path(temporary, "unpacked")
                try:
                    with zipfile.ZipFile(place) as opened:
                        opened.extractall(folder)
                except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, ValueError) as error:
                    raise InputError(f"{self}: the zip cannot be unpacked ({error})") from error
                place = folder / member
            if not place.exists():
                raise InputError(f"{self}: there is no such file in the zip")
            yield _found(place, str(self))


def is_geodatabase(path: Path) -> bool:
    """Whether a folder is an ESRI file geodatabase."""
    return path.suffix.lower() == ".gdb" and path.is_dir()


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as source:
        return source.read(4) in (b"PK\3\4", b"PK\5\6")


def _found(place: Path, name: str) -> list[Path]:
    """List the files and geodatabases with polygons at a place, sorted; a file counts whatever it is called."""
    if not place.is_dir() or is_geodatabase(place):
        return [place]
    # macOS leaves a shadow of every file, under the file's name and suffix.
    inside = [
        path
        for path in sorted(place.rglob("*"))
        if (path.is_file() or is_geodatabase(path))
        and not any(part.startswith(("._", "__MACOSX")) for part in path.relative_to(place).parts)
    ]
    for suffixes in (_SUFFIXES, _OTHER_SUFFIXES):
        found = [path for path in inside if path.suffix.lower() in suffixes]
        if found:
            return found
    looked = ", ".join((*_SUFFIXES, *_OTHER_SUFFIXES))
    raise InputError(f"{name} holds no polygons: looked for {looked} at any depth")


def _files(place: Path) -> list[Path]:
    """List the files that make up what is found at a place."""
    files = []
    for path in _found(place, str(place)):
        if is_geodatabase(path):
            files += sorted(part for part in path.iterdir() if part.is_file() and part.suffix != ".lock")
            continue
        suffixes = _PARTS.get(path.suffix.lower(), ())
        beside = [part for part in path.parent.glob("*") if part.stem == path.stem] if suffixes else []
        files.append(path)
        files += [part for suffix in suffixes for part in sorted(beside) if part.suffix.lower() == suffix]
        wal = path.with_name(f"{path.name}-wal")  # what an open GeoPackage has not merged yet
        files += [wal] if wal.exists() else []
    return files


def _downloaded(address: str) -> tuple[Source, bytes]:
    """Read an address; also its source, without what may be secret in it."""
    if address.startswith("/vsicurl/"):
        address = address.removeprefix("/vsicurl/")
    told = urlsplit(address)
    plain = told._replace(query="", fragment="", netloc=told.netloc.rpartition("@")[2]).geturl()
    source = Source.of(plain)
    try:
        if told.scheme not in ("http", "https"):
            folder, _, name = plain.rpartition("/")
            return source, open_storage(folder).read(name)
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as response:  # noqa: S310  the scheme is known
            return source, bytes(response.read())
    except urllib.error.HTTPError as error:
        with error:
            raise InputError(f"cannot read the regions file {plain}: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read the regions file {plain}: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError) as error:
        # Their texts may repeat the address.
        raise InputError(f"cannot read the regions file {plain}: {type(error).__name__}") from error
