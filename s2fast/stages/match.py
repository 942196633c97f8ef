"""Stage 3: match the features of every pair of scenes, in blocks of pairs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.model import PairResult
from s2fast.stages import keys
from s2fast.stages.matching_rule import MatchedScene, Matches, MatchingRule, similarity_pct
from s2fast.stages.memory import MIB, match_bytes, scene_bytes
from s2fast.stages.pairs import Pair, keypoint_counts, plan_blocks, wanted_pairs
from s2fast.stages.result import StageResult
from s2fast.work.executors import Workplace, run_units
from s2fast.work.progress import Progress

MATCH_SCHEMA = pa.schema(
    {
        "query": pa.dictionary(pa.int32(), pa.string()),
        "train": pa.dictionary(pa.int32(), pa.string()),
        "query_row": pa.int32(),
        "train_row": pa.int32(),
        "distance": pa.uint16(),
        "second": pa.uint16(),
        "inlier": pa.bool_(),
    }
)
"""Columns of matches: scene ids, feature rows, Hamming distances [bits], whether the match is an inlier."""

_cached = threading.local()


def run(record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress) -> StageResult:
    """Match every pair that has no result under its key, and remove stale results."""
    rule = MatchingRule.of(record.config.matching)
    pairs = wanted_pairs(record, folder, keys.pair_key)
    stored = set(folder.matched.complete_rows(with_matches=True)["key"])
    budget_bytes = record.config.compute.budget_mb * MIB
    # Plan all pairs, including those already stored, so that a resumed run writes the same files as an uninterrupted
    # one.
    planned = plan_blocks(pairs, keypoint_counts(record, folder), budget_bytes)
    blocks = [tuple(pair for pair in block if pair.key not in stored) for block in planned]
    done = sum(map(len, blocks))
    result = StageResult(kept=len(pairs) - done, done=done, backend=rule.backend)
    with progress.stage("match", done, result.kept) as bar:
        for block, _ in run_units(workplace, match_unit, filter(None, blocks), rule, budget_bytes, folder.address):
            for _ in block:
                bar.advance()
    folder.matched.remove_stale({pair.key for pair in pairs}, with_matches=True)
    return result


def match_unit(block: Sequence[Pair], rule: MatchingRule, budget_bytes: int, out: str) -> None:
    """Match one block of pairs and write its results and matches."""
    folder = RunFolder(out)
    names = {scene for pair in block for scene in (pair.query, pair.train)}
    scenes = load_scenes(folder, names, budget_bytes)
    results: list[PairResult] = []
    tables: list[pa.Table] = []
    found = rule.good_matches([(scenes[pair.query], scenes[pair.train]) for pair in block])
    for pair, matches in zip(block, found, strict=True):
        sizes = len(scenes[pair.query].descriptors), len(scenes[pair.train].descriptors)
        results.append(pair_result(pair, *sizes, matches))
        tables.append(match_table(pair, matches))
    rows = pa.Table.from_pylist([asdict(result) for result in results])
    folder.matched.write([pair.key for pair in block], rows, pa.concat_tables(tables).unify_dictionaries())


def load_scenes(folder: RunFolder, names: set[str], budget_bytes: int = 0) -> dict[str, MatchedScene]:
    """Load scenes, reusing those cached by earlier blocks; evict the least recently used beyond the memory budget."""
    before: dict[tuple[str, str, str | None], MatchedScene] = getattr(_cached, "scenes", {})
    keys = {name: (folder.address, name, folder.features_key(name)) for name in sorted(names)}
    found = {key: before.pop(key) if key in before else _load_scene(folder, name) for name, key in keys.items()}
    most = max((len(scene.descriptors) for scene in found.values()), default=0)
    left_bytes = budget_bytes - match_bytes(most, len(names))
    for key, scene in before.items():
        left_bytes -= scene_bytes(len(scene.descriptors))
        if left_bytes < 0:
            break
        found[key] = scene
    _cached.scenes = found
    return {name: found[key] for name, key in keys.items()}


def _load_scene(folder: RunFolder, name: str) -> MatchedScene:
    """Read one scene from the run folder."""
    placement, pattern = folder.placement(name), folder.fixed_pattern(name)
    return MatchedScene(placement=placement, fixed_pattern=pattern, **folder.described(name))


def pair_result(pair: Pair, n_query: int, n_train: int, matches: Matches) -> PairResult:
    """Return the counts and the similarity of one pair."""
    n_good = len(matches.query_row)
    similarity = similarity_pct(n_good, n_query)
    return PairResult(pair.query, pair.train, n_query, n_train, n_good, similarity, pair.key, matches.radius_m)


def rows_of_pairs(matches: pa.Table) -> dict[tuple[str, str], slice]:
    """Return the rows of each pair in a table of matches that is grouped by pair."""
    codes = [matches[side].combine_chunks().indices.to_numpy() for side in ("query", "train")]
    names = [matches[side].combine_chunks().dictionary.to_pylist() for side in ("query", "train")]
    if not len(matches):
        return {}
    starts = np.flatnonzero(np.r_[True, (np.diff(codes[0]) != 0) | (np.diff(codes[1]) != 0)])
    ends = np.r_[starts[1:], len(matches)]
    return {
        (names[0][codes[0][start]], names[1][codes[1][start]]): slice(int(start), int(end))
        for start, end in zip(starts, ends, strict=True)
    }


def match_table(pair: Pair, matches: Matches) -> pa.Table:
    """Return the good matches of one pair as a table; ``inlier`` is null until verified."""
    zeros = pa.array(np.zeros(len(matches.query_row), np.int32))
    columns = [
        pa.DictionaryArray.from_arrays(zeros, pa.array([pair.query])),
        pa.DictionaryArray.from_arrays(zeros, pa.array([pair.train])),
        pa.array(matches.query_row),
        pa.array(matches.train_row),
        pa.array(matches.distance),
        pa.array(matches.second),
        pa.nulls(len(matches.query_row), pa.bool_()),
    ]
    return pa.Table.from_arrays(columns, schema=MATCH_SCHEMA)
