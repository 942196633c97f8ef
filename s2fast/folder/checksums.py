"""CRC-32C checksums of a run folder's files, recorded in the seal file that marks a result as complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import google_crc32c

Sums = Mapping[str, tuple[int, int]]
"""Size [bytes] and checksum of each file, by its name relative to its group."""

_SEAL = "checksum"


_PART_BYTES = 1 << 20
"""Bytes of a memory view that are copied at once."""


def checksum(data: bytes | memoryview) -> int:
    """Return the CRC-32C of bytes."""
    if not isinstance(data, memoryview):
        return int(google_crc32c.value(data))
    found = 0
    for start in range(0, len(data), _PART_BYTES):  # the library takes bytes only: copy a part at a time
        found = google_crc32c.extend(found, bytes(data[start : start + _PART_BYTES]))
    return int(found)


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a JSON object with their checksum added."""
    return {**fields, _SEAL: checksum(_canonical(fields))}


def unsealed(fields: Any) -> dict[str, Any]:
    """Verify the checksum of a JSON object and return its other fields.

    Raises
    ------
    ValueError
        The checksum is missing or wrong.
    """
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    if _SEAL not in fields:
        raise ValueError("it has no checksum: another version of s2fast wrote it")
    rest = {name: value for name, value in fields.items() if name != _SEAL}
    if fields[_SEAL] != checksum(_canonical(rest)):
        raise ValueError("its checksum is wrong")
    return rest


def describe_mismatch(data: bytes | memoryview | None, recorded: tuple[int, int] | None) -> str | None:
    """Return how a file differs from its recorded size and checksum, or None if it does not.

    Parameters
    ----------
    data
        The file's content; None: the file does not exist.
    recorded
        Size [bytes] and checksum; None: no such file was written.
    """
    if data is None:
        return None if recorded is None else "it is missing"
    if recorded is None:
        return "no such file was written"
    if (len(data), checksum(data)) != tuple(recorded):
        return "its checksum is wrong" if len(data) == recorded[0] else f"it has {len(data)} bytes, not {recorded[0]}"
    return None


def _canonical(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
