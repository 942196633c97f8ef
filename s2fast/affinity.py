"""Rotation, scale and shear between two scenes: whether displacements change over the ground, and how.

References
----------
Liang, Zeger: Longitudinal data analysis using generalized linear models. Biometrika 73, 1986 (errors of groups that err
together).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import f as fisher

_ROUNDS = 20
"""Most rounds of choosing inliers and fitting anew."""

_MAX_CHANCE = 1e-3
"""A trend is significant if chance gives a stronger one this rarely."""

_LEAST_TREND_PX = 0.5
"""A trend is reported if the ground's edge moves by at least this much against its middle [px of the coarser grid]."""

_LEAST_INLIERS = 6
"""Fewer matches fix no affinity."""

_CELL_PX = 64.0
"""Matches within one square of this side err together [px of the coarser grid]."""


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
    """Standard error of `shift` along an axis."""
    change_error: float
    """Standard error of the rotation [rad], and of the scale."""
    model: str
    """``similarity`` if a rotation and a scale explain the change, else ``affinity``."""
    significant: bool
    """Whether the change is more than chance, and large enough to matter."""

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
    start: npt.NDArray[np.float64],
    reach: float,
) -> Affinity | None:
    """Fit displacements that change over the ground, beginning with those near one displacement.

    Parameters
    ----------
    at, moved : (k, 2) float64
        Positions and displacements [px].
    weight : (k,) float64
        What each is worth.
    start : (2,) float64
        The displacement to begin with [px].
    reach
        How far from the model a match may lie [px].

    Returns
    -------
    Affinity or None
        None if too few matches agree to fit one.
    """
    chosen = np.hypot(*(moved - start).T) <= reach
    fitted = _fitted(at, moved, weight, chosen)
    for _ in range(_ROUNDS):
        # Matches near one displacement show a trend of their own if there is one.
        if fitted is None or not fitted.significant:
            return fitted
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
    """Fit the chosen matches by weighted least squares; None if they are too few."""
    if np.count_nonzero(chosen) < _LEAST_INLIERS:
        return None
    at, moved, weight = at[chosen], moved[chosen], weight[chosen]
    centre = np.asarray(np.average(at, axis=0, weights=weight), np.float64)
    design = np.column_stack([np.ones(len(at)), at - centre])
    normal = design.T @ (weight[:, None] * design)
    if np.linalg.matrix_rank(normal) < normal.shape[0]:
        return None
    solution = np.linalg.solve(normal, design.T @ (weight[:, None] * moved))
    return _described(at, moved, weight, design, centre, np.asarray(solution, np.float64))


def _described(
    at: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    design: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    solution: npt.NDArray[np.float64],
) -> Affinity:
    """Test what was fitted, and name it."""
    residual = moved - design @ solution
    free = float(weight.sum() ** 2 / (weight**2).sum())
    around = moved - np.average(moved, axis=0, weights=weight)
    rotated = _similar(at - centre, around, weight)
    squares = [float((weight[:, None] * part**2).sum()) for part in (around, rotated, residual)]
    change = solution[1:].T
    edge = np.quantile(np.hypot(*((at - centre) @ change.T).T), 0.9)
    trend = _chance(squares[0], squares[2], 4, 2 * free - 6) <= _MAX_CHANCE
    sheared = _chance(squares[1], squares[2], 2, 2 * free - 6) <= _MAX_CHANCE
    errors = _errors(at, design, weight, residual)
    return Affinity(
        centre,
        solution[0],
        change,
        error=errors[0],
        change_error=errors[1],
        model="affinity" if sheared else "similarity",
        significant=bool(trend and edge >= _LEAST_TREND_PX),
    )


def _similar(
    at: npt.NDArray[np.float64], moved: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return what is left of displacements after the best rotation and scale (small angles)."""
    x, y = at.T
    scale = float((weight * (x * moved[:, 0] + y * moved[:, 1])).sum())
    turn = float((weight * (x * moved[:, 1] - y * moved[:, 0])).sum())
    norm = float((weight * (x**2 + y**2)).sum())
    return moved - np.column_stack([scale * x - turn * y, turn * x + scale * y]) / max(norm, 1e-12)


def _chance(simple: float, full: float, more: int, free: float) -> float:
    """Return how rarely chance improves a fit so much with `more` numbers (F test)."""
    if free <= 0 or full <= 0:
        return 1.0
    return float(fisher.sf((simple - full) / more / (full / free), more, free))


def _errors(
    at: npt.NDArray[np.float64],
    design: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    residual: npt.NDArray[np.float64],
) -> tuple[float, float]:
    """Return standard errors of the displacement at the centre and of its change, from squares that err together."""
    square = np.floor(at / _CELL_PX).astype(np.int64)
    _, cell = np.unique((square[:, 1] << 32) + square[:, 0], return_inverse=True)
    cells = int(cell.max()) + 1
    if cells < 4:
        return math.nan, math.nan
    bread = np.linalg.inv(design.T @ (weight[:, None] * design))
    variances = []
    for axis in residual.T:
        pull = np.stack([np.bincount(cell, column * weight * axis) for column in design.T], axis=1)
        variances.append(np.diag(bread @ (pull.T @ pull) @ bread) * cells / (cells - 3))
    variance = np.mean(variances, axis=0)
    return float(math.sqrt(variance[0])), float(math.sqrt(variance[1:].mean() / 2))


def fit_similarity(
    here: npt.NDArray[np.float64], there: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], reach: float
) -> tuple[Affinity, npt.NDArray[np.bool_]] | None:
    """Fit the rotation, scale and shift that most matches share, from any start (RANSAC).

    Parameters
    ----------
    here, there : (k, 2) float64
        Positions in the query and the train [m].
    centre : (2,) float64
        Where the shift is wanted [m].
    reach
        How far from the model a match may lie [m].

    Returns
    -------
    affinity : Affinity
        In metres; its errors are NaN.
    agrees : (k,) bool
        Matches that agree.
    """
    if len(here) < _LEAST_INLIERS:
        return None
    # Coordinates of a zone are too large for OpenCV's float32.
    origin = there.mean(axis=0)
    model, _ = cv2.estimateAffinePartial2D(
        here - centre, there - origin, method=cv2.RANSAC, ransacReprojThreshold=reach
    )
    if model is None:
        return None
    change = model[:, :2] - np.eye(2)
    shift = model[:, 2] + origin - centre
    found = Affinity(centre, shift, change, math.nan, math.nan, "similarity", significant=True)
    return found, np.hypot(*(there - here - found.at(here)).T) <= reach
