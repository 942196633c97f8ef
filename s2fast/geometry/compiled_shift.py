"""`s2fast.geometry.shift.find_shift` in compiled code, which releases Python's lock.

Two compiled calls, first the votes and then the fit, compute everything that grows with the number of matches. The
decisions between them, on a few numbers, are those of the plain version and use its functions. Where the displacements
may vary over the ground, or squares are too far apart to be numbered, the plain version estimates the model.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from s2fast.geometry import affinity, compiled_fit, compiled_votes, shift, standard_errors, witnesses
from s2fast.geometry.evidence import Evidence, Judgement
from s2fast.geometry.placement import SEARCHED_RADII
from s2fast.geometry.witnesses import LEAST_WITNESSES

_HALVINGS = witnesses.BLOCKS.bit_length() - 1


def find_shift(evidence: Evidence, radius: float, away: npt.NDArray[np.float64] | None = None) -> Judgement:
    """Find the displacement that most matches share; see `s2fast.geometry.shift.find_shift`.

    Sums are added in another order than in the plain version, so numbers may differ in the last digits.
    """
    expected = (0.0, 0.0) if away is None else (float(away[0]), float(away[1]))
    grid, searched = evidence.grid, SEARCHED_RADII * radius / evidence.grid
    at, points, diameter, share, moved, peaks, totals, (within, strict) = compiled_votes.voted(
        evidence.query_m,
        evidence.train_m,
        evidence.size,
        evidence.distance,
        evidence.on_ground,
        expected,
        grid,
        searched,
        LEAST_WITNESSES,
        shift.STRICT_BITS,
        witnesses.CORRELATION_REACH,
        witnesses.HALF_CORRELATION,
        math.ceil(searched / witnesses.BIN_PX),
        witnesses.BIN_PX,
        witnesses.DISC,
        shift.APART_PX,
    )
    if len(at) < LEAST_WITNESSES:
        return Judgement.not_found(len(evidence), shift.not_found_verdict(len(at), within))
    first, best = witnesses.peak_of(peaks[0, :2], float(peaks[0, 2]), totals[0], searched), 0
    if strict < len(at):
        other = witnesses.peak_of(peaks[2, :2], float(peaks[2, 2]), totals[1], searched)
        if other.log_nfa < first.log_nfa:
            first, best = other, 1
    if not shift.is_significant(first):
        return Judgement.not_found(len(evidence), shift.not_found_verdict(len(at), within))
    start = float(first.at[0]), float(first.at[1])
    found = compiled_fit.fitted(
        at,
        points,
        diameter,
        share,
        moved,
        evidence.on_ground,
        start,
        grid,
        shift.INLIER_PX,
        shift.ROUNDS,
        affinity.THINNEST,
        standard_errors.SQUARE_PX,
        _HALVINGS,
    )
    (east, north, slope, agreeing), trend, scatter, votes, counts, inlier = found
    if scatter[0] < 0 or _may_be_affine(*trend):
        return shift.find_shift(evidence, radius, away)
    error = _error(slope, *scatter)
    # Comparisons with NaN are false: an unknown error is never verified.
    holds = error <= shift.MOST_ERROR_PX and witnesses.rest_holds(
        votes.tolist(), counts.tolist(), (shift.INLIER_PX / searched) ** 2
    )
    judged = Judgement(
        "verified" if holds else "not verified",
        inlier,
        dx=east * grid,
        dy=north * grid,
        error=math.hypot(error, shift.LEAST_ERROR_PX) * grid,
        witnesses=agreeing,
        model="shift",
    )
    second = witnesses.peak_of(peaks[2 * best + 1, :2], float(peaks[2 * best + 1, 2]), totals[best], searched)
    return shift.placed(judged, second, first, np.array(expected), radius, grid)


def _may_be_affine(count: int, simple: float, full: float, free: float, most: float) -> bool:
    """Return whether `affinity.fit_affinity` may find a trend, from the result of `compiled_fit.trend`.

    It is never False where it finds one.
    """
    if count < affinity.LEAST_INLIERS or most < (1 - 1e-6) * affinity.LEAST_TREND_PX:
        return False
    return affinity.chance_of_trend(simple, full, 4, free) <= (1 + 1e-6) * affinity.MAX_CHANCE


def _error(slope: float, squares: int, meat: float, total: float, squared: float) -> float:
    """Estimate the standard error of the shift from the result of `compiled_fit.scatter`; NaN if it is unknown.

    See `standard_errors.standard_errors`.
    """
    if slope <= 0 or squares <= 1:
        return math.nan
    variance = meat / slope**2 * squares / (squares - 1)
    free = max(1.0, total**2 / squared - 1)
    return math.sqrt(variance) * float(stdtrit(free, 0.975)) / 2
