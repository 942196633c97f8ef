"""List and read the files in zips, also in zips within zips."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from s2fast.files.source import Source

_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 9)
"""Methods of compression that GDAL reads; 9 is deflate with 64 KiB."""

_METHODS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA", 93: "Zstandard", 95: "xz"}
"""Names of other methods."""

_OTHER_ARCHIVE = re.compile(r".*\.(tar(\.\w+)?|tgz|tbz2?|txz|7z|rar)", re.IGNORECASE)
"""Names of archives that are no zips."""

_ENCRYPTED = 1
"""Bit of a member's flags."""


def unread_archive(name: str) -> str:
    """Return why an archive is not read, and what to do, by its name; empty for a zip and for any other file.

    Examples
    --------
    >>> unread_archive("LC08_L1TP_174036_20190807_20200827_02_T1.tar")
    'it is an archive, but no zip, and is not read: unpack it'
    """
    return "it is an archive, but no zip, and is not read: unpack it" if _OTHER_ARCHIVE.fullmatch(name) else ""


def zip_names(archive: Source) -> list[str]:
    """Return GDAL's names of the files in a zip, which may itself be in a zip, sorted; raise as `zip_files` does."""
    return list(zip_files(archive))


def zip_files(archive: Source) -> dict[str, str]:
    """Return why the files in a zip cannot be read, empty for those that can, by GDAL's names, sorted.

    Raises
    ------
    zipfile.BadZipFile
        The file is not a complete zip, or is in a zip with a password.
    """
    try:
        with _opened_zip(archive) as opened:
            names = sorted(_members(opened).items())
            return {name: _fault(opened.getinfo(member)) for name, member in names if not name.endswith("/")}
    except (zlib.error, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise zipfile.BadZipFile(str(error)) from error


def _fault(member: zipfile.ZipInfo) -> str:
    if member.flag_bits & _ENCRYPTED:
        return "it is encrypted: unpack the zip with its password"
    if member.compress_type not in _READ:
        method = _METHODS.get(member.compress_type, f"method {member.compress_type}")
        return f"it is compressed by {method}, which is not read: unpack the zip, or make it again with deflate"
    return ""


def _members(opened: zipfile.ZipFile) -> dict[str, str]:
    """Map GDAL's names of members, with slashes, to those in the zip, which may have backslashes."""
    return {name.replace("\\", "/"): name for name in opened.namelist()}


@contextmanager
def _opened_zip(archive: Source) -> Iterator[zipfile.ZipFile]:
    nested = archive.zip_parts
    if nested is None:
        with zipfile.ZipFile(archive.name) as opened:
            yield opened
        return
    archive, member = nested
    with (
        _opened_zip(archive) as outer,
        outer.open(_members(outer)[member]) as inner,
        zipfile.ZipFile(inner) as opened,
    ):
        yield opened


def zip_head(archive: Source, member: str, most_bytes: int) -> bytes:
    """Return the first bytes of a member of a zip, by GDAL's name; raise as `zip_member` does."""
    try:
        with _opened_zip(archive) as opened, opened.open(_members(opened)[member]) as inner:
            return inner.read(most_bytes)
    except (zlib.error, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise zipfile.BadZipFile(str(error)) from error


def zip_member(archive: Source, member: str, max_bytes: int) -> bytes:
    """Return the content of a member of a zip, by GDAL's name.

    Raises
    ------
    zipfile.BadZipFile
        The zip is not complete, or the member is missing, damaged or larger than `max_bytes`.
    """
    try:
        with _opened_zip(archive) as opened, opened.open(_members(opened)[member]) as inner:
            content = inner.read(max_bytes + 1)
    except (zlib.error, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise zipfile.BadZipFile(str(error)) from error
    if len(content) > max_bytes:
        raise zipfile.BadZipFile(f"{member} has more than {max_bytes} bytes")
    return content
