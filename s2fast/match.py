"""Stage 3: features to good matches and a similarity for every pair, in blocks of pairs."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from s2fast import extract
from s2fast.config import Config, Matching
from s2fast.errors import ConfigError, RunFolderError
from s2fast.executors import Workplace, limit_threads, run_units
from s2fast.memory import MIB, match_bytes
from s2fast.model import PairResult
from s2fast.progress import Progress
from s2fast.record import RunRecord
from s2fast.stage import StageResult
from s2fast.store import RunFolder, content_key, part_name
from s2fast_kernels import hamming_top2_both
from s2fast_kernels.backends import resolve
from s2fast_kernels.hamming_top2 import BACKENDS, hamming_top2
from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, NO_ROW, Top2

_MAX_SIDE = 16
"""Most scenes a side of a block: enough pairs a unit to forget its overhead, few enough to share them out."""

_LEAST_GROUPS = 12
"""Groups a small archive's scenes are cut into: their 78 pairings are enough blocks for many workers, and no more are
worth their files."""

_MATCH_SCHEMA = pa.schema(
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

_held = threading.local()


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair to match."""

    query: str
    """Scene id, earlier in the run's order."""
    train: str
    """Scene id, later in the run's order."""
    key: str
    """Content key of the result."""


def key(query_key: str, train_key: str, config: Config) -> str:
    """Content key of a pair's result, from its features' keys and the settings."""
    return content_key(
        "pair", query_key, train_key, config.matching.model_dump(exclude={"backend"}), config.output.keep_matches
    )


def wanted_pairs(record: RunRecord, folder: RunFolder) -> list[Pair]:
    """List every pair of the run, in order.

    Raises
    ------
    RunFolderError
        A scene has no features under the run's settings.
    """
    keys = extract.wanted_keys(record)
    for scene_id, features_key in keys.items():
        if folder.features_key(scene_id) != features_key:
            raise RunFolderError(f"{folder} has no features of {scene_id} under these settings: run extract first")
    return [
        Pair(query, train, key(keys[query], keys[train], record.config))
        for query, train in itertools.combinations(keys, 2)
    ]


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, strict: bool = False
) -> StageResult:
    """Match every pair that has no result under its key; results no pair asks for any more are removed."""
    del strict  # a pair cannot be broken by its scene: empty features match nothing
    backend = resolve(BACKENDS, record.config.matching.backend).name
    pairs = wanted_pairs(record, folder)
    with_matches = record.config.output.keep_matches != "none"
    there = set(folder.whole_parts(with_matches=with_matches)["key"])
    counts = {
        item.scene.scene_id: int(folder.feature_attributes(item.scene.scene_id)["count"]) for item in record.usable
    }
    # All pairs are planned, whatever is there: a run that goes on writes the files it would have written undisturbed.
    planned = plan_blocks(pairs, counts, record.config.compute.budget_mb * MIB)
    blocks = [tuple(pair for pair in block if pair.key not in there) for block in planned]
    done = sum(map(len, blocks))
    result = StageResult(kept=len(pairs) - done, done=done, backend=backend)
    with progress.stage("match", done, result.kept) as bar:
        for block, _ in run_units(workplace, match_unit, filter(None, blocks), record.config, backend, folder.address):
            for _ in block:
                bar.advance()
    folder.settle_parts({pair.key for pair in pairs}, with_matches=with_matches)
    return result


