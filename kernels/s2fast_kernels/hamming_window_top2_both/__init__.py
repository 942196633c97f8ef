"""`hamming_window_top2` within groups, in both directions at once, on rows prepared once per scene.

Mutual matching of a series of scenes searches every pair in both directions, within a radius, among keypoints of equal
size. `WindowRows` holds everything that can be computed once per scene, and each distance is used in both directions.
See ``README.md``.
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

    A query row and a train row are compared if they have the same group and ``dx * dx + dy * dy <= radius * radius``,
    computed in float64, with ``dx = train.x - (query.x + away[0])`` and ``dy = train.y - (query.y + away[1])``.

    Parameters
    ----------
    query, train : WindowRows
        n and m rows, prepared for the same radius.
    away
        Offset of the search area from the query's position, in x and y, in the units of the positions.
    backend
        ``"auto"`` or a name from `BACKENDS`.

    Returns
    -------
    forward : Top2
        (n, 1) arrays: the result of `hamming_window_top2` without the rows of other groups. Rows are numbered as in the
        operands of `WindowRows.of`. Ties go to the lowest row.
    backward : Top2
        (m, 1) arrays: the same for every train row.

    Raises
    ------
    ValueError
        The operands are prepared for different radii, or away is not finite.
    s2fast_kernels.backends.BackendError
        The backend is unknown or cannot run here.
    """
    from s2fast_kernels.hamming_window_top2_both.reference import check_operands

    check_operands(query, train, away)
    east, north = map(float, away)
    result: tuple[Top2, Top2] = resolve(BACKENDS, backend).load()(query, train, (east, north))
    return result
