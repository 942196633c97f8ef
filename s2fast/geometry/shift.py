"""Robust estimate of the shift between two scenes from the displacements of matches, most of which may be outliers.

True matches of two orthorectified scenes share one displacement; wrong matches spread over the whole search area. The
shift is estimated at the highest peak of the votes. It is verified if chance cannot explain the peak
(`s2fast.geometry.witnesses`), no rival peak comes close, it lies within the search radius, and the agreement is spread
over the ground instead of confined to one part of it.

References
----------
Beaton, Tukey: The fitting of power series. Technometrics 16, 1974 (biweight). Huber: The behavior of maximum likelihood
estimates under nonstandard conditions. Berkeley Symposium, 1967 (the error of an M-estimate).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from s2fast.geometry.affinity import Affinity, fit_affinity, trend_holds
from s2fast.geometry.evidence import Evidence, Judgement
from s2fast.geometry.placement import SEARCHED_RADII
from s2fast.geometry.standard_errors import standard_errors
from s2fast.geometry.witnesses import (
    APART_PX,
    LEAST_WITNESSES,
    MAX_LOG_NFA,
    NeighbourCorrelation,
    Peak,
    block_of,
    highest_peaks,
    holds_everywhere,
    log_tail,
)
from s2fast.verdicts import Verdict

INLIER_PX = 1.5
"""Inlier threshold: distance from the model [px of the coarser grid]; three standard deviations of the coarsest
keypoints."""

STRICT_BITS = 120
"""Wrong matches rarely have so small a Hamming distance: matches up to it are also judged separately [bits]."""

RIVAL_SHARE = 0.4
"""A second peak with at least this share of the first's votes is a rival."""

MAX_LOG_RIVAL = -2.0
"""A rival must be significant at this level (log10 of the number of false alarms)."""

ROUNDS = 30
"""Maximum number of iterations of the estimate."""

LEAST_ERROR_PX = 0.025
"""Error that more matches do not reduce: residual misregistration within a series [px of the coarser grid]. For 95 %
coverage, scenes of tile 36UYA needed 0.02 to 0.025 px, upscaled to half the pixel size, unchanged, and reduced to twice
the pixel size."""

MOST_ERROR_PX = 1.0
"""Largest error of a verified model [px of the coarser grid]; a less certain one is no better than the inlier
threshold."""

_LEAST_AFFINE_ERROR_PX = 0.035
"""`LEAST_ERROR_PX` of affine models, which do not fit all of the ground exactly."""

MATCHES_OF_A_MODEL = {"similarity": 2, "affinity": 3}
"""Number of matches that determine a model."""


def find_shift(evidence: Evidence, radius: float, away: npt.NDArray[np.float64] | None = None) -> Judgement:
    """Find the displacement that most matches share, near the expected one.

    Parameters
    ----------
    evidence
        Matches, searched within `SEARCHED_RADII` radii of the expected displacement.
    radius
        Greatest distance of a shift from the expected displacement [m]; beyond it, the verdict is ``prior suspect``.
    away : (2,) float64 or None
        Expected displacement, east and north [m]; None: zero.

    Returns
    -------
    Judgement
        Of equally high peaks the southernmost, then the westernmost.
    """
    expected = np.zeros(2) if away is None else away
    moved = (evidence.train_m - evidence.query_m - expected) / evidence.grid
    searched = SEARCHED_RADII * radius / evidence.grid
    within = np.hypot(*moved.T) <= searched
    rows = np.flatnonzero(within & evidence.on_ground)
    nothing = Judgement.not_found(len(evidence), not_found_verdict(len(rows), int(np.count_nonzero(within))))
    if len(rows) < LEAST_WITNESSES:
        return nothing
    correlation = NeighbourCorrelation.of(evidence.query_m[rows], evidence.size[rows])
    share = correlation.shares()
    first, second = highest_peaks(moved[rows], share, searched, APART_PX)
    near = evidence.distance[rows] <= STRICT_BITS
    if not near.all():
        strict = highest_peaks(moved[rows], correlation.shares(near), searched, APART_PX)
        first, second = min((first, second), strict, key=lambda peaks: peaks[0].log_nfa)
    if not is_significant(first):
        return nothing
    found = Candidates.of(evidence, rows, share, moved, (INLIER_PX / searched) ** 2)
    judged = refined(found, first.at)
    if judged.affinity is not None:
        second = rival_of_affinity(found, judged, searched)
    return placed(judged, second, first, expected, radius, evidence.grid)


