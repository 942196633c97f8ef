"""Definition of `hamming_window_top2` in plain NumPy; all backends must return the same bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from s2fast_kernels.hamming_top2 import reference as hamming_top2_reference
from s2fast_kernels.hamming_top2.reference import Top2

if TYPE_CHECKING:
    import numpy.typing as npt


def check_operands(
    query: npt.NDArray[np.uint64],
    query_xy: npt.NDArray[np.float64],
    train: npt.NDArray[np.uint64],
    train_xy: npt.NDArray[np.float64],
    radius: float,
) -> None:
    """Raise ValueError unless the operands satisfy the contract of `hamming_window_top2`."""
    hamming_top2_reference.check_operands(query, train, np.array([0, len(train)], np.int64))
    check_positions("query_xy", query_xy, len(query))
    check_positions("train_xy", train_xy, len(train))
    check_radius(radius)


def check_positions(name: str, xy: npt.NDArray[np.float64], rows: int) -> None:
    """Raise ValueError unless xy are finite positions, (rows, 2) float64."""
    if xy.dtype != np.float64 or xy.shape != (rows, 2):
        raise ValueError(f"{name} must be ({rows}, 2) float64, got {xy.shape} {xy.dtype}")
    if not np.isfinite(xy).all():
        raise ValueError(f"{name} must be finite, row {np.flatnonzero(~np.isfinite(xy).all(axis=1))[0]} is not")


def check_radius(radius: float) -> None:
    """Raise ValueError unless the radius is finite and not negative."""
    if not (math.isfinite(radius) and radius >= 0):
        raise ValueError(f"radius must be finite and not negative, got {radius}")


def hamming_window_top2(
    query: npt.NDArray[np.uint64],
    query_xy: npt.NDArray[np.float64],
    train: npt.NDArray[np.uint64],
    train_xy: npt.NDArray[np.float64],
    radius: float,
) -> Top2:
    """Search the rows within the radius of each query; see the package for the contract."""
    result = Top2.empty(len(query), 1)
    for row in range(len(query)):
        dx, dy = (train_xy - query_xy[row]).T
        near = np.flatnonzero(dx * dx + dy * dy <= radius * radius)
        if len(near) == 0:
            continue
        found = hamming_top2_reference.hamming_top2(
            query[row : row + 1], train[near], np.array([0, len(near)], np.int64)
        )
        result.index[row], result.best[row], result.second[row] = near[found.index[0]], found.best[0], found.second[0]
    return result
