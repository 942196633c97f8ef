"""Where the bytes of a run folder lie: a local folder or an object store, behind the same few operations.

Whatever is written is there whole or not at all, wherever it lies, and a writer that dies leaves nothing that looks
like a result. Zarr writes through the same operations.
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

_Answer = TypeVar("_Answer")

PARTIAL = ".partial"
"""Folder, inside a local run folder, of the files that are being written: one place to look for a dead run's."""

LOCK = "run.lock"
"""File that says who writes a run folder; a folder with nothing else is empty."""

SETTLE_S = 2.0
"""Where nothing is written on a condition, two writers see after this long [s] who was the last."""

ABANDONED_S = 3600.0
"""A file still partial after this long [s] has lost its writer, on whichever machine that was."""

RETRY: RetryConfig = {"max_retries": 10}
"""How often a request that an object store answers with an error is made again, waiting longer each time."""

ANSWERS = 3
"""How often a request is made whose answer is cut short; every time retried as `RETRY` says."""

CLIENT: ClientConfig = {"timeout": "120s", "allow_http": True}
"""A request may take this long: a table of 100 MB on a slow line. Whoever names an endpoint without TLS means it."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file's entry says of it."""

    size: int
    """[bytes]"""
    written: float
    """When it was last written [s since 1970]."""


class Storage(Protocol):
    """Bytes under names such as ``pairs/0a1b.parquet``."""

    @property
    def address(self) -> str:
        """A path or URL that opens the same storage from any process, on any machine that can reach it."""

    def read(self, name: str) -> bytes:
        """Read a file; raises FileNotFoundError if it is not there."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, new or over another, so that it is there whole or not at all."""

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Write a file only if it still holds `before`, None: is not there; return whether it holds `after` now."""

    def remove(self, name: str) -> None:
        """Remove a file, or a folder and what is below it; what is not there is left alone."""

    def names(self, folder: str) -> list[str]:
        """List the files directly in a folder, sorted; a folder that is not there is empty."""

    def stamps(self) -> dict[str, Stamp]:
        """List all files, those in folders too, by name."""

    def is_empty(self) -> bool:
        """Say whether nothing at all is there yet."""

    def sweep(self) -> None:
        """Remove what writers that have died left unfinished; those alive, here or elsewhere, are not disturbed."""

    def zarr(self, folder: str) -> Store:
        """Open a folder as a Zarr store."""


@lru_cache(maxsize=8)
def open_storage(address: str) -> Storage:
    """Open a local path, or a URL such as ``s3://bucket/prefix``; connections are kept for the next caller.

    Raises
    ------
    ConfigError
        The package that speaks to object stores is missing, or does not know the address.
    """
    return ObjectStorage(address) if "://" in address else LocalStorage(address)


class LocalStorage:
    """A folder; files are written aside and moved into place."""

    def __init__(self, path: Path | str) -> None:
        # A worker need not share our working directory.
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
        with _alone(self._root) as alone:
            if _content(self, name) != before:
                return False
            self.write(name, after)
        if not alone:
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
        # A folder that is no longer there, or is not empty, is another run's doing: it sweeps for itself.
        with suppress(OSError):
            for path in folder.iterdir():
                if _is_abandoned(path):
                    path.unlink(missing_ok=True)
            folder.rmdir()

    def zarr(self, folder: str) -> Store:
        """See `Storage`."""
        return _LocalZarr(self._root / folder)


def _content(storage: Storage, name: str) -> bytes | None:
    """Read a file; None if it is not there."""
    try:
        return storage.read(name)
    except FileNotFoundError:
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Keep other processes out of a folder while the block runs; the system ends that with the process.

    Yields whether the file system can.
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
            # The first file of its folder; or somebody has swept the folder of partial files.
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
    """Say whether a partial file's writer is dead: a process of this machine that is gone, or one of any, long ago."""
    node, pid, _ = path.name.rsplit("-", 2)
    if node == platform.node() and not is_alive(int(pid)):
        return True
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except FileNotFoundError:
        return False


