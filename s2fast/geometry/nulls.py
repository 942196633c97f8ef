"""False-alarm rate of verification, estimated from null trials, in which every verified result is an error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
"""Confidence of `NullRate.interval`."""


@dataclass(frozen=True, slots=True)
class NullRate:
    """Outcome of the null trials: at wrong offsets or, without a prior, on shuffled matches."""

    trials: int
    """Number of trials, at least 1."""
    verified: int
    """Number of trials that were verified; each is a false alarm."""

    @property
    def rate(self) -> float:
        """Return the share of trials that were verified, 0 to 1."""
        return self.verified / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval of the rate, two-sided and exact.

        References
        ----------
        C. J. Clopper, E. S. Pearson: The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial,
        Biometrika 26 (1934).

        Examples
        --------
        >>> low, high = NullRate(trials=1128, verified=0).interval
        >>> round(low, 5), round(high, 5)
        (0.0, 0.00326)
        """
        from scipy.special import betaincinv

        tail = (1 - CONFIDENCE) / 2
        missed = self.trials - self.verified
        low = float(betaincinv(self.verified, missed + 1, tail)) if self.verified else 0.0
        high = float(betaincinv(self.verified + 1, missed, 1 - tail)) if missed else 1.0
        return low, high


def null_summary(null: NullRate) -> str:
    """Return the outcome of the trials as one sentence, without the full stop.

    Examples
    --------
    >>> null_summary(NullRate(trials=1128, verified=0))
    '0 of 1,128 null trials were verified (at most 0.33 %, 95 % confidence)'
    >>> null_summary(NullRate(trials=1128, verified=3))
    '3 of 1,128 null trials were verified (0.27 %, 95 % confidence interval 0.055 to 0.78 %)'
    """
    low, high = null.interval
    share = f"{percent(null.rate)} %, 95 % confidence interval {percent(low)} to {percent(high)} %"
    if not null.verified:
        share = f"at most {percent(high)} %, 95 % confidence"
    was = "was" if null.verified == 1 else "were"
    return f"{null.verified:,} of {null.trials:,} null trials {was} verified ({share})"


def null_warning(null: NullRate, pairs: int, verified_pairs: int) -> str:
    """Return a one-line warning if a trial was verified, with its meaning for the run and what to do; else "".

    Parameters
    ----------
    null
        The run's trials.
    pairs
        Number of pairs of the run.
    verified_pairs
        Number of verified pairs of the run.
    """
    if not null.verified:
        return ""
    most = math.ceil(null.interval[1] * pairs)
    expected = (
        f"At this rate chance alone verifies about {null.rate * pairs:,.0f} (at most {most:,}) of this run's {pairs:,} "
        f"pairs; {verified_pairs:,} {'is' if verified_pairs == 1 else 'are'} verified."
    )
    if not verified_pairs:
        advice = "No verdict is affected."
    elif most >= verified_pairs:
        advice = "Chance may explain all of these: do not rely on this run's verdicts."
    else:
        advice = (
            "First check the verified pairs with the fewest witnesses (n_witnesses in pairs.csv) and those that "
            "contradict their series (large network_residual_m)."
        )
    more = "For a more precise rate, increase verification.nulls."
    return f"{null_summary(null)}; expected: none. {expected} {advice} {more}"


def percent(share: float) -> str:
    """Format a share as a percentage with two significant digits, without the percent sign.

    Examples
    --------
    >>> percent(0.00266), percent(0.641), percent(1.0), percent(0.0), percent(0.0000123)
    ('0.27', '64', '100', '0', '0.0012')
    """
    return np.format_float_positional(100 * share, precision=2, fractional=False, trim="-")
