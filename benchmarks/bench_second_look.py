"""What the second look finds of scenes that are off by many pixels, and what it verifies wrongly.

    python -m benchmarks second-look [--data DIR] [--pairs N] [--unrelated N] [--tile TILE] [--json]

DIR holds ``ukraine``. Pairs of one tile that the first look verifies are judged again with one scene moved by each of
`MOVED_PX` into a random direction: the shift that is found is compared with that of the same pair at its own place.
For the unrelated pairs, one scene's keypoints are turned by 90 or 270 degrees or mirrored, so that no displacement is
right, and the pair is judged at its own place. ``bound`` counts the pairs that the second look would find if it were
led to the right displacement: it asks for more agreement than the first.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import s2fast
from benchmarks.harness import emit, option_parser
from s2fast.config import load_config
from s2fast.geometry.placement import WINDOW_PX
from s2fast.geometry.witnesses import MAX_LOG_NFA
from s2fast.model import PairVerdict
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.pairs import Pair
from s2fast.stages.scenes import load_scenes
from s2fast.stages.second_look import log_nfa, radius_m, second_looks
from s2fast.stages.verdict_rule import VerdictRule
from s2fast.sweeps.quality import TRUE_PX

MOVED_PX = (7, 30, 100, 180)
"""Distances by which a scene is moved [px]."""

SEED = 1

_AT_ONCE = 16
"""Pairs judged in one call."""


def main(argv: Sequence[str]) -> int:
    """Judge moved and unrelated pairs, and print what was found."""
    parser = option_parser("second-look", __doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tile", default="36UYA", help="tile of ukraine")
    parser.add_argument("--pairs", type=int, default=200, help="pairs that are moved")
    parser.add_argument("--unrelated", type=int, default=2000, help="unrelated pairs")
    options = parser.parse_args(argv)
    if not options.data.exists():
        emit({"benchmark": "second-look", "skipped": f"no {options.data}"}, as_json=options.json)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        files = sorted((options.data / "ukraine").rglob(f"*T{options.tile}*TCI*.jp2"))
        run = s2fast.run(scenes=files, out=Path(scratch) / "run")
        verified = run.pairs().query("verified")
        scenes = load_scenes(run.folder, set(run.scene_ids))
    rule = VerdictRule.of(load_config())
    random = np.random.default_rng(SEED)
    chosen = verified.iloc[random.permutation(len(verified))[: options.pairs]]
    for moved in MOVED_PX:
        row = _moved_row(rule, scenes, chosen[["query", "train", "dx_m", "dy_m"]].to_numpy(), moved)
        emit({"benchmark": "second-look", "moved px": moved, **row}, as_json=options.json)
    row = _unrelated_row(rule, scenes, options.unrelated)
    emit({"benchmark": "second-look", "row": "unrelated", **row}, as_json=options.json)
    return 0


def _moved_row(rule: VerdictRule, scenes: dict[str, MatchedScene], pairs: Any, moved_px: int) -> dict[str, Any]:
    """Return what is found of pairs with their trains moved."""
    random = np.random.default_rng([SEED, moved_px])
    moved, away = [], []
    for query, train, _, _ in pairs:
        angle = random.uniform(0, 2 * np.pi)
        offset = moved_px * scenes[train].placement.grid_m * np.array([np.cos(angle), np.sin(angle)])
        moved.append((query, train, scenes[query], _at(scenes[train], offset)))
        away.append(offset)
    start = time.process_time()
    verdicts = _judged(rule, moved)
    cpu_s = time.process_time() - start
    off = np.array(
        [
            np.hypot(*(np.array([verdict.dx_m, verdict.dy_m], np.float64) - offset - pair[2:].astype(np.float64)))
            / scenes[pair[0]].placement.grid_m
            if verdict.verified
            else np.nan
            for verdict, offset, pair in zip(verdicts, away, pairs, strict=True)
        ]
    )
    found = np.isfinite(off)
    right = off[found & (off <= TRUE_PX)]
    return {
        "pairs": len(pairs),
        "found": int(found.sum()),
        "wrong": int(found.sum()) - len(right),
        "bound": _bound(rule, moved, away, pairs),
        "error px, median": round(float(np.median(right)), 4) if len(right) else None,
        "error px, largest": round(float(right.max()), 3) if len(right) else None,
        "CPU ms per pair": round(1000 * cpu_s / len(pairs), 1),
        "null trials": sum(verdict.null_trials for verdict in verdicts),
        "verified there": sum(verdict.null_verified for verdict in verdicts),
    }


def _bound(rule: VerdictRule, moved: Sequence[Any], away: Sequence[Any], pairs: Any) -> int:
    """Return how many pairs a look at the right displacement verifies by the rule of the second look."""
    found = 0
    for (query, train, one, other), offset, pair in zip(moved, away, pairs, strict=True):
        matched = MatchedPair.unmatched(Pair(query, train, ""), one, other, 0.0)
        found += _verified_at(rule, matched, offset + pair[2:].astype(np.float64))
    return found


def _verified_at(rule: VerdictRule, pair: MatchedPair, offset_m: npt.NDArray[np.float64]) -> bool:
    """Return whether a second look that is led to a displacement, (2,) east and north [m], verifies the pair there."""
    grid = max(pair.query.placement.grid_m, pair.train.placement.grid_m)
    ((matches,),) = rule.matching.matches_at([(pair.query, pair.train)], [WINDOW_PX * grid], offset_m[None, None])
    return log_nfa(rule, pair.with_matches(matches), offset_m, radius_m(rule, pair)) <= MAX_LOG_NFA


def _unrelated_row(rule: VerdictRule, scenes: dict[str, MatchedScene], count: int) -> dict[str, Any]:
    """Return what is verified of pairs in which one scene's keypoints are turned or mirrored."""
    pairs = list(itertools.combinations(scenes, 2))
    order = np.random.default_rng(SEED).permutation(len(pairs))
    changed = [
        (query, train, scenes[query], _changed(scenes[train], turn))
        for turn in range(4)
        for query, train in (pairs[number] for number in order)
    ][:count]
    verdicts = _judged(rule, changed)
    looked = [verdict for verdict in verdicts if verdict.looks == 2]
    return {
        "pairs": len(changed),
        "looked again": len(looked),
        "verified by the first look": sum(bool(verdict.verified) for verdict in verdicts if verdict.looks == 1),
        "verified by the second": sum(bool(verdict.verified) for verdict in looked),
    }


