"""List the files in zips, which may lie in other zips."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from s2fast.files.source import Source


def zip_names(archive: Source) -> list[str]:
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
