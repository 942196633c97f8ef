"""Which windows of a scene are read, and which of their pixels are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast.folder.record import SceneInput
from s2fast.masks.read import SceneMask
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


@dataclass(frozen=True, slots=True)
class Used:
    """What a tile has of a window, on the reduced grid."""

    grey: npt.NDArray[np.uint8]
    """The pixels; in mode "zero", 0 outside the polygons."""
    valid: npt.NDArray[np.bool_]
    """True at valid keypoint positions."""
    missing: npt.NDArray[np.bool_] | None
    """True where the file or the scene's mask has no ground; None: the scene has neither."""
    ground: int = 0
    """Number of valid pixels before the scene's mask is applied; 0 without one."""
    left: int = 0
    """Number of those that it leaves."""


def used(
    item: SceneInput,
    window: Window,
    grey: npt.NDArray[np.uint8],
    has_data: npt.NDArray[np.bool_],
    inside: npt.NDArray[np.bool_] | None,
    mode: str,
    mask: SceneMask | None,
) -> Used:
    """Apply polygons, missing pixels and the scene's mask to a window; see `masked`.

    `mask` is None if the scene has no mask, or if its mask is not used.
    """
    grey, valid = masked(grey, has_data, inside, mode)
    painted = inside if mode == "zero" else None
    missing = None
    if item.raster.masked:
        missing = ~has_data if painted is None else ~has_data & painted
        valid = valid & ~missing
    if mask is None:
        if item.mask and missing is None:
            missing = np.zeros_like(valid)
        return Used(grey, valid, missing)
    ground = int(np.count_nonzero(has_data & valid))
    clouded = mask.part(window) if painted is None else mask.part(window) & painted
    missing = clouded if missing is None else missing | clouded
    valid = valid & ~missing
    return Used(grey, valid, missing, ground, int(np.count_nonzero(has_data & valid)))


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
