"""Stage 3: features to good matches and a similarity for every pair, in blocks of pairs."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from s2fast.config import Config, Matching
from s2fast.folder.content_key import content_key
from s2fast.folder.pair_blocks import part_name
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.placement import SEARCHED_RADII, Place, radii_m
from s2fast.geometry.witnesses import LEAST_WITNESSES, MAX_LOG_NFA, Kinship, densest_spots
from s2fast.image.fixed_pattern import Fixed
from s2fast.model import PairResult
from s2fast.stages.memory import MIB, match_bytes, scene_bytes
from s2fast.stages.pairs import Pair, keypoint_counts, place, plan_blocks, wanted_pairs
from s2fast.stages.result import StageResult
from s2fast.work.executors import Workplace, limit_threads, run_units
from s2fast.work.progress import Progress
from s2fast_kernels import hamming_top2, hamming_top2_both, hamming_window_top2_both
from s2fast_kernels.backends import Backend, resolve
from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, NO_ROW, Top2
from s2fast_kernels.hamming_window_top2_both import WindowRows

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
"""Columns of matches: scene ids, rows of their features, distances [bits], whether the match agrees with the shift."""

_SCALES_AN_OCTAVE = 4
"""Keypoints correspond if they are of one size, to a quarter of an octave: 98 of 100 true matches are."""

_held = threading.local()


@dataclass(frozen=True, slots=True)
class Matches:
    """Good matches of one pair, rising by query row."""

    query_row: npt.NDArray[np.int32]
    """(k,) rows of the query's features."""
    train_row: npt.NDArray[np.int32]
    """(k,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distance [bits]."""
    second: npt.NDArray[np.uint16]
    """(k,) distance of the second-best neighbour [bits], 65535 where none competed."""
    radius_m: float
    """How far apart the same ground may lie [m]."""


@dataclass(frozen=True)
class MatchedScene:
    """What matching reads of a scene."""

    descriptors: npt.NDArray[np.uint64]
    """(n, 8) packed."""
    xy: npt.NDArray[np.float32]
    """(n, 2) positions [full-resolution px]."""
    size: npt.NDArray[np.float32]
    """(n,) diameters [full-resolution px]."""
    fixed: Fixed
    """What could be fixed to the scene's pixels and not to the ground."""
    place: Place
    """Where the scene lies."""

    @cached_property
    def on_own_map(self) -> npt.NDArray[np.float64]:
        """(n, 2) positions [m of the place's `metric`]."""
        return self.place.on_map(self.xy)

    def on_map_of(self, other: MatchedScene) -> npt.NDArray[np.float64]:
        """Map positions to the CRS of another scene's positions: (n, 2) [m]."""
        if self.place.metric == other.place.metric:
            return self.on_own_map
        return self.place.on_map(self.xy, other.place.metric)

    def prepared(self, radius: float, query: MatchedScene) -> WindowRows:
        """Order the keypoints for a search within a radius on the query's map; done once for all searches alike."""
        name = (radius, query.place.metric)
        if name not in self._prepared:
            # A row of radii may be tried pair by pair: only the latest orders are kept.
            while len(self._prepared) > 1:
                del self._prepared[next(iter(self._prepared))]
            self._prepared[name] = WindowRows.of(self.descriptors, self.on_map_of(query), self.scale, radius)
        return self._prepared[name]

    @cached_property
    def _prepared(self) -> dict[tuple[float, str], WindowRows]:
        return {}

    @cached_property
    def size_m(self) -> npt.NDArray[np.float64]:
        """(n,) diameters on the ground [m]."""
        return np.asarray(self.size.astype(np.float64) * (self.place.grid_m / self.place.reduction))

    @cached_property
    def scale(self) -> npt.NDArray[np.int64]:
        """(n,) size on the ground in quarters of an octave: what is found at one level has one value."""
        return np.asarray(np.rint(_SCALES_AN_OCTAVE * np.log2(self.size_m)), np.int64)


def key(query_key: str, train_key: str, config: Config) -> str:
    """Content key of a pair's result, from its features' keys and the settings."""
    rule = config.matching.model_dump(exclude={"backend", "pairs", "pairs_file"})
    if config.matching.mode == "exhaustive":
        del rule["radius_m"]
    return content_key("pair", query_key, train_key, rule)


def backends(settings: Matching) -> Sequence[Backend]:
    """Name the kernels that can do what is asked."""
    return hamming_window_top2_both.BACKENDS if settings.mode == "windowed" else hamming_top2.BACKENDS