def plan_blocks(pairs: Sequence[Pair], keypoints: dict[str, int], budget_bytes: int) -> list[tuple[Pair, ...]]:
    """Cut pairs into blocks that share scenes and fit the budget, the same whoever computes them.

    Parameters
    ----------
    pairs
        What is to be matched.
    keypoints
        Keypoints of every scene in `pairs`, in the run's order.
    budget_bytes
        Memory a block may take.

    Returns
    -------
    list[tuple[Pair, ...]]
        Every pair once, in blocks of at most 16 x 16 scenes.

    Raises
    ------
    ConfigError
        Even a single pair would not fit.
    """
    most = max(keypoints.values(), default=0)
    if match_bytes(most, 1) > budget_bytes:
        raise ConfigError(
            f"matching scenes of {most} keypoints may take {match_bytes(most, 1) // MIB} MB and compute.budget_mb is "
            f"{budget_bytes // MIB}: raise it, or set features.max_per_scene"
        )
    side = max(1, min(_MAX_SIDE, len(keypoints) // _LEAST_GROUPS))
    while match_bytes(most, side) > budget_bytes:
        side -= 1
    group = {scene: place // side for place, scene in enumerate(keypoints)}
    blocks: dict[tuple[int, int], list[Pair]] = {}
    for pair in pairs:
        blocks.setdefault((group[pair.query], group[pair.train]), []).append(pair)
    return [tuple(block) for _, block in sorted(blocks.items())]


def match_unit(block: Sequence[Pair], config: Config, backend: str, out: str, threads: int) -> None:
    """Match one block of pairs and write its part."""
    limit_threads(threads)
    folder = RunFolder(out)
    descriptors = _load(folder, {scene for pair in block for scene in (pair.query, pair.train)})
    results: list[PairResult] = []
    matches: list[pa.Table] = []
    for query, group in itertools.groupby(block, key=lambda pair: pair.query):
        pairs = list(group)
        trains = [descriptors[pair.train] for pair in pairs]
        offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in trains])]).astype(np.int64)
        train = np.concatenate(trains)
        if config.matching.mutual:
            top2, back = both_directions(descriptors[query], train, offsets, backend)
            good = good_matches(top2, config.matching) & mutual(top2, back, offsets)
        else:
            top2 = hamming_top2(descriptors[query], train, offsets, backend=backend)
            good = good_matches(top2, config.matching)
        for place, pair in enumerate(pairs):
            rows = np.flatnonzero(good[:, place])
            results.append(pair_result(pair, len(descriptors[query]), len(trains[place]), len(rows)))
            if config.output.keep_matches == "good":
                matches.append(match_table(pair, rows, top2, place))
    part = part_name([pair.key for pair in block])
    pairs_table = pa.Table.from_pylist([asdict(result) for result in results])
    folder.write_part(part, pairs_table, pa.concat_tables(matches).unify_dictionaries() if matches else None)


def _load(folder: RunFolder, scenes: set[str]) -> dict[str, npt.NDArray[np.uint64]]:
    """Read descriptors; what the block before this one shares with it is not read again."""
    before: dict[tuple[str, str, str | None], npt.NDArray[np.uint64]] = getattr(_held, "descriptors", {})
    names = {scene: (folder.address, scene, folder.features_key(scene)) for scene in scenes}
    held = {name: before[name] if name in before else folder.descriptors(scene) for scene, name in names.items()}
    _held.descriptors = held
    return {scene: held[name] for scene, name in names.items()}


def good_matches(top2: Top2, settings: Matching) -> npt.NDArray[np.bool_]:
    """Apply the ratio test: (n, s) bool. A query without a second neighbour has no good match."""
    good: npt.NDArray[np.bool_] = top2.second != NO_DISTANCE
    good &= top2.best < settings.ratio * top2.second.astype(np.float64)
    return good


def both_directions(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], offsets: npt.NDArray[np.int64], backend: str
) -> tuple[Top2, Top2]:
    """Search forward (n, s) and, from every train row, backward (m, 1); in one pass where the backend has one."""
    if backend in {row.name for row in hamming_top2_both.BACKENDS}:
        return hamming_top2_both.hamming_top2_both(query, train, offsets, backend=backend)
    ends = np.array([0, len(query)], np.int64)
    return (
        hamming_top2(query, train, offsets, backend=backend),
        hamming_top2(train, query, ends, backend=backend),
    )


def mutual(forward: Top2, backward: Top2, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Say which best neighbours choose the query back: (n, s) bool."""
    chosen: npt.NDArray[np.bool_] = forward.index != NO_ROW
    if not len(backward.index):
        return chosen
    rows = np.where(chosen, forward.index + offsets[None, :-1], 0)
    chosen &= backward.index[rows, 0] == np.arange(len(forward.index))[:, None]
    return chosen


def similarity_pct(n_good: int, n_query: int) -> float:
    """Similarity as the notebook reports it [%].

    Examples
    --------
    >>> similarity_pct(2, 3), similarity_pct(0, 0)
    (66.67, 0.0)
    """
    return round(100 * n_good / max(n_query, 1), 2)


def pair_result(pair: Pair, n_query: int, n_train: int, n_good: int) -> PairResult:
    """Sum up one pair."""
    return PairResult(pair.query, pair.train, n_query, n_train, n_good, similarity_pct(n_good, n_query), pair.key)


def match_table(pair: Pair, rows: npt.NDArray[np.intp], top2: Top2, place: int) -> pa.Table:
    """List the good matches of one pair, rising by query row; ``inlier`` is null until verified."""
    zeros = pa.array(np.zeros(len(rows), np.int32))
    columns = [
        pa.DictionaryArray.from_arrays(zeros, pa.array([pair.query])),
        pa.DictionaryArray.from_arrays(zeros, pa.array([pair.train])),
        pa.array(rows.astype(np.int32)),
        pa.array(top2.index[rows, place]),
        pa.array(top2.best[rows, place]),
        pa.array(top2.second[rows, place]),
        pa.nulls(len(rows), pa.bool_()),
    ]
    return pa.Table.from_arrays(columns, schema=_MATCH_SCHEMA)
