"""Names of files and folders: none has a zero byte; those to write are on disk, and suffixes tell their format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from s2fast.arguments import PLACE, check_type
from s2fast.errors import InputError
from s2fast.files.redaction import public

PICTURES = (".png", ".pdf", ".svg")
"""Suffixes of pictures."""

RASTERS = (".tif", ".tiff")
"""Suffixes of rasters."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]+:/|/vsi[a-z0-9_]+/", re.IGNORECASE)
"""Begin of an address, of which a `Path` has dropped one slash, or of GDAL's name for one."""


def check_name(place: Path | str) -> None:
    r"""Raise InputError if a path or an address has a zero byte: no file system takes one.

    Examples
    --------
    >>> check_name("scenes\0")
    Traceback (most recent call last):
    s2fast.errors.InputError: 'scenes\x00' has a zero byte, which no path has: give another
    """
    if "\0" in str(place):
        raise InputError(f"{public(str(place))!r} has a zero byte, which no path has: give another")


def check_on_disk(place: Path | str) -> None:
    """Raise InputError if a file or folder to write is in an object store or on a server, or has a zero byte.

    Examples
    --------
    >>> check_on_disk(Path("s3://bucket/pair.png"))
    Traceback (most recent call last):
    s2fast.errors.InputError: cannot write s3://bucket/pair.png: it is not on disk; name a local path, and upload it
    """
    check_name(place)
    if _ELSEWHERE.match(str(place)):
        address = re.sub(r"^([\w+.-]+:)/(?!/)", r"\1//", str(place))
        raise InputError(f"cannot write {public(address)}: it is not on disk; name a local path, and upload it")


def check_suffix(file: Path | str, allowed: Sequence[str]) -> str:
    """Return the suffix of a file to write, in lower case; called before anything is read.

    Raises
    ------
    InputError
        It is not allowed, or `file` is no path or not on disk.

    Examples
    --------
    >>> check_suffix("shift.TIF", RASTERS)
    '.tif'
    """
    check_type(PLACE, file=file)
    check_on_disk(file)
    suffix = Path(file).suffix.lower()
    if suffix not in allowed:
        *most, last = filter(None, allowed)
        raise InputError(f"cannot write {file}: the name must end in {', '.join(most)} or {last}")
    return suffix
