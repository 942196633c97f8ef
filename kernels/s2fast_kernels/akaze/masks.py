"""Mask of valid keypoint positions, one bit per pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.numba_masks import holds

BLOCK = 64
"""Side of the squares for which it is recorded whether they contain a True pixel [px]."""

_STRIP = 1024
"""Rows of a mask that are read at once."""

MaskSource = npt.NDArray[np.bool_] | Callable[[slice, slice], npt.NDArray[np.bool_]]
"""(h, w) bool, or a function (rows, columns) -> that part of it."""


class Mask:
    """A boolean image with one bit per pixel: 15 MB for a full Sentinel-2 tile."""

    def __init__(self, source: MaskSource, shape: tuple[int, int]) -> None:
        height, width = shape
        self.shape = shape
        self._bits = np.zeros((height, -(-width // BLOCK) * (BLOCK // 8)), np.uint8)
        for top in range(0, height, _STRIP):
            rows = slice(top, min(top + _STRIP, height))
            part = source(rows, slice(0, width)) if callable(source) else source[rows]
            if part.dtype != np.bool_ or part.shape != (rows.stop - top, width):
                raise ValueError(
                    f"valid must be bool of shape {(rows.stop - top, width)} at rows {top}:{rows.stop}, "
                    f"got {part.dtype} {part.shape}"
                )
            packed = np.packbits(part, axis=1)
            self._bits[rows, : packed.shape[1]] = packed
        blocks = np.zeros((-(-height // BLOCK) * BLOCK, self._bits.shape[1]), np.uint8)
        blocks[:height] = self._bits
        self._any: npt.NDArray[np.bool_] = (
            blocks.reshape(-(-height // BLOCK), BLOCK, -1, BLOCK // 8).max(axis=(1, 3)) > 0
        )

    def at(self, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Return the values of pixels; False outside the image."""
        height, width = self.shape
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = np.where(inside, y, 0), np.where(inside, x, 0)
        bits = ((self._bits[y, x >> 3] >> (7 - (x & 7)).astype(np.uint8)) & 1).astype(np.bool_)
        values: npt.NDArray[np.bool_] = inside & bits
        return values

    def holds(
        self, y: npt.NDArray[np.int32], x: npt.NDArray[np.int32], offset: npt.NDArray[np.float32], octave: int
    ) -> npt.NDArray[np.bool_]:
        """Return which maxima of an octave are stable and have their nearest pixel at a True one.

        Parameters
        ----------
        y, x : (n,) int32
            Rows and columns [px of the octave].
        offset : (n, 2) float32
            Refined positions relative to them: x, y [px of the octave]. Stable: at most 1.
        octave
            Number of the octave.
        """
        found: npt.NDArray[np.bool_] = holds(y, x, np.ascontiguousarray(offset), octave, self._bits, *self.shape)
        return found

    def any(self, top: int, bottom: int, left: int, right: int) -> bool:
        """Return whether a rectangle may contain a True pixel: whether it intersects a block with one."""
        rows = slice(max(top, 0) // BLOCK, -(-max(bottom, 0) // BLOCK))
        columns = slice(max(left, 0) // BLOCK, -(-max(right, 0) // BLOCK))
        return bool(self._any[rows, columns].any())

    def packed(self, top: int, bottom: int) -> npt.NDArray[np.uint8]:
        """Return rows of the image, eight pixels per byte, the first in the highest bit; padded with False."""
        return self._bits[top:bottom]

    def part(self, rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
        """Return a part of the image, unpacked."""
        bits = self._bits[rows, columns.start // 8 : -(-columns.stop // 8)]
        skipped = columns.start % 8
        unpacked = np.unpackbits(bits, axis=1)[:, skipped : skipped + columns.stop - columns.start]
        return unpacked.view(np.bool_)
