"""Temporary folders that leave nothing behind: removed at the end, when the process is stopped, or by the next one."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "s2fast-tmp-"

_NEW_S = 60.0
"""Age up to which a folder may belong to a process that has yet to lock it [s]."""

_held: dict[Path, int | None] = {}
"""The folders of this process, and what holds their locks."""

_lock = threading.Lock()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder, and remove it with its content at the end."""
    folder = make_folder()
    try:
        yield folder
    finally:
        remove_folder(folder)


def make_folder() -> Path:
    """Return a new folder, which is locked until `remove_folder`, and remove those of processes that were killed."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with _lock:
        _held[folder] = _locked(folder)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder from `make_folder`; do nothing if that has been done."""
    with _lock:
        if folder not in _held:
            return
        handle = _held.pop(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if handle is not None:
        os.close(handle)


def remove_folders() -> None:
    """Remove all folders of this process, which is about to end at once."""
    for folder in list(_held):
        shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> int | None:
    """Lock a folder; return the open file that holds the lock, None if another process does, or it cannot be locked.

    The operating system releases the lock if the process dies.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _sweep() -> None:
    """Remove this user's folders that no process holds."""
    if sys.platform == "win32":  # without locks, none is known to be left
        return
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if not entry.name.startswith(_PREFIX):
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if time.time() - status.st_mtime < _NEW_S or status.st_uid != os.getuid():
                    continue
                if (handle := _locked(Path(entry.path))) is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(handle)
