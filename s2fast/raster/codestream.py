"""Parse JPEG 2000 files: where the codestream begins, what its main header says, and which bytes belong to which tile.

Only markers are read, no pixels. Any file that does not follow the standard gives None or no parts; GDAL then reads it,
or names the damage.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from s2fast.files.ranges import ByteRanges

_SOC, _SIZ, _COD, _TLM, _PPM, _SOT, _SOD, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF55, 0xFF60, 0xFF90, 0xFF93, 0xFFD9
"""Markers of ISO/IEC 15444-1, annex A."""

_SOT_BYTES = 12
"""Marker, length, tile, length of the tile-part, number of the tile-part, number of tile-parts."""

_EOC_BYTES = 2
"""Length of the marker at the end of a codestream."""

_CHUNK_BYTES = 8 << 10
"""Bytes read at once while boxes and markers are searched; the boxes before a Sentinel-2 codestream take 2.5 kB."""

_MOST_BYTES = 16 << 20
"""Maximum size of a main header. A larger one is not followed."""

_PLAIN_BYTE = (7, 1, 1)
"""Depth, minus one and with the sign, and subsampling of a component with an unsigned 8-bit sample at every pixel."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """A codestream in a file, and its main header."""

    start: int
    """Offset of the first tile-part in the file [bytes]."""

    end: int | None
    """Offset after the codestream; None: it ends with the file."""

    header: bytes
    """The main header, from the marker SOC on, without TLM markers, which would not fit a part of the codestream."""

    shape: tuple[int, int]
    """Rows and columns of the image."""

    tile_shape: tuple[int, int]
    """Rows and columns of a tile."""

    luma_first: bool
    """Whether the first component is luma: there are three components of 8 bits with a sample at every pixel, and a
    colour transform. A tile may still have no transform; see `without_transform`."""

    reversible: bool
    """Whether the transform is the lossless one, whose luma weighs the first and the third component alike."""

    lengths: tuple[tuple[int, int], ...]
    """Tile and length [bytes] of every tile-part in order, from TLM markers; empty if there are none."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.shape[0] // self.tile_shape[0]), -(-self.shape[1] // self.tile_shape[1])


class _Buffered:
    """Reads a file in chunks, forward."""

    def __init__(self, file: ByteRanges) -> None:
        self._file, self._start, self._data = file, 0, b""

    def at(self, offset: int, length: int) -> bytes:
        """Return the bytes at an offset; raise EOFError if the file ends before their end."""
        begin = offset - self._start
        if begin < 0 or begin + length > len(self._data):
            self._start, self._data = offset, self._file.read(offset, max(length, _CHUNK_BYTES))
            begin = 0
        found = self._data[begin : begin + length]
        if len(found) < length:
            raise EOFError
        return found


def read_codestream(file: ByteRanges) -> Codestream | None:
    """Read the main header of a JP2 file or a bare codestream.

    Returns
    -------
    Codestream or None
        None if there is no valid main header, the image does not begin at its grid's origin, or packet headers are
        packed in the main header, so that tiles cannot be separated.
    """
    buffered = _Buffered(file)
    try:
        begin, end = _located(buffered)
        return _parsed(buffered, begin, end)
    except (EOFError, IndexError, ValueError, struct.error):
        return None


def _located(buffered: _Buffered) -> tuple[int, int | None]:
    """Return the offsets of the codestream's first byte, and after its last; None: it ends with the file."""
    if buffered.at(0, 2) == _SOC.to_bytes(2):
        return 0, None
    offset = 0
    while True:
        length, kind = struct.unpack(">I4s", buffered.at(offset, 8))
        head = 8
        if length == 1:
            head, length = 16, int.from_bytes(buffered.at(offset + 8, 8))
        if kind == b"jp2c":
            return offset + head, offset + length if length else None
        if length < head:
            raise ValueError("a box without a length is the last one")
        offset += length


