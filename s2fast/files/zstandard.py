"""Size of what is compressed with Zstandard: four bytes may stand for 128 kB, again and again."""

from __future__ import annotations

_BLOCK_BYTES = 128 << 10
"""Most bytes of a block."""

_RAW, _REPEATED = 0, 1
"""Kinds of blocks that say their size; the others have up to `_BLOCK_BYTES`."""


def decoded_bytes(data: bytes | memoryview) -> int:
    """Return the decoded size of the first frame of Zstandard, or a little more if its header does not say it.

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
    >>> decoded_bytes(Zstd().encode(bytes(1000)))
    1000
    """
    try:
        if bytes(data[:4]) != b"\x28\xb5\x2f\xfd":
            raise ValueError("it is no frame of Zstandard")
        flags = data[4]
        single, size_flag = flags >> 5 & 1, flags >> 6
        at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
        width = (single, 2, 4, 8)[size_flag]
        if width:
            if len(data) < at + width:
                raise IndexError
            return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
        size, last = 0, False
        while not last:
            header = int.from_bytes(data[at : at + 3], "little") if len(data) >= at + 3 else data[len(data)]
            last, kind, block = bool(header & 1), header >> 1 & 3, header >> 3
            size += block if kind in (_RAW, _REPEATED) else _BLOCK_BYTES
            at += 3 + (1 if kind == _REPEATED else block)
    except IndexError as error:
        raise ValueError("it is truncated") from error
    return size
