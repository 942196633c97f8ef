"""`explained_by_paint` and `share_noise` of `s2fast.image.fixed_pattern` in compiled code without Python's lock.

The plain versions there define both; matches explained by paint are the same, coherences differ in the last digits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast.image import fixed_pattern, painted
from s2fast.image.fixed_pattern import FixedPattern
from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, zeros
from s2fast_kernels.hamming_window_top2.numba_cpu import popcount


def explained_by_paint(
    query: FixedPattern,
    train: FixedPattern,
    query_row: npt.NDArray[np.int32],
    train_row: npt.NDArray[np.int32],
    moved_px: npt.NDArray[np.float32] | None,
    compared: int,
) -> npt.NDArray[np.bool_]:
    """Return which matches painted shapes or overlays explain; see `s2fast.image.fixed_pattern.explained_by_paint`."""
    outlines = query.outline, train.outline, query_row, train_row
    same: npt.NDArray[np.bool_] = _outlines_match(*outlines, painted.MOST_PAINTED)
    if moved_px is None:
        return same
    identical, copied, count = _identical(
        query.core,
        train.core,
        query_row,
        train_row,
        moved_px,
        fixed_pattern.CORE_PX,
        fixed_pattern.LEAST_IDENTICAL,
        fixed_pattern.NEARLY,
    )
    many = fixed_pattern.COPY_SHARE * compared
    if copied >= many and fixed_pattern.same_blocks(query, train):
        return np.zeros(len(query_row), np.bool_)
    return same | identical if count < many else same


def share_noise(query: FixedPattern, train: FixedPattern) -> bool:
    """Return whether two scenes share noise; see `s2fast.image.fixed_pattern.share_noise`."""
    here, there = fixed_pattern.common_blocks(query, train)
    if len(here) < fixed_pattern.LEAST_BLOCKS:
        return False
    one, other = (part.power[at].sum(axis=0) for part, at in ((query, here), (train, there)))
    together = _products(query.spectra, train.spectra, here, there)
    return fixed_pattern.is_noise(together / np.sqrt(np.maximum(one * other, 1e-12)))


def _products(
    query: npt.NDArray[np.complex64],
    train: npt.NDArray[np.complex64],
    here: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Return the real part of the cross-spectrum of blocks, summed over the frequencies of each band."""
    parts = _sum_of_products(query.view(np.float32), train.view(np.float32), here, there)
    return np.asarray(np.add.reduceat(parts[::2] + parts[1::2], fixed_pattern.STARTS))


@njit("(u8[::1], u8[::1], i4[::1], i4[::1], i8)", nogil=True)
def _outlines_match(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    query_row: npt.NDArray[np.int32],
    train_row: npt.NDArray[np.int32],
    most_painted: int,
) -> npt.NDArray[np.bool_]:
    """Return which matches see the same painted shape; see `s2fast.image.painted.outlines_match`."""
    same: npt.NDArray[np.bool_] = empty(len(query_row), np.bool_)
    for i in range(len(query_row)):
        one, other = query[query_row[i]], train[train_row[i]]
        both, either = popcount(one & other), popcount(one | other)
        same[i] = (either > 0 and 3 * both >= either) or either >= most_painted
    return same


@njit("(u1[:,::1], u1[:,::1], i4[::1], i4[::1], f4[:,::1], i8, i8, i8)", nogil=True)
def _identical(
    query: npt.NDArray[np.uint8],
    train: npt.NDArray[np.uint8],
    query_row: npt.NDArray[np.int32],
    train_row: npt.NDArray[np.int32],
    moved_px: npt.NDArray[np.float32],
    side: int,
    least: int,
    nearly: int,
) -> tuple[npt.NDArray[np.bool_], int, int]:
    """Return which matches at rest show one overlay, how many are copies, and how many show an overlay."""
    found = zeros(len(query_row), np.bool_)
    copied, count = 0, 0
    for i in range(len(query_row)):
        if not (abs(moved_px[i, 0]) < 1 and abs(moved_px[i, 1]) < 1):
            continue
        one, other = query[query_row[i]], train[train_row[i]]
        equal, low, high = 0, one[0], one[0]
        for pixel in range(side * side):
            equal += one[pixel] == other[pixel]
            low, high = min(low, one[pixel]), max(high, one[pixel])
        copied += equal == side * side and high > low
        if equal < least // 2:
            continue
        # The keypoints of an overlay may be rounded to neighbouring pixels: compare at shifts of one pixel too.
        for down in range(-1, 2):
            for right in range(-1, 2):
                identical, close = 0, 0
                for row in range(max(0, down), side + min(0, down)):
                    for column in range(max(0, right), side + min(0, right)):
                        here = np.int64(one[row * side + column])
                        off = abs(here - np.int64(other[(row - down) * side + column - right]))
                        identical += 1 if off == 0 else 0
                        close += 1 if off <= nearly else 0
                found[i] |= identical >= least and identical >= 2 * (close - identical)
        count += found[i]
    return found, copied, count


@njit("(f4[:,::1], f4[:,::1], i8[::1], i8[::1])", nogil=True)
def _sum_of_products(
    query: npt.NDArray[np.float32],
    train: npt.NDArray[np.float32],
    here: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Return the products of rows of two arrays, element by element, summed over the rows."""
    sums: npt.NDArray[np.float32] = zeros(query.shape[1], np.float32)
    for block in range(len(here)):
        q, t = here[block], there[block]
        for i in range(len(sums)):
            sums[i] += query[q, i] * train[t, i]
    return sums
