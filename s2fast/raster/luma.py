"""Read grey from a JPEG 2000 file's own luma, tile by tile, in several threads.

Sentinel-2's colour images are stored as luma and two differences. Luma is the grey that the detector needs; decoding it
alone takes half the work. Whole tiles are decoded, so a pixel's value does not depend on the windows or threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from threading import Lock

import numpy as np
import numpy.typing as npt
import rasterio

from s2fast.files.ranges import ByteRanges, byte_ranges
from s2fast.files.source import Source
from s2fast.model import Raster, Window
from s2fast.raster.bands import Picture
from s2fast.raster.codestream import Codestream, Parts, read_codestream, single_tile, tile_parts, without_transform
from s2fast.raster.openjpeg import decode_luma, library

MOST_AT_ONCE = 4
"""Maximum number of tiles decoded at once, to limit memory. More threads share the code-blocks of a tile."""


def tiles_at_once(tiles: int, threads: int) -> int:
    """Return the number of tiles that a number of threads decode at once."""
    return max(1, min(tiles, threads, MOST_AT_ONCE))


_RGB, _BGR = (1, 2, 3), (3, 2, 1)


class UndecodedError(ValueError):
    """A tile is missing, damaged or cut off."""


class LumaTiles:
    """The luma of one level of a JPEG 2000 file; may be used by several threads.

    Parameters
    ----------
    file
        The file.
    stream
        Its codestream, whose first component is luma.
    level
        Side of a pixel of the level, in full-resolution pixels.
    threads
        Number of threads that decode, all tiles together.
    parts
        The tile-parts, if known.
    """

    def __init__(
        self, file: ByteRanges, stream: Codestream, level: int, threads: int, parts: Parts | None = None
    ) -> None:
        self._file, self._stream, self._level = file, stream, level
        rows, cols = stream.grid
        self.at_once = tiles_at_once(rows * cols, threads)
        """Number of windows to read at once."""
        self._threads = max(1, threads // self.at_once)
        self._found = parts
        self._searching = Lock()

    @property
    def index(self) -> tuple[Codestream, Parts]:
        """The main header and the tile-parts."""
        return self._stream, self._parts

    @property
    def _parts(self) -> Parts:
        """The tile-parts, searched by the first thread that needs them."""
        with self._searching:
            if self._found is None:
                self._found = tile_parts(self._stream, self._file)
            return self._found

    def read(self, window: Window) -> npt.NDArray[np.uint8] | None:
        """Read a window of the level's grid.

        Returns
        -------
        (height, width) uint8 or None
            None if a tile has no colour transform although the file declares one: grey must be computed from its bands.

        Raises
        ------
        UndecodedError
            A tile cannot be decoded.
        SceneError
            The file cannot be read.
        """
        luma = np.empty((window.height, window.width), np.uint8)
        # The level's row r is row r * level of the full grid; its tile is the tile of that row.
        tile_rows, tile_cols = (
            range(start * self._level // side, (start + count - 1) * self._level // side + 1)
            for start, count, side in zip(
                (window.row, window.col), (window.height, window.width), self._stream.tile_shape, strict=True
            )
        )
        for place in product(tile_rows, tile_cols):
            tile = self._tile(place[0] * self._stream.grid[1] + place[1])
            if tile is None:
                return None
            top, left = (-(-at * side // self._level) for at, side in zip(place, self._stream.tile_shape, strict=True))
            row, col = max(top, window.row), max(left, window.col)
            part = tile[row - top : window.row + window.height - top, col - left : window.col + window.width - left]
            rows, cols = row - window.row, col - window.col
            luma[rows : rows + part.shape[0], cols : cols + part.shape[1]] = part
        return luma

    def _tile(self, number: int) -> npt.NDArray[np.uint8] | None:
        codestream = self._codestream(number)
        if codestream is None:
            return None
        tile = decode_luma(codestream, number, self._level, self._threads)
        if tile is None:
            raise UndecodedError
        return tile

    def _codestream(self, number: int) -> bytes | None:
        """Read a tile as a codestream of its own; None if it has no luma."""
        parts = list(_read_parts(self._file, self._parts.get(number, [])))
        codestream = single_tile(self._stream, number, parts)
        if codestream is None:
            raise UndecodedError
        return None if any(map(without_transform, parts)) else codestream


def _read_parts(file: ByteRanges, parts: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Read parts of a file by offset and length [bytes]; adjacent ones with one request."""
    runs: list[list[tuple[int, int]]] = []
    for part in parts:
        if runs and sum(runs[-1][-1]) == part[0]:
            runs[-1].append(part)
        else:
            runs.append([part])
    for run in runs:
        start, end = run[0][0], sum(run[-1])
        read = file.read(start, end - start)
        yield from (read[at - start : at - start + length] for at, length in run)


def luma_tiles(
    source: Source, dataset: rasterio.DatasetReader, raster: Raster, picture: Picture, threads: int
) -> LumaTiles | None:
    """Return the luma of a file; None if grey must be computed from its bands.

    Only the following files have luma: JPEG 2000 with three bands of 8 bits, red, green and blue, and a colour
    transform, without a mask or a declared nodata value; whose parts can be read (`s2fast.files.ranges`); in tiles
    that GDAL reads as blocks (it divides a large file without tiles). The lossless transform treats red and blue alike,
    so they may be exchanged.
    """
    if dataset.driver != "JP2OpenJPEG" or picture.bands not in (_RGB, _BGR) or picture.dtype != "uint8":
        return None
    if picture.masked:
        return None
    file = byte_ranges(source)
    if file is None or library() is None:
        return None
    stream = read_codestream(file)
    block = tuple(map(min, raster.block, raster.shape))
    if stream is None or not (stream.luma_first and (picture.bands == _RGB or stream.reversible)):
        return None
    if (stream.shape, stream.tile_shape) != (raster.shape, block):
        return None
    return LumaTiles(file, stream, raster.level, threads)
