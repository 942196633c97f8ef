"""Good matches of many pairs of scenes, near their positions: both directions, ratio, cap and mutual test at once.

For every pair and every place, `window_matches` searches as `hamming_window_top2_both` does and returns only the
matches that pass, as columns. See ``README.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from s2fast_kernels.backends import Backend, needs_package, needs_triton, resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from s2fast_kernels.hamming_window_top2_both import WindowRows
    from s2fast_kernels.window_matches.contract import MatchTest, WindowMatches

__all__ = ["BACKENDS", "window_matches"]

BACKENDS = (
    Backend("triton", f"{__name__}.triton_gpu", "window_matches", "gpu", needs_triton),
    Backend("numba", f"{__name__}.numba_cpu", "window_matches", "cpu", needs_package("numba")),
    Backend("torch", f"{__name__}.torch_any", "window_matches", "any", needs_package("torch")),
    Backend("reference", f"{__name__}.reference", "window_matches", "cpu", needs_package("numpy")),
)
"""Fastest first; on a GPU, "auto" selects the rows that run there first."""


def window_matches(
    pairs: Sequence[tuple[WindowRows, WindowRows]],
    away: npt.NDArray[np.float64],
    test: MatchTest,
    *,
    backend: str = "auto",
    device: str = "auto",
) -> WindowMatches:
    """Find the good matches of every pair of scenes at each place.

    Parameters
    ----------
    pairs
        k pairs of a query and a train, each prepared for one radius. One query with many trains are neighbouring pairs
        with the same query, which a backend may process together.
    away : (k, p, 2) float64
        Offsets of the search area from the query's positions, in x and y, for each of p places per pair.
    test : MatchTest
        Which neighbours are good matches.
    backend
        ``"auto"`` or a name from `BACKENDS`.
    device
        Where it runs, see `s2fast_kernels.backends.find_device`.

    Returns
    -------
    WindowMatches
        Trials in order of pair, then place; the matches of a trial in ascending order of query row. A match is a query
        row and its nearest train row as `hamming_window_top2_both` finds it, if it passes the test.

    Raises
    ------
    ValueError
        The scenes of a pair are prepared for different radii, or `away` has the wrong shape or type or is not finite.
    s2fast_kernels.backends.BackendError
        The backend or device is unknown or cannot run here.
    """
    from s2fast_kernels.window_matches.contract import check_operands

    check_operands(pairs, away)
    found: WindowMatches = resolve(BACKENDS, backend, device).load()(pairs, away, test)
    return found