def run_pairs(record: RunRecord, folder: RunFolder) -> list[Pair]:
    """List every pair of the run with the key of its matches."""
    return wanted_pairs(record, folder, lambda query, train: key(query, train, record.config))


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, strict: bool = False
) -> StageResult:
    """Match every pair that has no result under its key; results no pair asks for any more are removed."""
    del strict  # a pair cannot be broken by its scene: empty features match nothing
    backend = resolve(backends(record.config.matching), record.config.matching.backend).name
    pairs = run_pairs(record, folder)
    there = set(folder.matched.whole(with_matches=True)["key"])
    # All pairs are planned, whatever is there: a run that goes on writes the files it would have written undisturbed.
    planned = plan_blocks(pairs, keypoint_counts(record, folder), record.config.compute.budget_mb * MIB)
    blocks = [tuple(pair for pair in block if pair.key not in there) for block in planned]
    done = sum(map(len, blocks))
    result = StageResult(kept=len(pairs) - done, done=done, backend=backend)
    with progress.stage("match", done, result.kept) as bar:
        for block, _ in run_units(workplace, match_unit, filter(None, blocks), record.config, backend, folder.address):
            for _ in block:
                bar.advance()
    folder.matched.settle({pair.key for pair in pairs}, with_matches=True)
    return result


def match_unit(block: Sequence[Pair], config: Config, backend: str, out: str, threads: int) -> None:
    """Match one block of pairs and write its part."""
    limit_threads(threads)
    folder = RunFolder(out)
    names = {scene for pair in block for scene in (pair.query, pair.train)}
    scenes = load_scenes(folder, names, config.compute.budget_mb * MIB)
    results: list[PairResult] = []
    tables: list[pa.Table] = []
    for query, group in itertools.groupby(block, key=lambda pair: pair.query):
        pairs = list(group)
        trains = [scenes[pair.train] for pair in pairs]
        found = good_matches(scenes[query], trains, config.matching, backend)
        for pair, train, matches in zip(pairs, trains, found, strict=True):
            results.append(pair_result(pair, len(scenes[query].descriptors), len(train.descriptors), matches))
            tables.append(match_table(pair, matches))
    rows = pa.Table.from_pylist([asdict(result) for result in results])
    folder.matched.write(part_name([pair.key for pair in block]), rows, pa.concat_tables(tables).unify_dictionaries())


def load_scenes(folder: RunFolder, names: set[str], budget_bytes: int = 0) -> dict[str, MatchedScene]:
    """Read scenes; what blocks before this one have read is kept, the latest longest, within what the block leaves."""
    before: dict[tuple[str, str, str | None], MatchedScene] = getattr(_held, "scenes", {})
    keys = {name: (folder.address, name, folder.features_key(name)) for name in sorted(names)}
    found = {
        key: before.pop(key)
        if key in before
        else MatchedScene(place=place(folder, name), fixed=folder.fixed(name), **folder.described(name))
        for name, key in keys.items()
    }
    most = max((len(scene.descriptors) for scene in found.values()), default=0)
    left_bytes = budget_bytes - match_bytes(most, len(names))
    for key, scene in before.items():
        left_bytes -= scene_bytes(len(scene.descriptors))
        if left_bytes < 0:
            break
        found[key] = scene
    _held.scenes = found
    return {name: found[key] for name, key in keys.items()}


def good_matches(
    query: MatchedScene, trains: Sequence[MatchedScene], settings: Matching, backend: str
) -> Iterator[Matches]:
    """Find the good matches of a scene with others, one after another."""
    if settings.mode == "windowed":
        for train in trains:
            yield near_matches(query, train, settings, backend)
        return
    rows = [train.descriptors for train in trains]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in rows])]).astype(np.int64)
    train_rows = np.concatenate(rows)
    if settings.mutual:
        top2, back = both_directions(query.descriptors, train_rows, offsets, backend)
        good = passing(top2, settings) & mutual(top2, back, offsets)
    else:
        top2 = hamming_top2.hamming_top2(query.descriptors, train_rows, offsets, backend=backend)
        good = passing(top2, settings)
    for number, train in enumerate(trains):
        yield _chosen(top2, good, number, radii_m(query.place, train.place, settings.radius_m)[0])


