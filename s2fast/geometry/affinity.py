"""Rotation, scale and shear between two scenes: whether displacements change over the ground, and how.

References
----------
Fisher: The goodness of fit of regression formulae. Journal of the Royal Statistical Society 85, 1922 (the test for a
trend). Fischler, Bolles: Random sample consensus. Communications of the ACM 24, 1981.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import fdtrc

from s2fast.geometry.standard_errors import standard_errors

_ROUNDS = 20
"""Most rounds of choosing inliers and fitting anew."""

_MAX_CHANCE = 1e-3
"""A trend is significant if chance gives a stronger one this rarely."""

_LEAST_TREND_PX = 0.5
"""A trend is reported if the ground's edge moves by at least this much against its middle [px of the coarser grid]."""

_LEAST_INLIERS = 6
"""Fewer matches fix no affinity."""

_THINNEST = 1e-4
"""Matches along a line fix no affinity: least product of their spreads along and across, as a share of the square of
the sum."""


@dataclass(frozen=True, slots=True)
class Affinity:
    """Displacements that change linearly over the ground: ``shift + change @ (position - centre)``."""

    centre: npt.NDArray[np.float64]
    """(2,) middle of the matches."""
    shift: npt.NDArray[np.float64]
    """(2,) displacement there."""
    change: npt.NDArray[np.float64]
    """(2, 2) how the displacement changes, a column for each axis of the position."""
    error: float
    """Error of `shift` along an axis, see `standard_errors`."""
    change_error: float
    """Error of the rotation [rad], and of the scale."""
    model: str
    """``similarity`` if a rotation and a scale explain the change, else ``affinity``."""

    def at(self, position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the displacements at (k, 2) positions."""
        return self.shift + (position - self.centre) @ self.change.T

    @property
    def rotation_deg(self) -> float:
        """Rotation of the train against the query, counter-clockwise on the map [deg]."""
        turned = np.eye(2) + self.change
        return math.degrees(math.atan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1]))

    @property
    def scale(self) -> float:
        """Scale of the train's ground to the query's."""
        return math.sqrt(abs(float(np.linalg.det(np.eye(2) + self.change))))

    @property
    def shear(self) -> float:
        """Departure from a similarity: ratio of the largest to the smallest stretch, less 1."""
        stretch = np.linalg.svd(np.eye(2) + self.change, compute_uv=False)
        return float(stretch[0] / stretch[1] - 1)


def fit_affinity(
    at: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    chosen: npt.NDArray[np.bool_],
    reach: float,
) -> Affinity | None:
    """Fit displacements that change over the ground, beginning with some of them.

    Parameters
    ----------
    at, moved : (k, 2) float64
        Positions and displacements [px].
    weight : (k,) float64
        What each is worth.
    chosen : (k,) bool
        Matches to begin with: those near one displacement show a trend of their own if there is one.
    reach
        How far from the model a match may lie [px].

    Returns
    -------
    Affinity or None
        None if the change is no more than chance, or too small to matter.
    """
    fitted = _fitted(at, moved, weight, chosen)
    for _ in range(_ROUNDS):
        if fitted is None:
            return None
        before, chosen = chosen, np.hypot(*(moved - fitted.at(at)).T) <= reach
        if (before == chosen).all():
            break
        fitted = _fitted(at, moved, weight, chosen)
    return fitted


def _fitted(
    at: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    chosen: npt.NDArray[np.bool_],
) -> Affinity | None:
    """Fit the chosen matches by weighted least squares; None if they are too few, or show no trend."""
    if np.count_nonzero(chosen) < _LEAST_INLIERS:
        return None
    at, moved, weight = at[chosen], moved[chosen], weight[chosen]
    centre, mean = weight @ at / weight.sum(), weight @ moved / weight.sum()
    design = np.column_stack([np.ones(len(at)), at - centre])
    normal = design.T @ (weight[:, None] * design)
    # The middle is that of the matches: only how they spread decides whether they fix a trend.
    spread = normal[1:, 1:]
    if np.linalg.det(spread) <= _THINNEST * np.trace(spread) ** 2:
        return None
    solution = np.linalg.solve(normal, design.T @ (weight[:, None] * moved))
    around, residual = moved - mean, moved - design @ solution
    free = 2 * float(weight.sum() ** 2 / (weight**2).sum()) - 6
    left = _squares(residual, weight)
    if _chance(_squares(around, weight), left, 4, free) > _MAX_CHANCE:
        return None
    change = solution[1:].T
    if np.quantile(np.hypot(*((at - centre) @ change.T).T), 0.9) < _LEAST_TREND_PX:
        return None
    sheared = _chance(_squares(_not_similar(at - centre, around, weight), weight), left, 2, free) <= _MAX_CHANCE
    errors = standard_errors(at, design, weight, residual, np.linalg.inv(normal))
    return Affinity(
        centre,
        solution[0],
        change,
        error=float(errors[0]),
        change_error=float(np.sqrt((errors[1:] ** 2).mean() / 2)),
        model="affinity" if sheared else "similarity",
    )


def _squares(residual: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> float:
    """Return the weighted sum of squares."""
    return float(weight @ (residual**2).sum(axis=1))


def _not_similar(
    at: npt.NDArray[np.float64], moved: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return what is left of displacements after the best rotation and scale."""
    x, y = at.T
    scale = float((weight * (x * moved[:, 0] + y * moved[:, 1])).sum())
    turn = float((weight * (x * moved[:, 1] - y * moved[:, 0])).sum())
    norm = float((weight * (x**2 + y**2)).sum())
    return moved - np.column_stack([scale * x - turn * y, turn * x + scale * y]) / max(norm, 1e-12)


def _chance(simple: float, full: float, more: int, free: float) -> float:
    """Return how rarely chance improves a fit so much with `more` numbers (F test)."""
    if free <= 0 or full <= 0:
        return 1.0
    return float(fdtrc(more, free, max(0.0, simple - full) / more / (full / free)))


def agree_on_similarity(
    at: npt.NDArray[np.float64], moved: npt.NDArray[np.float64], reach: float
) -> npt.NDArray[np.bool_] | None:
    """Find the rotation, scale and shift that most matches share, from any start (RANSAC).

    Parameters
    ----------
    at, moved : (k, 2) float64
        Positions in the query, and displacements [px].
    reach
        How far from the model a match may lie [px].

    Returns
    -------
    (k,) bool or None
        Matches that agree; None where too few fix a model.
    """
    if len(at) < _LEAST_INLIERS:
        return None
    # Coordinates of a zone are too large for OpenCV's float32.
    here, there = at - at.mean(axis=0), at + moved - (at + moved).mean(axis=0)
    model, _ = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=reach)
    if model is None:
        return None
    return np.asarray(np.hypot(*(there - here @ model[:, :2].T - model[:, 2]).T) <= reach)
