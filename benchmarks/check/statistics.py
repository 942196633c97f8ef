"""Statistics of paired times: the ratio, its interval with processes as the unit, and the verdict.

A round times base, head, head, base, so that a steadily rising or falling load cancels. It gives the logarithm of the
ratio of head's to base's time, by the faster call of each side: other processes only slow a call down. The median over
the rounds of two processes is *one* number, because equal code differs by several per cent from process to process for
as long as the processes live (where their memory lies): more rounds of two processes do not average this. The interval
is Student's t interval over pairs of fresh processes; outliers widen it, so that heavy tails accuse nobody.

Five numbers say little about their scatter, and t intervals pay for this: at this confidence, 8.6 standard errors. The
cases of a check are disturbed alike, so a case's scatter is taken to be its own or, if larger, the weighted mean of its
own and of the median over all cases; its quantile, 4.3, is that of the numbers of both. In 20,000 simulated checks of
nine cases whose scatters differ (their logarithms by 0.5, rms) and that have heavy tails, 0.05 to 0.13 % of the
intervals missed the truth, and at most 0.3 % of the checks, at any scatter, accused equal code. pyperf and
pytest-benchmark are not used: both compare separate sessions, and on a shared machine two sessions differ by many times
the effect sought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.special import stdtrit

SLOWER = 1.05
"""Head is slower if the whole interval of its ratio to base lies above this; smaller changes do not fail the check."""

WIDEST = 1.06
"""Widest half interval, as a factor, of a verdict. A standard error is then at most 1.4 %, and the interval of +15 %
lies above `SLOWER` by more than two: what is "no slower" would have been found, had it been 15 % slower."""

FEWEST = 5
"""Fewest pairs of processes of a verdict."""

CONFIDENCE = 0.999
"""High, because a check has some twenty intervals, and none may accuse equal code."""

_SHARED = 8
"""Degrees of freedom that the median scatter over all cases adds to a case's own."""

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


def intervals(cases: Sequence[Sequence[float]]) -> list[Interval]:
    """Summarise the pairs of processes of all cases by one clock.

    Parameters
    ----------
    cases
        For each case one number per pair of processes, as many for each: the median over its rounds of `log_ratio`.

    Returns
    -------
    list[Interval]
        One per case.
    """
    values = np.asarray(cases, np.float64)
    means, count = values.mean(axis=1), values.shape[1]
    half = np.full(len(values), _LARGEST)
    if count > 1:
        own, free = values.std(axis=1, ddof=1), count - 1
        shared = min(_SHARED, free * (len(values) - 1))
        mixed = np.sqrt((free * own**2 + shared * np.median(own) ** 2) / (free + shared))
        error = np.maximum(own, mixed) / math.sqrt(count)
        half = np.minimum(half, stdtrit(free + shared, (1 + CONFIDENCE) / 2) * error)
    ends = np.exp([means, means - half, means + half])
    return [Interval(float(ratio), float(low), float(high), count) for ratio, low, high in ends.T]
