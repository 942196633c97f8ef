"""Find the points of a scene that lie near any point of another, where the two may have ground in common."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.geometry import compiled_nearby

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
    points, others = np.ascontiguousarray(points), np.ascontiguousarray(others)
    west, east, low, high = compiled_nearby.extent(points)
    if not (west <= east and len(others)):
        return np.zeros(len(points), np.bool_)
    cell = max(reach / CELLS_OF_REACH, max(east - west, high - low) / _MOST_CELLS)
    around = int(np.ceil(reach / cell)) + 1
    west, low = west - around * cell, low - around * cell
    held = np.zeros([int((most - least) / cell) + 1 + around for most, least in ((high, low), (east, west))], np.uint8)
    compiled_nearby.mark(others, west, low, cell, held)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * around + 1, 2 * around + 1))
    found: npt.NDArray[np.bool_] = compiled_nearby.marked(points, west, low, cell, cv2.dilate(held, disc))
    return found
