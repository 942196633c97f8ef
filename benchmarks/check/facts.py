"""Facts of one side that no clock disturbs, gathered in one of its worker processes.

Every fact has a rule by which head is held against base, and where a model says what the figure may be at most (the
run's plan, `s2fast.stages.memory`), a limit that holds without any base: that is what `.ci/run` looks at.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from s2fast.config import Config


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
    from benchmarks.meter import fresh_memory
    from s2fast.config import load_config
    from s2fast.pipeline import STAGES, Job, run_stages
    from s2fast.results import Run

    out = scratch / "facts"
    shutil.rmtree(out, ignore_errors=True)
    config = load_config(overrides={"compute.threads": 1, "features.max_per_scene": 1000})
    places = [Path(archive)], Path(archive) / "regions.geojson", out
    # What is loaded and compiled in the first run is not counted.
    run_stages(Job(config, *places))
    shutil.rmtree(out)
    done: dict[str, Any] = {}
    memory: dict[str, float] = {}
    for stage in STAGES:
        with counting() as counter, fresh_memory(memory, stage):
            run_stages(Job(config, *places), stages=[stage])
        done[stage] = counter
    run = Run(out)
    planned, counts = planned_reads(run.record), run_counts(run)
    yield Fact("ingest: blocks decoded", done["ingest"]["blocks"], limit=planned["blocks_decoded"])
    yield Fact("ingest: reads", done["ingest"]["reads"], limit=planned["blocks_decoded"])
    yield from of_calls(config, done, counts["pairs"] or 0)
    for name in ("pixels_read", "comparisons"):
        if counts[name] is not None:
            yield Fact(f"run: {name}", float(counts[name] or 0))
    for name in ("keypoints", "good_matches"):
        yield Fact(f"run: {name}", float(counts[name] or 0), rule="equal")
    for stage, used in memory.items():
        # Zarr's own threads decompress chunks; which buffers serve again is a matter of who comes first: equal code lay
        # up to 19 % apart. What an operation takes is told more sharply by `of_memory`.
        yield Fact(f"{stage}: fresh memory [MiB]", used, slack=0.25, grain=2.0)


def of_calls(config: Config, done: Mapping[str, Mapping[str, int]], pairs: int) -> Iterator[Fact]:
    """Count the calls of every operation by stage, and the operations that a stage should have called and did not.

    Parameters
    ----------
    config
        The run's settings, which decide what is called.
    done
        What `benchmarks.counts.counting` counted, by stage.
    pairs
        Pairs of the run: each is searched once, and once more at every wrong offset it is tried at.
    """
    from s2fast_kernels.operations import OPERATIONS

    dumped = config.model_dump()

    def setting(key: str) -> object:
        section, _, name = key.partition(".")
        return dumped[section][name]

    limits = {"match": pairs, "verify": pairs * config.verification.nulls}
    for stage, counter in done.items():
        expected = {op.name for op in OPERATIONS if stage in op.stages and op.called_under(setting)}
        for operation in OPERATIONS:
            calls = counter.get(operation.name, 0)
            if operation.name in expected or calls:
                limit = limits.get(stage) if operation.name in expected else 0
                yield Fact(f"{stage}: calls of {operation.name}", calls, limit=limit)
        if expected:
            missed = sum(not counter.get(name) for name in expected)
            yield Fact(f"{stage}: operations that should be called and are not", missed, limit=0)


def of_memory(scratch: Path) -> Iterator[Fact]:
    """Measure the memory that operations take, and their peaks against `s2fast.stages.memory`."""
    del scratch
    from benchmarks.meter import MIB, fresh_memory, peak_memory
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


COLLECTORS: Mapping[str, str] = {
    "stages": "benchmarks.check.facts:of_stages",
    "memory": "benchmarks.check.facts:of_memory",
    "compiled": "benchmarks.check.compiled:of_numba",
    "gpu": "benchmarks.check.compiled:of_triton",
}
"""What a worker gathers, by kind; every process gathers one kind, so that none finds what another has loaded."""


def collect(kind: str, **arguments: Any) -> list[dict[str, Any]]:
    """Gather the facts of one kind, as records."""
    module, _, function = COLLECTORS[kind].partition(":")
    return [asdict(fact) for fact in getattr(importlib.import_module(module), function)(**arguments)]
