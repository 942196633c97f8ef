"""Compiled count of the painted pixels around keypoints, see `s2fast.image.painted.outlines`."""

from __future__ import annotations

import numpy as np

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import zeros


@njit("(i4[:, ::1], f4[:, ::1], f4[::1], f8)", nogil=True, error_model="numpy")
def outlined(total, xy, reach, share):  # type: ignore[no-untyped-def]
    """Return the painted cells of keypoints as 8 x 8 bitmaps: (n,) uint64.

    Parameters
    ----------
    total : (rows + 1, columns + 1) int32
        Numbers of painted pixels above and left of each pixel's corner.
    xy : (n, 2) float32
        Keypoints, pixel centres at integers [px].
    reach : (n,) float32
        Half the sides of their supports [px].
    share
        Share of a cell's pixels from which on it is painted.
    """
    seen = zeros(len(xy), np.uint64)
    height, width = total.shape[0] - 1, total.shape[1] - 1
    column, row = zeros(9, np.int64), zeros(9, np.int64)
    for i in range(len(xy)):
        for k in range(9):
            away = reach[i] * np.float32(0.25 * (k - 4))
            column[k] = min(max(np.rint(xy[i, 0] + np.float32(0.5) + away), 0), width)
            row[k] = min(max(np.rint(xy[i, 1] + np.float32(0.5) + away), 0), height)
        for number in range(64):
            down, right = number >> 3, number & 7
            top, bottom, left, end = row[down], row[down + 1], column[right], column[right + 1]
            count = total[bottom, end] - total[top, end] - total[bottom, left] + total[top, left]
            if count > 0 and count >= share * ((bottom - top) * (end - left)):
                seen[i] |= np.uint64(1) << np.uint64(number)
    return seen
