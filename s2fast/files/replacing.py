"""Files that appear whole or not at all: they are written under a partial name and then renamed."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from s2fast.files.processes import is_alive

ABANDONED_S = 3600.0
"""Age at which a partial file counts as abandoned, whichever machine wrote it [s]."""

_PREFIX = ".partial-"
"""Start of the names of partial files that lie beside the files they become."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a partial file, with the same suffix; at the end, rename it to `path`.

    After an error, the file at `path` is as before and no partial file is left.

    Raises
    ------
    OSError
        The partial file was not written or cannot be renamed.
    """
    partial = path.with_name(f"{_PREFIX}{writers_name()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def writers_name() -> str:
    """Return a name that no other partial file has, and by which `is_abandoned` recognises its writer."""
    return f"{platform.node()}-{os.getpid()}-{secrets.token_hex(8)}"


def is_abandoned(path: Path) -> bool:
    """Return whether a partial file has no writer: its process on this machine has ended, or the file is too old."""
    node, pid, _ = f"--{path.name.removeprefix(_PREFIX)}".rsplit("-", 2)
    if node.lstrip("-") == platform.node() and pid.isdecimal() and not is_alive(int(pid)):
        return True
    try:
        return time.time() - path.lstat().st_mtime > ABANDONED_S
    except FileNotFoundError:
        return False


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left in a folder of their partial files."""
    for path in folder.glob(f"{_PREFIX}*"):
        if is_abandoned(path):
            path.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Write an empty partial file and remove it; raise OSError if that is not possible."""
    probe = folder / f"{_PREFIX}{writers_name()}"
    probe.write_bytes(b"")
    probe.unlink()
