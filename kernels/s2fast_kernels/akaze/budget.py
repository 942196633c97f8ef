"""Which keypoints a limited number goes to, and which are worth describing before that is known."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BIN_SHIFT = 17
"""Low bits of a float32 response that a bin ignores: 64 bins for every doubling."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many keypoints an image may keep, and how they are spread."""

    keypoints: int
    """At most so many."""

    cell_px: int | None = None
    """Side of square ground cells that take turns, best keypoint first [px]; None: one cell, the strongest of all."""

    def __post_init__(self) -> None:
        if self.keypoints < 0 or (self.cell_px is not None and self.cell_px < 1):
            raise ValueError(f"a budget needs keypoints >= 0 and cell_px >= 1 or None, got {self}")

    def cells(self, xy: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.int64]:
        """Find the cell each position lies in; pixel centres are at integers."""
        if self.cell_px is None:
            return np.zeros(len(xy), np.int64)
        across = -(-shape[1] // self.cell_px)
        inside = np.clip(np.floor(xy + np.float32(0.5)), 0, [shape[1] - 1, shape[0] - 1]).astype(np.int64)
        cells: npt.NDArray[np.int64] = inside[:, 1] // self.cell_px * across + inside[:, 0] // self.cell_px
        return cells

    def cell_count(self, shape: tuple[int, int]) -> int:
        """Cells of an image."""
        return 1 if self.cell_px is None else -(-shape[0] // self.cell_px) * -(-shape[1] // self.cell_px)

    def select(
        self, xy: npt.NDArray[np.float32], response: npt.NDArray[np.float32], shape: tuple[int, int]
    ) -> npt.NDArray[np.intp]:
        """Choose keypoints.

        Parameters
        ----------
        xy, response
            (n, 2) positions [px] and (n,) responses.
        shape
            Rows and columns of the image [px].

        Returns
        -------
        (at most `keypoints`,) intp
            Rows chosen, ascending. Every cell's best come first, then every cell's second best, and so on; within a
            round, and without cells, the stronger; of equally strong ones the lower row.

        Examples
        --------
        >>> xy = np.array([[1, 1], [2, 2], [90, 1]], np.float32)
        >>> response = np.array([3, 2, 1], np.float32)
        >>> Budget(2).select(xy, response, (100, 100)).tolist()
        [0, 1]
        >>> Budget(2, cell_px=50).select(xy, response, (100, 100)).tolist()
        [0, 2]
        """
        if len(xy) <= self.keypoints:
            return np.arange(len(xy))
        by_response = np.argsort(-response, kind="stable")
        cell = self.cells(xy, shape)[by_response]
        by_cell = np.argsort(cell, kind="stable")
        sorted_cell = cell[by_cell]
        rank = np.empty(len(xy), np.int64)
        rank[by_cell] = np.arange(len(xy)) - np.searchsorted(sorted_cell, sorted_cell)
        turn = np.argsort(rank, kind="stable")
        chosen: npt.NDArray[np.intp] = np.sort(by_response[turn[: self.keypoints]])
        return chosen


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
        self._seen = np.zeros((budget.cell_count(shape), min(bins, 1280)), np.int32)

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
            stronger = self._seen[cells][:, ::-1].cumsum(axis=1)[:, ::-1] - self._seen[cells]
            turns = self._turns()
        may_win: npt.NDArray[np.bool_] = stronger[of_cell, place] < turns
        return may_win

    def _turns(self) -> int:
        """Upper bound of the turns a cell gets: with fewer, the keypoints seen so far would fill the budget."""
        if len(self._seen) == 1:
            return self._budget.keypoints
        counts = np.sort(self._seen.sum(axis=1))
        below = counts.cumsum()
        filled = below + counts * np.arange(len(counts) - 1, -1, -1)
        at = int(np.searchsorted(filled, self._budget.keypoints))
        if at == len(counts):
            return int(np.iinfo(np.int64).max)
        # Cells before `at` give all they have, the others the same number each.
        left = self._budget.keypoints - (int(below[at - 1]) if at else 0)
        return -(-left // (len(counts) - at))
