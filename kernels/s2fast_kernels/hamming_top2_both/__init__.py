"""`hamming_top2` in both directions, at little more than the cost of one.

Mutual matches need each query's neighbours among the train rows and each train row's neighbours among the queries. Both
need the same distances, so one pass keeps the two smallest along either axis. See ``README.md`` of `hamming_top2`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2fast_kernels.backends import Backend, needs_package, resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from s2fast_kernels.hamming_top2.reference import Top2

__all__ = ["BACKENDS", "hamming_top2_both"]

BACKENDS = (
    Backend("numba", f"{__name__}.numba_cpu", "hamming_top2_both", "cpu", needs_package("numba")),
    Backend("reference", f"{__name__}.reference", "hamming_top2_both", "cpu", needs_package("numpy")),
)
"""Fastest first."""


def hamming_top2_both(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    train_offsets: npt.NDArray[np.int64],
    *,
    backend: str = "auto",
) -> tuple[Top2, Top2]:
    """Find each query's two nearest train rows in every scene, and each train row's two nearest queries.

    Parameters
    ----------
    query : (n, 8) uint64
        Packed descriptors of one scene.
    train : (m, 8) uint64
        The packed descriptors of s scenes, one scene after another.
    train_offsets : (s + 1,) int64
        The rows of scene t are ``train_offsets[t]:train_offsets[t + 1]``.
    backend
        ``"auto"`` or a name from `BACKENDS`.

    Returns
    -------
    forward : Top2
        ``hamming_top2(query, train, train_offsets)``: (n, s) arrays.
    backward : Top2
        ``hamming_top2(train, query, [0, n])``: (m, 1) arrays. In both, ties go to the lowest row.

    Raises
    ------
    ValueError
        The operands have the wrong shape, type or offsets.
    s2fast_kernels.backends.BackendError
        The backend is unknown or cannot run here.
    """
    from s2fast_kernels.hamming_top2.reference import check_operands

    check_operands(query, train, train_offsets)
    result: tuple[Top2, Top2] = resolve(BACKENDS, backend).load()(query, train, train_offsets)
    return result
