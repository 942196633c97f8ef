"""Storage of a run folder's files: a local folder or an object store, with the same interface.

Writes are atomic: a file exists completely or not at all, also after a writer is killed. Zarr writes through the same
functions.
"""

from __future__ import annotations

import asyncio
import errno
import os
import platform
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, ObjectStore

from s2fast.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_Response = TypeVar("_Response")

PARTIAL = ".partial"
"""Folder, inside a local run folder, of all partially written files, so that those of a killed run are easy to find."""

LOCK = "run.lock"
"""File that names the writer of a run folder; a folder that contains only this file counts as empty."""

SETTLE_S = 2.0
"""Without conditional writes, time until two concurrent writers can see whose write was the last [s]."""

ABANDONED_S = 3600.0
"""Age at which a partial file counts as abandoned, whichever machine wrote it [s]."""

RETRY: RetryConfig = {"max_retries": 10}
"""Retries of a request that an object store answers with an error, with increasing pauses."""

ATTEMPTS = 3
"""Attempts of a request whose response is truncated; each of them is retried as in `RETRY`."""

CLIENT: ClientConfig = {"timeout": "120s", "allow_http": True}
"""The time-out allows for a table of 100 MB on a slow connection. Plain HTTP is used only for endpoints that ask for
it."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Metadata of a file."""

    size: int
    """[bytes]"""
    written: float
    """Time of the last write [s since 1970]."""


class Storage(Protocol):
    """Files under names such as ``pairs/0a1b.parquet``."""

    @property
    def address(self) -> str:
        """A path or URL that opens the same storage from any process, on any machine that can reach it."""

    def read(self, name: str) -> bytes:
        """Return a file's content; raise FileNotFoundError if it does not exist."""

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file atomically."""

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Write a file only if its content is `before` (None: it does not exist); return whether it is `after` now."""

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with its content; do nothing if it does not exist."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files directly in a folder, sorted; empty if the folder does not exist."""

    def stamps(self) -> dict[str, Stamp]:
        """Return the metadata of all files, at any depth, by name."""

    def is_empty(self) -> bool:
        """Return whether there are no files, except the lock and partial ones."""

    def sweep(self) -> None:
        """Remove partial files of dead writers; files of running ones, here or elsewhere, are kept."""

    def zarr(self, folder: str) -> Store:
        """Open a folder as a Zarr store."""


@lru_cache(maxsize=8)
def open_storage(address: str) -> Storage:
    """Return the storage at a local path, or at a URL such as ``s3://bucket/prefix``; connections are cached.

    Raises
    ------
    ConfigError
        The package for object stores is not installed, or does not support the address.
    """
    return ObjectStorage(address) if "://" in address else LocalStorage(address)


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
            raise _failure("read", str(path), error) from error

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        _write_whole(self._root, name, data)

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """See `Storage`."""
        _make_folders(self._root)
        with _locked(self._root) as locked:
            if _content(self, name) != before:
                return False
            self.write(name, after)
        if not locked:
            time.sleep(SETTLE_S)
        return _content(self, name) == after

    def remove(self, name: str) -> None:
        """See `Storage`."""
        path = self._root / name
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _failure("remove", str(path), error) from error

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file())
        except FileNotFoundError:
            return []

    def stamps(self) -> dict[str, Stamp]:
        """See `Storage`."""
        found = {}
        for folder, _, names in os.walk(self._root):
            below = Path(folder).relative_to(self._root)
            for name in names:
                with suppress(FileNotFoundError):
                    entry = Path(folder, name).stat()
                    found[(below / name).as_posix()] = Stamp(entry.st_size, entry.st_mtime)
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
        return _LocalZarr(self._root / folder)


def _content(storage: Storage, name: str) -> bytes | None:
    """Return a file's content; None if it does not exist."""
    try:
        return storage.read(name)
    except FileNotFoundError:
        return None


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
                raise _failure("write", str(path), error) from error
            _make_folders(partial.parent, path.parent)
        except BaseException as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _failure("write", str(path), error) from error
            raise
        else:
            return


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failure("write", str(folder), error) from error


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


class _LocalZarr(LocalStore):
    """Zarr's local store, writing as `LocalStorage` does."""

    async def set(self, key: str, value: Buffer) -> None:
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        self._check_writable()
        _write_whole(self.root.parent, f"{self.root.name}/{key}", value.as_buffer_like())

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not await self.exists(key):
            await self.set(key, value)


