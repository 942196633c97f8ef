"""Compare windowed matching in both directions on prepared rows with two searches: ``python -m benchmarks window``.

Scenes are random: 20,000 keypoints on 1024 x 1024 pixels, a window of 5 pixels, sizes in the shares that AKAZE finds on
Sentinel-2. ``--run OUT`` uses the features of a run folder instead. Results are compared before anything is timed;
figures are medians of CPU seconds of one thread, pair by pair, interleaved.

``--run OUT --stages`` times the stages match and verify of that run instead, into a copy without results of pairs:
scenes read, pairs matched, judged and tried at wrong offsets, results written. The run's scenes must still be there.
The first line also has the time of the stages alone, without reading headers and choosing pairs. The last line is of
one thread: the CPU seconds of its searches, of choosing wrong offsets, of the verdicts, and of the compiled code among
the latter, which does without Python's lock.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numba
import numpy as np

import s2fast_kernels.window_matches
from benchmarks.calls import WINDOW, WindowScene, window_scene
from benchmarks.counts import replaced
from benchmarks.harness import emit, option_parser, ratio
from s2fast.folder.record import RunRecord
from s2fast.geometry import compiled_fit, compiled_votes
from s2fast.image import compiled_pattern
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast.stages.scenes import load_scenes
from s2fast.stages.verdict_rule import VerdictRule
from s2fast_kernels.hamming_top2.reference import Top2
from s2fast_kernels.hamming_window_top2 import hamming_window_top2
from s2fast_kernels.hamming_window_top2_both import WindowRows, hamming_window_top2_both
from s2fast_kernels.window_matches import window_matches
from s2fast_kernels.window_matches.contract import MatchTest

Record: TypeAlias = dict[str, Any]

_PREPARED, _TWICE = "both ways, prepared", "two searches"


def run_scenes(out: Path, scenes: int) -> tuple[list[WindowScene], float]:
    """Return evenly selected scenes of a run folder, and the radius: five pixels of the first scene's grid."""
    run = Run(out)
    names = run.scene_ids
    names = names[:: -(-len(names) // scenes)]
    loaded = load_scenes(run.folder, set(names))
    selected = [loaded[name] for name in names]
    radius = WINDOW * selected[0].placement.grid_m
    return [(scene.descriptors, scene.on_own_map, scene.scale) for scene in selected], radius


def two_searches(query: WindowScene, train: WindowScene, radius: float) -> tuple[Top2, Top2]:
    """Search forward, then backward; keypoints of each size are moved out of the reach of the others."""
    x = np.concatenate([query[1][:, 0], train[1][:, 0]])
    stride = np.array([x.max() - x.min() + 2 * radius, 0.0])
    lowest = min(query[2].min(), train[2].min())
    query_xy, train_xy = (xy + (size - lowest)[:, None] * stride for _, xy, size in (query, train))
    return (
        hamming_window_top2(query[0], query_xy, train[0], train_xy, radius, backend="numba"),
        hamming_window_top2(train[0], train_xy, query[0], query_xy, radius, backend="numba"),
    )


def check(scenes: list[WindowScene], rows: list[WindowRows], radius: float) -> int:
    """Exit unless both methods agree on the first two scenes; return the number of queries with a neighbour."""
    prepared = hamming_window_top2_both(rows[0], rows[1], backend="numba")
    for ours, theirs in zip(prepared, two_searches(scenes[0], scenes[1], radius), strict=True):
        if not all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in ("index", "best", "second")):
            raise SystemExit("hamming_window_top2_both and hamming_window_top2 do not agree: nothing was timed")
    return int((prepared[0].index >= 0).sum())


def cpu_seconds(candidates: Mapping[str, Any]) -> dict[str, float]:
    """Call every candidate once and return its CPU seconds."""
    seconds = {}
    for name, candidate in candidates.items():
        start = time.process_time()
        candidate()
        seconds[name] = time.process_time() - start
    return seconds


def records(scenes: list[WindowScene], radius: float, kind: str, most_pairs: int) -> Iterator[Record]:
    """Measure evenly selected pairs of the scenes."""
    prepare = [functools.partial(WindowRows.of, *scene, radius) for scene in scenes]
    rows = [make() for make in prepare]
    neighbours = check(scenes, rows, radius)
    pairs = list(itertools.combinations(range(len(scenes)), 2))
    rounds, test = [], MatchTest(0.9, 160, mutual=True)
    for query, train in pairs[:: -(-len(pairs) // most_pairs)]:
        search = functools.partial(hamming_window_top2_both, rows[query], rows[train], backend="numba")
        candidates = {
            _PREPARED: search,
            "good matches only": functools.partial(
                window_matches, [(rows[query], rows[train])], np.zeros((1, 1, 2)), test, backend="numba"
            ),
            f"{_PREPARED}, displaced": functools.partial(search, away=(7.3 * radius, -4.1 * radius)),
            _TWICE: functools.partial(two_searches, scenes[query], scenes[train], radius),
            "preparing a scene": prepare[query],
        }
        rounds.append(cpu_seconds(candidates))
    for name in rounds[0]:
        times = [seconds[name] for seconds in rounds]
        yield {
            "measure": f"{kind}, {len(rows[0])} rows, {neighbours} with a neighbour",
            "what": name,
            "median_cpu_ms": 1e3 * float(np.median(times)),
            "times_prepared": ratio(times, [seconds[_PREPARED] for seconds in rounds]),
            "rounds": len(rounds),
        }


def stages(out: Path, rounds: int) -> Iterator[Record]:
    """Match and verify all pairs of a run on all cores several times, after a first time that loads the code."""
    record, times = timed_stages(out, rounds, 0)
    measure = f"{len(record.usable)} scenes, {record.history.stages['verify'].done} pairs"
    wall, cpu, counted = np.median(times, axis=0)
    yield {
        "measure": measure,
        "what": "match and verify, written",
        "median_wall_s": float(wall),
        "median_cpu_s": float(cpu),
        "median_wall_of_stages_s": float(counted),
        "rounds": rounds,
    }
    with spent_in(_PARTS) as parts:
        timed_stages(out, rounds, 1, parts)
    yield {"measure": measure, "what": "parts of it, one thread"} | {
        f"median_{name}_cpu_s": float(np.median(seconds[1:])) for name, seconds in parts.items()
    }


_PARTS: Mapping[str, Sequence[tuple[Any, str]]] = {
    "search": [(s2fast_kernels.window_matches, "window_matches")],
    "offsets": [(VerdictRule, "nulls")],
    "verdicts": [(VerdictRule, "verdicts")],
    "compiled": [
        (compiled_votes, "gathered"),
        (compiled_votes, "moved_px"),
        (compiled_votes, "voted"),
        (compiled_fit, "fitted"),
        (compiled_pattern, "_outlines_match"),
        (compiled_pattern, "_identical"),
        (compiled_pattern, "_sum_of_products"),
    ],
}
"""Functions whose CPU seconds are added up, by the part of the stages."""


@contextmanager
def spent_in(parts: Mapping[str, Sequence[tuple[Any, str]]]) -> Iterator[dict[str, list[float]]]:
    """Add up the CPU seconds of functions in a list per part, whose last item is of the current round."""
    spent: dict[str, list[float]] = {name: [] for name in parts}

    def measured(name: str) -> Any:
        def around(function: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                start = time.thread_time()
                try:
                    return function(*arguments, **options)
                finally:
                    spent[name][-1] += time.thread_time() - start

            return call

        return around

    with ExitStack() as stack:
        for name, functions in parts.items():
            for owner, function in functions:
                stack.enter_context(replaced(owner, function, measured(name)))
        yield spent


def timed_stages(
    out: Path, rounds: int, threads: int, parts: Mapping[str, list[float]] | None = None
) -> tuple[RunRecord, list[tuple[float, float, float]]]:
    """Match and verify several times after a first time; return the last record and seconds of every time.

    They are those of a clock, CPU seconds, and those that the run counts for the two stages, without its planning.
    """
    asked = Run(out).record.asked
    region = asked.regions.source.name if asked.regions else None
    results = ("pairs", "good", "verified", "matches", "*.html", "*.gpkg", "*.csv", "*.parquet")
    compute = asked.config.compute.model_copy(update={"threads": threads or asked.config.compute.threads})
    config = asked.config.model_copy(update={"compute": compute})
    times = []
    for _ in range(rounds + 1):
        for seconds in (parts or {}).values():
            seconds.append(0.0)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "out"
            shutil.copytree(out, copy, ignore=lambda at, names: _left_out(Path(at), names, out, results))
            wall, cpu = time.perf_counter(), time.process_time()
            record = run_stages(Job(config, asked.places, region, copy), stages=["match", "verify"])
            counted = sum(record.history.stages[stage].seconds for stage in ("match", "verify"))
            times.append((time.perf_counter() - wall, time.process_time() - cpu, counted))
    return record, times[1:]


def _left_out(at: Path, names: list[str], out: Path, patterns: Sequence[str]) -> set[str]:
    """Return which names in a folder of the run are results of pairs."""
    return {name for pattern in patterns for name in fnmatch.filter(names, pattern)} if at == out else set()


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = option_parser("window", __doc__)
    parser.add_argument("--run", type=Path, help="a run folder whose features are searched")
    parser.add_argument("--quick", action="store_true", help="small scenes and few pairs, as a test")
    parser.add_argument("--stages", action="store_true", help="with --run: time its stages match and verify")
    options = parser.parse_args(argv)
    if options.stages:
        if not options.run:
            parser.error("--stages needs --run")
        for record in stages(options.run, 1 if options.quick else 5):
            emit({"benchmark": "window"} | record, as_json=options.json)
        return 0
    count, rows, pairs = (3, 1_000, 3) if options.quick else (12, 20_000, 60)
    numba.set_num_threads(1)
    rng = np.random.default_rng(0)
    scenes, radius = [window_scene(rng, rows) for _ in range(count)], WINDOW
    if options.run:
        scenes, radius = run_scenes(options.run, count)
    for record in records(scenes, radius, "features of a run" if options.run else "drawn", pairs):
        emit({"benchmark": "window"} | record, as_json=options.json)
    return 0