def is_significant(first: Peak) -> bool:
    """Return whether chance cannot explain the highest peak."""
    # Two sets of matches were tested: log10(2) corrects for it.
    return first.log_nfa + math.log10(2) <= MAX_LOG_NFA and first.votes >= LEAST_WITNESSES


def placed(
    judged: Judgement, second: Peak, first: Peak, expected: npt.NDArray[np.float64], radius: float, grid: float
) -> Judgement:
    """Add the expected displacement, and compare with the search radius and the rival peak.

    Parameters
    ----------
    judged
        The judgement, relative to the expected displacement.
    second, first
        The rival peak and the highest one.
    expected : (2,) float64
        Expected displacement [m].
    radius
        Greatest distance of a shift from it [m].
    grid
        Pixel size of the coarser scene [m].
    """
    centre = np.array([judged.dx, judged.dy])
    judged = replace(judged, dx=float(centre[0] + expected[0]), dy=float(centre[1] + expected[1]))
    if judged.verified and np.hypot(*centre) > radius:
        return replace(judged, verdict=Verdict.PRIOR_SUSPECT)
    if judged.verified and second.log_nfa <= MAX_LOG_RIVAL and second.votes >= RIVAL_SHARE * first.votes:
        return replace(judged, verdict=Verdict.AMBIGUOUS, rival=second.at * grid + expected)
    return judged


def not_found_verdict(on_ground: int, matches: int) -> Verdict:
    """Return the verdict if no model was found; ``not enough ground`` if fewer than half the matches are on ground."""
    return Verdict.NOT_ENOUGH_GROUND if on_ground < 0.5 * matches else Verdict.NOT_VERIFIED


@dataclass(frozen=True, slots=True)
class Candidates:
    """The matches among which a model is estimated."""

    evidence: Evidence
    """All matches."""
    rows: npt.NDArray[np.intp]
    """Those on ground."""
    share: npt.NDArray[np.float64]
    """Weight of each of `rows`, see `NeighbourCorrelation.shares`."""
    moved: npt.NDArray[np.float64]
    """Displacements of all matches minus the expected one [px of the coarser grid]."""
    chance: float
    """Probability that a wrong match agrees with a model."""
    at: npt.NDArray[np.float64]
    """(r, 2) positions of those in `rows` [px of the coarser grid]."""
    points: npt.NDArray[np.float64]
    """(r, 2) their displacements, see `moved`."""
    weight: npt.NDArray[np.float64]
    """(r,) their weights in a fit: small keypoints are more precise than large ones."""

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        rows: npt.NDArray[np.intp],
        share: npt.NDArray[np.float64],
        moved: npt.NDArray[np.float64],
        chance: float,
    ) -> Candidates:
        """Return the matches in `rows`; see the fields."""
        at, weight = evidence.query_m[rows] / evidence.grid, share * evidence.grid / evidence.size[rows]
        return cls(evidence, rows, share, moved, chance, at, moved[rows], weight)


@dataclass(frozen=True, slots=True)
class _Fit:
    """An estimated model."""

    shift: npt.NDArray[np.float64]
    """(2,) shift minus the expected one [px of the coarser grid]."""
    error: float
    """Standard error of `shift` [px of the coarser grid]; NaN if unknown."""
    agrees: npt.NDArray[np.bool_]
    """Which matches agree with the model."""
    affinity: Affinity | None = None
    """The model, if it is not a plain shift."""


def refined(found: Candidates, start: npt.NDArray[np.float64]) -> Judgement:
    """Estimate the shift from a peak, or an affinity if the displacements vary over the ground.

    Parameters
    ----------
    found
        The matches.
    start : (2,) float64
        The peak [px of the coarser grid].
    """
    points = found.points
    middle, counted, slope = biweight_mean(points, found.weight, start, INLIER_PX)
    near = np.hypot(*(points - middle).T) <= INLIER_PX
    judged = affine_model(found, near)
    if judged is not None:
        return judged
    error = math.nan
    if slope > 0:
        among = counted > 0
        ones, bread = np.ones((np.count_nonzero(among), 1)), np.array([[1 / slope]])
        error = float(
            standard_errors(
                found.at[among], ones, counted[among], points[among] - middle, bread, found.evidence.square_px
            )[0]
        )
    return _judged(found, _Fit(middle, error, np.hypot(*(found.moved - middle).T) <= INLIER_PX))


