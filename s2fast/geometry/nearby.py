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
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        found = np.zeros(len(points), np.bool_)
        found[finite] = near_any(points[finite], others, reach)
        return found
    if not len(points) or not len(others):
        return np.zeros(len(points), np.bool_)
    low, high = points.min(axis=0), points.max(axis=0)
    cell = max(reach / CELLS_OF_REACH, float((high - low).max()) / _MOST_CELLS)
    around = int(np.ceil(reach / cell)) + 1
    low = low - around * cell
    cols, rows = (np.floor((high - low) / cell).astype(np.intp) + 1 + around).tolist()
    at = np.floor((others - low) / cell)
    inside = ((at >= 0) & (at < (cols, rows))).all(axis=1)
    held = np.zeros((rows, cols), np.uint8)
    column, row = at[inside].astype(np.intp).T
    held[row, column] = 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * around + 1, 2 * around + 1))
    near = cv2.dilate(held, disc)
    column, row = np.floor((points - low) / cell).astype(np.intp).T
    return np.asarray(near[row, column].view(np.bool_))
