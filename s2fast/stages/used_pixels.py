"""Which windows of a scene are read, and which of their pixels are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from s2fast.folder.record import SceneInput
from s2fast.model import Window
from s2fast.raster.prefetch import ReadRequest
from s2fast.raster.reader import reduce_any
from s2fast.raster.windows import grid, reduced
from s2fast.regions.mask import PlacedRegions


def needed_windows(
    item: SceneInput, chunks: tuple[int, int], placed: PlacedRegions | None, halo_px: int
) -> list[Window]:
    """Return the windows to read: whole blocks of the file that intersect a region or its halo."""
    windows = grid(item.raster.shape, chunks)
    return windows if placed is None else [window for window in windows if placed.meets(window, halo_px)]


def read_requests(
    windows: Iterable[Window], placed: PlacedRegions | None, mode: str, reduction: int
) -> Iterator[ReadRequest]:
    """Yield every window with the mask of the pixels that are used; None: all of them.

    In mode "zero" only pixels inside the polygons are used, and windows without any are skipped.
    """
    for window in windows:
        if not reduced(window, reduction):
            continue
        if mode != "zero" or placed is None:
            yield window, None
            continue
        inside = reduce_any(placed.mask(window), reduction)
        if inside.any():
            yield window, inside


def masked(
    grey: npt.NDArray[np.uint8], has_data: npt.NDArray[np.bool_], inside: npt.NDArray[np.bool_] | None, mode: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Apply a window's mask.

    Parameters
    ----------
    grey : (rows, cols) uint8
        Pixels of the reduced grid.
    has_data : (rows, cols) bool
        False where the scene has no data.
    inside : (rows, cols) bool or None
        True where any part of a pixel is inside a polygon; None: the whole window is inside.
    mode
        ``regions.mode``.

    Returns
    -------
    grey : (rows, cols) uint8
        The scene's pixels; in mode "zero", 0 outside the polygons.
    valid : (rows, cols) bool
        True at valid keypoint positions.
    """
    if mode == "zero" and inside is not None:
        return np.where(inside, grey, np.uint8(0)), np.ones(grey.shape, np.bool_)
    return grey, has_data if inside is None else has_data & inside
