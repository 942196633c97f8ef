"""Compiled look-up of maxima in a mask of one bit per pixel."""

from __future__ import annotations

import math

import numpy as np

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import zeros


@njit("(i4[::1], i4[::1], f4[:, ::1], i8, u1[:, ::1], i8, i8)", nogil=True, error_model="numpy")
def holds(y, x, offset, octave, bits, height, width):  # type: ignore[no-untyped-def]
    """Return which maxima are stable and at a set bit; see `s2fast_kernels.akaze.masks.Mask.holds`.

    The position is that of `s2fast_kernels.akaze.candidates.positions`, rounded to float32 once.
    """
    found = zeros(len(y), np.bool_)
    ratio, half = np.float64(1 << octave), np.float32(0.5)
    for i in range(len(y)):
        if abs(offset[i, 0]) <= 1 and abs(offset[i, 1]) <= 1:
            right = np.float32((x[i] + np.float64(offset[i, 0])) * ratio + 0.5 * (ratio - 1))
            down = np.float32((y[i] + np.float64(offset[i, 1])) * ratio + 0.5 * (ratio - 1))
            column, row = np.int64(math.floor(right + half)), np.int64(math.floor(down + half))
            if 0 <= row < height and 0 <= column < width:
                found[i] = (bits[row, column >> 3] >> (7 - (column & 7))) & 1
    return found
