"""Storage in a local folder: files are written to a temporary name and then renamed.

The folder may be a stranger's: no link in it is followed, for reading nor for writing. The folder itself may be a link.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.errors import RunFolderError
from s2fast.files.replacing import is_abandoned, writers_name
from s2fast.files.storage import LOCK, SETTLE_S, Stamp, content, failure

_MOST_FOLDERS = 4096
"""Most folders that are known to be no links, in one storage."""

PARTIAL = ".partial"
"""Folder, inside a local run folder, of all partially written files, so that those of a killed run are easy to find."""


class LocalStorage:
    """A local folder; files are written to a temporary name and then renamed."""

    def __init__(self, path: Path | str) -> None:
        # A worker may have another working directory.
        self._root = Path(path).absolute()
        self._paths = _HELD.get(self._root) or _Paths(self._root)

    @property
    def address(self) -> str:
        """See `Storage`."""
        return str(self._root)

    def hold(self) -> None:
        """See `Storage`."""
        _HELD[self._root] = self._paths

    def release(self) -> None:
        """See `Storage`."""
        _HELD.pop(self._root, None)

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        path = self._paths.inside(name)
        try:
            return _read_plain(path)
        except NotADirectoryError as error:
            raise FileNotFoundError(path) from error
        except (FileNotFoundError, RunFolderError):
            raise
        except OSError as error:
            raise failure("read", str(path), error) from error

    def mapped(self, name: str) -> npt.NDArray[np.uint8]:
        """See `Storage`."""
        path = self._paths.inside(name)
        try:
            with _opened_plain(path) as opened:
                if not os.fstat(opened.fileno()).st_size:
                    return np.zeros(0, np.uint8)
                return np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
        except (FileNotFoundError, RunFolderError):
            raise
        except OSError as error:
            raise failure("read", str(path), error) from error

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        _write_whole(self._paths, name, data)

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """See `Storage`."""
        _make_root(self._root)
        with _locked(self._root) as locked:
            if content(self, name) != before:
                return False
            self.write(name, after)
        if not locked:
            time.sleep(SETTLE_S)
        return content(self, name) == after

    def remove(self, name: str) -> None:
        """See `Storage`."""
        path = self._paths.inside(name)
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
                self._paths.forget()
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise failure("remove", str(path), error) from error

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        path = self._paths.inside(folder, is_folder=True)
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise failure("read", str(path), error) from error

    def stamps(self) -> dict[str, Stamp]:
        """See `Storage`."""
        found: dict[str, Stamp] = {}
        folders = [""]
        while folders:
            below = folders.pop()
            # A path object per folder, of which a scene has forty, would take as long as all else here.
            with suppress(OSError), os.scandir(f"{self._root}/{below}") as entries:
                for entry in entries:
                    name = f"{below}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{name}/")
                    else:
                        with suppress(FileNotFoundError):
                            status = entry.stat(follow_symlinks=False)
                            found[name] = Stamp(status.st_size, status.st_mtime)
        return found

    def is_empty(self) -> bool:
        """See `Storage`."""
        try:
            return all(path.name in (PARTIAL, LOCK) for path in list(self._root.iterdir()))
        except FileNotFoundError:
            return True
        except NotADirectoryError:
            return False
        except OSError as error:
            raise failure("read", str(self._root), error) from error

    def sweep(self) -> None:
        """See `Storage`."""
        folder = self._paths.inside(PARTIAL, is_folder=True)
        # If the folder has disappeared or is not empty, another run is at work, which sweeps for itself.
        with suppress(OSError):
            for path in folder.iterdir():
                if is_abandoned(path):
                    path.unlink(missing_ok=True)
            folder.rmdir()


class _Paths:
    """Paths in a folder that lead neither outside nor through a link.

    Most files of a run lie in few folders, and every part of a path costs a system call: a folder in it that was found
    to be none, or was made, is not looked at again. Only another process could exchange it.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        """The folder."""
        self._plain: set[str] = set()

    def inside(self, name: str, *, is_folder: bool = False) -> Path:
        """Return the path of a file, or of a folder.

        Parameters
        ----------
        name
            A path relative to the folder, with slashes; a run folder's records may hold any text.
        is_folder
            Whether the last part must not be a link either. A file that is written replaces a link.

        Raises
        ------
        RunFolderError
            The name leads outside, or through a link.
        """
        self._check_name(name)
        if folder := name if is_folder else name.rpartition("/")[0]:
            self._is_plain(folder)
        return Path(f"{self.root}/{name}")

    def to_write(self, name: str) -> Path:
        """Return the path of a file, and make its folders; raise as `inside` does, and OSError."""
        self._check_name(name)
        self._make(name.rpartition("/")[0])
        return Path(f"{self.root}/{name}")

    def made(self, folder: str) -> Path:
        """Return the path of a folder, which is made if there is none; raise as `to_write` does."""
        self._make(folder)
        return Path(f"{self.root}/{folder}")

    def forget(self) -> None:
        """Look at all folders again: one that was there has been removed."""
        self._plain.clear()

    def _check_name(self, name: str) -> None:
        if (".." in name and ".." in name.split("/")) or name.startswith("/") or "\0" in name:
            raise RunFolderError(f"{name[:80]!r} leads out of {self.root}")

    def _make(self, folder: str) -> None:
        """Make a folder and those above it. What is made now is no link: only what is already there is looked at."""
        if not folder or folder in self._plain:
            return
        above = folder.rpartition("/")[0]
        self._make(above)
        try:
            Path(f"{self.root}/{folder}").mkdir()
        except FileExistsError:
            if not self._is_plain(folder):
                raise
        except FileNotFoundError:
            if above:
                raise
            _make_root(Path(self.root))
            self._make(folder)
        self._remember(folder)

    def _is_plain(self, folder: str) -> bool:
        """Return whether a folder exists; raise RunFolderError if its path leads through a link."""
        if folder in self._plain:
            return True
        above = folder.rpartition("/")[0]
        if above and not self._is_plain(above):
            return False
        path = f"{self.root}/{folder}"
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return False
        if stat.S_ISLNK(mode):
            raise _linked(Path(path))
        if not stat.S_ISDIR(mode):
            return False
        self._remember(folder)
        return True

    def _remember(self, folder: str) -> None:
        if len(self._plain) >= _MOST_FOLDERS:
            self._plain.clear()
        self._plain.add(folder)


