"""Compiled loops of `s2fast.image.surroundings`, `shared_areas` and `patches`, without Python's lock.

Constants are arguments: the cache of compiled code would not notice that one of another module has changed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.hamming_window_top2.numba_cpu import popcount


@njit("(u8[:,::1], u8[:,::1], i8[::1], i8[::1])", nogil=True)
def flag_counts(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    here: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
) -> tuple[int, int, int]:
    """Return how many flags are set in rows of the query, in rows of the train beside them, and in both.

    Parameters
    ----------
    query, train : (m, w) uint64
        Rows of flags; each word is eight bytes of 0 or 1.
    here, there : (n,) int64
        Numbers of the rows, in query and train.
    """
    one, other, both = 0, 0, 0
    for i in range(len(here)):
        for word in range(query.shape[1]):
            q, t = query[here[i], word], train[there[i], word]
            one += popcount(q)
            other += popcount(t)
            both += popcount(q & t)
    return one, other, both


@njit("(f4[:,::1], i8, i8, u1[:,::1])", nogil=True, error_model="numpy")
def mark_near(inlier_px: npt.NDArray[np.float32], reach_px: int, side: int, near: npt.NDArray[np.uint8]) -> None:
    """Set squares of a grid to 1 that hold an inlier, or a point `reach_px` away along rows, columns or both.

    Parameters
    ----------
    inlier_px : (k, 2) float32
        The inliers, pixel centres at integers [px].
    reach_px
        Distance of the points [px].
    side
        Side of a square [px].
    near : (rows, columns) uint8
        The grid, modified in place; it begins at the corner of the first pixel.
    """
    for i in range(len(inlier_px)):
        for down in range(-1, 2):
            y = inlier_px[i, 1] + (0.5 + down * reach_px)
            for right in range(-1, 2):
                x = inlier_px[i, 0] + (0.5 + right * reach_px)
                if x >= 0 and y >= 0:
                    row, column = int(y / side), int(x / side)
                    if row < near.shape[0] and column < near.shape[1]:
                        near[row, column] = 1


@njit("(f4[:,::1], f4[:,::1], i8[::1], i8[::1], f4[:,::1])", nogil=True, fastmath={"reassoc", "contract"})
def correlate(
    query: npt.NDArray[np.float32],
    train: npt.NDArray[np.float32],
    here: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
    found: npt.NDArray[np.float32],
) -> None:
    """Compute the absolute products of patches at equal positions, and at unequal ones.

    Parameters
    ----------
    query, train : (m, p) float32
        The patches of two scenes.
    here, there : (n,) int64
        Numbers of those at equal positions, in query and train.
    found : (k, n) float32
        Filled with the products. Row 0 is of equal positions. In row j, the train's patches are taken n * j // k
        positions before those of the query, cyclically.
    """
    count = len(here)
    for i in range(count):
        q = here[i]
        for number in range(len(found)):
            at = i - count * number // len(found)
            t = there[at if at >= 0 else at + count]
            total = np.float32(0)
            for pixel in range(query.shape[1]):
                total += query[q, pixel] * train[t, pixel]
            found[number, i] = abs(total)
