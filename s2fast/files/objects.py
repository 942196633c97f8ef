"""Scenes in object stores, read with obstore: their versions, and parts of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from s2fast.errors import SceneError
from s2fast.files.source import SCHEMES, Source
from s2fast.files.storage import NO_CREDENTIALS, lacks_credentials

_Response = TypeVar("_Response")


def is_object(source: Source) -> bool:
    """Return whether a source is an object in a store, not a member of a zip there."""
    return object_url(source) is not None


class ObjectRanges:
    """A scene in an object store; see `s2fast.files.ranges.ByteRanges`.

    Raises
    ------
    SceneError
        The source is not in an object store, obstore is not installed, or (also by all methods) the store does not
        return what is asked for.
    """

    def __init__(self, source: Source) -> None:
        self._name, url = str(source), object_url(source)
        if url is None:
            raise SceneError(f"{source}: cannot determine its version; use a file, a zip or an address such as s3://")
        try:
            import obstore
            from obstore.store import from_url
        except ImportError as error:
            raise SceneError(f"{source}: scenes on a server need obstore: pip install 's2fast[s3]'") from error
        folder, _, self._key = url.rpartition("/")
        unsigned = os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1")
        # Plain HTTP is for self-hosted servers; GDAL allows it too.
        options: Any = {"client_options": {"allow_http": True}}
        if unsigned and url.startswith("s3://"):
            options["skip_signature"] = True
        self._obstore = obstore
        self._store = self._asked(lambda: from_url(folder, **options))

    def version(self) -> str:
        """Return size, and ETag or modification time."""
        found = self._head
        return f"{found['size']} {found['e_tag'] or found['last_modified'].isoformat()}"

    @property
    def size(self) -> int:
        """See `ByteRanges`."""
        return int(self._head["size"])

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteRanges`."""
        return self._asked(lambda: bytes(self._obstore.get_range(self._store, self._key, start=offset, length=length)))

    @cached_property
    def _head(self) -> Any:
        return self._asked(lambda: self._obstore.head(self._store, self._key))

    def _asked(self, request: Callable[[], _Response]) -> _Response:
        """Make a request; convert its errors."""
        from obstore.exceptions import BaseError

        try:
            return request()
        except (BaseError, OSError) as error:
            reason = " ".join(str(error).split("\n\nDebug source")[0].partition("<?xml")[0].split())
            if lacks_credentials(error):
                reason = f"{NO_CREDENTIALS}, or AWS_NO_SIGN_REQUEST=YES for a public bucket"
            raise SceneError(f"{self._name}: cannot be read from the server: {reason}") from error


def object_url(source: Source) -> str | None:
    """Return the URL that obstore knows; None for other sources."""
    prefixes = tuple(prefix for scheme, prefix in SCHEMES.items() if not scheme.startswith("http"))
    return str(source) if source.name.startswith(prefixes) else None
