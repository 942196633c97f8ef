"""Facts of one side that no clock disturbs, gathered in one of its worker processes.

Every fact has a rule by which head is held against base, and where a model says what the figure may be at most (the
run's plan, `s2fast.stages.memory`), a limit that holds without any base: that is what `.ci/run` looks at.
"""

from __future__ import annotations

import ctypes
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

PAGE = resource.getpagesize()
MIB = 1 << 20
_PR_SET_THP_DISABLE = 41


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure."""

    name: str
    """``match: comparisons``."""

    value: float
    """What it is."""

    rule: str = "not more"
    """How head's must stand to base's: ``equal``, ``not more`` or ``not less``."""

    slack: float = 0.0
    """Share of base's by which it may miss the rule."""

    limit: float | None = None
    """What the model says it may be at most, or with the rule ``not less`` at least; None: no model."""

    grain: float = 0.0
    """What it may miss the rule by beside the slack."""


def beyond_limit(fact: Fact) -> str | None:
    """Say how a fact breaks its limit; None if it does not."""
    if fact.limit is None:
        return None
    if fact.rule == "not less":
        return f"{fact.value:g}, at least {fact.limit:g} wanted" if fact.value < fact.limit else None
    return f"{fact.value:g}, the model allows {fact.limit:g}" if fact.value > fact.limit else None


def against_base(head: Fact, base: Fact) -> str | None:
    """Say how head's fact is worse than base's; None if it is not."""
    room = head.slack * abs(base.value) + head.grain
    change = head.value - base.value
    worse = {"equal": abs(change) > room, "not more": change > room, "not less": -change > room}[head.rule]
    return f"{base.value:g} → {head.value:g}, {head.rule} wanted" if worse else None


def of_stages(scratch: Path, archive: str) -> Iterator[Fact]:
    """Run every stage on a small archive and count what is done."""
    from benchmarks.counts import counting, planned_reads, run_counts
    from s2fast.config import load_config
    from s2fast.pipeline import STAGES, run_stages
    from s2fast.results import Run

    out = scratch / "facts"
    shutil.rmtree(out, ignore_errors=True)
    config = load_config(overrides={"compute.threads": 1, "features.max_per_scene": 1000})
    places = [Path(archive)], Path(archive) / "regions.geojson", out
    # What is loaded and compiled in the first run is not counted.
    run_stages(config, *places)
    shutil.rmtree(out)
    done: dict[str, Any] = {}
    memory: dict[str, float] = {}
    for stage in STAGES:
        with counting() as counter, fresh_memory(memory, stage):
            run_stages(config, *places, stages=[stage])
        done[stage] = counter
    run = Run(out)
    planned, counts = planned_reads(run.record), run_counts(run)
    yield Fact("ingest: blocks decoded", done["ingest"]["blocks"], limit=planned["blocks_decoded"])
    yield Fact("ingest: reads", done["ingest"]["reads"], limit=planned["blocks_decoded"])
    yield Fact("extract: windows computed", done["extract"]["akaze_windows"])
    searches = sum(done["match"][name] for name in ("hamming_top2", "hamming_top2_both", "hamming_window_top2"))
    # Two calls a pair: each scene's keypoints are sought among the other's. The exhaustive search needs fewer.
    yield Fact("match: kernel calls", searches, limit=2 * (counts["pairs"] or 0))
    for name in ("pixels_read", "comparisons"):
        if counts[name] is not None:
            yield Fact(f"run: {name}", float(counts[name] or 0))
    for name in ("keypoints", "good_matches"):
        yield Fact(f"run: {name}", float(counts[name] or 0), rule="equal")
    for stage, used in memory.items():
        # Zarr's own threads decompress chunks; which buffers serve again is a matter of who comes first: equal code lay
        # up to 19 % apart. What an operation takes is told more sharply by `of_memory`.
        yield Fact(f"{stage}: fresh memory [MiB]", used, slack=0.25, grain=2.0)


