"""Which keypoints see pixels that are not ground: painted, filled, missing or constant."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

_FLAT_PX = ((3, 3), (1, 7), (7, 1))
"""Rows and columns of rectangles that are taken for painted if all their pixels are equal: areas, and thin lines."""

_STRIP_ROWS = 256
"""Rows looked at together: whole tiles are never counted at once."""

_SIDE = 8
"""Cells along a side of `outlines`."""

_PAINTED_SHARE = 0.25
"""A cell is painted if at least this share of its pixels is."""

_MOST_PAINTED = 56
"""Cells of 64 painted for one or the other of two keypoints from which on they have no ground to compare."""

_SUPPORT_SIZES = 5.0
"""How far a descriptor looks from its keypoint, along rows and columns [diameters]: 21 samples, half a
diameter apart."""


RowSource = Callable[[slice], npt.NDArray[np.bool_]]
"""Rows -> that part of a bool image, all its columns."""


def flat(grey: npt.NDArray[np.uint8]) -> RowSource:
    """Find where pixels belong to an area or a line of equal ones.

    Parameters
    ----------
    grey : (rows, cols) uint8
        Pixels as read; may change afterwards.

    Returns
    -------
    RowSource
        A function of rows. What it reads is held as one bit a pixel.
    """
    rows, cols = grey.shape
    packed = np.zeros((rows, -(-cols // 8)), np.uint8)
    halo = max(side[0] for side in _FLAT_PX)
    for start in range(0, rows if cols else 0, _STRIP_ROWS):
        top = max(0, start - halo)
        part = grey[top : start + _STRIP_ROWS + halo]
        found = np.zeros(part.shape, np.uint8)
        for side in _FLAT_PX:
            kernel = np.ones(side, np.uint8)
            equal = cv2.dilate(part, kernel) == cv2.erode(part, kernel)
            found |= cv2.dilate(equal.view(np.uint8), kernel)
        packed[start : start + _STRIP_ROWS] = np.packbits(found[start - top : start - top + _STRIP_ROWS], axis=1)
    return lambda chosen: np.unpackbits(packed[chosen], axis=1, count=cols).view(np.bool_)


def outlines(
    painted: RowSource, shape: tuple[int, ...], xy: npt.NDArray[np.float32], size: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint64]:
    """Return what each keypoint sees of painted pixels, as an 8 x 8 picture of one bit a cell.

    Parameters
    ----------
    painted
        ``painted(rows)``, a slice, returns these rows of a bool image: True where a pixel is not ground.
    shape
        Rows and columns of the image.
    xy : (n, 2) float32
        Keypoints, pixel centres at integers [px].
    size : (n,) float32
        Their diameters [px].

    Returns
    -------
    (n,) uint64
        Cells of the square that the descriptor looks at, row by row, lowest bit first; set where a quarter of the cell
        is painted.
    """
    seen = np.zeros(len(xy), np.uint64)
    strip = xy[:, 1] // _STRIP_ROWS
    for number in np.unique(strip):
        chosen = np.flatnonzero(strip == number)
        reach = _SUPPORT_SIZES * float(size[chosen].max()) + 1
        top = max(0, int(xy[chosen, 1].min() - reach))
        part = painted(slice(top, min(shape[0], int(xy[chosen, 1].max() + reach) + 2)))
        if part.any():
            seen[chosen] = _outlines(part, xy[chosen] - np.array([0, top], np.float32), size[chosen])
    return seen


def _outlines(
    painted: npt.NDArray[np.bool_], xy: npt.NDArray[np.float32], size: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint64]:
    """Return the outlines on some rows of the image."""
    seen = np.zeros(len(xy), np.uint64)
    total = cv2.integral(painted.view(np.uint8), sdepth=cv2.CV_32S)
    reach = _SUPPORT_SIZES * size[:, None]
    step = np.linspace(-1, 1, _SIDE + 1, dtype=np.float32)
    column, row = (
        np.clip(np.rint(xy[:, axis, None] + 0.5 + reach * step), 0, length).astype(np.intp)
        for axis, length in ((0, painted.shape[1]), (1, painted.shape[0]))
    )
    for number in range(_SIDE * _SIDE):
        down, right = divmod(number, _SIDE)
        top, bottom, left, end = row[:, down], row[:, down + 1], column[:, right], column[:, right + 1]
        count = total[bottom, end] - total[top, end] - total[bottom, left] + total[top, left]
        full = (bottom - top) * (end - left)
        seen |= ((count > 0) & (count >= _PAINTED_SHARE * full)).astype(np.uint64) << np.uint64(number)
    return seen


def alike(query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which pairs of keypoints match whatever the ground is: (k,) bool, from (k,) `outlines` of either side.

    They see painted pixels of one shape: at least a third of the cells that either sees painted, both do. Or they see
    next to nothing else, such as edges of what is painted on a picture of one grey.
    """
    both, either = np.bitwise_count(query & train), np.bitwise_count(query | train)
    return np.asarray((either > 0) & (3 * both.astype(np.int64) >= either) | (either >= _MOST_PAINTED))
