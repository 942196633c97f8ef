"""Locate polygon files: in a file, a folder, a zip or at an address; unpack them to disk while they are read."""

from __future__ import annotations

import errno
import hashlib
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from s2fast.errors import InputError, SceneError
from s2fast.files import web
from s2fast.files.objects import object_url
from s2fast.files.open_storage import open_storage
from s2fast.files.places import exists, is_file
from s2fast.files.source import Source
from s2fast.files.storage import FULL
from s2fast.files.temporary import temporary_folder
from s2fast.files.writing import room_in

_PARTS = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg"),
    ".tab": (".dat", ".map", ".id", ".ind"),
    ".mif": (".mid",),
    ".csv": (".csvt", ".prj"),
    ".gml": (".xsd", ".gfs"),
}
"""Suffixes of sidecar files with the same name, by the suffix of the main file."""

_SUFFIXES = (
    ".shp", ".gpkg", ".gdb", ".parquet", ".geoparquet", ".fgb", ".geojson", ".geojsonl", ".geojsons", ".topojson",
    ".kml", ".gml", ".gpx", ".tab", ".mif",
)  # fmt: skip
"""Files to look for in a folder or a zip."""

_OTHER_SUFFIXES = (".json", ".csv")
"""Files to look for if there are none of `_SUFFIXES`: these often contain no polygons."""

_MAX_MEMBERS = 10_000
"""Members of a zip that is unpacked."""

_MAX_UNPACKED_BYTES = 4 << 30
"""Largest file of polygons, unpacked."""

_MAX_FILE_BYTES = 16 << 30
"""Largest file, which is hashed before it is read."""

_MAX_RATIO = 100
"""Largest ratio of compression of a zip; text of polygons reaches 30."""

_FREE_BYTES = 16 << 20
"""Zips that unpack to no more may have any ratio."""

_SQLITE = b"SQLite format 3\0"

_WAL = 2
"""Versions of reading and writing of a database in WAL mode, after its page size."""


@dataclass(frozen=True, slots=True)
class RegionFile:
    """A file of polygons, identified by a hash of its content."""

    source: Annotated[Source, Field(alias="path")]
    """A file, folder or zip, a zip's member, or an address without password and query; run.json stores its name as
    ``path``."""

    content: str
    """Hash of the bytes of the file and its sidecar files."""

    data: Annotated[bytes, Field(exclude=True)] = field(default=b"", compare=False, repr=False)
    """The file's bytes if it was downloaded, so that workers need not download it again. Not part of run.json."""

    @classmethod
    def at(cls, path: Path | str) -> RegionFile:
        """Return the region file at a path or an address: a file, a folder of files or a zip.

        Raises
        ------
        InputError
            There is no such file, or it cannot be read.
        """
        source = Source.of(path)
        archive, member = source.zip_parts or (source, "")
        digest = hashlib.blake2b(digest_size=16)
        if archive.path is None:
            data = _download(archive)
            digest.update(data)
            return cls(Source(source.name), digest.hexdigest(), data)
        try:
            source.name.encode()
            for part in _files(archive.path):
                if (size := part.stat().st_size) > _MAX_FILE_BYTES:
                    raise OSError(
                        errno.EFBIG, f"{part.name} has {size} bytes, at most {_MAX_FILE_BYTES} are read: cut it"
                    )
                with part.open("rb") as opened:
                    hashlib.file_digest(opened, lambda: digest)
        except UnicodeEncodeError as error:
            raise InputError(f"the name of the regions file {source.name!r} is not UTF-8: rename it") from error
        except OSError as error:
            raise InputError(f"cannot read the regions file {source}: {error.strerror}") from error
        return cls(source if member else archive.resolved(), digest.hexdigest())

    def __str__(self) -> str:
        return str(self.source)

    @contextmanager
    def datasets(self) -> Iterator[list[Path]]:
        """Yield the polygon files on disk; a zip or a download is unpacked into a temporary folder.

        Raises
        ------
        InputError
            The zip cannot be unpacked, or the zip or the folder contains no polygon file.
        """
        archive, member = self.source.zip_parts or (self.source, "")
        with temporary_folder() as temporary, room_in(temporary):
            path = Path(archive.name)
            if self.data:
                path = temporary / path.name
                path.write_bytes(self.data)
            if _is_zip(path):
                folder = temporary / "unpacked"
                try:
                    with zipfile.ZipFile(path) as opened:
                        _check_zip(opened, str(self))
                        opened.extractall(folder)
                except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, ValueError) as error:
                    if getattr(error, "errno", None) in FULL:
                        raise
                    raise InputError(f"{self}: the zip cannot be unpacked ({error})") from error
                path = folder / member
            if not exists(path):
                raise InputError(f"{self}: there is no such file in the zip")
            try:
                found = [_unwritten(file, temporary) for file in _polygon_files(path, str(self))]
            except OSError as error:
                if error.errno in FULL:
                    raise
                raise InputError(f"cannot read the regions file {self}: {error.strerror}") from error
            yield found


