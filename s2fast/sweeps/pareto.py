"""Find the Pareto front of cost and gain."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Return the cases that no other case dominates: equal or better in cost and gain, and better in one of them.

    Returns
    -------
    list[int]
        Their indices, cheapest first, including all equal cases.

    Examples
    --------
    >>> front([1, 2, 3, 2], [5, 9, 8, 9])
    [0, 1, 3]
    """
    order = sorted(range(len(costs)), key=lambda index: (costs[index], -gains[index]))
    kept: list[int] = []
    for index in order:
        last = kept[-1] if kept else None
        if last is None or gains[index] > gains[last] or (gains[index], costs[index]) == (gains[last], costs[last]):
            kept.append(index)
    return kept
