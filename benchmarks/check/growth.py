"""How counts grow with the work: the exponent of each case, without its fixed cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from scipy.optimize import brentq

_RANGE = (0.05, 6.0)


def exponent(work: Sequence[float], counts: Sequence[float]) -> float:
    """Fit ``count = fixed + rate * work ** exponent``.

    Parameters
    ----------
    work, counts
        Two or three points, ascending. Two are fitted without a fixed cost. Three determine the exponent by the ratio
        of their differences, which the fixed cost is not part of.

    Returns
    -------
    float
        0 if the counts do not grow, and at most 6.
    """
    if len(work) == 2:
        return max(0.0, math.log(counts[1] / counts[0]) / math.log(work[1] / work[0]))
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    if first <= 0 or second <= 0:
        return 0.0 if second <= 0 else _RANGE[1]

    def excess(power: float) -> float:
        grown = [value**power for value in work]
        return math.log((grown[2] - grown[1]) / (grown[1] - grown[0])) - math.log(second / first)

    low, high = _RANGE
    if excess(low) >= 0:
        return 0.0
    if excess(high) <= 0:
        return high
    return float(brentq(excess, low, high, xtol=1e-6))


def scatter(work: Sequence[float], counts: Sequence[float], share: float) -> float:
    """Return how much the exponent rises at most if every count may be off by a share of itself.

    A case whose fixed cost is most of its counts has an exponent that a small difference of these changes much.
    """
    signs = itertools.product((-1, 1), repeat=len(counts))
    off = [[count * (1 + share * sign) for count, sign in zip(counts, chosen, strict=True)] for chosen in signs]
    return max(exponent(work, each) for each in off) - exponent(work, counts)
