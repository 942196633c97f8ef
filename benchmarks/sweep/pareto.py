"""Which cases nothing beats in both cost and gain."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Find the cases for which no other costs as little or less and gives as much or more, one of the two strictly.

    Returns
    -------
    list[int]
        Their places, the cheapest first; of equal cases all.

    Examples
    --------
    >>> front([1, 2, 3, 2], [5, 9, 8, 9])
    [0, 1, 3]
    """
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -gains[place]))
    kept: list[int] = []
    for place in order:
        last = kept[-1] if kept else None
        if last is None or gains[place] > gains[last] or (gains[place], costs[place]) == (gains[last], costs[last]):
            kept.append(place)
    return kept
