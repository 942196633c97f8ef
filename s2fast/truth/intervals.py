"""The confidence interval of a median."""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST = 6
"""Fewest values of an interval of 95 %: of fewer, also the smallest and the largest enclose the median less often."""


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median of what values are drawn from.

    It is that of order statistics and assumes no distribution.

    Parameters
    ----------
    values
        At least `FEWEST` independent values.

    Examples
    --------
    >>> median_interval([1.0, 1.2, 1.1, 1.3, 0.9, 5.0])
    (0.9, 5.0)
    """
    ordered, count = sorted(values), len(values)
    # The largest number of values that may be left out at each end.
    outside, left_out = 0.0, 0
    while outside + 2 * math.comb(count, left_out) / 2**count <= 0.05:
        outside += 2 * math.comb(count, left_out) / 2**count
        left_out += 1
    return ordered[left_out - 1], ordered[-left_out]
