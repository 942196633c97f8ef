"""Judge blocks of pairs: compute shift, inliers and verdict from good matches, and run null trials of the same rule.

All trials of a block, the pairs themselves and their null trials, are searched in one call and judged together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast.config import Config, Verification
from s2fast.geometry import compiled_shift
from s2fast.geometry.anywhere import find_anywhere
from s2fast.geometry.evidence import Evidence, Judgement
from s2fast.geometry.placement import SEARCHED_RADII, alike, overlap_pct
from s2fast.geometry.shift import RIVAL_SHARE
from s2fast.geometry.witnesses import APART_PX, Peak
from s2fast.image import compiled_pattern
from s2fast.image.fixed_pattern import FixedPattern, explained_by_pattern
from s2fast.model import PairVerdict
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.matching_rule import Matches, MatchingRule
from s2fast.stages.pairs import Pair
from s2fast.verdicts import Verdict
from s2fast_kernels.threads import map_in_threads

LEAST_COMMON_PCT = 2.0
"""Minimum common clear ground of two scenes [%]."""

_AWAY_RADII = (8.0, 40.0)
"""Distance of wrong offsets from the right one [search radii]: too far for true matches, near enough for similar
ground."""

_BEYOND = 1.1
"""Smallest distance of wrong offsets from the right one [radii of the search area]."""

_ONE_LATTICE_PX = 0.04
"""Error of a pair of which one scene is interpolated [larger px]: its keypoints prefer places on the lattice."""

MOST_ROWS = 1 << 22
"""Query rows searched at once for null trials; each may be a match of 12 bytes."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Implementation of the steps of a judgement with a prior; without a prior, `find_anywhere` replaces the last.

    Runs have `COMPILED`. The plain functions that are named here define each step; tests compare the two.
    """

    by_paint: Callable[..., npt.NDArray[np.bool_]]
    """`s2fast.image.fixed_pattern.explained_by_paint`."""
    share_noise: Callable[[FixedPattern, FixedPattern], bool]
    """`s2fast.image.fixed_pattern.share_noise`."""
    find_shift: Callable[[Evidence, float, npt.NDArray[np.float64] | None], Judgement]
    """`s2fast.geometry.shift.find_shift`."""
    peaks_of_all: Callable[[Evidence, float, float, npt.NDArray[np.float64]], tuple[Peak, Peak]]
    """`s2fast.geometry.witnesses.peaks_of_all`."""


COMPILED = Steps(
    compiled_pattern.explained_by_paint,
    compiled_pattern.share_noise,
    compiled_shift.find_shift,
    compiled_shift.peaks_of_all,
)
"""The steps in compiled code, which serve matches of every search mode and backend; they leave only the fit of an
affinity to the plain version (see `s2fast.geometry.compiled_shift`)."""

ToJudge: TypeAlias = tuple[MatchedPair, npt.NDArray[np.float64] | None]
"""A pair with the matches of a trial, and the expected shift, (2,) east and north [m]; None: zero."""


@dataclass(frozen=True, slots=True)
class Nulls:
    """Null trials of k pairs at n wrong offsets each; without a prior, n is 0."""

    common_pct: Sequence[float]
    """Common clear ground of every pair [%]."""
    offset_m: npt.NDArray[np.float64]
    """(k, n, 2) wrong offsets, east and north [m]."""
    found: Sequence[Sequence[Matches]] = ()
    """Matches of every pair at its first offsets, as far as they have been searched; may be empty."""


@dataclass(frozen=True, slots=True)
class VerdictRule:
    """Rule by which matched pairs are judged."""

    matching: MatchingRule
    """Rule by which the pairs were matched; null trials use it to match again at wrong offsets."""
    settings: Verification
    """Parameters of the rule."""
    steps: Steps = COMPILED
    """Implementation of the steps of a judgement."""

    @classmethod
    def of(cls, config: Config) -> VerdictRule:
        """Create the rule from the settings of a run."""
        return cls(MatchingRule.of(config.matching, config.compute.device), config.verification)

    @property
    def searches_nulls(self) -> bool:
        """Whether null trials need searches of their own, whose radius is known before the pairs are matched."""
        mode, radius = self.matching.settings.mode, self.matching.settings.radius_m
        return self.settings.enabled and mode == "windowed" and radius != "auto"

    def nulls(self, block: Sequence[MatchedPair]) -> Nulls:
        """Return the wrong offsets of pairs, which need not be matched."""
        # Where scenes without a CRS overlap is unknown.
        common = [
            overlap_pct(matched.query.placement, matched.train.placement)
            if matched.query.placement.crs_wkt
            else math.nan
            for matched in block
        ]
        if not self.settings.enabled or self.settings.prior == "none":
            return Nulls(common, np.zeros((len(block), 0, 2)))
        offsets = [
            wrong_offsets(matched, self.settings.nulls, share) for matched, share in zip(block, common, strict=True)
        ]
        return Nulls(common, np.array(offsets, np.float64).reshape(len(block), -1, 2))

    def search(
        self, block: Sequence[Pair], scenes: Sequence[tuple[MatchedScene, MatchedScene]]
    ) -> tuple[list[Matches], Nulls]:
        """Match pairs and, in the same search, at the first of their wrong offsets; see `searches_nulls`.

        Parameters
        ----------
        block
            The pairs.
        scenes
            Query and train of each.

        Returns
        -------
        matches : list of Matches
            The matches of every pair.
        nulls : Nulls
            The null trials.
        """
        radii = self.matching.first_radii_m(scenes)
        pairs = [
            MatchedPair.unmatched(pair, *both, radius) for pair, both, radius in zip(block, scenes, radii, strict=True)
        ]
        nulls = self.nulls(pairs)
        offsets = nulls.offset_m[:, : self._places(pairs)]
        found = self._searched(pairs, np.concatenate([np.zeros((len(pairs), 1, 2)), offsets], axis=1))
        return [matches for matches, *_ in found], replace(nulls, found=[wrong for _, *wrong in found])

    def verdicts(
        self, block: Sequence[MatchedPair], nulls: Nulls | None = None
    ) -> list[tuple[PairVerdict, npt.NDArray[np.bool_]]]:
        """Judge a block of pairs.

        Parameters
        ----------
        block
            The pairs.
        nulls
            Their null trials, from `search`; None: not chosen yet.

        Returns
        -------
        list of (verdict, inlier)
            A PairVerdict, and (k,) bool: True for matches that agree with the model.
        """
        nulls = nulls or self.nulls(block)
        if not self.settings.enabled:
            return [
                (PairVerdict(overlap_pct=common), np.zeros(len(matched), np.bool_))
                for matched, common in zip(block, nulls.common_pct, strict=True)
            ]
        rest = self._null_trials(block, nulls)
        # The pairs are judged beside their first null trials.
        trials: list[ToJudge] = [(matched, None) for matched in block]
        found = map_in_threads(self._judge_trial, [*trials, *next(rest, [])])
        judged, verified = found[: len(block)], [null.verified for null in found[len(block) :]]
        for trials in rest:
            verified += [null.verified for null in map_in_threads(self._judge_trial, trials)]
        false_alarms = np.reshape(np.array(verified, np.bool_), (-1, len(block))).T
        return [
            self._verdict(matched, judgement, common, alarms)
            for matched, judgement, common, alarms in zip(block, judged, nulls.common_pct, false_alarms, strict=True)
        ]

    def _verdict(
        self, matched: MatchedPair, judged: Judgement, common: float, false_alarms: npt.NDArray[np.bool_]
    ) -> tuple[PairVerdict, npt.NDArray[np.bool_]]:
        """Return the verdict of a pair and its inliers."""
        if judged.verdict == Verdict.NOT_VERIFIED:
            # Chance explains these matches: report no shift and no inliers.
            judged = Judgement.not_found(len(matched))
        right, down = np.linalg.solve(matched.query.placement.px_m, [judged.dx, judged.dy])
        affinity, rival = judged.affinity, judged.rival
        lost = common < LEAST_COMMON_PCT and judged.verdict == Verdict.NOT_VERIFIED
        verdict = PairVerdict(
            overlap_pct=common,
            n_inliers=int(np.count_nonzero(judged.inlier)),
            dx_m=judged.dx,
            dy_m=judged.dy,
            dx_px=float(right),
            dy_px=float(down),
            shift_error_m=math.hypot(judged.error, _lattice_error_m(matched)),
            verified=judged.verified,
            verdict=Verdict.NO_COMMON_GROUND if lost else judged.verdict,
            n_witnesses=round(judged.witnesses),
            model=judged.model,
            rotation_deg=affinity.rotation_deg if affinity else None,
            rotation_error_deg=math.degrees(affinity.change_error) if affinity else None,
            scale=affinity.scale if affinity else None,
            scale_error=affinity.change_error if affinity else None,
            shear=affinity.shear if affinity and affinity.model == "affinity" else None,
            rival_dx_m=None if rival is None else float(rival[0]),
            rival_dy_m=None if rival is None else float(rival[1]),
            searched_m=matched.radius_m if self.settings.prior == "map" else None,
            null_trials=len(false_alarms),
            null_verified=int(false_alarms.sum()),
        )
        return verdict, judged.inlier

    def judged_at(
        self, matched: MatchedPair, offset_m: npt.NDArray[np.float64], common_pct: float
    ) -> tuple[PairVerdict, npt.NDArray[np.bool_]]:
        """Return the verdict on a pair, and its inliers, near a displacement, east and north [m]; see `verdicts`."""
        return self._verdict(matched, self.judge(matched, offset_m), common_pct, np.zeros(0, np.bool_))

    def judge(self, matched: MatchedPair, offset_m: npt.NDArray[np.float64] | None = None) -> Judgement:
        """Estimate the shift between two scenes from good matches, and judge it.

        Parameters
        ----------
        matched
            The pair.
        offset_m : (2,) float64 or None
            Expected shift, east and north [m]; None: zero.
        """
        steps, query, train = self.steps, matched.query, matched.train
        moved_px = matched.moved_px()
        evidence = self._evidence(matched, moved_px)
        if self.settings.prior == "map":
            judged = steps.find_shift(evidence, matched.radius_m, offset_m)
        else:
            same = query.scale[matched.query_row] == train.scale_beside(query)[matched.train_row]
            ground = max(min(query.placement.clear_m2, train.placement.clear_m2), evidence.grid**2)
            judged = find_anywhere(evidence, same, ground)
        if judged.verdict == Verdict.NOT_VERIFIED:
            return judged
        if moved_px is not None and self._is_drawn(matched, judged, moved_px):
            return Judgement.not_found(len(evidence))
        # Without a prior, rivals anywhere have been looked for.
        return judged if self.settings.prior == "none" else self._beside_aliases(matched, judged)

    def _evidence(self, matched: MatchedPair, moved_px: npt.NDArray[np.float32] | None) -> Evidence:
        """Return the matches that painted areas do not explain; `moved_px` is `MatchedPair.moved_px`."""
        query, train = matched.query, matched.train
        painted = self.steps.by_paint(
            query.fixed_pattern, train.fixed_pattern, matched.query_row, matched.train_row, moved_px,
            min(query.count_for(train), train.count_for(query)),
        )  # fmt: skip
        return matched.evidence(~painted)

    def _is_drawn(self, matched: MatchedPair, judged: Judgement, moved_px: npt.NDArray[np.float32]) -> bool:
        """Return whether what both scenes have at the same pixels explains the inliers."""
        query, train, drawn_px = matched.query, matched.train, None
        if judged.model == "shift":
            drawn_px = query.xy[matched.query_row[judged.inlier]] / query.placement.searched_px
        patterns = query.fixed_pattern, train.fixed_pattern
        return explained_by_pattern(*patterns, drawn_px, moved_px[judged.inlier], self.steps.share_noise)

    def _beside_aliases(self, matched: MatchedPair, judged: Judgement) -> Judgement:
        """Return the judgement, ``ambiguous`` if the ground repeats itself and agrees about as well elsewhere."""
        if judged.verdict not in (Verdict.VERIFIED, Verdict.PRIOR_SUSPECT):
            return judged
        query, train = matched.query, matched.train
        away = query.repeats_at(SEARCHED_RADII * matched.radius_m, query.rows_for(train))
        if not len(away):
            return judged
        places = np.array([judged.dx, judged.dy]) + away
        found = [matched] * len(places)
        if self.matching.settings.mode == "windowed":
            ((*matches,),) = self.matching.matches_at([(query, train)], [matched.radius_m], places[None])
            found = [matched.with_matches(some) for some in matches]
        for other, place in zip(found, places, strict=True):
            evidence = self._evidence(other, other.moved_px())
            rival = self.steps.find_shift(evidence, other.radius_m, place)
            apart = math.hypot(rival.dx - judged.dx, rival.dy - judged.dy) > APART_PX * evidence.grid
            if apart and rival.verdict != Verdict.NOT_VERIFIED and rival.witnesses >= RIVAL_SHARE * judged.witnesses:
                return replace(judged, verdict=Verdict.AMBIGUOUS, rival=np.array([rival.dx, rival.dy]))
        return judged

    def _judge_trial(self, trial: ToJudge) -> Judgement:
        return self.judge(*trial)

    def _null_trials(self, block: Sequence[MatchedPair], nulls: Nulls) -> Iterator[list[ToJudge]]:
        """Yield the null trials in parts, all pairs' first trials first; any verified judgement is a false alarm.

        They are at wrong offsets or, without a prior, on shuffled matches.
        """
        offsets = nulls.offset_m
        if self.settings.prior == "none":
            generators = [_generator(matched.pair) for matched in block]
            for _ in range(self.settings.nulls):
                yield [
                    (replace(matched, train_row=matched.train_row[random.permutation(len(matched))]), None)
                    for matched, random in zip(block, generators, strict=True)
                ]
        elif self.matching.settings.mode == "exhaustive":
            yield [
                (matched, offset)
                for at in range(offsets.shape[1])
                for matched, offset in zip(block, offsets[:, at], strict=True)
            ]
        else:
            done, step = min(map(len, nulls.found), default=0), self._places(block)
            if done:
                yield list(_at_offsets(block, offsets[:, :done], nulls.found))
            for first in range(done, offsets.shape[1], step):
                away = offsets[:, first : first + step]
                yield list(_at_offsets(block, away, self._searched(block, away)))

    def _searched(self, block: Sequence[MatchedPair], away_m: npt.NDArray[np.float64]) -> list[list[Matches]]:
        """Return the matches of pairs at each of several places: see `MatchingRule.matches_at`."""
        pairs = [(matched.query, matched.train) for matched in block]
        return self.matching.matches_at(pairs, [matched.radius_m for matched in block], away_m)

    @staticmethod
    def _places(block: Sequence[MatchedPair]) -> int:
        """Return at how many wrong offsets all pairs may be searched at once."""
        return max(1, MOST_ROWS // max(1, sum(len(matched.query.descriptors) for matched in block)))


def _at_offsets(
    block: Sequence[MatchedPair], offset_m: npt.NDArray[np.float64], found: Sequence[Sequence[Matches]]
) -> Iterator[ToJudge]:
    """Yield the trials of pairs with their matches at several offsets, all pairs' first trials first."""
    for at in range(offset_m.shape[1]):
        for matched, offset, matches in zip(block, offset_m[:, at], found, strict=True):
            yield matched.with_matches(matches[at]), offset


