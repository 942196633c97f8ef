"""Statistics of paired times: the ratio, its interval, and whether the machine was quiet enough for a verdict.

A round times base, head, head, base, so that a steadily rising or falling load cancels. A round gives the logarithm of
the ratio of head's to base's time, by the faster call of each side: other processes only slow a call down, by up to
half on a busy machine. Rounds are summarised by their median, which is robust against bad rounds, with percentiles of
scipy's bootstrap. On times recorded with three busy processes on two cores, this estimate varied by 0.9 % over 16
rounds, that of the calls' sums by 1.7 %, and a ratio of medians by 2.9 %. pyperf and pytest-benchmark are not used:
both compare separate sessions, and on a shared machine two sessions differ by many times the effect sought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import scipy.stats

SLOWER = 1.05
"""Head is slower if the whole interval of its ratio to base lies above this; smaller changes do not fail the check."""

WIDEST = 1.045
"""Widest half interval, as a factor: +15 % is then above `SLOWER` by more than half an interval."""

MIN_ROUNDS, MAX_ROUNDS = 10, 24
"""Rounds of a case. They continue until the interval is narrow enough, whatever its value: this favours no verdict."""

CONFIDENCE = 0.95


class Verdict(Enum):
    """Verdict on one case."""

    SAME = "no slower"
    FASTER = "faster"
    SLOWER = "slower"
    NOISY = "too noisy"


@dataclass(frozen=True, slots=True)
class Interval:
    """Ratio of the times of two sides, with its confidence interval."""

    ratio: float
    """Median over the rounds."""
    low: float
    """Lower end of the bootstrap interval."""
    high: float
    """Upper end of the bootstrap interval."""
    rounds: int
    """Rounds timed."""

    @property
    def narrow(self) -> bool:
        """Whether the interval is narrow enough to distinguish +15 % from no change."""
        return math.sqrt(self.high / self.low) <= WIDEST

    def __str__(self) -> str:
        return f"{100 * (self.ratio - 1):+.1f} % [{100 * (self.low - 1):+.1f}, {100 * (self.high - 1):+.1f}]"


def log_ratio(base: Sequence[float], other: Sequence[float]) -> float:
    """Return the logarithm of the ratio of other's to base's time in one round, by the faster call of each side."""
    return math.log(min(other) / min(base))


def interval(log_ratios: Sequence[float]) -> Interval:
    """Summarise rounds.

    Parameters
    ----------
    log_ratios
        One number per round, from `log_ratio`.

    Returns
    -------
    Interval
        Deterministic: the bootstrap uses a fixed seed.
    """
    values = np.asarray(log_ratios, np.float64)
    if np.ptp(values) == 0:
        same = math.exp(values[0])
        return Interval(same, same, same, len(values))
    drawn = scipy.stats.bootstrap(
        (values,),
        np.median,
        confidence_level=CONFIDENCE,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = drawn.confidence_interval
    return Interval(math.exp(float(np.median(values))), math.exp(low), math.exp(high), len(values))


def is_quiet(control: Interval) -> bool:
    """Return whether the interval of base against itself is narrow and shows no difference."""
    return control.narrow and control.low > 1 / SLOWER and control.high < SLOWER


def judge(control: Interval, measured: Interval | None) -> Verdict:
    """Judge a case from base against base and base against head.

    If the whole interval lies above `SLOWER`, head is slower, however wide the interval is.
    """
    if measured is None or not is_quiet(control):
        return Verdict.NOISY
    if measured.low > SLOWER:
        return Verdict.SLOWER
    if not measured.narrow:
        return Verdict.NOISY
    return Verdict.FASTER if measured.high < 1 / SLOWER else Verdict.SAME
