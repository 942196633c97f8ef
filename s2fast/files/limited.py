"""Files that are read as a whole, up to a size: a path may lead to a device that never ends."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 64 << 20
"""Size of the largest file of settings, of truth or of pairs that is read."""


def read_bytes(path: Path | str, most_bytes: int) -> bytes:
    """Read a file; raise OSError if that is not possible, ValueError if it has more bytes."""
    with Path(path).open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes >> 20} MiB")
    return content


def read_text(path: Path | str) -> str:
    """Read a text in UTF-8, with or without a byte-order mark.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no UTF-8, or has more than 64 MiB.
    """
    return read_bytes(path, MOST_BYTES).decode("utf-8-sig")
