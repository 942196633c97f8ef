"""Compiled comparison of keypoints with the stronger ones of their cells."""

from __future__ import annotations

import numpy as np

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import zeros


@njit("(i8[::1], i8[::1], i4[:, ::1], i8)", nogil=True, error_model="numpy")
def fewer_stronger(cell, response_bin, seen, turns):  # type: ignore[no-untyped-def]
    """Return which keypoints have fewer than `turns` stronger ones in their cells.

    Parameters
    ----------
    cell, response_bin : (n,) int64
        Each keypoint's cell, and its bin of the histograms.
    seen : (cells, bins) int32
        Histogram of each cell's responses.
    turns : int
        See `s2fast_kernels.akaze.forecast.Forecast`.

    Returns
    -------
    (n,) bool
    """
    found = zeros(len(cell), np.bool_)
    last = seen.shape[1]
    for i in range(len(cell)):
        b, stronger = response_bin[i] + 1, np.int64(0)
        while b < last and stronger < turns:
            stronger += seen[cell[i], b]
            b += 1
        found[i] = stronger < turns
    return found
