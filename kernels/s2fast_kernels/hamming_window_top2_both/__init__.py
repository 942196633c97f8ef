"""`hamming_window_top2` within groups, in both directions at once, on rows prepared once a scene.

Mutual matches of a series of scenes search every pair both ways, within a radius, among keypoints of one size. What can
be done once a scene is done once (`WindowRows`), and one distance serves both directions. See ``README.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2fast_kernels.backends import Backend, needs_package, resolve
from s2fast_kernels.hamming_window_top2_both.rows import WindowRows

if TYPE_CHECKING:
    from s2fast_kernels.hamming_top2.reference import Top2

__all__ = ["BACKENDS", "WindowRows", "hamming_window_top2_both"]

BACKENDS = (
    Backend("numba", f"{__name__}.numba_cpu", "hamming_window_top2_both", "cpu", needs_package("numba")),
    Backend("reference", f"{__name__}.reference", "hamming_window_top2_both", "cpu", needs_package("numpy")),
)
"""Fastest first."""


def hamming_window_top2_both(
    query: WindowRows, train: WindowRows, *, away: tuple[float, float] = (0.0, 0.0), backend: str = "auto"
) -> tuple[Top2, Top2]:
    """Find each query row's two nearest train rows near its position, and each train row's two nearest query rows.

    A query and a train row compete if they are of one group and ``dx * dx + dy * dy <= radius * radius``, computed in
    float64, with ``dx = train.x - (query.x + away[0])`` and dy alike.

    Parameters
    ----------
    query, train : WindowRows
        n and m rows, made for the same radius.
    away
        How far from the query's position to look, in x and y, in the units of the positions.
    backend
        ``"auto"`` or a name from `BACKENDS`.

    Returns
    -------
    forward : Top2
        (n, 1) arrays: what `hamming_window_top2` returns with every row of another group removed; rows are numbered as
        the caller of `WindowRows.of` had them. Of equally near rows the lowest is the best.
    backward : Top2
        (m, 1) arrays: the same seen from every train row.

    Raises
    ------
    ValueError
        The operands are made for different radii, or away is not finite.
    s2fast_kernels.backends.BackendError
        The backend is unknown or cannot run here.
    """
    from s2fast_kernels.hamming_window_top2_both.reference import check_operands

    check_operands(query, train, away)
    east, north = map(float, away)
    result: tuple[Top2, Top2] = resolve(BACKENDS, backend).load()(query, train, (east, north))
    return result