_HELD: dict[Path, _Paths] = {}
"""What is known of the folders that runs of this process write, whose units open them again and again."""


def _linked(path: Path) -> RunFolderError:
    return RunFolderError(f"{path} is a link: a run folder holds none; put its content there")


def _read_plain(path: Path) -> bytes:
    """Read a file that is no link, pipe or device."""
    with _opened_plain(path) as opened:
        return opened.readall()


@contextmanager
def _opened_plain(path: Path) -> Iterator[io.FileIO]:
    """Open a file that is no link, pipe or device."""
    try:
        handle = os.open(path, _plain_flags(path))
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise _linked(path) from error
        raise
    with io.FileIO(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        yield opened


def _plain_flags(path: Path) -> int:
    """Return the flags that open a file but no link and no pipe; raise RunFolderError for a link where none exists."""
    if not hasattr(os, "O_NOFOLLOW"):  # Windows
        if path.is_symlink():
            raise _linked(path)
        return os.O_RDONLY | getattr(os, "O_BINARY", 0)
    return os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a folder; yield whether the file system supports it.

    The operating system releases the lock if the process dies.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise failure("write", str(folder), error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _write_whole(paths: _Paths, name: str, data: Any) -> None:
    for tries_left in (2, 1, 0):
        partial = None
        try:
            path, partial = paths.to_write(name), paths.made(PARTIAL) / writers_name()
            partial.write_bytes(data)
            partial.replace(path)
        except FileNotFoundError as error:
            # Another process has removed the folder of partial files, or the file's own.
            _discard(partial)
            if not tries_left:
                raise failure("write", f"{paths.root}/{name}", error) from error
            paths.forget()
        except BaseException as error:
            _discard(partial)
            if isinstance(error, OSError) and not isinstance(error, RunFolderError):
                raise failure("write", f"{paths.root}/{name}", error) from error
            raise
        else:
            return


def _discard(partial: Path | None) -> None:
    if partial:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _make_root(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure("write", str(folder), error) from error