def _lattice_error_m(matched: MatchedPair) -> float:
    """Return the error that lattices of larger pixels may cause [m]; 0 unless a scene is interpolated and matched so.

    Two lattices pull a shift by at most half a larger pixel along each axis, which twice the error covers.
    """
    seen_m = [scene.placement.seen_m for scene in (matched.query, matched.train) if scene.placement.interpolated > 1]
    pulled = [side for side in seen_m if side > matched.grid_m and not alike(side, matched.grid_m)]
    if not pulled:
        return 0.0
    return max(pulled) * (math.sqrt(0.5) / 2 if len(pulled) == 2 else _ONE_LATTICE_PX)


def wrong_offsets(matched: MatchedPair, count: int, common_pct: float) -> list[npt.NDArray[np.float64]]:
    """Return random displacements at which no match can be true; deterministic per pair.

    For scenes that share ground, they lie several search radii from the right offset; for other scenes, several radii
    from the displacement that brings the two rasters' centres together.

    Parameters
    ----------
    matched
        The pair.
    count
        Number of displacements.
    common_pct
        Common clear ground [%].

    Returns
    -------
    list of (2,) float64
        East and north [m].
    """
    query, train = matched.query.placement, matched.train.placement
    random = _generator(matched.pair)
    apart = np.zeros(2)
    if common_pct == 0:
        apart = (train.on_map(train.middle, query.metric) - query.on_map(query.middle))[0]
        apart = np.where(np.isfinite(apart), apart, 0.0)  # the query's projection does not cover the train
    # Limit wrong offsets on small scenes, so that some ground is left to compare; but the right one is never searched.
    most = max(0.25 * np.sqrt(min(query.area_m2, train.area_m2)), _BEYOND * SEARCHED_RADII * matched.radius_m)
    farthest = min(_AWAY_RADII[1] * matched.radius_m, most)
    nearest = min(_AWAY_RADII[0] * matched.radius_m, farthest)
    lengths, angles = random.uniform(nearest, farthest, count), random.uniform(0, 2 * np.pi, count)
    return [apart + length * np.array([np.cos(a), np.sin(a)]) for length, a in zip(lengths, angles, strict=True)]


def _generator(pair: Pair) -> np.random.Generator:
    """Return a generator seeded from the scene ids."""
    seed = hashlib.blake2b(f"{pair.query} {pair.train}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(seed))
