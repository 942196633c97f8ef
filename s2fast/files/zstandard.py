"""Size of what is compressed with Zstandard: four bytes may stand for 128 kB, again and again."""

from __future__ import annotations

_BLOCK_BYTES = 128 << 10
"""Most bytes of a block."""

_RAW, _REPEATED = 0, 1
"""Kinds of blocks that say their size; the others have up to `_BLOCK_BYTES`."""

_FRAME, _SKIPPED = 0xFD2FB528, 0x184D2A50
"""First four bytes of a frame, and of one that holds no data, whose last four bits are any."""

_CHECKSUM_BYTES = 4
"""Size of the checksum after a frame."""


def decoded_bytes(data: bytes | memoryview) -> int:
    """Return the decoded size of all frames of Zstandard, or a little more if their headers do not say it.

    Raises
    ------
    ValueError
        It is no frame, or truncated.

    References
    ----------
    RFC 8878, section 3.1.1.

    Examples
    --------
    >>> from numcodecs.zstd import Zstd
    >>> decoded_bytes(Zstd().encode(bytes(1000)) + Zstd().encode(bytes(24)))
    1024
    """
    if not len(data):
        raise ValueError("it is truncated")
    size = at = 0
    while at < len(data):
        try:
            more, at = _frame(data, at)
        except IndexError as error:
            raise ValueError("it is truncated") from error
        size += more
    return size


def _frame(data: bytes | memoryview, start: int) -> tuple[int, int]:
    """Return the decoded size of a frame, and where it ends."""
    kind = _number(data, start, 4)
    if kind & ~0xF == _SKIPPED:
        end = start + 8 + _number(data, start + 4, 4)
        return 0, end
    if kind != _FRAME:
        raise ValueError("it is no frame of Zstandard")
    flags = data[start + 4]
    single, size_flag = flags >> 5 & 1, flags >> 6
    at = start + 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[size_flag]
    declared = _number(data, at, width) + (256 if width == 2 else 0)
    at += width
    size, last = 0, False
    while not last:
        header = _number(data, at, 3)
        last, of_block, block = bool(header & 1), header >> 1 & 3, header >> 3
        size += block if of_block in (_RAW, _REPEATED) else _BLOCK_BYTES
        at += 3 + (1 if of_block == _REPEATED else block)
    end = at + _CHECKSUM_BYTES * (flags >> 2 & 1)
    if end > len(data):
        raise IndexError
    return declared if width else size, end


def _number(data: bytes | memoryview, at: int, width: int) -> int:
    if at + width > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + width], "little")
