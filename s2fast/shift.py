"""How far one scene lies from another, from displacements of matches most of which may be wrong.

True matches of two orthorectified scenes share one displacement; wrong ones spread over all that was searched. The
densest spot wins, and what decides is how unlikely as many matches there would be by chance.

References
----------
Desolneux, Moisan, Morel: From Gestalt Theory to Image Analysis: A Probabilistic Approach. Springer, 2008 (the number of
false alarms). Beaton, Tukey: The fitting of power series. Technometrics 16, 1974 (biweight). Huber: The behavior of
maximum likelihood estimates under nonstandard conditions. Berkeley Symposium, 1967 (the error of an M-estimate).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from scipy.special import bdtrc

VOTE_PX = 1.0
"""Radius of the spot that matches are counted in [px of the coarser grid]."""

INLIER_PX = 1.5
"""How far from the shift a true match may lie [px of the coarser grid]: three standard deviations of the coarsest."""

MAX_LOG_NFA = -6.0
"""Verified: as many matches in one spot are expected by chance less than once in a million pairs."""

LEAST_SIMILAR = 10
"""Inliers that make a similarity significant."""

_SIMILAR_PX = 2.0
"""How far from where a similarity puts it a true match may lie [px of the coarser grid]."""

_CENTRES_A_SPOT = 8
"""A spot that chance cannot explain holds more than its share of the matches. So many evenly chosen centres are tried
that at least this many are in it."""

_ROUNDS = 30
"""Most steps of the estimate."""

_WITNESS_PX = 32.0
"""Matches within one square of this side err together: they show one thing at several scales [px of the coarser
grid]. Squares of 16 and 64 px give the same errors."""

_LEAST_ERROR_PX = 0.008
"""What sampling leaves when thousands of matches agree, measured on synthetic scenes [px of the coarser grid]."""


@dataclass(frozen=True, slots=True)
class Shift:
    """The displacement most matches agree on."""

    dx: float
    """East [m]; NaN if no two matches agree."""
    dy: float
    """North [m]."""
    error: float
    """Standard error of `dx`, and of `dy` [m]; NaN if all matches are of one spot on the ground."""
    inlier: npt.NDArray[np.bool_]
    """(k,) matches that agree with it."""
    significant: bool
    """Whether chance cannot explain it."""
    at_rim: bool = False
    """Whether the spot reaches beyond what was searched: the expected place is suspect."""

    @classmethod
    def none(cls, matches: int) -> Shift:
        """Say that no two matches agree."""
        return cls(math.nan, math.nan, math.nan, np.zeros(matches, np.bool_), significant=False)

    @property
    def verified(self) -> bool:
        """Whether the shift is to be believed."""
        return self.significant and not self.at_rim and math.isfinite(self.error)


def find_shift(
    moved: npt.NDArray[np.float64],
    at: npt.NDArray[np.float64],
    size: npt.NDArray[np.float32],
    grid: float,
    *,
    searched: float = math.inf,
    ground: float | None = None,
) -> Shift:
    """Find the displacement that most matches share.

    Parameters
    ----------
    moved : (k, 2) float64
        Displacements, train minus query, less what was expected [m].
    at : (k, 2) float64
        Where on the map [m].
    size : (k,) float32
        Diameters of the keypoints, in any unit.
    grid
        Pixel of the coarser scene [m]: the scale of a true match's error.
    searched
        Radius around no displacement within which matches were sought [m]; those beyond do not count.
    ground
        Area over which wrong matches spread [m2]; None: all of what was searched.

    Returns
    -------
    Shift
        Of equally full spots the one around the first match.
    """
    near = np.flatnonzero(np.hypot(moved[:, 0], moved[:, 1]) <= searched)
    if len(near) < 2:
        return Shift.none(len(moved))
    points = moved[near]
    reach = VOTE_PX * grid
    chance = min(1.0, math.pi * reach**2 / (ground or math.pi * searched**2))
    start, votes, tried = fullest_spot(points, reach, chance)
    middle, weight, slope = biweight_mean(points, 1 / size[near].astype(np.float64), start, INLIER_PX * grid)
    inlier = np.zeros(len(moved), np.bool_)
    inlier[near] = weight > 0
    return Shift(
        dx=float(middle[0]),
        dy=float(middle[1]),
        error=standard_error(points - middle, at[near], weight, slope, grid),
        inlier=inlier,
        significant=log_false_alarms(len(points), votes, chance, tried) <= MAX_LOG_NFA,
        at_rim=float(np.hypot(*middle)) > searched - reach,
    )


def find_similarity(
    here: npt.NDArray[np.float64], there: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], grid: float
) -> Shift:
    """Find the rotation, scale and shift that most matches share, for scenes that need not be north-up.

    Parameters
    ----------
    here, there : (k, 2) float64
        Positions in the query and the train [m].
    centre : (2,) float64
        Where the shift is wanted: the middle of the query [m].
    grid
        Pixel of the coarser scene [m].

    Returns
    -------
    Shift
        Of the centre. Fewer than ten inliers are not significant: unrelated scenes reached four.
    """
    if len(here) < LEAST_SIMILAR:
        return Shift.none(len(here))
    # Coordinates of a zone are too large for OpenCV's float32.
    origin = there.mean(axis=0)
    model, chosen = cv2.estimateAffinePartial2D(
        here - centre, there - origin, method=cv2.RANSAC, ransacReprojThreshold=_SIMILAR_PX * grid
    )
    if model is None:
        return Shift.none(len(here))
    inlier = chosen[:, 0].astype(np.bool_)
    off = (here - centre)[inlier] @ model[:, :2].T + model[:, 2] - (there - origin)[inlier]
    dx, dy = model[:, 2] + origin - centre
    error = math.hypot(float(np.sqrt((off**2).mean() / inlier.sum())), _LEAST_ERROR_PX * grid)
    return Shift(float(dx), float(dy), error, inlier, significant=bool(inlier.sum() >= LEAST_SIMILAR))


def fullest_spot(
    points: npt.NDArray[np.float64], reach: float, chance: float
) -> tuple[npt.NDArray[np.float64], int, int]:
    """Find the disc around a point that holds most points.

    Parameters
    ----------
    points : (k, 2) float64
        At least one.
    reach
        Radius of the disc, in their unit.
    chance
        Share of wrong matches that a disc holds.

    Returns
    -------
    middle : (2,) float64
        Mean of the points in it.
    votes : int
        How many they are, the one it is around included.
    tried : int
        How many discs were looked at.
    """
    tree = KDTree(points)
    centres = points[:: max(1, int(len(points) * chance / _CENTRES_A_SPOT))]
    votes = tree.query_ball_point(centres, reach, return_length=True)
    best = int(np.argmax(votes))
    return points[tree.query_ball_point(centres[best], reach)].mean(axis=0), int(votes[best]), len(centres)


def log_false_alarms(matches: int, votes: int, chance: float, tried: int) -> float:
    """Say how many spots with so many votes chance would give.

    Parameters
    ----------
    matches
        Matches in all.
    votes
        Matches in the fullest spot, the one it is around included.
    chance
        That a wrong match falls into a given spot.
    tried
        Spots looked at.

    Returns
    -------
    float
        log10 of spots tried times the chance that ``votes - 1`` or more of the other matches fall into one.

    Examples
    --------
    >>> [round(log_false_alarms(100, votes, 0.09, tried=100), 1) for votes in (9, 40)]
    [1.8, -13.4]
    """
    tail = float(bdtrc(votes - 2, matches - 1, chance)) if votes >= 2 else 1.0
    return math.log10(tried * tail) if tail > 0 else -math.inf


def biweight_mean(
    points: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], start: npt.NDArray[np.float64], reach: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Average points near a start, the farther from the average the less they count.

    Parameters
    ----------
    points : (k, 2) float64
        The points.
    weight : (k,) float64
        What each is worth by itself: one over the variance of a true match, which grows like its keypoint's size.
    start : (2,) float64
        Where to begin.
    reach
        Points farther than this from the average do not count.

    Returns
    -------
    middle : (2,) float64
        The average.
    weight : (k,) float64
        What each point counted in the end.
    slope : float
        How the points' pull on the average falls as it moves, for its standard error.
    """
    middle = start
    for _ in range(_ROUNDS):
        near = np.maximum(0, 1 - ((points - middle) ** 2).sum(axis=1) / reach**2)
        counted = weight * near**2
        before, middle = middle, counted @ points / counted.sum()
        if np.abs(middle - before).max() < 1e-5 * reach:
            break
    near = np.maximum(0, 1 - ((points - middle) ** 2).sum(axis=1) / reach**2)
    slope = float((weight * (near**2 - 2 * (1 - near) * near)).sum())
    return middle, weight * near**2, slope


def standard_error(
    off: npt.NDArray[np.float64],
    at: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    slope: float,
    grid: float,
) -> float:
    """Estimate the error of a weighted average from how its parts contradict each other, square by square.

    Parameters
    ----------
    off : (k, 2) float64
        Displacements less their average [m].
    at : (k, 2) float64
        Where on the map [m].
    weight, slope
        As `biweight_mean` returns them.
    grid
        Pixel of the coarser scene [m].

    Returns
    -------
    float
        Along an axis [m]; NaN where all that counts is in one square.
    """
    counted = weight > 0
    square = np.floor(at[counted] / (_WITNESS_PX * grid)).astype(np.int64)
    _, witness = np.unique((square[:, 1] << 32) + square[:, 0], return_inverse=True)
    witnesses = int(witness.max(initial=-1)) + 1
    if witnesses < 2 or slope <= 0:
        return math.nan
    pull = weight[counted, None] * off[counted]
    sums = np.stack([np.bincount(witness, axis) for axis in pull.T])
    variance = (sums**2).mean() * witnesses**2 / (witnesses - 1) / slope**2
    return float(math.hypot(math.sqrt(variance), _LEAST_ERROR_PX * grid))
