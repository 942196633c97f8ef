"""Definition of `window_matches` in plain NumPy; all backends must return the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, NO_ROW
from s2fast_kernels.hamming_window_top2_both.reference import hamming_window_top2_both
from s2fast_kernels.window_matches.contract import Columns, MatchTest, WindowMatches

if TYPE_CHECKING:
    import numpy.typing as npt

    from s2fast_kernels.hamming_top2.reference import Top2
    from s2fast_kernels.hamming_window_top2_both import WindowRows


def window_matches(
    pairs: Sequence[tuple[WindowRows, WindowRows]], away: npt.NDArray[np.float64], test: MatchTest
) -> WindowMatches:
    """Search every pair at each place and select; see the package for the contract."""
    return WindowMatches.of(
        [
            _selected(*hamming_window_top2_both(query, train, (float(x), float(y))), test)
            for (query, train), places in zip(pairs, away, strict=True)
            for x, y in places
        ]
    )


def _selected(forward: Top2, backward: Top2, test: MatchTest) -> Columns:
    """Return the neighbours that pass the test."""
    index, best, second = forward.index[:, 0], forward.best[:, 0], forward.second[:, 0]
    found, lone = index != NO_ROW, second == NO_DISTANCE
    good = found & (lone | (best < test.ratio * second.astype(np.float64))) & (best <= test.max_distance)
    rows = np.flatnonzero(good)
    if test.mutual:
        rows = rows[backward.index[index[rows], 0] == rows]
    return rows.astype(np.int32), index[rows], best[rows], second[rows]
