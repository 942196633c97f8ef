"""Look again, within a wide radius, where nothing was found near the expected position and the scenes share ground.

Large keypoints are matched within the wide radius first. Their matches vote for displacements; around the two highest
peaks all keypoints are matched and judged as in the first look. Many more displacements are tried than in the first
look, so more agreement is asked for. A trial on positions turned by 180 degrees, for which no displacement is right,
measures the rate of false verdicts of this look.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast.geometry.evidence import Evidence
from s2fast.geometry.placement import MOST_AWAY, SEARCHED_RADII, WINDOW_PX
from s2fast.geometry.witnesses import MAX_LOG_NFA
from s2fast.model import PairVerdict
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.matching_rule import Matches
from s2fast.stages.verdict_rule import LEAST_COMMON_PCT, MOST_ROWS, VerdictRule
from s2fast.stages.voters import Whole, voters, votes
from s2fast.verdicts import Verdict
from s2fast_kernels.threads import map_in_threads

COARSE_PX = 4.0
"""Radius of the disc in which their votes are counted [px of the coarser grid]: large keypoints are less precise."""

CANDIDATES = 2
"""Number of displacements that are judged."""

Inlier: TypeAlias = npt.NDArray[np.bool_]
"""(k,) which matches of a pair agree."""

AGAIN = (Verdict.NOT_VERIFIED, Verdict.PRIOR_SUSPECT, Verdict.NOT_ENOUGH_GROUND)
"""Verdicts after which a pair is looked at again."""


@dataclass(frozen=True, slots=True)
class Look:
    """Result of the second look at a pair."""

    found: Matches | None
    """The matches near the displacement that was found; None: nothing was found."""
    verdict: PairVerdict
    """The verdict; that of the first look, but for `looks` and the null trials, if nothing was found."""
    inlier: Inlier
    """Which matches agree."""

    def matches(self, first: Matches) -> Matches:
        """Return the matches of the pair, by those of its first look."""
        return first if self.found is None else self.found


def looks_again(rule: VerdictRule) -> bool:
    """Return whether the settings ask for second looks: with a prior, and without a radius of the user's."""
    settings, matching = rule.settings, rule.matching.settings
    with_prior = settings.enabled and settings.prior == "map" and matching.mode == "windowed"
    return with_prior and settings.second_look_px > WINDOW_PX and matching.radius_m == 0


