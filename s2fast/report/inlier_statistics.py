"""Statistics of the displacements of a pair's inliers, as image-matching reports give them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

STATISTICS = (
    "ce90_m", "ce95_m", "rmse_dx_m", "rmse_dy_m", "mean_dx_m", "mean_dy_m", "std_dx_m", "std_dy_m",
)  # fmt: skip
"""Columns of `inlier_statistics`, all in metres."""

_CIRCULAR_SHARES = (0.90, 0.95)
"""Shares of the inliers within the circular errors CE90 and CE95."""


def inlier_statistics(
    parts: Iterable[tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]], pairs: int
) -> pd.DataFrame:
    """Compute the statistics of each pair's displacements.

    Parameters
    ----------
    parts
        Inliers in any number of parts, each pair in one of them: (n,) pairs, ascending, and (n, 2) train minus query,
        east and north [m].
    pairs
        Number of pairs.

    Returns
    -------
    DataFrame
        One row per pair and the columns `STATISTICS`; NaN for pairs without inliers. ``ce90_m`` and ``ce95_m`` are the
        90th and 95th percentile of the displacements' lengths, interpolated linearly. Root mean square, mean and
        standard deviation are those of each axis, all over n, so that ``rmse**2 == mean**2 + std**2``.

    Examples
    --------
    >>> inliers = np.zeros(2, np.intp), np.array([[3.0, 4.0], [3.0, -4.0]])
    >>> inlier_statistics([inliers], 1).iloc[0].tolist()
    [5.0, 5.0, 3.0, 4.0, 3.0, 0.0, 0.0, 4.0]
    """
    table = np.full((pairs, len(STATISTICS)), np.nan)
    for pair, shift in parts:
        if len(pair):
            starts = np.flatnonzero(np.diff(pair, prepend=-1))
            table[pair[starts]] = _of_pairs(shift, starts, np.diff(starts, append=len(pair)))
    return pd.DataFrame(table, columns=pd.Index(STATISTICS))


def _of_pairs(
    shift: npt.NDArray[np.float64], starts: npt.NDArray[np.intp], counts: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Return the statistics of pairs by row, from the displacements of all: those of a pair begin at its start."""

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        means: npt.NDArray[np.float64] = np.add.reduceat(values, starts) / counts[:, None]
        return means

    member = np.repeat(np.arange(len(starts)), counts)
    length = np.hypot(*shift.T)
    for of_pair in np.split(length, starts[1:]):
        of_pair.sort()
    place = np.multiply.outer(counts - 1, _CIRCULAR_SHARES)
    below = starts[:, None] + place.astype(np.intp)
    above = np.minimum(below + 1, (starts + counts - 1)[:, None])
    circular = length[below] + place % 1 * (length[above] - length[below])
    centre = mean(shift)
    return np.hstack([circular, np.sqrt(mean(shift**2)), centre, np.sqrt(mean((shift - centre[member]) ** 2))])