def _judged(rule: VerdictRule, pairs: Sequence[tuple[str, str, MatchedScene, MatchedScene]]) -> list[PairVerdict]:
    """Return the verdicts on pairs after both looks."""
    verdicts: list[PairVerdict] = []
    for start in range(0, len(pairs), _AT_ONCE):
        part = pairs[start : start + _AT_ONCE]
        named = [Pair(query, train, "") for query, train, _, _ in part]
        found = rule.matching.good_matches([(query, train) for _, _, query, train in part])
        block = [
            MatchedPair.unmatched(pair, query, train, matches.radius_m).with_matches(matches)
            for pair, (_, _, query, train), matches in zip(named, part, found, strict=True)
        ]
        first = rule.verdicts(block)
        looks = second_looks(rule, block, first)
        verdicts += [looks[number].verdict if number in looks else verdict for number, (verdict, _) in enumerate(first)]
    return verdicts


def _at(scene: MatchedScene, offset_m: np.ndarray[Any, Any]) -> MatchedScene:
    """Return a scene whose georeferencing is moved, east and north [m]."""
    a, b, c, d, e, f = scene.placement.transform
    transform = (a, b, c + float(offset_m[0]), d, e, f + float(offset_m[1]))
    return replace(scene, placement=replace(scene.placement, transform=transform))


def _changed(scene: MatchedScene, turn: int) -> MatchedScene:
    """Return a scene whose keypoints are turned by 90 or 270 degrees, or mirrored in x or in y, around its middle."""
    x, y = (scene.xy - scene.placement.middle).T
    xy = np.column_stack([(-y, x), (y, -x), (-x, y), (x, -y)][turn]) + scene.placement.middle
    return replace(scene, xy=xy.astype(np.float32))