def _parsed(buffered: _Buffered, begin: int, end: int | None) -> Codestream | None:
    if buffered.at(begin, 2) != _SOC.to_bytes(2):
        return None
    kept, found, offset = [_SOC.to_bytes(2)], dict[int, bytes](), begin + 2
    lengths: list[bytes] = []
    while (marker := int.from_bytes(buffered.at(offset, 2))) != _SOT:
        segment = buffered.at(offset, 2 + int.from_bytes(buffered.at(offset + 2, 2)))
        if len(segment) < 4 or marker < 0xFF00 or marker == _PPM or offset - begin > _MOST_BYTES:
            return None
        if marker == _TLM:
            lengths.append(segment)
        else:
            kept.append(segment)
            found[marker] = segment
        offset += len(segment)
    if _SIZ not in found or _COD not in found:
        return None
    x1, y1, x0, y0, width, height, tile_x0, tile_y0 = struct.unpack_from(">8I", found[_SIZ], 6)
    if (x0, y0, tile_x0, tile_y0) != (0, 0, 0, 0) or not (x1 and y1 and width and height):
        return None
    return Codestream(
        start=offset,
        end=end,
        header=b"".join(kept),
        shape=(x1, y1)[::-1],
        tile_shape=(min(height, y1), min(width, x1)),
        luma_first=_plain_rgb(found[_SIZ]) and _transforms(found[_COD]),
        reversible=_is_reversible(found[_COD]),
        lengths=tuple(_tile_part_lengths(lengths)),
    )


def _plain_rgb(size: bytes) -> bool:
    """Return whether a marker SIZ declares three components of 8 bits with a sample at every pixel."""
    (components,) = struct.unpack_from(">H", size, 38)
    return size[40:] == bytes(_PLAIN_BYTE) * 3 and components == 3


def _transforms(coding: bytes) -> bool:
    """Return whether a marker COD declares the colour transform of part 1 of the standard."""
    return coding[8] == 1


def _is_reversible(coding: bytes) -> bool:
    """Return whether a marker COD names the lossless wavelet, and with it the lossless colour transform."""
    return coding[13] == 1


def _tile_part_lengths(segments: list[bytes]) -> Iterator[tuple[int, int]]:
    """Yield tile and length of each tile-part from markers TLM; if they name no tiles, every tile has one part."""
    number = 0
    for segment in sorted(segments, key=lambda segment: segment[4]):
        tile_bytes, length_bytes = segment[5] >> 4 & 3, 4 if segment[5] & 0x40 else 2
        for at in range(6, len(segment), tile_bytes + length_bytes):
            tile = segment[at : at + tile_bytes]
            length = segment[at + tile_bytes : at + tile_bytes + length_bytes]
            yield int.from_bytes(tile) if tile else number, int.from_bytes(length)
            number += 1


Parts = dict[int, list[tuple[int, int]]]
"""Offset and length [bytes] of the tile-parts of each tile, in order."""


def tile_parts(stream: Codestream, file: ByteRanges) -> Parts:
    """Find the tile-parts of every tile, from TLM markers if their lengths add up, else by one pass over the headers.

    The tiles after the first damage are left out; a truncated tile-part is included.
    """
    end = file.size if stream.end is None else stream.end
    left = end - stream.start - sum(length for _, length in stream.lengths)
    # Some writers omit the marker EOC.
    in_order = stream.lengths if stream.lengths and left in (0, _EOC_BYTES) else _walked(stream, file, end)
    parts, start = Parts(), stream.start
    for tile, length in in_order:
        parts.setdefault(tile, []).append((start, length))
        start += length
    return parts


def _walked(stream: Codestream, file: ByteRanges, end: int) -> Iterable[tuple[int, int]]:
    """Yield tile and length of the tile-parts in the file, until the codestream ends or makes no sense."""
    offset = stream.start
    while offset + _SOT_BYTES <= end:
        head = file.read(offset, _SOT_BYTES)
        if len(head) < _SOT_BYTES or head[:2] != _SOT.to_bytes(2):
            return
        tile, length = struct.unpack_from(">HI", head, 4)
        # A length of 0: the tile-part reaches to the end of the codestream.
        length = length or end - offset - _EOC_BYTES
        if length < _SOT_BYTES:
            return
        yield tile, length
        offset += length


def single_tile(stream: Codestream, tile: int, parts: list[bytes]) -> bytes | None:
    """Return a codestream that holds one tile of another; None if the parts are not those of the tile.

    Parameters
    ----------
    stream
        The codestream's main header.
    tile
        Number of the tile.
    parts
        The tile-parts of the tile, in order.
    """
    if not parts or any(part[:2] != _SOT.to_bytes(2) or int.from_bytes(part[4:6]) != tile for part in parts):
        return None
    return b"".join([stream.header, *parts, _EOC.to_bytes(2)])


def without_transform(part: bytes) -> bool:
    """Return whether the header of a tile-part cancels the colour transform that the main header declares."""
    offset = _SOT_BYTES
    while (marker := int.from_bytes(part[offset : offset + 2])) not in (_SOD, 0):
        if marker == _COD:
            return not _transforms(part[offset:].ljust(9, b"\0"))
        offset += 2 + int.from_bytes(part[offset + 2 : offset + 4])
    return False
