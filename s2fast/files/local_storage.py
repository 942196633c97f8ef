"""Storage in a local folder: files are written to a temporary name and then renamed."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.storage import LocalStore

from s2fast.files.storage import LOCK, SETTLE_S, Stamp, content, failure

PARTIAL = ".partial"
"""Folder, inside a local run folder, of all partially written files, so that those of a killed run are easy to find."""

ABANDONED_S = 3600.0
"""Age at which a partial file counts as abandoned, whichever machine wrote it [s]."""


class LocalStorage:
    """A local folder; files are written to a temporary name and then renamed."""

    def __init__(self, path: Path | str) -> None:
        # A worker may have another working directory.
        self._root = Path(path).absolute()

    @property
    def address(self) -> str:
        """See `Storage`."""
        return str(self._root)

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        path = self._root / name
        try:
            return path.read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(path) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise failure("read", str(path), error) from error

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        _write_whole(self._root, name, data)

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """See `Storage`."""
        _make_folders(self._root)
        with _locked(self._root) as locked:
            if content(self, name) != before:
                return False
            self.write(name, after)
        if not locked:
            time.sleep(SETTLE_S)
        return content(self, name) == after

    def remove(self, name: str) -> None:
        """See `Storage`."""
        path = self._root / name
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise failure("remove", str(path), error) from error

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file())
        except FileNotFoundError:
            return []

    def stamps(self) -> dict[str, Stamp]:
        """See `Storage`."""
        found: dict[str, Stamp] = {}
        folders = [""]
        while folders:
            below = folders.pop()
            with suppress(OSError), os.scandir(self._root / below) as entries:
                for entry in entries:
                    name = f"{below}{entry.name}"
                    if not entry.is_dir():
                        with suppress(FileNotFoundError):
                            status = entry.stat()
                            found[name] = Stamp(status.st_size, status.st_mtime)
                    elif not entry.is_symlink():
                        folders.append(f"{name}/")
        return found

    def is_empty(self) -> bool:
        """See `Storage`."""
        try:
            return all(path.name in (PARTIAL, LOCK) for path in list(self._root.iterdir()))
        except FileNotFoundError:
            return True
        except NotADirectoryError:
            return False

    def sweep(self) -> None:
        """See `Storage`."""
        folder = self._root / PARTIAL
        # If the folder has disappeared or is not empty, another run is at work, which sweeps for itself.
        with suppress(OSError):
            for path in folder.iterdir():
                if _is_abandoned(path):
                    path.unlink(missing_ok=True)
            folder.rmdir()

    def zarr(self, folder: str) -> Store:
        """See `Storage`."""
        return LocalStore(self._root / folder, read_only=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a folder; yield whether the file system supports it.

    The operating system releases the lock if the process dies.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _write_whole(root: Path, name: str, data: Any) -> None:
    path = root / name
    partial = root / PARTIAL / f"{platform.node()}-{os.getpid()}-{secrets.token_hex(8)}"
    for may_lack_folders in (True, True, False):
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except FileNotFoundError as error:
            # The file is the first of its folder, or another process has removed the folder of partial files.
            if not may_lack_folders:
                raise failure("write", str(path), error) from error
            _make_folders(partial.parent, path.parent)
        except BaseException as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise failure("write", str(path), error) from error
            raise
        else:
            return


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise failure("write", str(folder), error) from error


def _is_abandoned(path: Path) -> bool:
    """Return whether a partial file has no writer: its process on this machine has ended, or the file is too old."""
    node, pid, _ = path.name.rsplit("-", 2)
    if node == platform.node() and not is_alive(int(pid)):
        return True
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except FileNotFoundError:
        return False


def is_alive(pid: int) -> bool:
    """Return whether a process with that id exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
