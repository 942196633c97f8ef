"""How far one scene lies from another, from displacements of matches most of which may be wrong.

True matches of two orthorectified scenes share one displacement; wrong ones spread over all that was searched. The
densest spot wins. It is believed if chance cannot explain it (`s2fast.geometry.witnesses`), if no other spot comes
close, if it lies within the radius, and if it holds over the ground and not in one part of it.

References
----------
Beaton, Tukey: The fitting of power series. Technometrics 16, 1974 (biweight). Huber: The behavior of maximum likelihood
estimates under nonstandard conditions. Berkeley Symposium, 1967 (the error of an M-estimate).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from s2fast.geometry.affinity import Affinity, agree_on_similarity, fit_affinity
from s2fast.geometry.placement import SEARCHED_RADII
from s2fast.geometry.standard_errors import standard_errors
from s2fast.geometry.witnesses import (
    LEAST_WITNESSES,
    MAX_LOG_NFA,
    VOTE_PX,
    Kinship,
    densest_spots,
    holds_everywhere,
    log_tail,
)

INLIER_PX = 1.5
"""How far from the model a true match may lie [px of the coarser grid]: three standard deviations of the coarsest."""

STRICT_BITS = 120
"""Wrong matches are rarely this near: matches within it are also judged by themselves [bits]."""

_APART_PX = 2.5
"""A second spot nearer than this to the first is part of it [px of the coarser grid]."""

_RIVAL_SHARE = 0.4
"""A second spot with this share of the first's witnesses is a rival."""

_MAX_LOG_RIVAL = -2.0
"""A rival is more than chance (log10 of the number of false alarms)."""

_MOST_CENTRES = 500
"""Most matches around which a spot is sought without a prior."""

_ROUNDS = 30
"""Most steps of the estimate."""

_LEAST_ERROR_PX = 0.025
"""What more matches cannot mend: how far scenes of one series are off each other [px of the coarser grid]. 0.02 to
0.025 px were needed for 95 of 100 errors to hold on pictures of tile 36UYA enlarged to half their pixels, as they are,
and reduced to twice."""

_MOST_ERROR_PX = 1.0
"""A model that is less certain than this says no more than the matches' agreement [px of the coarser grid]."""

