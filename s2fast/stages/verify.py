"""Stage 4: good matches to shift, inliers and verdict of every pair, and how often chance fools the same rule."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from s2fast.config import Config
from s2fast.errors import RunFolderError
from s2fast.folder.content_key import content_key
from s2fast.folder.pair_blocks import part_name
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.placement import Place, common_centre, overlap_pct
from s2fast.geometry.shift import Evidence, Judgement, find_anywhere, find_shift
from s2fast.image.fixed_pattern import is_pattern, same_paint
from s2fast.model import PairVerdict
from s2fast.stages import match
from s2fast.stages.match import MatchedScene
from s2fast.stages.memory import MIB
from s2fast.stages.pairs import Pair, keypoint_counts, plan_blocks, wanted_pairs
from s2fast.stages.result import StageResult
from s2fast.work.executors import Workplace, limit_threads, run_units
from s2fast.work.progress import Progress
from s2fast_kernels.backends import resolve

LEAST_COMMON_PCT = 2.0
"""Scenes with less common clear ground [%] have too little to match."""

ROW_SCHEMA = pa.schema(
    {
        **{name: pa.string() for name in ("query", "train", "key")},
        **{name: pa.int64() for name in ("n_query", "n_train", "n_good")},
        "similarity_pct": pa.float64(),
        "n_inliers": pa.int64(),
        **{name: pa.float64() for name in ("dx_m", "dy_m", "dx_px", "dy_px", "shift_error_m")},
        "verified": pa.bool_(),
        "overlap_pct": pa.float64(),
        "verdict": pa.string(),
        "n_witnesses": pa.int64(),
        "model": pa.string(),
        **{name: pa.float64() for name in ("rotation_deg", "rotation_error_deg", "scale", "scale_error", "shear")},
        **{name: pa.float64() for name in ("rival_dx_m", "rival_dy_m", "searched_m")},
        **{name: pa.int64() for name in ("null_trials", "null_verified")},
    }
)
"""Columns of ``verified/*.parquet``: `PairResult` and `PairVerdict`."""

_AWAY_RADII = (8.0, 40.0)
"""How far from the right place a wrong one is [search radii]: no true match is in reach, the ground still similar."""


@dataclass(frozen=True, slots=True)
class Block:
    """Pairs to verify together."""

    pairs: tuple[Pair, ...]
    """The pairs, with the keys their verification gets."""
    parts: tuple[str, ...]
    """Parts of `RunFolder.matched` that hold their matches."""

    def __str__(self) -> str:
        return str(self.pairs)


def key(query_key: str, train_key: str, config: Config) -> str:
    """Content key of a pair's verification, from its features' keys and the settings."""
    verification = config.verification.model_dump() if config.verification.enabled else None
    matched = match.key(query_key, train_key, config)
    return content_key("verified", matched, verification, config.matching.radius_m, config.output.keep_matches)


def run_pairs(record: RunRecord, folder: RunFolder) -> list[Pair]:
    """List every pair of the run with the key of its verification."""
    return wanted_pairs(record, folder, lambda query, train: key(query, train, record.config))


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, strict: bool = False
) -> StageResult:
    """Verify every pair that has no result under its key.

    Where verification is off, pairs get neither shift nor verdict, and matches are kept as they are.
    """
    del strict  # a pair cannot be broken by its scene
    config = record.config
    backend = resolve(match.backends(config.matching), config.matching.backend).name
    pairs = run_pairs(record, folder)
    with_matches = config.output.keep_matches != "none"
    there = set(folder.verified.whole(with_matches=with_matches)["key"])
    planned = plan_blocks(pairs, keypoint_counts(record, folder), config.compute.budget_mb * MIB)
    blocks = _with_parts([[pair for pair in block if pair.key not in there] for block in planned], record, folder)
    done = sum(len(block.pairs) for block in blocks)
    result = StageResult(kept=len(pairs) - done, done=done)
    with progress.stage("verify", done, result.kept) as bar:
        for block, _ in run_units(workplace, verify_unit, blocks, config, backend, folder.address):
            for _ in block.pairs:
                bar.advance()
    folder.verified.settle({pair.key for pair in pairs}, with_matches=with_matches)
    return result


def _with_parts(blocks: Sequence[Sequence[Pair]], record: RunRecord, folder: RunFolder) -> list[Block]:
    """Find where each block's matches are; blocks without a pair are left out."""
    if not any(blocks):
        return []
    matched = {(pair.query, pair.train): pair.key for pair in match.run_pairs(record, folder)}
    whole = folder.matched.whole(with_matches=True)
    part_of = dict(zip(whole["key"], whole["part"], strict=True))
    found = []
    for block in filter(None, blocks):
        keys = [matched[pair.query, pair.train] for pair in block]
        missing = sum(name not in part_of for name in keys)
        if missing:
            raise RunFolderError(f"{folder} has no matches of {missing} pairs under these settings: run match first")
        found.append(Block(tuple(block), tuple(sorted({part_of[name] for name in keys}))))
    return found


def verify_unit(block: Block, config: Config, backend: str, out: str, threads: int) -> None:
    """Verify one block of pairs and write its part."""
    limit_threads(threads)
    folder = RunFolder(out)
    names = {scene for pair in block.pairs for scene in (pair.query, pair.train)}
    scenes = match.load_scenes(folder, names, config.compute.budget_mb * MIB)
    rows, matches = folder.matched.read(block.parts)
    counts = {(row["query"], row["train"]): row for row in rows.to_pylist()}
    places = match.rows_of_pairs(matches)
    columns = {name: matches[name].to_numpy() for name in ("query_row", "train_row", "distance")}
    verdicts, chosen, inliers = [], [], []
    for pair in block.pairs:
        at = places.get((pair.query, pair.train), slice(0, 0))
        found = {name: column[at] for name, column in columns.items()}
        row = counts[pair.query, pair.train]
        matched = Matched(pair, scenes[pair.query], scenes[pair.train], **found, radius_m=row["radius_m"])
        verdict, inlier = verify(matched, config, backend)
        verdicts.append(row | {"key": pair.key} | asdict(verdict))
        keep = inlier if config.output.keep_matches == "inliers" else np.ones(len(inlier), np.bool_)
        chosen.append(np.arange(at.start, at.stop)[keep])
        inliers.append(inlier[keep])
    kept = None
    if config.output.keep_matches != "none":
        flags = np.concatenate(inliers) if config.verification.enabled else [None] * sum(map(len, chosen))
        kept = matches.take(np.concatenate(chosen))
        kept = kept.set_column(kept.schema.get_field_index("inlier"), "inlier", pa.array(flags, pa.bool_()))
    part = part_name([pair.key for pair in block.pairs])
    folder.verified.write(part, pa.Table.from_pylist(verdicts, schema=ROW_SCHEMA), kept)


@dataclass(frozen=True, slots=True)
class Matched:
    """One pair, its scenes and its good matches."""

    pair: Pair
    """The pair."""
    query: MatchedScene
    """The query."""
    train: MatchedScene
    """The train."""
    query_row: npt.NDArray[np.int32]
    """(k,) rows of the query's features."""
    train_row: npt.NDArray[np.int32]
    """(k,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distances [bits]."""
    radius_m: float
    """How far apart the same ground may lie [m]."""

    def moved_px(self) -> npt.NDArray[np.float32] | None:
        """Return how far each lies apart on the two rasters: (k, 2) [px of the tiles]; None if these differ in size."""
        reduction = self.query.place.reduction
        if reduction != self.train.place.reduction:
            return None
        return np.asarray((self.train.xy[self.train_row] - self.query.xy[self.query_row]) / np.float32(reduction))

    def evidence(self, moved_px: npt.NDArray[np.float32] | None) -> Evidence:
        """Return the matches on the query's map; `moved_px` as the method of this name gives it."""
        query, train = self.query.place, self.train.place
        return Evidence(
            here=self.query.on_own_map[self.query_row],
            there=self.train.on_map_of(self.query)[self.train_row],
            size=self.query.size_m[self.query_row],
            distance=self.distance,
            testifies=~same_paint(self.query.fixed, self.train.fixed, self.query_row, self.train_row, moved_px),
            grid=max(query.grid_m, train.grid_m),
            centre=common_centre(query, train),
        )


def verify(matched: Matched, config: Config, backend: str) -> tuple[PairVerdict, npt.NDArray[np.bool_]]:
    """Judge one pair.

    Parameters
    ----------
    matched
        The pair and its good matches.
    config
        The run's settings.
    backend
        The Hamming backend that found them.

    Returns
    -------
    verdict : PairVerdict
    inlier : (k,) bool
        Which matches agree with the model.
    """
    common = overlap_pct(matched.query.place, matched.train.place)
    if not config.verification.enabled:
        return PairVerdict(overlap_pct=common), np.zeros(len(matched.query_row), np.bool_)
    judged = judge(matched, config)
    if judged.verdict == "not verified":
        # What chance explains is no shift, and nothing agrees with it.
        judged = Judgement.nothing(len(matched.query_row))
    fooled = [null.verified for null in null_judgements(matched, config, backend, common)]
    right, down = np.linalg.solve(matched.query.place.px_m, [judged.dx, judged.dy])
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
        searched_m=matched.radius_m if config.verification.prior == "map" else None,
        null_trials=len(fooled),
        null_verified=sum(fooled),
    )
    return verdict, judged.inlier


def judge(matched: Matched, config: Config, away_m: npt.NDArray[np.float64] | None = None) -> Judgement:
    """Find how two scenes lie from good matches.

    Parameters
    ----------
    matched, config
        See `verify`.
    away_m : (2,) float64 or None
        The shift expected beforehand, east and north [m]; None: none.
    """
    moved_px = matched.moved_px()
    evidence = matched.evidence(moved_px)
    if config.verification.prior == "map":
        judged = find_shift(evidence, matched.radius_m, away_m)
    else:
        same = matched.query.scale[matched.query_row] == matched.train.scale[matched.train_row]
        ground = max(min(matched.query.place.clear_m2, matched.train.place.clear_m2), evidence.grid**2)
        judged = find_anywhere(evidence, same, ground)
    explained = moved_px is not None and is_pattern(matched.query.fixed, matched.train.fixed, moved_px[judged.inlier])
    return Judgement.nothing(len(evidence)) if explained else judged


def null_judgements(matched: Matched, config: Config, backend: str, common_pct: float) -> Iterator[Judgement]:
    """Apply the rule where it must find nothing: at wrong offsets or, without a prior, on shuffled matches.

    Parameters
    ----------
    matched, config, backend
        See `verify`.
    common_pct
        Clear ground in common [%].
    """
    if config.verification.prior == "none":
        random = _random(matched.pair)
        for _ in range(config.verification.nulls):
            yield judge(
                replace(matched, train_row=matched.train_row[random.permutation(len(matched.train_row))]), config
            )
        return
    query, train = matched.query, matched.train
    radius, count = matched.radius_m, config.verification.nulls
    for away in wrong_places(matched.pair, query.place, train.place, radius, count, common_pct):
        if config.matching.mode == "windowed":
            wrong = match.near_matches(query, train, config.matching, backend, away, radius)
            matched = replace(matched, query_row=wrong.query_row, train_row=wrong.train_row, distance=wrong.distance)
        yield judge(matched, config, away)


def wrong_places(
    pair: Pair, query: Place, train: Place, radius_m: float, count: int, common_pct: float
) -> list[npt.NDArray[np.float64]]:
    """Choose displacements under which no match can be true, the same whenever they are asked for.

    Scenes that share ground are tried some radii beside the right place; others as if they lay on one another.

    Returns
    -------
    list of (2,) float64
        East and north [m].
    """
    random = _random(pair)
    apart = np.zeros(2)
    if common_pct == 0:
        apart = (train.on_map(train.middle, query.metric) - query.on_map(query.middle))[0]
    # On small scenes even a wrong place must leave ground to compare.
    farthest = min(_AWAY_RADII[1] * radius_m, 0.25 * np.sqrt(min(query.area_m2, train.area_m2)))
    nearest = min(_AWAY_RADII[0] * radius_m, farthest)
    lengths, angles = random.uniform(nearest, farthest, count), random.uniform(0, 2 * np.pi, count)
    return [apart + length * np.array([np.cos(a), np.sin(a)]) for length, a in zip(lengths, angles, strict=True)]


def _random(pair: Pair) -> np.random.Generator:
    """Make random numbers that are a pair's own, whoever asks for them."""
    seed = hashlib.blake2b(f"{pair.query} {pair.train}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(seed))
