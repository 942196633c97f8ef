"""Storage of a run folder's files: a local folder or an object store, with the same interface.

Writes are atomic: a file exists completely or not at all, also after a writer is killed.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from s2fast.errors import RunFolderError
from s2fast.files.legible import shortened

LOCK = "run.lock"
"""File that names the writer of a run folder; a folder that contains only this file counts as empty."""

SETTLE_S = 2.0
"""Without conditional writes, time until two concurrent writers can see whose write was the last [s]."""


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

    def hold(self) -> None:
        """Share what is known of the folder with storages that this process opens, until `release`: it writes it."""

    def release(self) -> None:
        """End `hold`."""

    def read(self, name: str) -> bytes:
        """Return a file's content; raise FileNotFoundError if it does not exist."""

    def mapped(self, name: str) -> npt.NDArray[np.uint8]:
        """Return a file's content as bytes that are loaded when they are used, where the storage can do so.

        The array may be written to, which does not change the file. Raises FileNotFoundError if it does not exist.
        """

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


def content(storage: Storage, name: str) -> bytes | None:
    """Return a file's content; None if it does not exist."""
    try:
        return storage.read(name)
    except FileNotFoundError:
        return None


_CLOSED = (errno.EACCES, errno.EPERM)
"""Errors of files that another user may read, but not this one."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk."""

FREE_SPACE = "free disk space there"
"""Advice in messages about a full disk, by which they are told from others."""

_ADVICE = {
    **dict.fromkeys(FULL, f"{FREE_SPACE} and run again: complete results are kept"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "choose a folder that is writable"),
}


_MOST_SHOWN = 1024
"""Characters of an address in a message; a foreign run folder may name scenes of any length."""


def failure(verb: str, where: str, error: Exception) -> RunFolderError:
    """Return the error for a failed operation on a file, with advice."""
    number = error.errno if isinstance(error, OSError) else None
    advice = _ADVICE.get(number or 0, "fix this and run again: complete results are kept")
    if verb == "read" and number in _CLOSED:
        advice = "ask its owner for the right to read it"
    why = reason(error)
    if why == NO_CREDENTIALS and not where.startswith("s3"):
        why = f"no credentials for {where.partition(':')[0]}://: set the environment variables of this store"
    return RunFolderError(f"cannot {verb} {shortened(where, _MOST_SHOWN)}: {why}; {advice}")


_METADATA = re.compile(r"169\.254\.\d+\.\d+|/latest/(api/token|meta-data)")
"""Where S3 clients look for credentials if the environment has none: the metadata of a machine in the cloud."""

NO_CREDENTIALS = (
    "no S3 credentials: set the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and, for a server "
    "other than Amazon's, AWS_ENDPOINT_URL)"
)


def lacks_credentials(error: Exception) -> bool:
    """Return whether a request to an object store failed because the environment has no credentials."""
    return _METADATA.search(str(error)) is not None


def reason(error: Exception) -> str:
    """Return an error's message in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if lacks_credentials(error):
        return NO_CREDENTIALS
    # Drop the server's XML response, and obstore's debug output after an empty line.
    return str(error).partition("\n")[0].partition("<?xml")[0].rstrip(" :,")