def second_looks(
    rule: VerdictRule, block: Sequence[MatchedPair], verdicts: Sequence[tuple[PairVerdict, Inlier]]
) -> dict[int, Look]:
    """Look again at those pairs of a block that share ground and in which nothing was found.

    Parameters
    ----------
    rule
        The rule by which they were judged.
    block
        The pairs, as matched.
    verdicts
        Their verdicts and inliers.

    Returns
    -------
    dict
        The results by number of the pair in the block.
    """
    if not looks_again(rule):
        return {}
    again = [
        number
        for number, (verdict, _) in enumerate(verdicts)
        if verdict.verdict in AGAIN and verdict.overlap_pct >= LEAST_COMMON_PCT
    ]
    rows = max((len(block[number].query.descriptors) for number in again), default=0)
    at_once = max(1, MOST_ROWS // (2 * CANDIDATES * max(1, rows)))
    return {
        number: look
        for part in (again[start : start + at_once] for start in range(0, len(again), at_once))
        for number, look in zip(part, _looks(rule, [(block[place], verdicts[place]) for place in part]), strict=True)
    }


def _looks(rule: VerdictRule, judged: Sequence[tuple[MatchedPair, tuple[PairVerdict, Inlier]]]) -> Iterator[Look]:
    """Yield the second looks at pairs, given with their first verdicts."""
    pairs = [pair for pair, _ in judged]
    around = {id(pair.train): _turned(pair.train) for pair in pairs}
    turned = [replace(pair, train=around[id(pair.train)]) for pair in pairs] if rule.settings.nulls else []
    found = _searched(rule, [*pairs, *turned])
    for place, (pair, (first, inlier)) in enumerate(judged):
        trials = [look is not None for look in found[len(pairs) + place :: len(pairs)]]
        verdict = replace(
            first,
            looks=2,
            null_trials=first.null_trials + len(trials),
            null_verified=first.null_verified + sum(trials),
        )
        look = found[place]
        if look is None:
            yield Look(None, verdict, inlier)
            continue
        second, inlier = rule.judged_at(pair.with_matches(look.matches), look.offset_m, first.overlap_pct)
        # The first look's trials are not counted: one may have been at the displacement that was found.
        second = replace(second, null_trials=len(trials), null_verified=sum(trials))
        yield Look(look.matches, replace(second, looks=2, searched_m=radius_m(rule, pair)), inlier)


@dataclass(frozen=True, slots=True)
class _Found:
    """A displacement that was verified."""

    matches: Matches
    """The matches near it."""
    offset_m: npt.NDArray[np.float64]
    """(2,) where it was looked for, east and north [m]."""


def radius_m(rule: VerdictRule, pair: MatchedPair) -> float:
    """Return the wide radius [m]: at most a share of the smaller scene, beyond which too little ground overlaps."""
    query, train = pair.query.placement, pair.train.placement
    most = MOST_AWAY * math.sqrt(min(query.area_m2, train.area_m2))
    return min(rule.settings.second_look_px * pair.grid_m, most)


def _searched(rule: VerdictRule, pairs: Sequence[MatchedPair]) -> list[_Found | None]:
    """Return for each pair the displacement that is verified; None if there is none."""
    radii, grids = [radius_m(rule, pair) for pair in pairs], [pair.grid_m for pair in pairs]
    whole: Whole = {}
    rough = map_in_threads(lambda item: voters(*item, whole), list(zip(pairs, radii, strict=True)))
    far = rule.matching.searched([(query.search, train.search) for query, train in rough], np.zeros((len(pairs), 1, 2)))
    offsets = np.array(
        map_in_threads(
            lambda item: _candidates(rule, *item),
            [
                (votes(pair, both, matches), radius, grid)
                for pair, both, radius, (matches,), grid in zip(pairs, rough, radii, far, grids, strict=True)
            ],
        )
    ).reshape(-1, CANDIDATES, 2)
    near = rule.matching.matches_at(
        [(pair.query, pair.train) for pair in pairs], [WINDOW_PX * grid for grid in grids], offsets
    )
    trials = [
        (pair.with_matches(matches), _Found(matches, offset), radius)
        for pair, found, at, radius in zip(pairs, near, offsets, radii, strict=True)
        for matches, offset in zip(found, at, strict=True)
    ]
    significance = map_in_threads(lambda trial: log_nfa(rule, trial[0], trial[1].offset_m, trial[2]), trials)
    best: list[_Found | None] = []
    for number in range(len(pairs)):
        own = range(CANDIDATES * number, CANDIDATES * (number + 1))
        place = min(own, key=lambda trial: significance[trial])
        best.append(trials[place][1] if significance[place] <= MAX_LOG_NFA else None)
    return best


def _candidates(rule: VerdictRule, evidence: Evidence, radius: float, grid: float) -> npt.NDArray[np.float64]:
    """Return the displacements with most votes of large keypoints: (2, 2), east and north [m]."""
    unit = COARSE_PX * grid
    return np.array([peak.at * unit for peak in rule.steps.peaks_of_all(evidence, unit, radius, np.zeros(2))])


def log_nfa(rule: VerdictRule, matched: MatchedPair, offset: npt.NDArray[np.float64], radius: float) -> float:
    """Return the number of false alarms of a displacement (log10), over all that were tried; 0 if it is not verified.

    The windows around candidates, of which each first look has one, fit many times into the wide radius.
    """
    judged = rule.judge(matched, offset)
    if not judged.verified:
        return 0.0
    evidence = matched.evidence(np.ones(len(matched), np.bool_))
    searched = SEARCHED_RADII * matched.radius_m
    peak, _ = rule.steps.peaks_of_all(evidence, evidence.grid, searched, offset)
    return peak.log_nfa + 2 * math.log10(radius / searched)


def _turned(scene: MatchedScene) -> MatchedScene:
    """Return a scene whose keypoints are turned by 180 degrees around its centre: nothing lies where it belongs."""
    return replace(scene, xy=(2 * scene.placement.middle - scene.xy).astype(np.float32))
