"""What lies at a path; unlike pathlib, in one line where the file system does not tell."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from s2fast.errors import InputError
from s2fast.files.suffixes import shown

_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
"""Errors of paths at which nothing can lie."""


def exists(path: Path | str) -> bool:
    """Return whether there is a file or a folder.

    Raises
    ------
    InputError
        The file system does not tell: a folder on the way may not be searched, or a link leads in a circle.

    Examples
    --------
    >>> exists("/"), exists("a" * 5000)
    (True, False)
    """
    return _mode(path) != 0


def is_file(path: Path | str) -> bool:
    """Return whether there is a file; raise InputError as `exists` does."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path | str) -> bool:
    """Return whether there is a folder; raise InputError as `exists` does."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path | str) -> int:
    """Return the mode of what lies at a path, links followed; 0 if nothing does."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116  it may be a text
    except ValueError:  # a zero byte, or half a character
        return 0
    except OSError as error:
        if error.errno in _NOTHING:
            return 0
        raise InputError(f"cannot read {shown(path)}: {error.strerror}; correct this, or name another") from error