class ObjectStorage:
    """A prefix of a bucket; a file is written by one PUT, so that a killed writer leaves no partial file or upload."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._store = _open(self._url)

    @property
    def address(self) -> str:
        """See `Storage`."""
        return self._url

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        with _converted_errors("read", f"{self._url}/{name}"):
            return _retried(lambda: bytes(self._store.get(name).bytes()))

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        with _converted_errors("write", f"{self._url}/{name}", missing_is_failure=True):
            _retried(lambda: self._store.put(name, data, use_multipart=False))

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """See `Storage`."""
        if before is None:
            made = self._put_if(name, after, "create")
        else:
            try:
                with _converted_errors("read", f"{self._url}/{name}"):
                    found = self._store.get(name)
                    if bytes(found.bytes()) != before:
                        return False
            except FileNotFoundError:
                return False
            version = {part: found.meta[part] for part in ("e_tag", "version") if found.meta[part]}
            made = self._put_if(name, after, version)
        # A server that ignores conditions accepts the second request as well.
        if made and self._put_if(name, after, "create"):
            time.sleep(SETTLE_S)
        # Compare contents: after a lost response the request is repeated, and then its condition fails.
        return _content(self, name) == after

    def _put_if(self, name: str, data: bytes, mode: Any) -> bool:
        """Write a file conditionally; return False if the condition was not met."""
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        with _converted_errors("write", f"{self._url}/{name}", missing_is_failure=True):
            try:
                self._store.put(name, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except (NotImplementedError, NotSupportedError):
                self.write(name, data)
            return True

    def remove(self, name: str) -> None:
        """See `Storage`."""
        with _converted_errors("remove", f"{self._url}/{name}"), suppress(FileNotFoundError):
            below = _retried(lambda: [item["path"] for batch in self._store.list(name) for item in batch])
            _retried(lambda: self._store.delete([name, *below]))

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        with _converted_errors("list", f"{self._url}/{folder}"):
            found = _retried(lambda: self._store.list_with_delimiter(folder or None)["objects"])
            return sorted(str(item["path"]).rpartition("/")[2] for item in found)

    def stamps(self) -> dict[str, Stamp]:
        """See `Storage`."""
        with _converted_errors("list", self._url):
            found = _retried(lambda: [item for batch in self._store.list() for item in batch])
            return {item["path"]: Stamp(item["size"], item["last_modified"].timestamp()) for item in found}

    def is_empty(self) -> bool:
        """See `Storage`."""
        with _converted_errors("list", self._url):
            found: Any = _retried(lambda: next(iter(self._store.list(chunk_size=2)), []))
            return all(item["path"] == LOCK for item in found)

    def sweep(self) -> None:
        """See `Storage`."""

    def zarr(self, folder: str) -> Store:
        """See `Storage`."""
        return _ObjectZarr(_open(f"{self._url}/{folder}"))


def _retried(request: Callable[[], _Response]) -> _Response:
    """Repeat a request whose response is truncated; obstore itself repeats only the reading of a file's content."""
    from obstore.exceptions import GenericError

    for _ in range(ATTEMPTS - 1):
        with suppress(GenericError):
            return request()
    return request()


async def _retried_async(request: Callable[[], Awaitable[_Response]]) -> _Response:
    """Repeat a request whose response is truncated; see `_retried`."""
    from obstore.exceptions import GenericError

    for _ in range(ATTEMPTS - 1):
        with suppress(GenericError):
            return await request()
    return await request()


def _open(url: str) -> Any:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise ConfigError(f"{url} is in an object store, which needs obstore: pip install 's2fast[s3]'") from error
    try:
        return from_url(url, client_options=CLIENT, retry_config=RETRY)
    except (BaseError, ValueError) as error:
        raise ConfigError(f"{url}: {_reason(error)}; write s3://BUCKET/PREFIX") from error


class _ObjectZarr(ObjectStore[Any]):
    """Zarr's object store, with the writes and the errors of `ObjectStorage`."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        get = super().get
        with _converted_errors("read", f"{self.store.prefix}/{key}"):
            return await _retried_async(lambda: get(key, prototype, byte_range))

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        with _converted_errors("write", f"{self.store.prefix}/{key}", missing_is_failure=True):
            await _retried_async(lambda: self.store.put_async(key, value.as_buffer_like(), use_multipart=False))

    async def exists(self, key: str) -> bool:
        exists = super().exists
        with _converted_errors("read", f"{self.store.prefix}/{key}"):
            return await _retried_async(lambda: exists(key))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not await self.exists(key):
            await self.set(key, value)


@contextmanager
def _converted_errors(verb: str, where: str, *, missing_is_failure: bool = False) -> Iterator[None]:
    """Convert object-store errors to RunFolderError; FileNotFoundError passes through unless `missing_is_failure`."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if missing_is_failure:
            raise _failure(verb, where, error) from error
        raise
    except (BaseError, OSError) as error:
        raise _failure(verb, where, error) from error


_ADVICE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free disk space there and run again: complete results are kept"
    ),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "choose an --out that is writable"),
}


def _failure(verb: str, where: str, error: Exception) -> RunFolderError:
    number = error.errno if isinstance(error, OSError) else None
    advice = _ADVICE.get(number or 0, "fix this and run again: complete results are kept")
    return RunFolderError(f"cannot {verb} {where}: {_reason(error)}; {advice}")


def _reason(error: Exception) -> str:
    """Return an error's message in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Drop the server's XML response, and obstore's debug output after an empty line.
    return str(error).partition("\n")[0].partition("<?xml")[0].rstrip(" :,")
