"""Intervals of repeated measurements, and whether two cases differ by more than theirs.

The repeats of competing cases take turns, A B B A, so that a load on the machine that rises or falls hits all of them
alike. What two cases differ by is therefore measured within each round: the interval is that of the differences, in
which the load of a round, and stages that both cases share, cancel.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import fmean, median, stdev
from typing import Any

from s2fast.truth.intervals import median_interval

NOISE = 0.1
"""Seconds and memory of equal cases differ by up to this share on a shared machine: measured once, smaller differences
tell nothing."""

FEWEST = 3
"""Fewest runs of an interval; two say nothing about their scatter."""

_T = {3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t at 97.5 % for a number of runs."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of what repeated measurements have as their middle.

    From six values on, it is that of the median and assumes no distribution; below, it is Student's t interval, which
    outliers widen. Both contain the median of the values.

    Parameters
    ----------
    values
        At least `FEWEST` measurements.

    Examples
    --------
    >>> interval([1.0, 1.2, 1.1, 1.3, 0.9, 5.0])
    (0.9, 5.0)
    >>> low, high = interval([1.0, 1.2, 1.1])
    >>> round(low, 3), round(high, 3)
    (0.852, 1.348)
    """
    count = len(values)
    if count in _T:
        half = _T[count] * stdev(values) / math.sqrt(count)
        return fmean(values) - half, fmean(values) + half
    return median_interval(values)


def difference(first: Mapping[str, Any], second: Mapping[str, Any], name: str, noise: float = 0.0) -> float:
    """Return by how much two cases differ in a column, first minus second; 0 if that is within its interval.

    Parameters
    ----------
    first, second
        Flat rows; ``runs.NAME`` holds the values of each round, as JSON, if a case ran several times.
    name
        The column; both have a value.
    noise
        Relative difference that is no difference, where there are no rounds to compare.
    """
    before, after = runs_of(first, name), runs_of(second, name)
    paired = [a - b for a, b in zip(before, after, strict=False) if a is not None and b is not None]
    if len(paired) >= FEWEST:
        low, high = interval(paired)
        return 0.0 if low <= 0 <= high else median(paired)
    apart = float(first[name]) - float(second[name])
    return 0.0 if abs(apart) <= noise * max(abs(first[name]), abs(second[name])) else apart


def runs_of(row: Mapping[str, Any], name: str) -> Sequence[float | None]:
    """Return a column's value in each round; None where the case did not run; empty without rounds."""
    held = row.get(f"runs.{name}")
    return _parsed(held) if isinstance(held, str) else ()


@lru_cache(4096)
def _parsed(text: str) -> tuple[float | None, ...]:
    return tuple(json.loads(text))
