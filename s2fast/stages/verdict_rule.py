"""Judge pairs: compute shift, inliers and verdict from good matches, and run null trials of the same rule."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from s2fast.config import Config, Verification
from s2fast.geometry import compiled_shift, compiled_votes
from s2fast.geometry.evidence import Evidence, Judgement
from s2fast.geometry.placement import common_centre, overlap_pct
from s2fast.geometry.shift import find_anywhere, find_shift
from s2fast.image import compiled_pattern
from s2fast.image.fixed_pattern import FixedPattern, explained_by_paint, explained_by_pattern, share_noise
from s2fast.model import PairVerdict
from s2fast.stages.matching_rule import MatchedScene, MatchingRule
from s2fast.stages.pairs import Pair

LEAST_COMMON_PCT = 2.0
"""Minimum common clear ground of two scenes [%]."""

_AWAY_RADII = (8.0, 40.0)
"""Distance of wrong offsets from the right one [search radii]: too far for true matches, near enough for similar
ground."""


@dataclass(frozen=True, slots=True)
class Matched:
    """A pair with its scenes and good matches."""

    pair: Pair
    """The pair."""
    query: MatchedScene
    """The query scene."""
    train: MatchedScene
    """The train scene."""
    query_row: npt.NDArray[np.int32]
    """(k,) rows of the query's features."""
    train_row: npt.NDArray[np.int32]
    """(k,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distances [bits]."""
    radius_m: float
    """Search radius: greatest shift between the scenes [m]."""

    def moved_px(self) -> npt.NDArray[np.float32] | None:
        """Return train position minus query position on the two rasters: (k, 2) [px of the tiles].

        None if the pixels of the tiles differ in size.
        """
        reduction = self.query.placement.reduction
        if reduction != self.train.placement.reduction:
            return None
        moved: npt.NDArray[np.float32] = compiled_votes.moved_px(
            self.query.xy, self.train.xy, self.query_row, self.train_row, reduction
        )
        return moved

    def evidence(self, on_ground: npt.NDArray[np.bool_]) -> Evidence:
        """Return the matches on the query's map; `on_ground` see `Evidence.on_ground`."""
        query, train = self.query.placement, self.train.placement
        query_m, train_m, size = compiled_votes.gathered(
            self.query.on_own_map, self.train.on_map_of(self.query), self.query.size_m, self.query_row, self.train_row
        )
        return Evidence(
            query_m=query_m,
            train_m=train_m,
            size=size,
            distance=self.distance,
            on_ground=on_ground,
            grid=max(query.grid_m, train.grid_m),
            centre=common_centre(query, train),
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """Implementation of the steps of a judgement with a prior; without a prior, `find_anywhere` replaces the last."""

    by_paint: Callable[..., npt.NDArray[np.bool_]]
    """`s2fast.image.fixed_pattern.explained_by_paint`."""
    share_noise: Callable[[FixedPattern, FixedPattern], bool]
    """`s2fast.image.fixed_pattern.share_noise`."""
    find_shift: Callable[[Evidence, float, npt.NDArray[np.float64] | None], Judgement]
    """`s2fast.geometry.shift.find_shift`."""


COMPILED = Steps(compiled_pattern.explained_by_paint, compiled_pattern.share_noise, compiled_shift.find_shift)

STEPS: Mapping[str, Steps] = {"reference": Steps(explained_by_paint, share_noise, find_shift)}
"""Steps by ``matching.backend``; all other backends have `COMPILED`. The compiled steps serve matches of every search
mode; what they leave to the plain version is only an affinity (see `s2fast.geometry.compiled_shift`)."""


@dataclass(frozen=True, slots=True)
class VerdictRule:
    """Rule by which a matched pair is judged."""

    matching: MatchingRule
    """Rule by which the pair was matched; null trials use it to match again at wrong offsets."""
    settings: Verification
    """Parameters of the rule."""

    @classmethod
    def of(cls, config: Config) -> VerdictRule:
        """Create the rule from the settings of a run."""
        return cls(MatchingRule.of(config.matching, config.compute.device), config.verification)

    def verdict(self, matched: Matched) -> tuple[PairVerdict, npt.NDArray[np.bool_]]:
        """Judge one pair.

        Returns
        -------
        verdict : PairVerdict
        inlier : (k,) bool
            True for matches that agree with the model.
        """
        common = overlap_pct(matched.query.placement, matched.train.placement)
        if not self.settings.enabled:
            return PairVerdict(overlap_pct=common), np.zeros(len(matched.query_row), np.bool_)
        judged = self.judge(matched)
        if judged.verdict == "not verified":
            # Chance explains these matches: report no shift and no inliers.
            judged = Judgement.not_found(len(matched.query_row))
        false_alarms = [null.verified for null in self.null_judgements(matched, common)]
        right, down = np.linalg.solve(matched.query.placement.px_m, [judged.dx, judged.dy])
        affinity, rival = judged.affinity, judged.rival
        lost = common < LEAST_COMMON_PCT and judged.verdict == "not verified"
        verdict = PairVerdict(
            overlap_pct=common,
            n_inliers=int(np.count_nonzero(judged.inlier)),
            dx_m=judged.dx,
            dy_m=judged.dy,
            dx_px=float(right),
            dy_px=float(down),
            shift_error_m=judged.error,
            verified=judged.verified,
            verdict="no common ground" if lost else judged.verdict,
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
            null_verified=sum(false_alarms),
        )
        return verdict, judged.inlier

    def judge(self, matched: Matched, offset_m: npt.NDArray[np.float64] | None = None) -> Judgement:
        """Estimate the shift between two scenes from good matches, and judge it.

        Parameters
        ----------
        matched
            The pair.
        offset_m : (2,) float64 or None
            Expected shift, east and north [m]; None: zero.
        """
        steps, query, train = STEPS.get(self.matching.backend, COMPILED), matched.query, matched.train
        patterns, moved_px = (query.fixed_pattern, train.fixed_pattern), matched.moved_px()
        evidence = matched.evidence(~steps.by_paint(*patterns, matched.query_row, matched.train_row, moved_px))
        if self.settings.prior == "map":
            judged = steps.find_shift(evidence, matched.radius_m, offset_m)
        else:
            same = query.scale[matched.query_row] == train.scale[matched.train_row]
            ground = max(min(query.placement.clear_m2, train.placement.clear_m2), evidence.grid**2)
            judged = find_anywhere(evidence, same, ground)
        if judged.verdict == "not verified" or moved_px is None:
            return judged
        explained = explained_by_pattern(*patterns, moved_px[judged.inlier], steps.share_noise)
        return Judgement.not_found(len(evidence)) if explained else judged

    def null_judgements(self, matched: Matched, common_pct: float) -> Iterator[Judgement]:
        """Yield the judgements of null trials: at wrong offsets or, without a prior, on shuffled matches.

        Any verified judgement is a false alarm.

        Parameters
        ----------
        matched
            The pair.
        common_pct
            Common clear ground [%].
        """
        if self.settings.prior == "none":
            random = _generator(matched.pair)
            for _ in range(self.settings.nulls):
                shuffled = matched.train_row[random.permutation(len(matched.train_row))]
                yield self.judge(replace(matched, train_row=shuffled))
            return
        for offset in wrong_offsets(matched, self.settings.nulls, common_pct):
            if self.matching.settings.mode == "windowed":
                wrong = self.matching.near_matches(matched.query, matched.train, offset, matched.radius_m)
                matched = replace(
                    matched, query_row=wrong.query_row, train_row=wrong.train_row, distance=wrong.distance
                )
            yield self.judge(matched, offset)


def wrong_offsets(matched: Matched, count: int, common_pct: float) -> list[npt.NDArray[np.float64]]:
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
    # Limit wrong offsets on small scenes, so that some ground is left to compare.
    farthest = min(_AWAY_RADII[1] * matched.radius_m, 0.25 * np.sqrt(min(query.area_m2, train.area_m2)))
    nearest = min(_AWAY_RADII[0] * matched.radius_m, farthest)
    lengths, angles = random.uniform(nearest, farthest, count), random.uniform(0, 2 * np.pi, count)
    return [apart + length * np.array([np.cos(a), np.sin(a)]) for length, a in zip(lengths, angles, strict=True)]


def _generator(pair: Pair) -> np.random.Generator:
    """Return a generator seeded from the scene ids."""
    seed = hashlib.blake2b(f"{pair.query} {pair.train}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(seed))
