"""`s2fast.geometry.shift.find_shift` in compiled code, which releases Python's lock.

Two compiled steps, first the votes and then the fit, compute everything that grows with the number of matches. The
decisions between them, on a few numbers, are those of the plain version and use its functions. Where the displacements
may vary over the ground, the plain version estimates the affinity.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from s2fast.geometry import affinity, compiled_fit, compiled_votes, shift, standard_errors, witnesses
from s2fast.geometry.evidence import Evidence, Judgement
from s2fast.geometry.placement import SEARCHED_RADII
from s2fast.geometry.witnesses import LEAST_WITNESSES, Peak


def find_shift(evidence: Evidence, radius: float, away: npt.NDArray[np.float64] | None = None) -> Judgement:
    """Find the displacement that most matches share; see `s2fast.geometry.shift.find_shift`.

    Sums are added in another order than in the plain version, so numbers may differ in the last digits.
    """
    expected = np.zeros(2) if away is None else away
    grid, searched = evidence.grid, SEARCHED_RADII * radius / evidence.grid
    moved, within, rows = compiled_votes.displacements(
        evidence.query_m, evidence.train_m, evidence.on_ground, float(expected[0]), float(expected[1]), grid, searched
    )
    if len(rows) < LEAST_WITNESSES:
        return Judgement.not_found(len(evidence), shift.not_found_verdict(evidence, within))
    near = evidence.distance[rows] <= shift.STRICT_BITS
    at, size, points = evidence.query_m[rows], evidence.size[rows], moved[rows]
    share, strict_share = compiled_votes.shares(
        at, size, near, witnesses.CORRELATION_REACH * float(size.mean()), witnesses.HALF_CORRELATION
    )
    first, second = _highest_peaks(points, share, searched)
    if not near.all():
        strict = _highest_peaks(points, strict_share, searched)
        first, second = min((first, second), strict, key=lambda peaks: peaks[0].log_nfa)
    if not shift.is_significant(first):
        return Judgement.not_found(len(evidence), shift.not_found_verdict(evidence, within))
    judged = _refined(evidence, rows, share, moved, first.at, searched)
    if judged is None:
        return shift.find_shift(evidence, radius, away)
    return shift.placed(judged, second, first, expected, radius, grid)


def _highest_peaks(
    points: npt.NDArray[np.float64], share: npt.NDArray[np.float64], searched: float
) -> tuple[Peak, Peak]:
    """Find the highest peak of the votes and its rival; see `s2fast.geometry.witnesses.highest_peaks`."""
    bin_px, disc = witnesses.BIN_PX, witnesses.DISC
    found = compiled_votes.highest_votes(points, share, math.ceil(searched / bin_px), bin_px, disc, shift.APART_PX)
    total = float(share.sum())
    one, other = (witnesses.peak_of(np.array([x, y]), votes, total, searched) for x, y, votes in found)
    return one, other


def _refined(
    evidence: Evidence,
    rows: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    start: npt.NDArray[np.float64],
    searched: float,
) -> Judgement | None:
    """Estimate the shift from a peak, and judge it; None if an affinity may fit better, for the plain version."""
    grid, reach = evidence.grid, shift.INLIER_PX
    at, points = evidence.query_m[rows], moved[rows]
    weight = share * grid / evidence.size[rows]
    middle, counted, slope = compiled_fit.biweight_mean(
        points, weight, float(start[0]), float(start[1]), reach, shift.ROUNDS
    )
    agrees = compiled_fit.near(points, middle, reach)
    if _may_be_affine(at, points, weight, agrees, grid):
        return None
    error = _error(at, points, counted, middle, slope, grid)
    voted, counts = compiled_fit.votes_of_blocks(at, share, agrees, witnesses.BLOCKS.bit_length() - 1)
    chance = (reach / searched) ** 2
    # Comparisons with NaN are false: an unknown error is never verified.
    holds = error <= shift.MOST_ERROR_PX and witnesses.rest_holds(voted.tolist(), counts.tolist(), chance)
    return Judgement(
        "verified" if holds else "not verified",
        compiled_fit.near(moved, middle, reach) & evidence.on_ground,
        dx=float(middle[0] * grid),
        dy=float(middle[1] * grid),
        error=math.hypot(error, shift.LEAST_ERROR_PX) * grid,
        witnesses=float(share[agrees].sum()),
        model="shift",
    )


def _may_be_affine(
    at: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    agrees: npt.NDArray[np.bool_],
    grid: float,
) -> bool:
    """Return whether `affinity.fit_affinity` may find a trend; never False where it finds one."""
    count, simple, full, free, most = compiled_fit.trend(at, points, weight, agrees, grid, affinity.THINNEST)
    if count < affinity.LEAST_INLIERS or most < (1 - 1e-6) * affinity.LEAST_TREND_PX:
        return False
    return affinity.chance_of_trend(simple, full, 4, free) <= (1 + 1e-6) * affinity.MAX_CHANCE


def _error(
    at: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    counted: npt.NDArray[np.float64],
    middle: npt.NDArray[np.float64],
    slope: float,
    grid: float,
) -> float:
    """Estimate the standard error of the shift; see `standard_errors.standard_errors`. NaN if it is unknown."""
    if slope <= 0:
        return math.nan
    squares, meat, total, squared = compiled_fit.scatter(at, points, counted, middle, grid, standard_errors.SQUARE_PX)
    if squares < 0:
        among = counted > 0
        ones, bread = np.ones((np.count_nonzero(among), 1)), np.array([[1 / slope]])
        residual = points[among] - middle
        return float(standard_errors.standard_errors(at[among] / grid, ones, counted[among], residual, bread)[0])
    if squares <= 1:
        return math.nan
    variance = meat / slope**2 * squares / (squares - 1)
    free = max(1.0, total**2 / squared - 1)
    return math.sqrt(variance) * float(stdtrit(free, 0.975)) / 2
