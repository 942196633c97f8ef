"""Errors of writing in one line: those of GDAL, by which a full disk shows, and those of a full disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from s2fast.errors import InputError, S2FastError
from s2fast.files.storage import FREE_SPACE, FULL

_READ = "Read failed"
"""In rasterio's message about a file that is read meanwhile."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Convert errors about files that are written to a folder to InputError.

    GDAL writes the end of a file when it is closed: the block must close it.
    """
    try:
        yield
    except S2FastError:
        raise
    except (OSError, RasterioError, CPLE_BaseError) as error:
        if _READ in str(error):
            raise
        # rasterio's own message refers to the exception before it.
        cause = error.__cause__ if isinstance(error.__cause__, CPLE_BaseError) else error
        reason = getattr(error, "strerror", None) or str(cause).strip().rstrip(".")
        raise InputError(f"cannot write to {folder}: {reason}; {FREE_SPACE}, or choose another") from error


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Convert errors of a full disk, while files are written to a folder, to InputError; others pass."""
    try:
        yield
    except S2FastError:
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        why = f"{os.strerror(error.errno)}; {FREE_SPACE} and run again: complete results are kept"
        raise InputError(f"cannot write to {folder}: {why}") from error