_LEAST_AFFINE_ERROR_PX = 0.035
"""The same of scenes that are turned, scaled or sheared against each other: no one affinity fits all of the ground."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Good matches of two scenes, as verification sees them."""

    here: npt.NDArray[np.float64]
    """(k, 2) positions in the query on the map [m]."""
    there: npt.NDArray[np.float64]
    """(k, 2) positions in the train on the same map [m]."""
    size: npt.NDArray[np.float64]
    """(k,) diameters of the query's keypoints [m]."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distances [bits]."""
    testifies: npt.NDArray[np.bool_]
    """(k,) False where what both keypoints see is painted, filled or missing."""
    grid: float
    """Pixel of the coarser scene [m]: the scale of a true match's error."""
    centre: npt.NDArray[np.float64]
    """(2,) middle of the common ground on the map [m]."""

    def __len__(self) -> int:
        """Count the matches."""
        return len(self.here)


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the train lies against the query, and whether to believe it."""

    verdict: str
    """See `PairVerdict.verdict`; only ``verified`` is to be believed."""
    inlier: npt.NDArray[np.bool_]
    """(k,) matches that agree with the model."""
    dx: float = math.nan
    """East [m]; NaN where nothing was found."""
    dy: float = math.nan
    """North [m]."""
    error: float = math.nan
    """Error of `dx`, and of `dy` [m]: the truth lies within twice as much in 95 of 100 cases."""
    witnesses: float = 0.0
    """Independent matches among the inliers."""
    model: str = ""
    """``shift``, ``similarity`` or ``affinity``."""
    affinity: Affinity | None = None
    """Rotation, scale and shear where the model is more than a shift."""
    rival: npt.NDArray[np.float64] | None = None
    """(2,) the other shift of an ambiguous pair, east and north [m]."""

    @classmethod
    def nothing(cls, matches: int, verdict: str = "not verified") -> Judgement:
        """Return the judgement that chance explains the matches."""
        return cls(verdict, np.zeros(matches, np.bool_))

    @property
    def verified(self) -> bool:
        """Whether the model is to be believed."""
        return self.verdict == "verified"


def find_shift(evidence: Evidence, radius: float, away: npt.NDArray[np.float64] | None = None) -> Judgement:
    """Find the displacement that most matches share, near the one expected.

    Parameters
    ----------
    evidence
        Matches, sought within `SEARCHED_RADII` radii of the expected displacement.
    radius
        How far from the expected displacement a shift is believed [m].
    away : (2,) float64 or None
        The displacement expected, east and north [m]; None: none.

    Returns
    -------
    Judgement
        Of equally dense spots the northernmost, then the westernmost.
    """
    expected = np.zeros(2) if away is None else away
    moved = (evidence.there - evidence.here - expected) / evidence.grid
    searched = SEARCHED_RADII * radius / evidence.grid
    within = np.hypot(*moved.T) <= searched
    rows = np.flatnonzero(within & evidence.testifies)
    if len(rows) < LEAST_WITNESSES:
        return Judgement.nothing(len(evidence), _unjudged(evidence, within))
    kinship = Kinship.of(evidence.here[rows], evidence.size[rows])
    share = kinship.shares()
    first, second = densest_spots(moved[rows], share, searched, _APART_PX)
    near = evidence.distance[rows] <= STRICT_BITS
    if not near.all():
        strict = densest_spots(moved[rows], kinship.shares(near), searched, _APART_PX)
        first, second = min((first, second), strict, key=lambda spots: spots[0].log_nfa)
    # Two sets of matches are tried.
    if first.log_nfa + math.log10(2) > MAX_LOG_NFA or first.votes < LEAST_WITNESSES:
        return Judgement.nothing(len(evidence), _unjudged(evidence, within))
    judged = _refined(evidence, rows, share, moved, first.at, (INLIER_PX / searched) ** 2)
    if judged.affinity is not None:
        # The spots of a turned scene run into each other: a rival is what the model leaves.
        left = ~judged.inlier[rows]
        second, _ = densest_spots(moved[rows[left]], share[left], searched, _APART_PX)
    centre = np.array([judged.dx, judged.dy])
    judged = replace(judged, dx=float(centre[0] + expected[0]), dy=float(centre[1] + expected[1]))
    if judged.verified and np.hypot(*centre) > radius:
        return replace(judged, verdict="prior suspect")
    if judged.verified and second.log_nfa <= _MAX_LOG_RIVAL and second.votes >= _RIVAL_SHARE * first.votes:
        return replace(judged, verdict="ambiguous", rival=second.at * evidence.grid + expected)
    return judged


def _unjudged(evidence: Evidence, within: npt.NDArray[np.bool_]) -> str:
    """Return the verdict where nothing was found: whether what is painted left enough to find something in."""
    left = evidence.testifies & within
    few = len(left) > 0 and np.count_nonzero(left) < 0.5 * np.count_nonzero(within)
    return "not enough ground" if few else "not verified"


def _refined(
    evidence: Evidence,
    rows: npt.NDArray[np.intp],
    share: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    start: npt.NDArray[np.float64],
    chance: float,
) -> Judgement:
    """Estimate the shift from a spot, and an affinity instead where the shift changes over the ground.

    Parameters
    ----------
    evidence, moved
        All matches; displacements less what was expected [px of the coarser grid].
    rows, share
        The matches that testify, and what each is worth.
    start : (2,) float64
        The spot [px of the coarser grid].
    chance
        Probability that a wrong match agrees with a model.
    """
    at, points = evidence.here[rows] / evidence.grid, moved[rows]
    weight = share * evidence.grid / evidence.size[rows]
    middle, counted, slope = biweight_mean(points, weight, start, INLIER_PX)
    near = np.hypot(*(points - middle).T) <= INLIER_PX
    affinity = fit_affinity(at, points, weight, near, INLIER_PX)
    if affinity is not None:
        agrees = np.hypot(*(points - affinity.at(at)).T) <= INLIER_PX
        # An affinity has two more pairs of numbers to choose.
        if share[agrees].sum() - share[near].sum() > -0.05 * share[agrees].sum():
            return _affine(evidence, rows, share, moved, affinity, chance)
    error = math.nan
    if slope > 0:
        among = counted > 0
        ones, bread = np.ones((np.count_nonzero(among), 1)), np.array([[1 / slope]])
        error = float(standard_errors(at[among], ones, counted[among], points[among] - middle, bread)[0])
    agrees = np.hypot(*(moved - middle).T) <= INLIER_PX
    return _judged(evidence, rows, share, agrees, chance, middle, error, "shift")


def _affine(
    evidence: Evidence,
    rows: npt.NDArray[np.intp],
    share: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    affinity: Affinity,
    chance: float,
) -> Judgement:
    """Judge an affinity; see `_refined`."""
    agrees = np.hypot(*(moved - affinity.at(evidence.here / evidence.grid)).T) <= INLIER_PX
    centre = evidence.centre / evidence.grid
    lever = float(np.hypot(*(centre - affinity.centre)))
    error = math.hypot(affinity.error, lever * affinity.change_error)
    shift = affinity.at(centre)
    return _judged(evidence, rows, share, agrees, chance, shift, error, affinity.model, affinity)


def _judged(
    evidence: Evidence,
    rows: npt.NDArray[np.intp],
    share: npt.NDArray[np.float64],
    agrees: npt.NDArray[np.bool_],
    chance: float,
    shift: npt.NDArray[np.float64],
    error: float,
    model: str,
    affinity: Affinity | None = None,
) -> Judgement:
    """Believe a model if it holds over the ground and its error is known and small; `shift` and `error` [px]."""
    believed = error <= _MOST_ERROR_PX and holds_everywhere(evidence.here[rows], share, agrees[rows], chance)
    return Judgement(
        "verified" if believed else "not verified",
        agrees & evidence.testifies,
        dx=float(shift[0] * evidence.grid),
        dy=float(shift[1] * evidence.grid),
        error=math.hypot(error, _LEAST_AFFINE_ERROR_PX if affinity else _LEAST_ERROR_PX) * evidence.grid,
        witnesses=float(share[agrees[rows]].sum()),
        model=model,
        affinity=affinity,
    )


def find_anywhere(evidence: Evidence, alike: npt.NDArray[np.bool_], ground: float) -> Judgement:
    """Find the displacement, or else the rotation, scale and shift, that most matches share, wherever it is.

    Parameters
    ----------
    evidence
        Matches sought over the whole scenes.
    alike : (k,) bool
        Matches of keypoints of one size, which only a shift's can be.
    ground
        Area over which wrong matches spread [m2].

    Returns
    -------
    Judgement
        Never ``prior suspect``: nothing was expected.
    """
    chance = min(0.5, math.pi * (VOTE_PX * evidence.grid) ** 2 / ground)
    nothing = Judgement.nothing(len(evidence), _unjudged(evidence, np.ones(len(evidence), np.bool_)))
    for search, rows in (
        (_shift_anywhere, np.flatnonzero(alike & evidence.testifies)),
        (_similarity_anywhere, np.flatnonzero(evidence.testifies)),
    ):
        found = search(evidence, rows, chance)
        if found is not None and found.verdict != "not verified":
            return found
    return nothing


def _similarity_anywhere(evidence: Evidence, rows: npt.NDArray[np.intp], chance: float) -> Judgement | None:
    """Judge the rotation, scale and shift on which most matches agree; None if they are too few."""
    at, moved = evidence.here / evidence.grid, (evidence.there - evidence.here) / evidence.grid
    agrees = agree_on_similarity(at[rows], moved[rows], INLIER_PX)
    if agrees is None:
        return None
    share = Kinship.of(evidence.here[rows], evidence.size[rows]).shares()
    witnesses, votes = float(share.sum()), float(share[agrees].sum())
    within = min(0.5, chance * (INLIER_PX / VOTE_PX) ** 2)
    # Every two matches fix a similarity, and then agree with it.
    log_nfa = 2 * math.log10(max(witnesses, 1.0)) + log_tail(witnesses - 2, votes - 2, within)
    if log_nfa > MAX_LOG_NFA or votes < LEAST_WITNESSES:
        return None
    affinity = fit_affinity(at[rows], moved[rows], share * evidence.grid / evidence.size[rows], agrees, INLIER_PX)
    return None if affinity is None else _affine(evidence, rows, share, moved, affinity, within)


def _shift_anywhere(evidence: Evidence, rows: npt.NDArray[np.intp], chance: float) -> Judgement | None:
    """Judge the densest spot among displacements of any length; None if there are too few."""
    if len(rows) < LEAST_WITNESSES:
        return None
    moved = (evidence.there - evidence.here) / evidence.grid
    share = Kinship.of(evidence.here[rows], evidence.size[rows]).shares()
    points = moved[rows]
    tree = KDTree(points)
    centres = points[:: max(1, len(points) // _MOST_CENTRES)]
    near = tree.query_ball_point(centres, VOTE_PX)
    votes = np.array([share[found].sum() for found in near])
    best = int(votes.argmax())
    witnesses = float(share.sum())
    # The match in the middle of a spot agrees with itself.
    log_nfa = math.log10(len(points)) + log_tail(witnesses - 1, float(votes[best]) - 1, chance)
    if log_nfa > MAX_LOG_NFA or votes[best] < LEAST_WITNESSES:
        return None
    judged = _refined(evidence, rows, share, moved, points[near[best]].mean(axis=0), min(0.5, chance * INLIER_PX**2))
    rivals = np.where(np.hypot(*(centres - centres[best]).T) > _APART_PX, votes, 0.0)
    rival = int(rivals.argmax())
    rival_nfa = math.log10(len(points)) + log_tail(witnesses - 1, float(rivals[rival]) - 1, chance)
    if judged.verified and rival_nfa <= _MAX_LOG_RIVAL and rivals[rival] >= _RIVAL_SHARE * votes[best]:
        return replace(judged, verdict="ambiguous", rival=centres[rival] * evidence.grid)
    return judged


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
        total = counted.sum()
        if total == 0:
            break
        before, middle = middle, counted @ points / total
        if np.abs(middle - before).max() < 1e-5 * reach:
            break
    near = np.maximum(0, 1 - ((points - middle) ** 2).sum(axis=1) / reach**2)
    slope = float((weight * (near**2 - 2 * (1 - near) * near)).sum())
    return middle, weight * near**2, slope
