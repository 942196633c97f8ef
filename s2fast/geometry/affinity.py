"""Rotation, scale and shear between two scenes, estimated from displacements that vary linearly over the ground.

References
----------
Fisher: The goodness of fit of regression formulae. Journal of the Royal Statistical Society 85, 1922 (the test for a
trend). Fischler, Bolles: Random sample consensus. Communications of the ACM 24, 1981.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import fdtrc

from s2fast.geometry.standard_errors import SQUARE_PX, standard_errors

_ROUNDS = 20
"""Maximum number of iterations; each selects the inliers and repeats the fit."""

MAX_CHANCE = 1e-3
"""Significance level of the F tests: a trend with a larger p-value is rejected."""

LEAST_TREND_PX = 0.5
"""Smallest trend to report: displacement of the edge of the ground relative to its middle [px of the coarser grid]."""

LEAST_INLIERS = 6
"""Minimum number of matches that determine an affinity."""

THINNEST = 1e-4
"""Minimum of det / trace^2 of the positions' scatter matrix: matches along a line do not determine an affinity."""


@dataclass(frozen=True, slots=True)
class Affinity:
    """Model of displacements that vary linearly over the ground: ``shift + change @ (position - centre)``."""

    centre: npt.NDArray[np.float64]
    """(2,) weighted mean position of the matches."""
    shift: npt.NDArray[np.float64]
    """(2,) displacement at `centre`."""
    change: npt.NDArray[np.float64]
    """(2, 2) derivative of the displacement with respect to the position, one column per axis of the position."""
    error: float
    """Error of `shift` along each axis, see `standard_errors`."""
    change_error: float
    """Error of the rotation [rad] and of the scale."""
    model: str
    """``similarity`` if rotation and scale explain the trend, else ``affinity``."""

    def at(self, position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the displacements at (k, 2) positions."""
        return self.shift + (position - self.centre) @ self.change.T

    @property
    def rotation_deg(self) -> float:
        """Rotation of the train relative to the query, counter-clockwise on the map [deg]."""
        turned = np.eye(2) + self.change
        return math.degrees(math.atan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1]))

    @property
    def scale(self) -> float:
        """Scale of the train relative to the query."""
        return math.sqrt(abs(float(np.linalg.det(np.eye(2) + self.change))))

    @property
    def shear(self) -> float:
        """Departure from a similarity: ratio of the largest to the smallest stretch, minus 1."""
        stretch = np.linalg.svd(np.eye(2) + self.change, compute_uv=False)
        return float(stretch[0] / stretch[1] - 1)


def fit_affinity(
    at: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    inliers: npt.NDArray[np.bool_],
    reach: float,
    square_px: float = SQUARE_PX,
) -> Affinity | None:
    """Fit an affinity to displacements, alternating between fitting and selecting inliers.

    Parameters
    ----------
    at, moved : (k, 2) float64
        Positions and displacements [px].
    weight : (k,) float64
        Weight of each match.
    inliers : (k,) bool
        Initial inliers: matches near one displacement. If there is a trend, it shows among them.
    reach
        Greatest distance of an inlier from the model [px].
    square_px
        See `standard_errors`.

    Returns
    -------
    Affinity or None
        None if the trend is not significant, or too small to report.
    """
    fitted = _fitted(at, moved, weight, inliers, square_px)
    for _ in range(_ROUNDS):
        if fitted is None:
            return None
        before, inliers = inliers, np.hypot(*(moved - fitted.at(at)).T) <= reach
        if (before == inliers).all():
            break
        fitted = _fitted(at, moved, weight, inliers, square_px)
    return fitted


def _fitted(
    at: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    inliers: npt.NDArray[np.bool_],
    square_px: float,
) -> Affinity | None:
    """Fit the inliers by weighted least squares; return None if they are too few or show no significant trend."""
    if np.count_nonzero(inliers) < LEAST_INLIERS:
        return None
    at, moved, weight = at[inliers], moved[inliers], weight[inliers]
    centre, mean = weight @ at / weight.sum(), weight @ moved / weight.sum()
    design = np.column_stack([np.ones(len(at)), at - centre])
    normal = design.T @ (weight[:, None] * design)
    # Positions are relative to the centre, so only their scatter decides whether they determine a trend.
    spread = normal[1:, 1:]
    if np.linalg.det(spread) <= THINNEST * np.trace(spread) ** 2:
        return None
    solution = np.linalg.solve(normal, design.T @ (weight[:, None] * moved))
    around, residual = moved - mean, moved - design @ solution
    free = 2 * float(weight.sum() ** 2 / (weight**2).sum()) - 6
    left = _squares(residual, weight)
    if chance_of_trend(_squares(around, weight), left, 4, free) > MAX_CHANCE:
        return None
    change = solution[1:].T
    if np.quantile(np.hypot(*((at - centre) @ change.T).T), 0.9) < LEAST_TREND_PX:
        return None
    sheared = chance_of_trend(_squares(_not_similar(at - centre, around, weight), weight), left, 2, free) <= MAX_CHANCE
    errors = standard_errors(at, design, weight, residual, np.linalg.inv(normal), square_px)
    return Affinity(
        centre,
        solution[0],
        change,
        error=float(errors[0]),
        change_error=float(np.sqrt((errors[1:] ** 2).mean() / 2)),
        model="affinity" if sheared else "similarity",
    )


def trend_holds(
    at: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    block: npt.NDArray[np.intp],
) -> bool:
    """Return whether the trend of an affinity's inliers is significant without any two blocks of the ground too.

    Wrong matches may agree with a trend that they make themselves: a few, far from the others.

    Parameters
    ----------
    at, moved : (k, 2) float64
        Positions and displacements of the inliers [px].
    weight : (k,) float64
        Weight of each.
    block : (k,) intp
        Block of the ground that each lies in, from 0.
    """
    centre, mean = weight @ at / weight.sum(), weight @ moved / weight.sum()
    design, around = np.column_stack([np.ones(len(at)), at - centre]), moved - mean
    one, other = np.array(list(itertools.combinations(range(block.max() + 1), 2))).T

    def without(each: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum over the matches of all blocks but two, for each pair of blocks."""
        of_block = np.zeros((block.max() + 1, *each.shape[1:]))
        np.add.at(of_block, block, each)
        return np.asarray(of_block.sum(axis=0) - of_block[one] - of_block[other])

    normal = without(weight[:, None, None] * design[:, :, None] * design[:, None, :])
    product = without(weight[:, None, None] * design[:, :, None] * around[:, None, :])
    squares, total, squared = without(np.column_stack([weight * (around**2).sum(axis=1), weight, weight**2])).T
    # Positions without two blocks, relative to their own centre.
    spread = normal[:, 1:, 1:] - normal[:, 1:, :1] * normal[:, :1, 1:] / total[:, None, None]
    if (np.linalg.det(spread) <= THINNEST * np.trace(spread, axis1=1, axis2=2) ** 2).any():
        return False
    simple = squares - (product[:, 0] ** 2).sum(axis=1) / total
    full = squares - (product * np.linalg.solve(normal, product)).sum(axis=(1, 2))
    # The difference of two sums is exact to this share of them, also where the trend leaves nothing.
    full = np.maximum(full, 1e-9 * squares)
    free = 2 * total**2 / squared - 6
    return all(chance_of_trend(*each) <= MAX_CHANCE for each in zip(simple, full, [4] * len(free), free, strict=True))


def _squares(residual: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> float:
    """Return the weighted sum of squares."""
    return float(weight @ (residual**2).sum(axis=1))


def _not_similar(
    at: npt.NDArray[np.float64], moved: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the residuals of the displacements after the best rotation and scale."""
    x, y = at.T
    scale = float((weight * (x * moved[:, 0] + y * moved[:, 1])).sum())
    turn = float((weight * (x * moved[:, 1] - y * moved[:, 0])).sum())
    norm = float((weight * (x**2 + y**2)).sum())
    return moved - np.column_stack([scale * x - turn * y, turn * x + scale * y]) / max(norm, 1e-12)


def chance_of_trend(simple: float, full: float, more: int, free: float) -> float:
    """Return the p-value of the F test that compares a simple fit with one of `more` additional parameters."""
    if free <= 0 or full <= 0:
        return 1.0
    return float(fdtrc(more, free, max(0.0, simple - full) / more / (full / free)))


def agree_on_similarity(
    at: npt.NDArray[np.float64], moved: npt.NDArray[np.float64], reach: float
) -> npt.NDArray[np.bool_] | None:
    """Find the matches that agree on one rotation, scale and shift (RANSAC, no initial model).

    Parameters
    ----------
    at, moved : (k, 2) float64
        Positions in the query, and displacements [px].
    reach
        Greatest distance of an inlier from the model [px].

    Returns
    -------
    (k,) bool or None
        Matches that agree; None if there are too few to determine a model.
    """
    if len(at) < LEAST_INLIERS:
        return None
    # Map coordinates are too large for OpenCV's float32: subtract the mean.
    here, there = at - at.mean(axis=0), at + moved - (at + moved).mean(axis=0)
    model, _ = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=reach)
    if model is None:
        return None
    return np.asarray(np.hypot(*(there - here @ model[:, :2].T - model[:, 2]).T) <= reach)
