"""Facts of memory. Each is measured in a process of its own, so that none depends on what another one left behind.

Two peaks are measured. That of the arrays (`tracemalloc`, to which NumPy reports every array) is the same in every run,
whatever else the machine does. That of the resident memory also covers what compiled code and OpenCV allocate; it has
the limits of `s2fast.stages.memory`. Page faults are not counted: how much fresh memory equal calls touch depends on
which freed pages the allocator reuses, and that on when threads end.
"""

from __future__ import annotations

import gc
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.check.facts import Fact
from benchmarks.meter import MIB, peak_memory

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 18),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "MALLOC_ARENA_MAX": "1",
    "NUMPY_MADVISE_HUGEPAGE": "0",
    # Zarr reads chunks concurrently: how many buffers are held at once would depend on the threads' order.
    "ZARR_ASYNC__CONCURRENCY": "1",
    "ZARR_THREADING__MAX_WORKERS": "1",
}
"""Environment of a process that measures memory: large arrays are mapped from the system and returned to it."""

ARRAYS_SLACK, ARRAYS_GRAIN_MIB = 0.005, 0.02
"""Tolerance of the peak of arrays."""

RESIDENT_SLACK, RESIDENT_GRAIN_MIB = 0.02, 1.0
"""Tolerance of the peak of resident memory."""

_CALLS = 3
"""Measured calls of each kind; the least counts."""

_INGEST_CALLS = 24
"""Of ingestion a call in four reaches the least: how much the thread that reads ahead holds at once is chance."""

_INGEST_GRAIN_MIB = 0.1
"""On a busy machine few calls reach it: calls hold 0.60 to 0.72 MiB, and the least of 24 differed by up to 0.03."""

_PAIRS, _KEYPOINTS = 3, 20_000
"""Size of the matching whose memory is measured."""


def hamming_top2(scratch: Path, archive: str) -> Iterator[Fact]:
    """Measure the search in one direction; the limit is the guarantee in the operation's README."""
    del scratch, archive
    from s2fast_kernels.hamming_top2 import hamming_top2 as search

    operands = _many_rows()
    yield from _peaks("hamming_top2", lambda: search(*operands, backend="numba"), limit_mib=64.0)


def hamming_top2_both(scratch: Path, archive: str) -> Iterator[Fact]:
    """Measure the search in both directions; the limit is the guarantee in the operation's README."""
    del scratch, archive
    from s2fast_kernels.hamming_top2_both import hamming_top2_both as search

    operands = _many_rows()
    yield from _peaks("hamming_top2_both", lambda: search(*operands, backend="numba"), limit_mib=64.0)


def extraction(scratch: Path, archive: str) -> Iterator[Fact]:
    """Measure the extraction of one scene; the limit is the prediction for the run's plan."""
    del scratch, archive
    from s2fast.config import load_config
    from s2fast.detectors.akaze import extract_bytes
    from s2fast.stages.extract import extract_scene
    from s2fast_kernels.akaze.cases import synthetic_image

    plain = {"features.max_per_scene": 0, "features.upsample": 1, "ingest.contrast": "none"}
    config = load_config(overrides={"regions.mode": "none", **plain})
    image = synthetic_image((2048, 2048))

    def everywhere(rows: slice, columns: slice) -> Any:
        return np.ones((len(range(*rows.indices(2048))), len(range(*columns.indices(2048)))), np.bool_)

    limit_mib = extract_bytes(image.shape, 1) / MIB
    yield from _peaks(
        "extract 2048 px", lambda: extract_scene(image, everywhere, config, "numba", 1), limit_mib=limit_mib
    )


def matching(scratch: Path, archive: str) -> Iterator[Fact]:
    """Measure the matching of one scene with others whose rows are sorted already."""
    del scratch, archive
    from s2fast.config import load_config
    from s2fast.stages.matching_rule import MatchedScene, MatchingRule
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    rng = np.random.default_rng(0)

    def scene() -> MatchedScene:
        xy = rng.uniform(0, 1024, (_KEYPOINTS, 2)).astype(np.float32)
        on_ground: Any = SimpleNamespace(
            metric="metres",
            pixel_m=10.0,
            grid_m=10.0,
            reduction=1,
            on_map=lambda xy, _crs=None: 10 * np.asarray(xy, np.float64),
        )
        unused: Any = None
        sizes = np.full(_KEYPOINTS, 5, np.float32)
        return MatchedScene(random_descriptors(rng, _KEYPOINTS), xy, sizes, unused, on_ground)

    rule, query, trains = MatchingRule.of(load_config().matching), scene(), [scene() for _ in range(_PAIRS)]

    def call() -> None:
        for train in trains:
            rule.near_matches(query, train, radius_m=50.0)

    call()
    yield _array_peak(f"match {_KEYPOINTS} keypoints", call)


def ingest(scratch: Path, archive: str) -> Iterator[Fact]:
    """Measure the ingestion of the small archive."""
    fact = _of_stage("ingest", scratch, archive, "store.zarr", calls=_INGEST_CALLS)
    yield replace(fact, grain=_INGEST_GRAIN_MIB)


def report(scratch: Path, archive: str) -> Iterator[Fact]:
    """Measure the report on the small archive."""
    yield _of_stage("report", scratch, archive, "pairs.parquet")


def _of_stage(stage: str, scratch: Path, archive: str, output: str, calls: int = _CALLS) -> Fact:
    """Run the stages before, then measure this one; it runs again if `output` is removed."""
    from s2fast.config import load_config
    from s2fast.pipeline import STAGES, Job, run_stages

    out = scratch / stage
    config = load_config(overrides={"compute.threads": 1, "features.max_per_scene": 1000})
    job = Job(config, [Path(archive)], Path(archive) / "regions.geojson", out)

    def again() -> None:
        path = out / output
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    names = list(STAGES)
    run_stages(job, stages=names[: names.index(stage) + 1])
    return _array_peak(stage, lambda: run_stages(job, stages=[stage]), again, calls)


def _many_rows() -> tuple[Any, Any, Any]:
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    rng = np.random.default_rng(0)
    query, train = random_descriptors(rng, 500), random_descriptors(rng, 300_000)
    return query, train, np.array([0, len(train)], np.int64)


def _peaks(name: str, call: Callable[[], object], *, limit_mib: float | None = None) -> Iterator[Fact]:
    """Yield both peaks of a call, above the memory held before it."""
    call()
    resident: list[float] = []
    for _ in range(_CALLS):
        gc.collect()
        with peak_memory(resident):
            call()
    yield Fact(f"{name}: peak [MiB]", min(resident), slack=RESIDENT_SLACK, grain=RESIDENT_GRAIN_MIB, limit=limit_mib)
    yield _array_peak(name, call)


def _array_peak(
    name: str, call: Callable[[], object], before_each: Callable[[], object] = lambda: None, calls: int = _CALLS
) -> Fact:
    """Return the peak of the arrays and Python objects of a call, above those held before it."""
    tracemalloc.start()
    try:
        peaks = []
        for _ in range(calls):
            before_each()
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            call()
            peaks.append((tracemalloc.get_traced_memory()[1] - before) / MIB)
    finally:
        tracemalloc.stop()
    return Fact(f"{name}: peak of arrays [MiB]", min(peaks), slack=ARRAYS_SLACK, grain=ARRAYS_GRAIN_MIB)
