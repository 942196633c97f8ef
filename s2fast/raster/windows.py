"""Algebra of windows: split a grid, add a halo, clip, scale. Nothing here reads or writes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast.model import Window

MIN_CHUNK_PX = 256
"""Blocks of a file narrower than this, such as strips, are read several at a time."""


def grid(shape: tuple[int, int], step: tuple[int, int]) -> list[Window]:
    """Split a raster into windows of at most ``step`` rows and columns, in row-major order.

    Examples
    --------
    >>> grid((3, 5), (2, 4))
    [Window(row=0, col=0, height=2, width=4), Window(row=0, col=4, height=2, width=1), \
Window(row=2, col=0, height=1, width=4), Window(row=2, col=4, height=1, width=1)]
    """
    rows, cols = shape
    return [
        Window(row, col, min(step[0], rows - row), min(step[1], cols - col))
        for row in range(0, rows, step[0])
        for col in range(0, cols, step[1])
    ]


def chunk_shape(block: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Return the size of the windows to read: whole blocks, at least 256 px per side, a multiple of the reduction.

    Examples
    --------
    >>> chunk_shape((1024, 1024), 2)
    (1024, 1024)
    >>> chunk_shape((1, 10980), 4)
    (256, 10980)
    >>> chunk_shape((725, 833), 2)
    (1450, 1666)
    """

    def side(block_px: int) -> int:
        step = block_px
        while step < MIN_CHUNK_PX or step % reduction:
            step += block_px
        return step

    return side(block[0]), side(block[1])


def with_halo(window: Window, halo_px: int, shape: tuple[int, int]) -> Window:
    """Extend a window by a halo on every side, clipped to the raster.

    Examples
    --------
    >>> with_halo(Window(0, 4, 2, 2), 3, (10, 8))
    Window(row=0, col=1, height=5, width=7)
    """
    row, col = max(0, window.row - halo_px), max(0, window.col - halo_px)
    bottom = min(shape[0], window.row + window.height + halo_px)
    right = min(shape[1], window.col + window.width + halo_px)
    return Window(row, col, bottom - row, right - col)


def reduced(window: Window, reduction: int) -> Window:
    """Map a window onto the grid reduced by a factor; its origin must be a multiple of the factor.

    An incomplete last row or column of the reduced grid is dropped.
    """
    return Window(
        window.row // reduction, window.col // reduction, window.height // reduction, window.width // reduction
    )


def reduced_shape(shape: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Return the rows and columns of the grid reduced by a factor, without incomplete pixels."""
    return shape[0] // reduction, shape[1] // reduction


def scaled_up(window: Window, reduction: int) -> Window:
    """Map a window of the grid reduced by a factor to the full grid.

    Examples
    --------
    >>> scaled_up(Window(1, 2, 3, 4), 2)
    Window(row=2, col=4, height=6, width=8)
    """
    return Window(window.row * reduction, window.col * reduction, window.height * reduction, window.width * reduction)


def covering_rectangles(wanted: npt.NDArray[np.bool_], padding: int, price: int) -> list[Window]:
    """Cover the True pixels of a mask with rectangles that are cheap to read.

    The bounding rectangle is split recursively along empty rows or columns while that lowers the total cost.

    Parameters
    ----------
    wanted : (rows, cols) bool
        Pixels to cover.
    padding
        Number of additional rows, and of additional columns, read with every rectangle.
    price
        Cost of one more rectangle, in pixels.

    Returns
    -------
    list[Window]
        Disjoint rectangles; empty if no pixel is True.

    Examples
    --------
    >>> covering_rectangles(np.array([[1, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]], bool), padding=0, price=1)
    [Window(row=0, col=0, height=1, width=2), Window(row=0, col=5, height=2, width=1)]
    >>> covering_rectangles(np.array([[1, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]], bool), padding=0, price=9)
    [Window(row=0, col=0, height=2, width=6)]
    """

    def cost(around: Window) -> int:
        return price + (around.height + padding) * (around.width + padding)

    whole = _shrink_to_wanted(wanted, Window(0, 0, *wanted.shape))
    if not whole:
        return []
    cuts = [
        (_shrink_to_wanted(wanted, before), _shrink_to_wanted(wanted, after))
        for axis in (0, 1)
        for before, after in _splits_where_empty(wanted, whole, axis)
    ]
    best = min(cuts, key=lambda pair: cost(pair[0]) + cost(pair[1]), default=None)
    if best is None or cost(best[0]) + cost(best[1]) >= cost(whole):
        return [whole]
    return [
        Window(part.row + inner.row, part.col + inner.col, inner.height, inner.width)
        for part in best
        for inner in covering_rectangles(wanted[part.slices], padding, price)
    ]


def _shrink_to_wanted(wanted: npt.NDArray[np.bool_], window: Window) -> Window:
    """Return the bounding rectangle of the True pixels in a window."""
    inside = wanted[window.slices]
    rows, cols = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Window(window.row, window.col, 0, 0)
    top, left = int(rows[0]), int(cols[0])
    return Window(window.row + top, window.col + left, int(rows[-1]) + 1 - top, int(cols[-1]) + 1 - left)


def _splits_where_empty(wanted: npt.NDArray[np.bool_], whole: Window, axis: int) -> list[tuple[Window, Window]]:
    """Return the splits of a window into two parts, one at every run of empty rows (axis 0) or columns (axis 1)."""
    used = np.flatnonzero(wanted[whole.slices].any(axis=1 - axis))
    last = used[:-1][np.diff(used) > 1]
    row, col, height, width = whole.row, whole.col, whole.height, whole.width
    if axis == 0:
        return [(Window(row, col, at, width), Window(row + at, col, height - at, width)) for at in map(int, last + 1)]
    return [(Window(row, col, height, at), Window(row, col + at, height, width - at)) for at in map(int, last + 1)]
