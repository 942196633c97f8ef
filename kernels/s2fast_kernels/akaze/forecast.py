"""Predict which keypoints can be within the budget, before all keypoints are known."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.numba_forecast import fewer_stronger
from s2fast_kernels.features import Budget

_GROWTH = 1.05
"""How much more keypoints must have been seen before the turns are counted again: counting sorts all cells."""

_BIN_SHIFT = 20
"""Low bits of a float32 response that the histogram ignores: it has 8 bins per doubling."""


class Forecast:
    """Exclude keypoints that cannot be within the budget, while the image is still being searched.

    A keypoint is excluded if its cell already has more stronger ones than the number of turns that any cell can get.
    The first count only increases and the second only decreases, so an excluded keypoint would not have been selected;
    an admitted one may still be dropped.
    """

    def __init__(self, budget: Budget, shape: tuple[int, int], weakest: float) -> None:
        self._budget, self._shape = budget, shape
        self._lock = threading.Lock()
        self._first = int(np.float32(weakest).view(np.int32)) >> _BIN_SHIFT
        bins = (int(np.float32(np.inf).view(np.int32)) >> _BIN_SHIFT) - self._first + 1
        # Responses of images in [0, 1] are at most a few units; stronger ones share the last bin.
        self._seen = np.zeros((budget.cell_count(shape), min(bins, 160)), np.int32)
        self._counts = np.zeros(len(self._seen), np.int64)
        self._total, self._counted = 0, 0
        self._most = self._turns()

    def admit(
        self, xy: npt.NDArray[np.float32], response: npt.NDArray[np.float32], certain: bool
    ) -> npt.NDArray[np.bool_]:
        """Return which keypoints may still be selected; record them if `certain`, i.e. suppression is complete."""
        cell = self._budget.cells(xy, self._shape)
        last = self._seen.shape[1] - 1
        response_bin = np.clip((response.view(np.int32) >> _BIN_SHIFT) - self._first, 0, last).astype(np.int64)
        with self._lock:
            if certain:
                np.add.at(self._seen.ravel(), cell * (last + 1) + response_bin, np.int32(1))
                np.add.at(self._counts, cell, 1)
                self._total += len(cell)
                if self._total > _GROWTH * self._counted:
                    # Turns of an earlier count are too many at worst, so that no keypoint is excluded by mistake.
                    self._most, self._counted = self._turns(), self._total
            may_win: npt.NDArray[np.bool_] = fewer_stronger(cell, response_bin, self._seen, self._most)
        return may_win

    def _turns(self) -> int:
        """Return an upper bound of the turns per cell: with more, the keypoints seen so far would exceed the budget."""
        if len(self._seen) == 1:
            return self._budget.keypoints
        counts = np.sort(self._counts)
        below = counts.cumsum()
        filled = below + counts * np.arange(len(counts) - 1, -1, -1)
        at = int(np.searchsorted(filled, self._budget.keypoints))
        if at == len(counts):
            return int(np.iinfo(np.int64).max)
        # Cells before `at` contribute all their keypoints, the others the same number each.
        left = self._budget.keypoints - (int(below[at - 1]) if at else 0)
        return -(-left // (len(counts) - at))
