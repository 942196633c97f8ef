"""The definition of `hamming_window_top2_both` in plain NumPy: what every backend must equal bit for bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from s2fast_kernels.hamming_top2 import reference as hamming_top2_reference
from s2fast_kernels.hamming_top2.reference import Top2

if TYPE_CHECKING:
    import numpy.typing as npt

    from s2fast_kernels.hamming_window_top2_both.rows import WindowRows


def check_operands(query: WindowRows, train: WindowRows, away: tuple[float, float]) -> None:
    """Raise ValueError unless the operands are what `hamming_window_top2_both` promises to take."""
    if query.radius != train.radius:
        raise ValueError(
            f"query and train must be made for one radius, got {query.radius} and {train.radius}; "
            "make one of them again with WindowRows.of"
        )
    if len(away) != 2 or not all(map(math.isfinite, away)):
        raise ValueError(f"away must be two finite numbers, got {away}")


def hamming_window_top2_both(query: WindowRows, train: WindowRows, away: tuple[float, float]) -> tuple[Top2, Top2]:
    """Test every query row against every train row, group by group; see the package for the contract."""
    forward, backward = Top2.empty(len(query), 1), Top2.empty(len(train), 1)
    for group in np.intersect1d(query.strip_group, train.strip_group):
        # In the caller's order, so that the lowest row wins ties.
        q, t = (at[np.argsort(rows.row[at])] for rows in (query, train) for at in [np.flatnonzero(rows.group == group)])
        dx = train.x[t] - (query.x[q, None] + away[0])
        dy = train.y[t] - (query.y[q, None] + away[1])
        near = dx * dx + dy * dy <= query.radius * query.radius
        _search(query, q, train, t, near, forward)
        _search(train, t, query, q, near.T, backward)
    return forward, backward


def _search(
    seekers: WindowRows,
    places: npt.NDArray[np.intp],
    sought: WindowRows,
    candidates: npt.NDArray[np.intp],
    near: npt.NDArray[np.bool_],
    result: Top2,
) -> None:
    """Write the neighbours of the rows at places among those candidates that are near: (places, candidates) bool."""
    for place, allowed in zip(places, near, strict=True):
        rows = candidates[allowed]
        found = hamming_top2_reference.hamming_top2(
            seekers.descriptors[place : place + 1], sought.descriptors[rows], np.array([0, len(rows)], np.int64)
        )
        if len(rows):
            row = seekers.row[place]
            result.index[row] = sought.row[rows[found.index[0]]]
            result.best[row], result.second[row] = found.best[0], found.second[0]
