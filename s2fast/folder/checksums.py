"""Checksums of what a run folder holds: CRC-32C of every file, noted by the file that says that a result is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import google_crc32c
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

Sums = Mapping[str, tuple[int, int]]
"""Size [bytes] and checksum of files, by name below the group that holds them."""

_SEAL = "checksum"


def checksum(data: bytes | memoryview) -> int:
    """Return the CRC-32C of some bytes."""
    return int(google_crc32c.value(data))


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Add a checksum to the fields of a JSON object."""
    return {**fields, _SEAL: checksum(_canonical(fields))}


def unsealed(fields: Any) -> dict[str, Any]:
    """Return the fields of a JSON object without their checksum.

    Raises
    ------
    ValueError
        They are not as they were written.
    """
    if not isinstance(fields, dict):
        raise ValueError("it holds no JSON object")
    if _SEAL not in fields:
        raise ValueError("it carries no checksum, as other versions of s2fast wrote it")
    rest = {name: value for name, value in fields.items() if name != _SEAL}
    if fields[_SEAL] != checksum(_canonical(rest)):
        raise ValueError("its checksum is wrong")
    return rest


def fault(data: bytes | memoryview | None, noted: tuple[int, int] | None) -> str | None:
    """Say what is wrong with a file's content, None if it is absent, given what is noted of it; None if nothing is."""
    if data is None:
        return None if noted is None else "it is missing"
    if noted is None:
        return "it does not belong here"
    if (len(data), checksum(data)) != tuple(noted):
        return (
            "its checksum is wrong" if len(data) == noted[0] else f"it has {len(data)} bytes, {noted[0]} were written"
        )
    return None


def _canonical(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


class NotingStore(WrapperStore[Store]):
    """Writes arrays into a group without a look at what is there, and notes what it has written.

    Writers of the same unit write the same bytes: what another has begun is neither needed nor in the way.

    Parameters
    ----------
    store
        Where to write.
    group
        Path of the group.
    """

    def __init__(self, store: Store, group: str) -> None:
        super().__init__(store)
        self._group = group
        self.sums: dict[str, tuple[int, int]] = {}

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Find nothing; see `Store`."""

    async def exists(self, key: str) -> bool:  # noqa: ARG002  the contract's
        """Find nothing; see `Store`."""
        return False

    async def set(self, key: str, value: Buffer) -> None:
        """Write and note; see `Store`."""
        data = value.to_bytes()
        await super().set(key, value)
        self.sums[key.removeprefix(f"{self._group}/")] = len(data), checksum(data)


class CheckedStore(WrapperStore[Store]):
    """Reads arrays of a group, and nothing but what was written.

    Parameters
    ----------
    store
        Where to read.
    group
        Path of the group.
    sums
        What is noted of its files; what is not noted must not be there.
    damaged
        Makes the error to raise, given a file's path and what is wrong with it.
    """

    def __init__(self, store: Store, group: str, sums: Sums, damaged: Callable[[str, str], Exception]) -> None:
        super().__init__(store)
        self._group, self._sums, self._damaged = group, sums, damaged

    def _with_store(self, store: Store) -> CheckedStore:
        return type(self)(store, self._group, self._sums, self._damaged)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read a file and check it; see `Store`. No array of ours is read in parts of chunks."""
        value = await super().get(key, prototype, byte_range)
        wrong = fault(None if value is None else value.to_bytes(), self._sums.get(key.removeprefix(f"{self._group}/")))
        if wrong:
            raise self._damaged(key, wrong)
        return value