def of_memory(scratch: Path) -> Iterator[Fact]:
    """Measure the memory that operations take, and their peaks against `s2fast.stages.memory`."""
    del scratch
    from s2fast.config import load_config
    from s2fast.detectors.akaze import extract_bytes
    from s2fast.stages.extract import extract_scene
    from s2fast_kernels.akaze.cases import synthetic_image
    from s2fast_kernels.hamming_top2 import hamming_top2
    from s2fast_kernels.hamming_top2.cases import random_descriptors
    from s2fast_kernels.hamming_top2_both import hamming_top2_both

    rng = np.random.default_rng(0)
    query, train = random_descriptors(rng, 500), random_descriptors(rng, 300_000)
    offsets = np.array([0, len(train)], np.int64)
    plain = {"features.max_per_scene": 0, "features.upsample": 1, "ingest.contrast": "none"}
    config = load_config(overrides={"regions.mode": "none", **plain})
    image = synthetic_image((2048, 2048))

    def everywhere(rows: slice, columns: slice) -> Any:
        return np.ones((len(range(*rows.indices(2048))), len(range(*columns.indices(2048)))), np.bool_)

    operations: dict[str, tuple[Callable[[], object], float]] = {
        # The promise of the operation's README.
        "hamming_top2": (lambda: hamming_top2(query, train, offsets, backend="numba"), 64.0),
        "hamming_top2_both": (lambda: hamming_top2_both(query, train, offsets, backend="numba"), 64.0),
        "extract 2048 px": (
            lambda: extract_scene(image, everywhere, config, "numba", 1),
            extract_bytes(image.shape, 1) / MIB,
        ),
    }
    for name, (operation, limit_mib) in operations.items():
        operation()
        used: dict[str, float] = {}
        peaks: list[float] = []
        # The least of several: a thread that ends late keeps its planes while the next one makes its own.
        for _ in range(5):
            with fresh_memory(used, f"{name} {len(peaks)}"), peak_memory(peaks):
                operation()
        # The threads of a pool share the work out anew every time, and each has planes of its own size: of 20 pairs of
        # equal code two lay 7 and 10 % apart. One more plane of the image would be 14 %.
        yield Fact(f"{name}: fresh memory [MiB]", min(used.values()), slack=0.12, grain=0.5)
        yield Fact(f"{name}: peak [MiB]", min(peaks), slack=0.05, grain=2.0, limit=limit_mib)


class fresh_memory:  # noqa: N801  # reads as the statement it makes: with fresh_memory(...)
    """Measure how much memory from the system a block of code touches [MiB], freed again or not.

    Every array above the allocator's threshold is mapped anew and its pages are touched for the first time, which the
    system counts; with huge pages off the count is the bytes, whatever else the machine does.
    """

    def __init__(self, into: dict[str, float], name: str) -> None:
        self._into, self._name = into, name
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)

    def __enter__(self) -> None:
        self._before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def __exit__(self, *_: object) -> None:
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - self._before
        self._into[self._name] = faults * PAGE / MIB


class peak_memory:  # noqa: N801  # see `fresh_memory`
    """Measure how far a block of code raises the resident memory [MiB]."""

    def __init__(self, into: list[float]) -> None:
        self._into = into

    def __enter__(self) -> None:
        # What was freed before must not hide what is taken now.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self._before = high_water_mib()

    def __exit__(self, *_: object) -> None:
        self._into.append(high_water_mib() - self._before)


def high_water_mib(process: str | int = "self") -> float:
    """Read the largest resident memory of a process since it began or was reset [MiB]."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _as_records(gather: Callable[..., Iterator[Fact]]) -> Callable[..., list[dict[str, Any]]]:
    return lambda **arguments: [asdict(fact) for fact in gather(**arguments)]


def _of_compiled_code(scratch: Path) -> Iterator[Fact]:
    from benchmarks.check.compiled import of_numba

    del scratch
    yield from of_numba()


def _of_gpu_kernels(scratch: Path) -> Iterator[Fact]:
    from benchmarks.check.compiled import of_triton

    del scratch
    yield from of_triton()


COLLECTORS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "stages": _as_records(of_stages),
    "memory": _as_records(of_memory),
    "compiled": _as_records(_of_compiled_code),
    "gpu": _as_records(_of_gpu_kernels),
}
"""What a worker gathers, by kind; every process gathers one kind, so that none finds what another has loaded."""
