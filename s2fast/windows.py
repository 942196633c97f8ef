"""Pure algebra of windows: cut a grid, add a halo, clip, scale. No input or output here."""

from __future__ import annotations

from s2fast.model import Window

MIN_CHUNK_PX = 256
"""A file's blocks narrower than this (strips) are read several at a time."""


def grid(shape: tuple[int, int], step: tuple[int, int]) -> list[Window]:
    """Cut a raster into windows of at most ``step`` rows and columns, row by row.

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
    """Choose what to read at once: whole blocks, at least 256 px a side, a multiple of the reduction.

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
    """Grow a window by a halo on every side, clipped to the raster.

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
    """Map a window onto the grid reduced by a factor; its origin must lie on that grid.

    Rows and columns left over at the raster's far edge, fewer than the factor, have no pixel in the reduced grid.
    """
    return Window(
        window.row // reduction, window.col // reduction, window.height // reduction, window.width // reduction
    )


def reduced_shape(shape: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Rows and columns of the grid reduced by a factor: only whole pixels count."""
    return shape[0] // reduction, shape[1] // reduction
