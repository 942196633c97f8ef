"""Displacements at which a scene resembles itself: streets, plantations and round fields on a lattice.

A lattice agrees with itself at many displacements. If the true shift of two scenes lies outside the search area, one of
these may lie inside it, with nothing near it that competes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast.geometry import compiled_repetition
from s2fast.geometry.compiled_shift import highest_peaks
from s2fast.geometry.witnesses import APART_PX, NeighbourCorrelation

_SAMPLED = 1024
"""Number of keypoints that are looked for elsewhere in the scene."""

_NEAREST = 1.0
"""Smallest displacement: on a finer lattice the search itself finds a rival of any shift [radii of the search area]."""

_MIDDLE = 2.5
"""Displacements up to this, and longer ones, are looked for separately: of a fine lattice, the many long displacements
would share the votes [radii of the search area]."""

_FARTHEST_PX = 80.0
"""Largest displacement [px]."""

_MAX_LOG_NFA = -3.0
"""Displacements that chance explains in more than one scene of a thousand (log10) are not tried."""

_MOST_BITS = 120
"""Largest Hamming distance of keypoints that look alike [bits]."""


def repetitions(
    descriptors: npt.NDArray[np.uint64],
    at_m: npt.NDArray[np.float64],
    size_m: npt.NDArray[np.float64],
    scale: npt.NDArray[np.int64],
    searched_m: float,
    grid_m: float,
) -> npt.NDArray[np.float64]:
    """Return displacements at which a scene resembles itself more than chance explains.

    Parameters
    ----------
    descriptors : (n, 8) uint64
        Packed descriptors of the scene's keypoints.
    at_m : (n, 2) float64
        Positions on the map [m].
    size_m : (n,) float64
        Diameters [m].
    scale : (n,) int64
        Sizes in bins; only keypoints of one bin are compared.
    searched_m
        Radius of the area in which pairs are searched [m].
    grid_m
        Pixel size [m].

    Returns
    -------
    (k, 2) float64
        East and north [m], up to four and their opposites; none for most scenes.
    """
    searched = searched_m / grid_m
    limits = np.array([_NEAREST * searched, min(_MIDDLE * searched, _FARTHEST_PX), _FARTHEST_PX])
    if not len(at_m) or limits[0] >= _FARTHEST_PX:
        return np.zeros((0, 2))
    chosen = np.unique(np.linspace(0, len(at_m) - 1, _SAMPLED).astype(np.intp))
    x, y = np.ascontiguousarray((at_m / grid_m).T)
    order = np.argsort(x)
    order = order[np.argsort(scale[order].astype(np.int16), kind="stable")]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    alike = compiled_repetition.most_alike(
        descriptors.take(order, axis=0), x[order], y[order], scale[order], order, place[chosen], limits, _MOST_BITS
    )
    found: list[npt.NDArray[np.float64]] = []
    for high, train in zip(limits[1:], alike, strict=True):
        query, train = chosen[train >= 0], train[train >= 0]
        if not len(query):
            continue
        share = NeighbourCorrelation.of(at_m[query], size_m[query]).shares()
        moved = (at_m[train] - at_m[query]) / grid_m
        for peak in highest_peaks(moved, share, high, APART_PX):
            known = np.array([sign * other for other in found for sign in (1, -1)]).reshape(-1, 2)
            if peak.log_nfa <= _MAX_LOG_NFA and (np.hypot(*(known - peak.at).T) >= APART_PX).all():
                found.append(peak.at)
    return np.array([sign * at * grid_m for at in found for sign in (1, -1)]).reshape(-1, 2)
