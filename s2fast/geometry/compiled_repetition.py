"""The compiled search of `s2fast.geometry.repetition`.

Constants are arguments: the cache of compiled code would not notice that one of another module has changed.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, empty_table
from s2fast_kernels.hamming_window_top2.numba_cpu import NO_KEY, distance


@njit("(u8[:,::1], f8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8)", nogil=True)
def most_alike(
    descriptors: npt.NDArray[np.uint64],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    scale: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    looked_for: npt.NDArray[np.int64],
    limits: npt.NDArray[np.float64],
    most_bits: int,
) -> npt.NDArray[np.int64]:
    """Return the keypoint most like each of some, in each of several ranges of distance from it.

    Parameters
    ----------
    descriptors : (n, 8) uint64
        Packed descriptors of all keypoints; these and the following are sorted by `scale`, then by `x`.
    x, y : (n,) float64
        Positions.
    scale : (n,) int64
        Sizes in bins; only keypoints of one bin are compared.
    row : (n,) int64
        The caller's row numbers.
    looked_for : (m,) int64
        Sorted indices of those that are looked for elsewhere.
    limits : (k + 1,) float64
        Ascending limits of the ranges; the upper one belongs to a range, the lower one does not.
    most_bits
        Largest Hamming distance [bits].

    Returns
    -------
    (k, m) int64
        Row numbers, -1 where none is alike; of several that are equally like, the smallest.
    """
    ranges, farthest = len(limits) - 1, limits[-1]
    found: npt.NDArray[np.int64] = empty_table(ranges, len(looked_for), np.int64)
    near = empty(len(x), np.int64)
    for number in range(len(looked_for)):
        at = looked_for[number]
        for k in range(ranges):
            found[k, number] = NO_KEY
        low, high = 0, at  # the first keypoint of this size that is not too far left
        while low < high:
            middle = (low + high) // 2
            if scale[middle] < scale[at] or x[middle] < x[at] - farthest:
                low = middle + 1
            else:
                high = middle
        count = 0
        for other in range(np.uint64(low), np.uint64(len(x))):
            if scale[other] != scale[at] or x[other] > x[at] + farthest:
                break
            # Few are near along y: a branch would often be predicted wrongly.
            near[count] = other
            count += abs(y[other] - y[at]) <= farthest
        for other in near[:count]:
            away = math.sqrt((x[other] - x[at]) ** 2 + (y[other] - y[at]) ** 2)
            if away <= limits[0] or away > farthest:
                continue
            bits = distance(descriptors, at, descriptors, other)
            if bits <= most_bits:
                k = 0
                while away > limits[k + 1]:
                    k += 1
                found[k, number] = min(found[k, number], bits << 32 | row[other])
    for number in range(len(looked_for)):
        for k in range(ranges):
            found[k, number] = -1 if found[k, number] == NO_KEY else found[k, number] & 0xFFFFFFFF
    return found
