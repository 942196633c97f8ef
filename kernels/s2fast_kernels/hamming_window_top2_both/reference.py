"""Definition of `hamming_window_top2_both` in plain NumPy; all backends must return the same bits."""

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
    """Raise ValueError unless the operands satisfy the contract of `hamming_window_top2_both`."""
    if query.radius != train.radius:
        raise ValueError(
            f"query and train must be prepared for one radius, got {query.radius} and {train.radius}; "
            "prepare one of them again with WindowRows.of"
        )
    if len(away) != 2 or not all(map(math.isfinite, away)):
        raise ValueError(f"away must be two finite numbers, got {away}")


def hamming_window_top2_both(query: WindowRows, train: WindowRows, away: tuple[float, float]) -> tuple[Top2, Top2]:
    """Compare every query row with every train row, group by group; see the package for the contract."""
    forward, backward = Top2.empty(len(query), 1), Top2.empty(len(train), 1)
    for group in np.intersect1d(query.strip_group, train.strip_group):
        # In the caller's order, so that ties go to the lowest row.
        q, t = (at[np.argsort(rows.row[at])] for rows in (query, train) for at in [np.flatnonzero(rows.group == group)])
        dx = train.x[t] - (query.x[q, None] + away[0])
        dy = train.y[t] - (query.y[q, None] + away[1])
        near = dx * dx + dy * dy <= query.radius * query.radius
        _search(query, q, train, t, near, forward)
        _search(train, t, query, q, near.T, backward)
    return forward, backward


def _search(
    query: WindowRows,
    query_rows: npt.NDArray[np.intp],
    train: WindowRows,
    train_rows: npt.NDArray[np.intp],
    near: npt.NDArray[np.bool_],
    result: Top2,
) -> None:
    """Write the neighbours of `query_rows` among the `train_rows` that are near, (query_rows, train_rows) bool."""
    for q, allowed in zip(query_rows, near, strict=True):
        rows = train_rows[allowed]
        found = hamming_top2_reference.hamming_top2(
            query.descriptors[q : q + 1], train.descriptors[rows], np.array([0, len(rows)], np.int64)
        )
        if len(rows):
            row = query.row[q]
            result.index[row] = train.row[rows[found.index[0]]]
            result.best[row], result.second[row] = found.best[0], found.second[0]
