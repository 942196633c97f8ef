"""Which keypoints are worth describing before it is known which ones the budget goes to."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from s2fast_kernels.features import Budget

_BIN_SHIFT = 20
"""Low bits of a float32 response that a bin ignores: 8 bins for every doubling."""


class Forecast:
    """Says, while an image is still being searched, which keypoints cannot be within the budget any more.

    A keypoint is out when its cell already holds more stronger ones than any cell will get turns. Both counts only move
    one way, so what is refused would not have been chosen; what is admitted may still lose.
    """

    def __init__(self, budget: Budget, shape: tuple[int, int], weakest: float) -> None:
        self._budget, self._shape = budget, shape
        self._lock = threading.Lock()
        self._first = int(np.float32(weakest).view(np.int32)) >> _BIN_SHIFT
        bins = (int(np.float32(np.inf).view(np.int32)) >> _BIN_SHIFT) - self._first + 1
        # Responses of images in [0, 1] stay below a few units; what is stronger shares the last bin.
        self._seen = np.zeros((budget.cell_count(shape), min(bins, 160)), np.int32)
        self._counts = np.zeros(len(self._seen), np.int64)

    def admit(
        self, xy: npt.NDArray[np.float32], response: npt.NDArray[np.float32], certain: bool
    ) -> npt.NDArray[np.bool_]:
        """Say which keypoints may still be chosen, and take note of them if it is certain that they are keypoints."""
        cell = self._budget.cells(xy, self._shape)
        last = self._seen.shape[1] - 1
        place = np.clip((response.view(np.int32) >> _BIN_SHIFT) - self._first, 0, last)
        cells, of_cell = np.unique(cell, return_inverse=True)
        with self._lock:
            if certain:
                np.add.at(self._seen, (cell, place), 1)
                self._counts += np.bincount(cell, minlength=len(self._counts))
            stronger = self._seen[cells][:, ::-1].cumsum(axis=1)[:, ::-1] - self._seen[cells]
            turns = self._turns()
        may_win: npt.NDArray[np.bool_] = stronger[of_cell, place] < turns
        return may_win

    def _turns(self) -> int:
        """Upper bound of the turns a cell gets: with fewer, the keypoints seen so far would fill the budget."""
        if len(self._seen) == 1:
            return self._budget.keypoints
        counts = np.sort(self._counts)
        below = counts.cumsum()
        filled = below + counts * np.arange(len(counts) - 1, -1, -1)
        at = int(np.searchsorted(filled, self._budget.keypoints))
        if at == len(counts):
            return int(np.iinfo(np.int64).max)
        # Cells before `at` give all they have, the others the same number each.
        left = self._budget.keypoints - (int(below[at - 1]) if at else 0)
        return -(-left // (len(counts) - at))
