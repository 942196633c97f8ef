"""Text files of limited size: a path may lead to a device that never ends."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 64 << 20
"""Size of the largest file of settings or of truth that is read."""


def read_text(path: Path | str) -> str:
    """Read a text in UTF-8, with or without a byte-order mark.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no UTF-8, or has more than 64 MiB.
    """
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
    return content.decode("utf-8-sig")
