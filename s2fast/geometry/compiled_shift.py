"""`s2fast.geometry.shift.find_shift` in compiled code, which releases Python's lock.

Two compiled calls, first the votes and then the fit, compute everything that grows with the number of matches. The
decisions between them, on a few numbers, are those of the plain version and use its functions. Where the displacements
may vary over the ground, the plain version fits the affinity; where squares are too far apart to be numbered, it
estimates the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from s2fast.geometry import affinity, compiled_fit, compiled_votes, shift, standard_errors, witnesses
from s2fast.geometry.evidence import Evidence, Judgement
from s2fast.geometry.placement import SEARCHED_RADII
from s2fast.geometry.witnesses import LEAST_WITNESSES, Peak
from s2fast.verdicts import Verdict

_HALVINGS = witnesses.BLOCKS.bit_length() - 1
"""How often the ground is halved to make the blocks of `witnesses.BLOCKS`."""

_ALL_BITS = 1 << 16
"""More than any Hamming distance: no match votes apart from the others."""


@dataclass(frozen=True, slots=True)
class _Votes:
    """Result of `compiled_votes.voted`, in its order."""

    at: npt.NDArray[np.float64]
    """(r, 2) positions of the matches within the search area and on ground [m]."""
    points: npt.NDArray[np.float64]
    """(r, 2) their displacements minus the expected one [px of the coarser grid]."""
    diameter: npt.NDArray[np.float64]
    """(r,) their sizes [m]."""
    share: npt.NDArray[np.float64]
    """(r,) their shares in the votes."""
    moved: npt.NDArray[np.float64]
    """(k, 2) displacements of all matches minus the expected one [px of the coarser grid]."""
    rows: npt.NDArray[np.int64]
    """(r,) rows of the matches within the search area and on ground."""
    peaks: npt.NDArray[np.float64]
    """(4, 3) x, y and votes of two peaks of all votes, and of two of the strict ones alone."""
    totals: tuple[float, float]
    """Witnesses among all, and among the strict ones alone."""
    counts: tuple[int, int]
    """Matches within the search area, on ground or not; strict ones among the r."""

    def peak(self, part: int, number: int, searched: float) -> Peak:
        """Return the highest peak (number 0) or the second one, of all votes (part 0) or of the strict ones alone."""
        x, y, votes = self.peaks[2 * part + number].tolist()
        return witnesses.peak_of(np.array([x, y]), votes, self.totals[part], searched)


def _voted(
    evidence: Evidence,
    on_ground: npt.NDArray[np.bool_],
    expected: tuple[float, float],
    unit: float,
    searched: float,
    least: float,
    strict_bits: int,
) -> _Votes:
    """Return the votes of those matches that are on ground; see `compiled_votes.voted`."""
    return _Votes(
        *compiled_votes.voted(
            evidence.query_m,
            evidence.train_m,
            evidence.size,
            evidence.distance,
            on_ground,
            expected,
            unit,
            searched,
            least,
            strict_bits,
            witnesses.CORRELATION_REACH,
            witnesses.HALF_CORRELATION,
            math.ceil(searched / witnesses.BIN_PX),
            witnesses.BIN_PX,
            witnesses.DISC,
            witnesses.APART_PX,
        )
    )


def highest_peaks(
    moved: npt.NDArray[np.float64], share: npt.NDArray[np.float64], searched: float, apart: float
) -> tuple[Peak, Peak]:
    """Find the two highest peaks of the votes; see `s2fast.geometry.witnesses.highest_peaks`."""
    half, total = math.ceil(searched / witnesses.BIN_PX), float(share.sum())
    found = compiled_votes.highest_votes(moved, share, half, witnesses.BIN_PX, witnesses.DISC, apart)
    first, second = (witnesses.peak_of(np.array([x, y]), votes, total, searched) for x, y, votes in found.tolist())
    return first, second


def peaks_of_all(evidence: Evidence, unit: float, searched: float, away: npt.NDArray[np.float64]) -> tuple[Peak, Peak]:
    """Find the two highest peaks of the votes of all matches; see `s2fast.geometry.witnesses.peaks_of_all`."""
    everywhere = np.ones(len(evidence), np.bool_)
    expected = float(away[0]), float(away[1])
    votes = _voted(evidence, everywhere, expected, unit, searched / unit, 1.0, _ALL_BITS)
    return votes.peak(0, 0, searched / unit), votes.peak(0, 1, searched / unit)


def find_shift(evidence: Evidence, radius: float, away: npt.NDArray[np.float64] | None = None) -> Judgement:
    """Find the displacement that most matches share; see `s2fast.geometry.shift.find_shift`.

    Sums are added in another order than in the plain version, so numbers may differ in the last digits.
    """
    expected = (0.0, 0.0) if away is None else (float(away[0]), float(away[1]))
    grid, searched = evidence.grid, SEARCHED_RADII * radius / evidence.grid
    votes = _voted(evidence, evidence.on_ground, expected, grid, searched, LEAST_WITNESSES, shift.STRICT_BITS)
    count, (within, strict) = len(votes.rows), votes.counts
    if count < LEAST_WITNESSES:
        return Judgement.not_found(len(evidence), shift.not_found_verdict(count, within))
    first, part = votes.peak(0, 0, searched), 0
    if strict < count:
        other = votes.peak(1, 0, searched)
        if other.log_nfa < first.log_nfa:
            first, part = other, 1
    if not shift.is_significant(first):
        return Judgement.not_found(len(evidence), shift.not_found_verdict(count, within))
    start = float(first.at[0]), float(first.at[1])
    (east, north, slope, agreeing), trend, scatter, block_votes, block_witnesses, inlier = compiled_fit.fitted(
        votes.at,
        votes.points,
        votes.diameter,
        votes.share,
        votes.moved,
        evidence.on_ground,
        start,
        grid,
        shift.INLIER_PX,
        shift.ROUNDS,
        affinity.THINNEST,
        standard_errors.SQUARE_PX,
        _HALVINGS,
    )
    if scatter[0] < 0:
        return shift.find_shift(evidence, radius, away)
    chance = (shift.INLIER_PX / searched) ** 2
    if _may_be_affine(*trend):
        found = shift.Candidates.of(evidence, votes.rows, votes.share, votes.moved, chance)
        judged = shift.affine_model(found, inlier[votes.rows])
        if judged is not None:
            second = shift.rival_of_affinity(found, judged, searched, highest_peaks)
            return shift.placed(judged, second, first, np.array(expected), radius, grid)
    error = _error(slope, *scatter)
    # Comparisons with NaN are false: an unknown error is never verified.
    holds = error <= shift.MOST_ERROR_PX and witnesses.rest_holds(
        block_votes.tolist(), block_witnesses.tolist(), chance
    )
    judged = Judgement(
        Verdict.VERIFIED if holds else Verdict.NOT_VERIFIED,
        inlier,
        dx=east * grid,
        dy=north * grid,
        error=math.hypot(error, shift.LEAST_ERROR_PX) * grid,
        witnesses=agreeing,
        model="shift",
    )
    return shift.placed(judged, votes.peak(part, 1, searched), first, np.array(expected), radius, grid)


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