def affine_model(found: Candidates, near: npt.NDArray[np.bool_]) -> Judgement | None:
    """Judge the affinity that the matches near a shift show; None if a shift, or chance, explains them as well.

    Parameters
    ----------
    found
        The matches.
    near : (r,) bool
        Those of `found.rows` that agree with the shift.
    """
    share = found.share
    affinity = fit_affinity(found.at, found.points, found.weight, near, INLIER_PX, found.evidence.square_px)
    if affinity is None:
        return None
    agrees = np.hypot(*(found.points - affinity.at(found.at)).T) <= INLIER_PX
    # An affinity has four more parameters, so it must not have clearly fewer inliers than the shift.
    fewer = share[agrees].sum() - share[near].sum() <= -0.05 * share[agrees].sum()
    determined_by = MATCHES_OF_A_MODEL[affinity.model]
    log_nfa = log_nfa_of_model(determined_by, float(share.sum()), float(share[agrees].sum()), found.chance)
    if fewer or log_nfa > MAX_LOG_NFA:
        return None
    at = found.at[agrees]
    if not trend_holds(at, found.points[agrees], found.weight[agrees], block_of(at)):
        return None
    return judged_affinity(found, affinity)


def log_nfa_of_model(determined_by: int, witnesses: float, votes: float, chance: float) -> float:
    """Return the expected number of chance models with as many votes (log10).

    Any so many matches determine a model and agree with it, so that each such set of matches is one test.

    Parameters
    ----------
    determined_by
        Number of matches that determine the model.
    witnesses, votes
        Number of all witnesses, and of those that agree.
    chance
        Probability that a wrong match agrees with a model.
    """
    tests = determined_by * math.log10(max(witnesses, 1.0))
    return tests + log_tail(witnesses - determined_by, votes - determined_by, chance)


def rival_of_affinity(
    found: Candidates,
    judged: Judgement,
    searched: float,
    peaks: Callable[..., tuple[Peak, Peak]] = highest_peaks,
) -> Peak:
    """Return the highest peak of the votes of those matches that do not agree with an affinity.

    The displacements of an affinity do not form one peak, so its rival is looked for among the outliers only. `peaks`
    is another implementation of `highest_peaks`.
    """
    left = ~judged.inlier[found.rows]
    return peaks(found.moved[found.rows[left]], found.share[left], searched, APART_PX)[0]


def judged_affinity(found: Candidates, affinity: Affinity) -> Judgement:
    """Judge an affinity; see `refined`."""
    evidence = found.evidence
    agrees = np.hypot(*(found.moved - affinity.at(evidence.query_m / evidence.grid)).T) <= INLIER_PX
    centre = evidence.centre() / evidence.grid
    lever = float(np.hypot(*(centre - affinity.centre)))
    error = math.hypot(affinity.error, lever * affinity.change_error)
    return _judged(found, _Fit(affinity.at(centre), error, agrees, affinity))


def _judged(found: Candidates, fit: _Fit) -> Judgement:
    """Verify a model if it holds over the ground and its error is known and small."""
    evidence, agrees = found.evidence, fit.agrees[found.rows]
    holds = fit.error <= MOST_ERROR_PX and holds_everywhere(
        evidence.query_m[found.rows], found.share, agrees, found.chance
    )
    least_error = _LEAST_AFFINE_ERROR_PX if fit.affinity else LEAST_ERROR_PX
    return Judgement(
        Verdict.VERIFIED if holds else Verdict.NOT_VERIFIED,
        fit.agrees & evidence.on_ground,
        dx=float(fit.shift[0] * evidence.grid),
        dy=float(fit.shift[1] * evidence.grid),
        error=math.hypot(fit.error, least_error) * evidence.grid,
        witnesses=float(found.share[agrees].sum()),
        model=fit.affinity.model if fit.affinity else "shift",
        affinity=fit.affinity,
    )


def biweight_mean(
    points: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], start: npt.NDArray[np.float64], reach: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Compute the biweight mean of points near a start: the weight of a point falls with its distance from the mean.

    Parameters
    ----------
    points : (k, 2) float64
        The points.
    weight : (k,) float64
        Prior weight of each point: the inverse variance of a true match, which grows with the keypoint's size.
    start : (2,) float64
        Initial value.
    reach
        Points farther than this from the mean have no weight.

    Returns
    -------
    middle : (2,) float64
        The mean.
    weight : (k,) float64
        Final weight of each point.
    slope : float
        Negative derivative of the sum of weighted residuals with respect to the mean, for its standard error.
    """
    middle = start
    for _ in range(ROUNDS):
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
