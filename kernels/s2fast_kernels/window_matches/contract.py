"""Operands and result of `window_matches`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast_kernels.hamming_window_top2_both import WindowRows

Columns = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.uint16]]
"""Query rows, train rows, distances and second distances of one trial."""


@dataclass(frozen=True, slots=True)
class MatchTest:
    """Which nearest neighbours are good matches."""

    ratio: float
    """The distance must be below this share of the second neighbour's; a lone neighbour passes."""
    max_distance: int
    """Greatest distance [bits]."""
    mutual: bool
    """Whether the query row must also be the nearest of its nearest train row."""


@dataclass(frozen=True, slots=True)
class WindowMatches:
    """Good matches of k pairs at p places, trial by trial; trial number = pair * p + place."""

    start: npt.NDArray[np.int64]
    """(k * p + 1,) first match of every trial, then the number of all matches."""
    query_row: npt.NDArray[np.int32]
    """(m,) rows of the trial's query."""
    train_row: npt.NDArray[np.int32]
    """(m,) rows of the trial's train."""
    distance: npt.NDArray[np.uint16]
    """(m,) distance [bits]."""
    second: npt.NDArray[np.uint16]
    """(m,) distance of the second neighbour [bits]; 65535 if there is none."""

    @classmethod
    def of(cls, trials: Sequence[Columns]) -> WindowMatches:
        """Concatenate the columns of the trials."""
        start = np.cumsum([0, *(len(columns[0]) for columns in trials)]).astype(np.int64)
        none = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint16), np.empty(0, np.uint16)
        return cls(start, *map(np.concatenate, zip(none, *trials, strict=True)))

    def trial(self, number: int) -> Columns:
        """Return the columns of one trial: query rows, train rows, distances, second distances."""
        at = slice(int(self.start[number]), int(self.start[number + 1]))
        return self.query_row[at], self.train_row[at], self.distance[at], self.second[at]


def check_operands(pairs: Sequence[tuple[WindowRows, WindowRows]], away: npt.NDArray[np.float64]) -> None:
    """Raise ValueError unless the operands satisfy the contract of `window_matches`."""
    for query, train in pairs:
        if query.radius != train.radius:
            raise ValueError(
                f"the scenes of a pair must be prepared for one radius, got {query.radius} and {train.radius}; "
                "prepare one of them again with WindowRows.of"
            )
    if away.dtype != np.float64 or away.ndim != 3 or away.shape[::2] != (len(pairs), 2):
        raise ValueError(f"away must be ({len(pairs)}, places, 2) float64, got {away.shape} {away.dtype}")
    if not np.isfinite(away).all():
        raise ValueError("away must be finite")
