"""Arrays of Zarr stores whose files a function reads."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import AsyncIterator, Iterable
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core import sync as zarr_sync
from zarr.core.buffer import Buffer, BufferPrototype

from s2fast.raster.zarr_metadata import Fetch

# Zarr's thread ends with the process. Zarr waits for it for a fifth of a second, which is too short on a busy machine,
# and then prints a traceback.
atexit.unregister(zarr_sync.cleanup_resources)


def open_array(fetch: Fetch, path: str, version: int) -> zarr.Array[Any]:
    """Open an array of a store, written in this version of the format (2 or 3)."""
    return zarr.open_array(_FetchedStore(fetch), path=path, mode="r", zarr_format=3 if version == 3 else 2)


class _FetchedStore(Store):
    """A store that only reads, by a function."""

    def __init__(self, fetch: Fetch) -> None:
        super().__init__(read_only=True)
        self._fetch = fetch

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a file, or a part of it."""
        data = await asyncio.to_thread(self._fetch, key)
        if data is None:
            return None
        if isinstance(byte_range, RangeByteRequest):
            data = data[byte_range.start : byte_range.end]
        elif isinstance(byte_range, OffsetByteRequest):
            data = data[byte_range.offset :]
        elif isinstance(byte_range, SuffixByteRequest):
            data = data[-byte_range.suffix :]
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of files."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether there is a file."""
        return await asyncio.to_thread(self._fetch, key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Refuse."""
        raise NotImplementedError

    def list(self) -> AsyncIterator[str]:
        """Refuse."""
        raise NotImplementedError

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse."""
        raise NotImplementedError

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse."""
        raise NotImplementedError
