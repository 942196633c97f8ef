"""Choose the storage for an address."""

from __future__ import annotations

from functools import lru_cache

from s2fast.errors import ConfigError
from s2fast.files.local_storage import LocalStorage
from s2fast.files.object_storage import ObjectStorage
from s2fast.files.storage import Storage
from s2fast.files.suffixes import check_name, shown


def open_storage(address: str) -> Storage:
    """Return the storage at a local path, or at a URL such as ``s3://bucket/prefix``.

    Raises
    ------
    ConfigError
        The package for object stores is not installed, or does not support the address.
    InputError
        The file system does not take the path, or the address has a zero byte.
    """
    check_name(address)
    # Only connections are cached: a relative path is another folder once the working directory has changed.
    if address.startswith("/vsi"):
        raise ConfigError(f"{shown(address)} is GDAL's name of an address: write s3://BUCKET/PREFIX, or a folder")
    return open_bucket(address) if "://" in address else LocalStorage(address)


@lru_cache(maxsize=8)
def open_bucket(address: str) -> Storage:
    """Return the storage at a URL; connections are cached."""
    return ObjectStorage(address)
