"""Statistics of paired times: the ratio, its interval with processes as the unit, and the verdict.

A round times base, head, head, base, so that a steadily rising or falling load cancels. It gives the logarithm of the
ratio of head's to base's time, by the faster call of each side: other processes only slow a call down. The median over
the rounds of two processes is *one* number, because equal code differs by several per cent from process to process for
as long as the processes live (where their memory lies): more rounds of two processes do not average this. The interval
is Student's t interval over pairs of fresh processes. Its tails are those of few numbers whose scatter is unknown, and
outliers widen it: with heavy tails it covers the truth more often than it says, never less. pyperf and
pytest-benchmark are not used: both compare separate sessions, and on a shared machine two sessions differ by many times
the effect sought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import scipy.special

SLOWER = 1.05
"""Head is slower if the whole interval of its ratio to base lies above this; smaller changes do not fail the check."""

WIDEST = 1.06
"""Widest half interval, as a factor, of a verdict: +15 % is then above `SLOWER` by more than half an interval."""

FEWEST = 5
"""Fewest pairs of processes of a verdict."""

CONFIDENCE = 0.999
"""A check has some twenty intervals: were the scatter large beside `SLOWER`, one in a hundred checks of equal code
would be red by it, and next to none otherwise."""

_LARGEST = math.log(100.0)
"""Half interval where nothing is known, for example of one pair of processes."""


class Verdict(Enum):
    """Verdict on one case by one clock."""

    SAME = "no slower"
    FASTER = "faster"
    SLOWER = "slower"
    NOISY = "too noisy"


@dataclass(frozen=True, slots=True)
class Interval:
    """Ratio of the times of two sides, with its confidence interval."""

    ratio: float
    """Geometric mean over the pairs of processes."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    processes: int
    """Pairs of processes timed."""

    @property
    def narrow(self) -> bool:
        """Whether the interval is narrow enough to distinguish +15 % from no change."""
        return self.processes >= FEWEST and math.sqrt(self.high / self.low) <= WIDEST

    @property
    def verdict(self) -> Verdict:
        """Verdict on head: if the whole interval lies above `SLOWER`, head is slower, however wide the interval is."""
        if self.processes >= FEWEST and self.low > SLOWER:
            return Verdict.SLOWER
        if not self.narrow:
            return Verdict.NOISY
        return Verdict.FASTER if self.high < 1 / SLOWER else Verdict.SAME

    def __str__(self) -> str:
        return f"{100 * (self.ratio - 1):+.1f} % [{100 * (self.low - 1):+.1f}, {100 * (self.high - 1):+.1f}]"


def log_ratio(base: Sequence[float], head: Sequence[float]) -> float:
    """Return the logarithm of the ratio of head's to base's time in one round, by the faster call of each side."""
    return math.log(min(head) / min(base))


def interval(log_ratios: Sequence[float]) -> Interval:
    """Summarise pairs of processes.

    Parameters
    ----------
    log_ratios
        One number per pair of processes: the median over its rounds of `log_ratio`.
    """
    values = np.asarray(log_ratios, np.float64)
    count = len(values)
    half = _LARGEST
    if count > 1:
        quantile = scipy.special.stdtrit(count - 1, (1 + CONFIDENCE) / 2)
        half = min(half, float(quantile * values.std(ddof=1) / math.sqrt(count)))
    mean = float(values.mean())
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half), count)
