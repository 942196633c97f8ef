"""Read parts of a file by their offset: on disk, on a server, or of a member that a zip stores uncompressed."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from s2fast.errors import SceneError
from s2fast.files.objects import ObjectRanges, is_object
from s2fast.files.source import Source
from s2fast.files.web import WebRanges, supports_ranges

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Header of a zip's member: signature, and the lengths of the name and of the extra field that follow."""

_ENCRYPTED = 1
"""Flag of a zip's member."""


class ByteRanges(Protocol):
    """A file whose parts can be read from any thread; what cannot be read is a SceneError."""

    @property
    def size(self) -> int:
        """Size of the file [bytes]."""

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes at an offset; fewer, or none, at the end of the file; at least one is asked for."""


@dataclass(frozen=True, slots=True)
class FileRanges:
    """A part of a file on disk."""

    path: Path
    """The file."""

    start: int
    """Offset of the part [bytes]."""

    size: int
    """Size of the part [bytes]."""

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteRanges`."""
        try:
            with self.path.open("rb", buffering=0) as opened:
                opened.seek(self.start + offset)
                return opened.read(max(0, min(length, self.size - offset)))
        except OSError as error:
            raise SceneError(f"{self.path}: cannot be read: {error.strerror}") from error


def byte_ranges(source: Source) -> ByteRanges | None:
    """Return the parts of a source; None if only GDAL can read it.

    These can be read in parts: a file on disk, a member that a zip on disk stores uncompressed, an object in an object
    store, and a file on a web server that supports range requests.

    Raises
    ------
    SceneError
        A server does not return the file.
    """
    if is_object(source):
        return ObjectRanges(source)
    if supports_ranges(source):
        return WebRanges(source)
    zipped = source.zip_parts
    try:
        if zipped is None:
            return None if source.path is None else FileRanges(source.path, 0, source.path.stat().st_size)
        archive, member = zipped
        return None if archive.path is None else _member(archive.path, member)
    except (OSError, zipfile.BadZipFile, struct.error):
        return None


def _member(archive: Path, name: str) -> FileRanges | None:
    """Return a member of a zip; None if it does not exist, or is compressed or encrypted."""
    status = archive.stat()
    found = _stored(archive, status.st_size, status.st_mtime_ns).get(name)
    if found is None:
        return None
    offset, size = found
    header = FileRanges(archive, offset, _LOCAL_HEADER.size).read(0, _LOCAL_HEADER.size)
    _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    return FileRanges(archive, offset + len(header) + name_bytes + extra_bytes, size)


@lru_cache(maxsize=4)
def _stored(archive: Path, size: int, modified_ns: int) -> dict[str, tuple[int, int]]:
    """Return offset of the header, and size [bytes], of each uncompressed member of a version of a zip, by name."""
    del size, modified_ns  # they identify the version
    with zipfile.ZipFile(archive) as opened:
        return {
            member.filename.replace("\\", "/"): (member.header_offset, member.file_size)
            for member in opened.infolist()
            if member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & _ENCRYPTED
        }
