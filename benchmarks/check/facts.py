"""Facts of one side that are independent of timing, gathered in one of its worker processes.

Every fact has a rule for the comparison of head with base. If a model predicts its maximum (the run's plan,
`s2fast.stages.memory`), it also has a limit, which needs no base: `.ci/run` checks these limits.
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
    """Value of the figure."""
    rule: str = "not more"
    """Required relation of head's value to base's: ``equal``, ``not more`` or ``not less``."""
    slack: float = 0.0
    """Tolerance of the rule, as a share of base's value."""
    limit: float | None = None
    """Maximum by the model, or minimum with the rule ``not less``; None: no model."""
    grain: float = 0.0
    """Absolute tolerance of the rule, added to the slack."""


def beyond_limit(fact: Fact) -> str | None:
    """Describe how a fact exceeds its limit; return None if it does not."""
    if fact.limit is None:
        return None
    if fact.rule == "not less":
        return f"{fact.value:g}, at least {fact.limit:g} wanted" if fact.value < fact.limit else None
    return f"{fact.value:g}, the model allows {fact.limit:g}" if fact.value > fact.limit else None


def against_base(head: Fact, base: Fact) -> str | None:
    """Describe how head's fact is worse than base's; return None if it is not."""
    room = head.slack * abs(base.value) + head.grain
    change = head.value - base.value
    worse = {"equal": abs(change) > room, "not more": change > room, "not less": -change > room}[head.rule]
    return f"{base.value:g} → {head.value:g}, {head.rule} wanted" if worse else None


def of_stages(scratch: Path, archive: str) -> Iterator[Fact]:
    """Run every stage on a small archive and count its work."""
    from benchmarks.counts import counting, planned_reads, run_counts
    from benchmarks.meter import fresh_memory
    from s2fast.config import load_config
    from s2fast.pipeline import STAGES, Job, run_stages
    from s2fast.results import Run

    out = scratch / "facts"
    shutil.rmtree(out, ignore_errors=True)
    config = load_config(overrides={"compute.threads": 1, "features.max_per_scene": 1000})
    inputs = [Path(archive)], Path(archive) / "regions.geojson", out
    # The first run loads and compiles the code and is not counted.
    run_stages(Job(config, *inputs))
    shutil.rmtree(out)
    done: dict[str, Any] = {}
    memory: dict[str, float] = {}
    for stage in STAGES:
        with counting() as counter, fresh_memory(memory, stage):
            run_stages(Job(config, *inputs), stages=[stage])
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
        # Zarr decompresses chunks in threads, and which buffers are reused depends on their order: equal code differed
        # by up to 19 %. `of_memory` measures operations more precisely.
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
    """Measure the memory of operations, and their peaks against the predictions of `s2fast.stages.memory`."""
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
        # The guarantee in the operation's README.
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
        # Minimum of several: a thread that ends late keeps its planes while the next one allocates its own.
        for _ in range(5):
            with fresh_memory(used, f"{name} {len(peaks)}"), peak_memory(peaks):
                operation()
        # The distribution of work over the pool's threads varies, and so do the sizes of their planes: 2 of 20 pairs of
        # equal code differed by 7 and 10 %. One more plane of the image would be 14 %.
        yield Fact(f"{name}: fresh memory [MiB]", min(used.values()), slack=0.12, grain=0.5)
        yield Fact(f"{name}: peak [MiB]", min(peaks), slack=0.05, grain=2.0, limit=limit_mib)


COLLECTORS: Mapping[str, str] = {
    "stages": "benchmarks.check.facts:of_stages",
    "memory": "benchmarks.check.facts:of_memory",
    "compiled": "benchmarks.check.compiled:of_numba",
    "gpu": "benchmarks.check.compiled:of_triton",
}
"""Collectors by kind of fact; each process gathers one kind, so that it does not use what another kind has loaded."""


def collect(kind: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return the facts of one kind as records."""
    module, _, function = COLLECTORS[kind].partition(":")
    return [asdict(fact) for fact in getattr(importlib.import_module(module), function)(**arguments)]
