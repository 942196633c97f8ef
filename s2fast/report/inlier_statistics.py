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

_CIRCULAR_PCT = (90.0, 95.0)
"""Shares of the inliers within the circular errors CE90 and CE95 [%]."""


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
        rows, starts = np.unique(pair, return_index=True)
        for row, start, end in zip(rows, starts, [*starts[1:], len(pair)], strict=False):
            own = shift[start:end]
            table[row, :2] = np.percentile(np.hypot(*own.T), _CIRCULAR_PCT)
            table[row, 2:] = np.concatenate([np.sqrt((own**2).mean(axis=0)), own.mean(axis=0), own.std(axis=0)])
    return pd.DataFrame(table, columns=pd.Index(STATISTICS))
