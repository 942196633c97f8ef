"""Which keypoints see pixels that are not ground: painted, filled, missing or constant."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_FLAT_PX = ((3, 3), (1, 7), (7, 1))
"""Rows and columns of rectangles that are taken for painted if all their pixels are equal: areas, and thin lines."""

_SIDE = 8
"""Cells along a side of `outlines`."""

_PAINTED_SHARE = 0.25
"""A cell is painted if at least this share of its pixels is."""

_SUPPORT_SIZES = 5.0
"""How far a descriptor looks from its keypoint, along rows and columns [diameters]: 21 samples, half a
diameter apart."""


def flat(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return where pixels belong to an area or a line of equal ones.

    Parameters
    ----------
    grey : (rows, cols) uint8
        Pixels as read.

    Returns
    -------
    (rows, cols) bool
    """
    found = np.zeros(grey.shape, np.uint8)
    if grey.size:
        for side in _FLAT_PX:
            part = np.ones(side, np.uint8)
            equal = cv2.dilate(grey, part) == cv2.erode(grey, part)
            found |= cv2.dilate(equal.view(np.uint8), part)
    return np.asarray(found.view(np.bool_))


def outlines(
    painted: npt.NDArray[np.bool_], xy: npt.NDArray[np.float32], size: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint64]:
    """Return what each keypoint sees of painted pixels, as an 8 x 8 picture of one bit a cell.

    Parameters
    ----------
    painted : (rows, cols) bool
        True where a pixel is not ground.
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
    if not painted.any() or not len(xy):
        return seen
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
    """Return which pairs of keypoints see painted pixels of one shape: (k,) bool, from (k,) `outlines` of either side.

    Such keypoints match whatever the ground is: at least a third of the cells that either sees painted, both do.
    """
    both, either = np.bitwise_count(query & train), np.bitwise_count(query | train)
    return np.asarray((either > 0) & (3 * both.astype(np.int64) >= either))
