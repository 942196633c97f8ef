"""Storage in an object store: a file is one object, written by one request."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from s2fast.errors import ConfigError
from s2fast.files.legible import shortened
from s2fast.files.storage import LOCK, SETTLE_S, Stamp, content, failure, reason
from s2fast.files.suffixes import shown

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_Response = TypeVar("_Response")

RETRY: RetryConfig = {"max_retries": 10}
"""Retries of a request that an object store answers with an error, with increasing pauses."""

ATTEMPTS = 3
"""Attempts of a request whose response is truncated; each of them is retried as in `RETRY`."""

CLIENT: ClientConfig = {"timeout": "120s", "allow_http": True}
"""The time-out allows for a table of 100 MB on a slow connection. Plain HTTP is used only for endpoints that ask for
it."""


class ObjectStorage:
    """A prefix of a bucket; a file is written by one PUT, so that a killed writer leaves no partial file or upload."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._store = _open(self._url)

    @property
    def address(self) -> str:
        """See `Storage`."""
        return self._url

    def hold(self) -> None:
        """Do nothing: object stores have no links."""

    def release(self) -> None:
        """Do nothing."""

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        with _converted_errors("read", f"{self._url}/{name}"):
            return _retried(lambda: bytes(self._store.get(name).bytes()))

    def mapped(self, name: str) -> npt.NDArray[np.uint8]:
        """See `Storage`; an object is read whole."""
        return np.frombuffer(bytearray(self.read(name)), np.uint8)

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
        return content(self, name) == after

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


def _retried(request: Callable[[], _Response]) -> _Response:
    """Repeat a request whose response is truncated; obstore itself repeats only the reading of a file's content."""
    from obstore.exceptions import GenericError

    for _ in range(ATTEMPTS - 1):
        with suppress(GenericError):
            return request()
    return request()


def _open(url: str) -> Any:
    if "?" in url:
        raise ConfigError(
            f"{shown(url.partition('?')[0])}: addresses in object stores have no query; set the key or token in the "
            "environment (AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_SAS_TOKEN)"
        )
    if url.lower().startswith(("http:", "https:")):
        raise ConfigError(f"{shown(url)}: a web server is no object store: write s3://BUCKET/PREFIX, or a folder")
    if not re.fullmatch(r"[\w+.-]+://[^/].*", url):
        raise ConfigError(f"{shown(url)}// names no bucket: write s3://BUCKET/PREFIX")
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise ConfigError(
            f"{shown(url)} is in an object store, which needs obstore: pip install 's2fast[s3]'"
        ) from error
    try:
        return from_url(url, client_options=CLIENT, retry_config=RETRY)
    except (BaseError, ValueError) as error:
        raise ConfigError(f"{shown(url)}: {shortened(reason(error))}; write s3://BUCKET/PREFIX") from error


@contextmanager
def _converted_errors(verb: str, where: str, *, missing_is_failure: bool = False) -> Iterator[None]:
    """Convert object-store errors to RunFolderError; FileNotFoundError passes through unless `missing_is_failure`."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if missing_is_failure:
            raise failure(verb, where, error) from error
        raise
    except (BaseError, OSError) as error:
        raise failure(verb, where, error) from error
