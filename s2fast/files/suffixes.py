"""Names of files and folders: a file system takes them; those to write are on disk, and suffixes tell their format."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from s2fast.arguments import PLACE, check_type
from s2fast.errors import InputError
from s2fast.files.legible import shortened
from s2fast.files.redaction import public

PICTURES = (".png", ".pdf", ".svg")
"""Suffixes of pictures."""

RASTERS = (".tif", ".tiff")
"""Suffixes of rasters."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]+:/|/vsi[a-z0-9_]+/", re.IGNORECASE)
"""Begin of an address, of which a `Path` has dropped one slash, or of GDAL's name for one."""


_FITS_BYTES = 143
"""Length of a name that every file system takes: encrypted ones take the shortest."""


def check_characters(place: Path | str) -> None:
    r"""Raise InputError if a path or an address has a zero byte, or half a character: no file system takes these.

    Examples
    --------
    >>> check_characters("scenes\0")
    Traceback (most recent call last):
    s2fast.errors.InputError: 'scenes\x00' has a zero byte, which no path has: give another
    """
    if "\0" in str(place):
        raise InputError(f"{shown(place)!r} has a zero byte, which no path has: give another")
    try:
        os.fsencode(str(place))
    except UnicodeEncodeError as error:
        raise InputError(f"{shown(place)!r} is no name that UTF-8 can write: give another") from error


def check_name(place: Path | str) -> None:
    """Raise InputError if the file system does not take a path; of an address, only the characters are checked.

    Called where paths come in, so that whatever is asked about them later, they are there or not.

    Examples
    --------
    >>> check_name("a" * 5000)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    s2fast.errors.InputError: 'aa...aa' is a longer name than the file system takes: give a shorter one
    """
    check_characters(place)
    if not _ELSEWHERE.match(str(place)):
        check_path(place)


def check_path(place: Path | str) -> None:
    """As `check_name`, of what is on disk, whatever it looks like."""
    check_characters(place)
    text = str(place)
    # A name may be too long in a folder that does not exist, too.
    for name in (text, *PurePath(text).parts):
        if len(os.fsencode(name)) > _FITS_BYTES and _is_too_long(name):
            raise InputError(f"{shown(place)!r} is a longer name than the file system takes: give a shorter one")


def _is_too_long(name: str) -> bool:
    try:
        os.lstat(name)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def shown(place: Path | str) -> str:
    """Return a path or an address as part of a message: without secrets, its middle left out if it is long."""
    return shortened(public(str(place)))


def check_on_disk(place: Path | str) -> None:
    """Raise InputError if a file or folder to write is in an object store or on a server, or has no possible name.

    Examples
    --------
    >>> check_on_disk(Path("s3://bucket/pair.png"))
    Traceback (most recent call last):
    s2fast.errors.InputError: cannot write s3://bucket/pair.png: it is not on disk; name a local path, and upload it
    """
    check_name(place)
    if _ELSEWHERE.match(str(place)):
        address = re.sub(r"^([\w+.-]+:)/(?!/)", r"\1//", str(place))
        raise InputError(f"cannot write {shown(address)}: it is not on disk; name a local path, and upload it")


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
        raise InputError(f"cannot write {shown(file)}: the name must end in {', '.join(most)} or {last}")
    return suffix
