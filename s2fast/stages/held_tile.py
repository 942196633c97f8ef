"""A scene's masked tile in memory, from its reading to the extraction of its features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast.model import Window


class HeldTile:
    """A masked tile that is filled window by window, as `s2fast.folder.tile_writer.TileWriter` writes it.

    Parameters
    ----------
    shape
        Rows and columns of the reduced grid.
    valid_outside
        Value of `valid` outside the written windows.
    with_missing
        Whether the file marks missing pixels.
    """

    def __init__(self, shape: tuple[int, int], *, valid_outside: bool, with_missing: bool) -> None:
        self.grey = np.zeros(shape, np.uint8)
        """(rows, cols) uint8: the masked pixels, 0 outside the written windows."""
        self.missing = np.zeros(shape, np.bool_) if with_missing else None
        """(rows, cols) bool, True: no data; None: the file marks no missing pixels."""
        # One bit per pixel, eight columns per byte.
        self._valid = np.full((shape[0], -(-shape[1] // 8)), 255 if valid_outside else 0, np.uint8)

    def write(
        self,
        window: Window,
        grey: npt.NDArray[np.uint8],
        valid: npt.NDArray[np.bool_],
        missing: npt.NDArray[np.bool_] | None,
    ) -> None:
        """Set a window of the tile."""
        self.grey[window.slices] = grey
        if self.missing is not None and missing is not None:
            self.missing[window.slices] = missing
        rows, columns = window.slices
        bits, part = _within_bytes(columns)
        whole = np.unpackbits(self._valid[rows, bits], axis=1)
        whole[:, part] = valid
        self._valid[rows, bits] = np.packbits(whole, axis=1)

    def valid(self, rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
        """Return a part of the mask of valid pixels, True: a keypoint may lie there."""
        bits, part = _within_bytes(slice(columns.start, min(columns.stop, self.grey.shape[1])))
        return np.unpackbits(self._valid[rows, bits], axis=1).view(np.bool_)[:, part]


def _within_bytes(columns: slice) -> tuple[slice, slice]:
    """Return the bytes that hold columns of one bit each, and the place of these columns within them."""
    first = columns.start // 8
    return slice(first, -(-columns.stop // 8)), slice(columns.start - 8 * first, columns.stop - 8 * first)


def held_bytes(shape: tuple[int, int], *, masked: bool) -> int:
    """Predict the memory of a tile in memory [bytes]; `masked`: the file marks missing pixels."""
    return (1 + masked) * shape[0] * shape[1] + valid_bytes(shape)


def valid_bytes(shape: tuple[int, int]) -> int:
    """Predict the memory that extraction needs for a tile in memory, besides what it needs for any tile [bytes]."""
    return shape[0] * -(-shape[1] // 8)
