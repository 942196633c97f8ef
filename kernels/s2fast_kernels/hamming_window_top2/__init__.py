"""Find the two nearest neighbours by Hamming distance among the train rows near a query's position.

If positions are known to within some metres, most comparisons of `hamming_top2` are between keypoints that cannot
correspond. This operation compares only rows within a radius, found with a grid. See ``README.md`` in this folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2fast_kernels.backends import Backend, needs_package, resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from s2fast_kernels.hamming_top2.reference import Top2

__all__ = ["BACKENDS", "hamming_window_top2"]

BACKENDS = (
    Backend("numba", f"{__name__}.numba_cpu", "hamming_window_top2", "cpu", needs_package("numba")),
    Backend("reference", f"{__name__}.reference", "hamming_window_top2", "cpu", needs_package("numpy")),
)
"""Fastest first."""


def hamming_window_top2(
    query: npt.NDArray[np.uint64],
    query_xy: npt.NDArray[np.float64],
    train: npt.NDArray[np.uint64],
    train_xy: npt.NDArray[np.float64],
    radius: float,
    *,
    backend: str = "auto",
) -> Top2:
    """Find the two nearest train rows of every query row among those within a radius of its position.

    Parameters
    ----------
    query : (n, 8) uint64
        Packed descriptors.
    query_xy : (n, 2) float64
        Positions x, y of the query rows, in map units or pixels.
    train : (m, 8) uint64
        Packed descriptors of one scene.
    train_xy : (m, 2) float64
        Positions of the train rows, in the units of query_xy.
    radius
        Maximum distance of compared rows, in the same units. Rows are compared if ``dx * dx + dy * dy <= radius *
        radius``, computed in float64.
    backend
        ``"auto"`` or a name from `BACKENDS`.

    Returns
    -------
    Top2
        (n, 1) arrays: the result of `hamming_top2` for one scene without the rows outside the radius, except that rows
        keep their numbers. Ties go to the lowest row.

    Raises
    ------
    ValueError
        The operands have the wrong shape or type, a position is not finite, or the radius is negative or not finite.
    s2fast_kernels.backends.BackendError
        The backend is unknown or cannot run here.
    """
    from s2fast_kernels.hamming_window_top2.reference import check_operands

    check_operands(query, query_xy, train, train_xy, radius)
    result: Top2 = resolve(BACKENDS, backend).load()(query, query_xy, train, train_xy, float(radius))
    return result
