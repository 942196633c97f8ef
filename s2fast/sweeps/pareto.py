"""Find the Pareto front of cost and gain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Difference = Callable[[int, int], float]
"""Returns by how much a case's value exceeds another's; 0 if that is within its interval."""


def honest_front(
    costs: Sequence[float], gains: Sequence[float], cost_difference: Difference, gain_difference: Difference
) -> list[int]:
    """Return the front where differences within their interval are none: they make no case better than another.

    A case is left out if one on the front is better in cost or gain, beyond the interval, and not worse in the other.
    A case that is only beaten by cases that are left out themselves stays: of many cases each a little dearer than the
    one before, not only the dearest is left.

    Parameters
    ----------
    costs, gains
        The values.
    cost_difference, gain_difference
        Compare two cases.

    Returns
    -------
    list[int]
        Indices, cheapest first. A case that is slower by less than its interval and better in gain takes the place of
        the faster one; cases equal in gain and within the interval share theirs.
    """

    def dominates(rival: int, index: int) -> bool:
        cheaper, better = -cost_difference(rival, index), gain_difference(rival, index)
        return cheaper >= 0 and better >= 0 and cheaper + better > 0

    kept: list[int] = []
    for index in sorted(range(len(costs)), key=lambda at: (-gains[at], costs[at])):
        if not any(dominates(rival, index) for rival in kept):
            kept = [*(rival for rival in kept if not dominates(index, rival)), index]
    return sorted(kept, key=lambda at: (costs[at], -gains[at]))
