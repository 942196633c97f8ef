"""Arrays of Zarr stores whose files a function reads."""

from __future__ import annotations

import asyncio
import atexit
import json
from collections.abc import AsyncIterator, Iterable
from math import prod
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core import sync as zarr_sync
from zarr.core.buffer import Buffer, BufferPrototype

from s2fast.raster.zarr_codecs import bounded
from s2fast.raster.zarr_metadata import Fetch, Node

# Zarr's thread ends with the process. Zarr waits for it for a fifth of a second, which is too short on a busy machine,
# and then prints a traceback.
atexit.unregister(zarr_sync.cleanup_resources)


_LEAST_BYTES = 1 << 20
"""Size up to which chunks are always decoded: one kind of compression inside another adds a little."""

_MOST_ITEM_BYTES = 8
"""Most bytes of a value."""


def open_array(fetch: Fetch, path: str, node: Node) -> zarr.Array[Any]:
    """Open an array of a store by the description that was checked: its files may say something else by now, or always.

    Parameters
    ----------
    fetch
        Reads the store's files.
    path
        The array.
    node
        What the store says of it.
    """
    most_bytes = _LEAST_BYTES + prod(node.chunks) * _MOST_ITEM_BYTES
    documents = dict(node.documents)
    if node.version == 3:
        of_array = documents["zarr.json"]
        documents["zarr.json"] = {**of_array, "codecs": bounded(of_array["codecs"], most_bytes, 3)}
    else:
        of_array = documents[".zarray"]
        filters = [bounded(codec, most_bytes, 2) for codec in of_array.get("filters") or ()]
        compressor = bounded(of_array.get("compressor"), most_bytes, 2)
        documents[".zarray"] = {**of_array, "compressor": compressor, "filters": filters or None}
    described = {f"{path}/{name}" if path else name: json.dumps(said).encode() for name, said in documents.items()}
    store = _FetchedStore(lambda name: described[name] if name in described else fetch(name))
    return zarr.open_array(store, path=path, mode="r", zarr_format=3 if node.version == 3 else 2)


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