def is_alive(pid: int) -> bool:
    """Return whether there is a process of this machine with that id."""
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
    """A prefix of a bucket; a file is one PUT, so a dead writer leaves nothing, not even an unfinished upload."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._store = _open(self._url)

    @property
    def address(self) -> str:
        """See `Storage`."""
        return self._url

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        with _told("read", f"{self._url}/{name}"):
            return _answered(lambda: bytes(self._store.get(name).bytes()))

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        with _told("write", f"{self._url}/{name}", missing_is_failure=True):
            _answered(lambda: self._store.put(name, data, use_multipart=False))

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """See `Storage`."""
        if before is None:
            made = self._put_if(name, after, "create")
        else:
            try:
                with _told("read", f"{self._url}/{name}"):
                    found = self._store.get(name)
                    if bytes(found.bytes()) != before:
                        return False
            except FileNotFoundError:
                return False
            version = {part: found.meta[part] for part in ("e_tag", "version") if found.meta[part]}
            made = self._put_if(name, after, version)
        # A server that knows no conditions lets the second through as well.
        if made and self._put_if(name, after, "create"):
            time.sleep(SETTLE_S)
        # A request may have been made twice, its first answer lost.
        return _content(self, name) == after

    def _put_if(self, name: str, data: bytes, mode: Any) -> bool:
        """Write a file on a condition; return False if it was not met."""
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        with _told("write", f"{self._url}/{name}", missing_is_failure=True):
            try:
                self._store.put(name, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except (NotImplementedError, NotSupportedError):
                self.write(name, data)
            return True

    def remove(self, name: str) -> None:
        """See `Storage`."""
        with _told("remove", f"{self._url}/{name}"), suppress(FileNotFoundError):
            below = _answered(lambda: [item["path"] for batch in self._store.list(name) for item in batch])
            _answered(lambda: self._store.delete([name, *below]))

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        with _told("list", f"{self._url}/{folder}"):
            found = _answered(lambda: self._store.list_with_delimiter(folder or None)["objects"])
            return sorted(str(item["path"]).rpartition("/")[2] for item in found)

    def stamps(self) -> dict[str, Stamp]:
        """See `Storage`."""
        with _told("list", self._url):
            found = _answered(lambda: [item for batch in self._store.list() for item in batch])
            return {item["path"]: Stamp(item["size"], item["last_modified"].timestamp()) for item in found}

    def is_empty(self) -> bool:
        """See `Storage`."""
        with _told("list", self._url):
            found: Any = _answered(lambda: next(iter(self._store.list(chunk_size=2)), []))
            return all(item["path"] == LOCK for item in found)

    def sweep(self) -> None:
        """See `Storage`."""

    def zarr(self, folder: str) -> Store:
        """See `Storage`."""
        return _ObjectZarr(_open(f"{self._url}/{folder}"))


def _answered(ask: Callable[[], _Answer]) -> _Answer:
    """Ask again where the answer was cut short: obstore does so for a file's bytes, not for listings and errors."""
    from obstore.exceptions import GenericError

    for _ in range(ANSWERS - 1):
        with suppress(GenericError):
            return ask()
    return ask()


async def _answered_async(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Ask again where the answer was cut short; see `_answered`."""
    from obstore.exceptions import GenericError

    for _ in range(ANSWERS - 1):
        with suppress(GenericError):
            return await ask()
    return await ask()


def _open(url: str) -> Any:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise ConfigError(f"{url} is an object store: pip install 's2fast[s3]'") from error
    try:
        return from_url(url, client_options=CLIENT, retry_config=RETRY)
    except (BaseError, ValueError) as error:
        raise ConfigError(f"{url}: {_reason(error)}; write s3://BUCKET/PREFIX") from error


class _ObjectZarr(ObjectStore[Any]):
    """Zarr's object store, writing as `ObjectStorage` does and telling failures as it does."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        get = super().get
        with _told("read", f"{self.store.prefix}/{key}"):
            return await _answered_async(lambda: get(key, prototype, byte_range))

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        with _told("write", f"{self.store.prefix}/{key}", missing_is_failure=True):
            await _answered_async(lambda: self.store.put_async(key, value.as_buffer_like(), use_multipart=False))

    async def exists(self, key: str) -> bool:
        exists = super().exists
        with _told("read", f"{self.store.prefix}/{key}"):
            return await _answered_async(lambda: exists(key))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not await self.exists(key):
            await self.set(key, value)


@contextmanager
def _told(verb: str, where: str, *, missing_is_failure: bool = False) -> Iterator[None]:
    """Tell an object store's errors as a run folder's; what is missing stays a FileNotFoundError unless told."""
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
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room there and run again: what was complete is kept"
    ),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "name an --out that may be written"),
}


def _failure(verb: str, where: str, error: Exception) -> RunFolderError:
    number = error.errno if isinstance(error, OSError) else None
    advice = _ADVICE.get(number or 0, "see to it and run again: what was complete is kept")
    return RunFolderError(f"cannot {verb} {where}: {_reason(error)}; {advice}")


def _reason(error: Exception) -> str:
    """Put what went wrong into one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # A server's answer follows as XML, and obstore's own view of it after an empty line.
    return str(error).partition("\n")[0].partition("<?xml")[0].rstrip(" :,")