class RegionRows(BaseModel):
    """How each row of the regions file is used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: dict[str, int]
    """Number of rows of each layer read; their sum counts the used, outside and dropped rows."""
    used: int
    """Number of rows that cover pixels of a scene."""
    mended: dict[str, str]
    """Defects of rows that were repaired, by row name; such a row is used or outside."""
    outside: list[str]
    """Rows that lie outside all scenes, or only touch a scene's edge and cover none of its pixels."""
    dropped: dict[str, str]
    """Reasons why rows cannot be used, by row name."""


def _check_zip(opened: zipfile.ZipFile, name: str) -> None:
    """Raise InputError if a zip would unpack to much more than a file of polygons needs.

    A member ends where its declared size does, as zipfile reads it, so the declared sizes suffice.
    """
    members = opened.infolist()
    if len(members) > _MAX_MEMBERS:
        raise InputError(f"{name} has {len(members)} members, at most {_MAX_MEMBERS} are unpacked: unpack it yourself")
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > _MAX_UNPACKED_BYTES or size > _FREE_BYTES + _MAX_RATIO * packed:
        raise InputError(
            f"{name} unpacks from {packed} to {size} bytes, at most {_MAX_UNPACKED_BYTES} and {_MAX_RATIO} times as "
            "many are unpacked: unpack it yourself"
        )


def _unwritten(path: Path, temporary: Path) -> Path:
    """Return a path at which a file is read without a change to it, or to its folder, which may not be writable.

    SQLite merges into a database what its last writer left beside it, and makes files beside one in WAL mode: such a
    GeoPackage is copied, and merged there.
    """
    changes = [beside for end in ("-wal", "-journal") if exists(beside := path.with_name(f"{path.name}{end}"))]
    if not path.is_file():
        return path
    with path.open("rb") as source:
        head = source.read(len(_SQLITE) + 4)
    if not head.startswith(_SQLITE) or not (changes or _WAL in head[len(_SQLITE) + 2 :]):
        return path
    folder = Path(tempfile.mkdtemp(dir=temporary))
    for part in (path, *changes):
        shutil.copyfile(part, folder / part.name)
    copy = folder / path.name
    with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as base:  # opening it says what is wrong
        base.execute("PRAGMA journal_mode = delete")
    return copy


def is_geodatabase(path: Path) -> bool:
    """Return whether a path is an ESRI file geodatabase, which is a folder."""
    return path.suffix.lower() == ".gdb" and path.is_dir()


def _is_zip(path: Path) -> bool:
    if not is_file(path):
        return False
    with path.open("rb") as source:
        return source.read(4) in (b"PK\3\4", b"PK\5\6")


def _polygon_files(root: Path, name: str) -> list[Path]:
    """Return the polygon files and geodatabases in a folder, sorted; or `root` itself if it is a file of any name."""
    if not root.is_dir() or is_geodatabase(root):
        return [root]
    # Skip macOS's metadata files, which have the suffixes of the files they belong to.
    inside = [
        path
        for path in sorted(_below(root))
        if (path.is_file() or is_geodatabase(path))
        and not any(part.startswith(("._", "__MACOSX")) for part in path.relative_to(root).parts)
    ]
    for suffixes in (_SUFFIXES, _OTHER_SUFFIXES):
        found = [path for path in inside if path.suffix.lower() in suffixes]
        if found:
            return found
    looked = ", ".join((*_SUFFIXES, *_OTHER_SUFFIXES))
    raise InputError(f"{name} holds no polygons: looked for {looked} at any depth")


def _below(root: Path) -> Iterator[Path]:
    """Yield all files and folders in a folder, at any depth; raise OSError if one cannot be listed."""
    for path in root.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)


def _files(root: Path) -> list[Path]:
    """Return all files that belong to the polygon files at a path, sidecar files included.

    Raises
    ------
    OSError
        One is a pipe or a device, which would be waited for.
    """
    files = []
    for path in _polygon_files(root, str(root)):
        if is_geodatabase(path):
            files += sorted(part for part in path.iterdir() if part.is_file() and part.suffix != ".lock")
            continue
        suffixes = _PARTS.get(path.suffix.lower(), ())
        beside = [part for part in path.parent.glob("*") if part.stem == path.stem] if suffixes else []
        for part in (path, *beside):
            if part.exists() and not (part.is_file() or part.is_dir()):
                raise OSError(
                    errno.EINVAL, f"{part.name} is a pipe or a device, not a file: copy its content to a file"
                )
        files.append(path)
        files += [part for suffix in suffixes for part in sorted(beside) if part.suffix.lower() == suffix]
        wal = path.with_name(f"{path.name}-wal")  # changes that an open GeoPackage has not merged yet
        files += [wal] if exists(wal) else []
    return files


def _download(source: Source) -> bytes:
    """Return the content of a file on a server.

    Raises
    ------
    InputError
        The server does not return it.
    """
    try:
        if source.is_web:
            data = web.content(source.url, _MAX_UNPACKED_BYTES)
            if data is None:
                raise InputError(f"cannot read the regions file {source}: its server has no such file")
            return data
        folder, _, name = (object_url(source) or source.name).rpartition("/")
        return open_storage(folder).read(name)
    except SceneError as error:
        raise InputError(f"cannot read the regions file: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read the regions file {object_url(source)}: {error.strerror or error}") from error
