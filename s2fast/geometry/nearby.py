"""Find the points of a scene that lie near any point of another, where the two may have ground in common."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

CELLS_OF_REACH = 4
"""Number of cells along the distance within which points are near."""

_MOST_CELLS = 1024
"""Most cells along a side; beyond it, cells are larger."""


def near_any(points: npt.NDArray[np.float64], others: npt.NDArray[np.float64], reach: float) -> npt.NDArray[np.bool_]:
    """Return which points lie near any of the other points, by cells of a quarter of the distance.

    Parameters
    ----------
    points : (n, 2) float64
        The points.
    others : (m, 2) float64
        The other points.
    reach
        The distance, in the same units.

    Returns
    -------
    (n,) bool
        True for all points within `reach` of another one, and for some up to four cells farther; False for points that
        are not finite, as outside the domain of a projection.

    Examples
    --------
    >>> near_any(np.array([[0.0, 0.0], [9.0, 0.0], [20.0, 0.0]]), np.array([[1.0, 1.0]]), 8.0)
    array([ True,  True, False])
    """
    # Columns are contiguous: NumPy reduces a row of two numbers slowly.
    x, y = np.ascontiguousarray(points.T)
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.all():
        found = np.zeros(len(points), np.bool_)
        found[finite] = near_any(points[finite], others, reach)
        return found
    if not len(points) or not len(others):
        return np.zeros(len(points), np.bool_)
    sides = float(x.max() - x.min()), float(y.max() - y.min())
    cell = max(reach / CELLS_OF_REACH, max(sides) / _MOST_CELLS)
    around = int(np.ceil(reach / cell)) + 1
    left, top = x.min() - around * cell, y.min() - around * cell
    cols, rows = (int((axis.max() - low) / cell) + 1 + around for axis, low in ((x, left), (y, top)))
    column, row = ((axis - low) / cell for axis, low in zip(np.ascontiguousarray(others.T), (left, top), strict=True))
    inside = (column >= 0) & (column < cols) & (row >= 0) & (row < rows)
    held = np.zeros((rows, cols), np.uint8)
    held[row[inside].astype(np.intp), column[inside].astype(np.intp)] = 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * around + 1, 2 * around + 1))
    near = cv2.dilate(held, disc)
    return np.asarray(near[((y - top) / cell).astype(np.intp), ((x - left) / cell).astype(np.intp)].view(np.bool_))
