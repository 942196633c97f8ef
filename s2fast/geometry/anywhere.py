"""Robust estimate of a shift, or else of rotation, scale and shear, without a prior: anything may be true.

See `s2fast.geometry.shift` for the estimate near an expected displacement, with which it shares the fits.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from s2fast.geometry.affinity import agree_on_similarity, fit_affinity
from s2fast.geometry.evidence import Evidence, Judgement
from s2fast.geometry.shift import (
    INLIER_PX,
    MATCHES_OF_A_MODEL,
    MAX_LOG_RIVAL,
    RIVAL_SHARE,
    Candidates,
    judged_affinity,
    log_nfa_of_model,
    not_found_verdict,
    refined,
)
from s2fast.geometry.witnesses import (
    APART_PX,
    LEAST_WITNESSES,
    MAX_LOG_NFA,
    VOTE_PX,
    NeighbourCorrelation,
    log_tail,
)
from s2fast.verdicts import Verdict

_MOST_CENTRES = 500
"""Maximum number of matches around which votes are counted without a prior."""


def find_anywhere(
    evidence: Evidence, same_scale: npt.NDArray[np.bool_], ground: float, tried: float = 1.0
) -> Judgement:
    """Find the displacement, or else the rotation, scale and shift, that most matches share, without a prior.

    Parameters
    ----------
    evidence
        Matches searched over the whole scenes.
    same_scale : (k,) bool
        Matches of two keypoints of one size; only these can be true if the model is a shift.
    ground
        Area over which wrong matches spread [m2].
    tried
        Number of such areas among which this one was chosen: each could have given a false alarm.

    Returns
    -------
    Judgement
        Never ``prior suspect``, since there is no prior.
    """
    chance = min(0.5, math.pi * (VOTE_PX * evidence.grid) ** 2 / ground)
    verdict = not_found_verdict(int(np.count_nonzero(evidence.on_ground)), len(evidence))
    for search, rows in (
        (_shift_anywhere, np.flatnonzero(same_scale & evidence.on_ground)),
        (_similarity_anywhere, np.flatnonzero(evidence.on_ground)),
    ):
        found = search(evidence, rows, chance, math.log10(tried))
        if found is not None and found.verdict != Verdict.NOT_VERIFIED:
            return found
    return Judgement.not_found(len(evidence), verdict)


def _similarity_anywhere(
    evidence: Evidence, rows: npt.NDArray[np.intp], chance: float, log_tried: float
) -> Judgement | None:
    """Judge the rotation, scale and shift on which most matches agree; None if they are not significant."""
    at, moved = evidence.query_m / evidence.grid, (evidence.train_m - evidence.query_m) / evidence.grid
    agrees = agree_on_similarity(at[rows], moved[rows], INLIER_PX)
    if agrees is None:
        return None
    share = NeighbourCorrelation.of(evidence.query_m[rows], evidence.size[rows]).shares()
    witnesses, votes = float(share.sum()), float(share[agrees].sum())
    within = min(0.5, chance * (INLIER_PX / VOTE_PX) ** 2)
    log_nfa = log_tried + log_nfa_of_model(MATCHES_OF_A_MODEL["similarity"], witnesses, votes, within)
    if log_nfa > MAX_LOG_NFA or votes < LEAST_WITNESSES:
        return None
    found = Candidates.of(evidence, rows, share, moved, within)
    affinity = fit_affinity(found.at, found.points, found.weight, agrees, INLIER_PX, evidence.square_px)
    return None if affinity is None else judged_affinity(found, affinity)


def _shift_anywhere(
    evidence: Evidence, rows: npt.NDArray[np.intp], chance: float, log_tried: float
) -> Judgement | None:
    """Judge the highest peak of the votes among displacements of any length; None if it is not significant."""
    if len(rows) < LEAST_WITNESSES:
        return None
    moved = (evidence.train_m - evidence.query_m) / evidence.grid
    share = NeighbourCorrelation.of(evidence.query_m[rows], evidence.size[rows]).shares()
    points = moved[rows]
    tree = KDTree(points)
    centres = points[:: max(1, len(points) // _MOST_CENTRES)]
    near = tree.query_ball_point(centres, VOTE_PX)
    votes = np.array([share[found].sum() for found in near])
    best = int(votes.argmax())
    witnesses = float(share.sum())
    # The match at the centre of the peak agrees with itself: subtract 1.
    log_nfa = log_tried + math.log10(len(points)) + log_tail(witnesses - 1, float(votes[best]) - 1, chance)
    if log_nfa > MAX_LOG_NFA or votes[best] < LEAST_WITNESSES:
        return None
    found = Candidates.of(evidence, rows, share, moved, min(0.5, chance * INLIER_PX**2))
    judged = refined(found, points[near[best]].mean(axis=0))
    rivals = np.where(np.hypot(*(centres - centres[best]).T) > APART_PX, votes, 0.0)
    rival = int(rivals.argmax())
    rival_nfa = math.log10(len(points)) + log_tail(witnesses - 1, float(rivals[rival]) - 1, chance)
    if judged.verified and rival_nfa <= MAX_LOG_RIVAL and rivals[rival] >= RIVAL_SHARE * votes[best]:
        return replace(judged, verdict=Verdict.AMBIGUOUS, rival=centres[rival] * evidence.grid)
    return judged
