"""Pixels in the support of each keypoint that are not ground: painted, filled, missing or constant."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.image.strips import Strip, strips
from s2fast_kernels.threads import map_in_threads

FLAT_PX = ((3, 3), (1, 7), (7, 1))
"""Rows and columns of rectangles that count as painted if all their pixels are equal: areas and thin lines."""

_STRIP_ROWS = 256
"""Rows around whose keypoints pixels are counted at once, to limit memory."""

_PAINTED_SHARE = 0.25
"""A cell is painted if at least this share of its pixels is."""

MOST_PAINTED = 56
"""If at least this many of the 64 cells are painted for either of two keypoints, they have no ground to compare."""

_SUPPORT_SIZES = 5.0
"""Half the side of a descriptor's support square [keypoint diameters]: 21 samples, half a diameter apart."""


RowSource = Callable[[slice], npt.NDArray[np.bool_]]
"""Function that returns the given rows of a bool image, with all columns."""


def flat(grey: npt.NDArray[np.uint8]) -> RowSource:
    """Find pixels that belong to an area or a line of equal pixels.

    Parameters
    ----------
    grey : (rows, cols) uint8
        Pixels as read; may be modified afterwards.

    Returns
    -------
    RowSource
        The mask, held as one bit per pixel.
    """
    rows, cols = grey.shape
    packed = np.zeros((rows, -(-cols // 8)), np.uint8)

    def look(strip: Strip) -> None:
        packed[strip.rows] = np.packbits(strip.inner(_flat(grey[strip.around])), axis=1)

    map_in_threads(look, strips(grey.shape, max(side[0] for side in FLAT_PX)))
    return rows_of(packed, cols)


def _flat(part: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return 1 where a pixel belongs to a rectangle of equal pixels: one whose neighbours are all equal."""
    right, down = np.ones(part.shape, np.uint8), np.ones(part.shape, np.uint8)
    right[:, :-1] = part[:, 1:] == part[:, :-1]
    down[:-1] = part[1:] == part[:-1]
    found = np.zeros(part.shape, np.uint8)
    for rows, cols in FLAT_PX:
        equal = np.ones(part.shape, np.uint8)
        for same, pairs in ((right, (rows, cols - 1)), (down, (rows - 1, cols))):
            if 0 not in pairs:
                equal &= cv2.erode(same, np.ones(pairs, np.uint8), anchor=(cols // 2, rows // 2))
        found |= cv2.dilate(equal, np.ones((rows, cols), np.uint8))
    return found


def rows_of(packed: npt.NDArray[np.uint8], cols: int) -> RowSource:
    """Return the rows of a mask of `cols` columns that is packed along them, eight pixels per byte."""
    return lambda wanted: np.unpackbits(packed[wanted], axis=1, count=cols).view(np.bool_)


def outlines(
    painted: RowSource, shape: tuple[int, ...], xy: npt.NDArray[np.float32], size: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint64]:
    """Return the painted cells in each keypoint's support, as an 8 x 8 bitmap.

    Parameters
    ----------
    painted
        Rows of a bool image, True where a pixel is not ground.
    shape
        Rows and columns of the image.
    xy : (n, 2) float32
        Keypoints, pixel centres at integers [px].
    size : (n,) float32
        Diameters of the keypoints [px].

    Returns
    -------
    (n,) uint64
        Cells of the descriptor's support square, row by row, lowest bit first; a bit is set if at least a quarter of
        the cell is painted.
    """
    seen = np.zeros(len(xy), np.uint64)
    strip = xy[:, 1] // _STRIP_ROWS

    def look(number: float) -> None:
        inside = np.flatnonzero(strip == number)
        reach = _SUPPORT_SIZES * float(size[inside].max()) + 1
        top = max(0, int(xy[inside, 1].min() - reach))
        part = painted(slice(top, min(shape[0], int(xy[inside, 1].max() + reach) + 2)))
        if part.any():
            seen[inside] = _outlines(part, xy[inside] - np.array([0, top], np.float32), size[inside])

    map_in_threads(look, np.unique(strip))
    return seen


def _outlines(
    painted: npt.NDArray[np.bool_], xy: npt.NDArray[np.float32], size: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint64]:
    """Return the outlines of the keypoints in a strip of the image; see `outlines`."""
    from s2fast.image.compiled_outlines import outlined  # when used: who only reads a run folder needs no compiler

    total = cv2.integral(painted.view(np.uint8), sdepth=cv2.CV_32S)
    reach = (np.float32(_SUPPORT_SIZES) * size).astype(np.float32)
    found: npt.NDArray[np.uint64] = outlined(total, np.ascontiguousarray(xy), reach, _PAINTED_SHARE)
    return found


def outlines_match(query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which pairs of keypoints match because of painted pixels: (k,) bool, from (k,) `outlines` of either side.

    Either they see the same painted shape: at least a third of the cells painted for one of them are painted for both.
    Or they see little else, such as edges of painted shapes in an image of constant grey.
    """
    both, either = np.bitwise_count(query & train), np.bitwise_count(query | train)
    return np.asarray((either > 0) & (3 * both.astype(np.int64) >= either) | (either >= MOST_PAINTED))
