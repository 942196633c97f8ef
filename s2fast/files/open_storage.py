"""Choose the storage for an address."""

from __future__ import annotations

from functools import lru_cache

from s2fast.files.local_storage import LocalStorage
from s2fast.files.object_storage import ObjectStorage
from s2fast.files.storage import Storage


@lru_cache(maxsize=8)
def open_storage(address: str) -> Storage:
    """Return the storage at a local path, or at a URL such as ``s3://bucket/prefix``; connections are cached.

    Raises
    ------
    ConfigError
        The package for object stores is not installed, or does not support the address.
    """
    return ObjectStorage(address) if "://" in address else LocalStorage(address)
