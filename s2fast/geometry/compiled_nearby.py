"""Compiled passes over the points of `s2fast.geometry.nearby`, without Python's lock."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty


@njit("(f8[:,::1],)", nogil=True)
def extent(points: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the least x, the greatest x, the least y and the greatest y of points that are finite; inf without any."""
    west, east, low, high = np.inf, -np.inf, np.inf, -np.inf
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        if np.isfinite(x) and np.isfinite(y):
            west, east, low, high = min(west, x), max(east, x), min(low, y), max(high, y)
    return west, east, low, high


@njit("(f8[:,::1], f8, f8, f8, u1[:,::1])", nogil=True)
def mark(points: npt.NDArray[np.float64], west: float, low: float, cell: float, cells: npt.NDArray[np.uint8]) -> None:
    """Set the cells of a grid that contain a point to 1; its corner with the least x and y is at `west` and `low`."""
    rows, cols = cells.shape
    for i in range(len(points)):
        column, row = (points[i, 0] - west) / cell, (points[i, 1] - low) / cell
        # False for points that are not finite.
        if 0 <= column < cols and 0 <= row < rows:
            cells[np.uint64(row), np.uint64(column)] = 1


@njit("(f8[:,::1], f8, f8, f8, u1[:,::1])", nogil=True)
def marked(
    points: npt.NDArray[np.float64], west: float, low: float, cell: float, cells: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Return which points lie in marked cells; False for points that are not finite."""
    found: npt.NDArray[np.bool_] = empty(len(points), np.bool_)
    rows, cols = cells.shape
    for i in range(len(points)):
        column, row = (points[i, 0] - west) / cell, (points[i, 1] - low) / cell
        inside = 0 <= column < cols and 0 <= row < rows
        found[i] = inside and cells[np.uint64(row), np.uint64(column)] != 0
    return found
