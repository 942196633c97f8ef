"""The format of a file to write, by the suffix of its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2fast.errors import InputError

PICTURES = (".png", ".pdf", ".svg")
"""Suffixes of pictures."""

RASTERS = (".tif", ".tiff")
"""Suffixes of rasters."""


def check_suffix(file: Path | str, allowed: Sequence[str]) -> str:
    """Return the suffix of a file to write, in lower case; called before anything is read.

    Raises
    ------
    InputError
        It is not allowed.

    Examples
    --------
    >>> check_suffix("shift.TIF", RASTERS)
    '.tif'
    """
    suffix = Path(file).suffix.lower()
    if suffix not in allowed:
        *most, last = filter(None, allowed)
        raise InputError(f"cannot write {file}: the name must end in {', '.join(most)} or {last}")
    return suffix
