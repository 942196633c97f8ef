"""Which cases compete, so that measuring them again can change a front."""

from __future__ import annotations

from collections.abc import Sequence

from s2fast.sweeps.columns import FlatRow, is_time, points_of
from s2fast.sweeps.grid import Plot

BEYOND_DOUBT = 1.5
"""A case that takes this many times as long as another one that gains as much does not compete, whatever the noise."""


def competing(rows: Sequence[FlatRow], plots: Sequence[Plot]) -> set[int]:
    """Return the indices of the cases that could lie on the front of a plot over time; without such a plot, all.

    Parameters
    ----------
    rows
        Flat rows of cases that ran once.
    plots
        The sweep's plots.
    """
    done = {at for at, row in enumerate(rows) if row["status"] == "ok"}
    timed = [plot for plot in plots if is_time(plot.cost) and points_of(rows, plot)[0]]
    if not timed:
        return done
    found: set[int] = set()
    for plot in timed:
        indices, costs, gains = points_of(rows, plot)
        best, cheapest = float("-inf"), 0
        order = sorted(range(len(indices)), key=lambda at: costs[at])
        for at in order:
            # All that take less than this one by more than any noise.
            while costs[order[cheapest]] * BEYOND_DOUBT < costs[at]:
                best, cheapest = max(best, gains[order[cheapest]]), cheapest + 1
            if gains[at] > best:
                found.add(indices[at])
    return found & done