def near_matches(
    query: MatchedScene,
    train: MatchedScene,
    settings: Matching,
    backend: str,
    away_m: npt.NDArray[np.float64] | None = None,
    radius_m: float | None = None,
) -> Matches:
    """Find the good matches of two scenes among keypoints near one place on the map.

    Parameters
    ----------
    query, train
        The scenes.
    settings
        The rule.
    backend
        A `hamming_window_top2_both` backend.
    away_m : (2,) float64 or None
        Look this far away from the place instead, east and north [m].
    radius_m
        How far apart the same ground may lie [m]; matches are sought `SEARCHED_RADII` times as far. None: as the
        settings say.

    Returns
    -------
    Matches
        With ``radius_m = "auto"`` those of the first radius within which the positions agree, or of the first at all.
    """
    radii = [radius_m] if radius_m is not None else radii_m(query.place, train.place, settings.radius_m)
    first = _near_matches(query, train, settings, backend, away_m, radii[0])
    found = first
    for radius in radii[1:]:
        if _agree(query, train, found, len(radii)):
            return found
        found = _near_matches(query, train, settings, backend, away_m, radius)
    return found if len(radii) > 1 and _agree(query, train, found, len(radii)) else first


def _agree(query: MatchedScene, train: MatchedScene, matches: Matches, tried: int) -> bool:
    """Return whether so many matches agree on a shift within their radius that chance cannot explain it."""
    grid = max(query.place.grid_m, train.place.grid_m)
    here = query.on_own_map[matches.query_row]
    moved = (train.on_map_of(query)[matches.train_row] - here) / grid
    if len(moved) < LEAST_WITNESSES:
        return False
    share = Kinship.of(here, query.size_m[matches.query_row]).shares()
    spot, _ = densest_spots(moved, share, SEARCHED_RADII * matches.radius_m / grid, 0.0)
    inside = float(np.hypot(*spot.at)) * grid <= matches.radius_m
    return inside and spot.votes >= LEAST_WITNESSES and spot.log_nfa + math.log10(tried) <= MAX_LOG_NFA


def _near_matches(
    query: MatchedScene,
    train: MatchedScene,
    settings: Matching,
    backend: str,
    away_m: npt.NDArray[np.float64] | None,
    radius_m: float,
) -> Matches:
    """Find the good matches within a radius; see `near_matches`."""
    radius = SEARCHED_RADII * radius_m
    away = (0.0, 0.0) if away_m is None else (float(away_m[0]), float(away_m[1]))
    there, back = hamming_window_top2_both.hamming_window_top2_both(
        query.prepared(radius, query), train.prepared(radius, query), away=away, backend=backend
    )
    good = passing(there, settings)
    if settings.mutual:
        good &= mutual(there, back, np.array([0, len(train.descriptors)], np.int64))
    return _chosen(there, good, 0, radius_m)


def _chosen(top2: Top2, good: npt.NDArray[np.bool_], number: int, radius_m: float) -> Matches:
    rows = np.flatnonzero(good[:, number])
    found = top2.index[rows, number], top2.best[rows, number], top2.second[rows, number]
    return Matches(rows.astype(np.int32), *found, radius_m)


def passing(top2: Top2, settings: Matching) -> npt.NDArray[np.bool_]:
    """Apply the ratio test and the cap on distance: (n, s) bool.

    A query without a second neighbour has no good match, unless only few rows competed in the first place.
    """
    lone = top2.second == NO_DISTANCE
    good: npt.NDArray[np.bool_] = (top2.best < settings.ratio * top2.second.astype(np.float64)) & ~lone
    if settings.mode == "windowed":
        good |= lone & (top2.best != NO_DISTANCE)
    return good & (top2.best <= settings.max_distance_bits)


def both_directions(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], offsets: npt.NDArray[np.int64], backend: str
) -> tuple[Top2, Top2]:
    """Search forward (n, s) and, from every train row, backward (m, 1); in one pass where the backend has one."""
    if backend in {row.name for row in hamming_top2_both.BACKENDS}:
        return hamming_top2_both.hamming_top2_both(query, train, offsets, backend=backend)
    ends = np.array([0, len(query)], np.int64)
    return (
        hamming_top2.hamming_top2(query, train, offsets, backend=backend),
        hamming_top2.hamming_top2(train, query, ends, backend=backend),
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


def pair_result(pair: Pair, n_query: int, n_train: int, matches: Matches) -> PairResult:
    """Sum up one pair."""
    n_good = len(matches.query_row)
    similarity = similarity_pct(n_good, n_query)
    return PairResult(pair.query, pair.train, n_query, n_train, n_good, similarity, pair.key, matches.radius_m)


def rows_of_pairs(matches: pa.Table) -> dict[tuple[str, str], slice]:
    """Say where the matches of each pair lie in a table that lists one pair's after another's."""
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
    """List the good matches of one pair; ``inlier`` is null until verified."""
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
