"""Facts of one side that are independent of timing, gathered in one of its worker processes.

Every fact has a rule for the comparison of head with base. If a model predicts its maximum (the run's plan,
`s2fast.stages.memory`), it also has a limit, which needs no base: `.ci/run` checks these limits.
"""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def used_tolerance(head: Fact, base: Fact) -> float:
    """Return the change for the worse as a share of the tolerance: above 1 is worse, infinite without a tolerance."""
    change = head.value - base.value
    worse = {"equal": abs(change), "not more": change, "not less": -change}[head.rule]
    room = head.slack * abs(base.value) + head.grain
    if worse <= 0:
        return 0.0
    return worse / room if room else math.inf


def against_base(head: Fact, base: Fact) -> str | None:
    """Describe how head's fact is worse than base's; return None if it is not."""
    if used_tolerance(head, base) <= 1:
        return None
    change = head.value - base.value
    share = f" ({100 * change / abs(base.value):+.2g} %)" if base.value and head.slack else ""
    return f"{base.value:g} → {head.value:g}{share}, {head.rule} wanted"


def of_stages(scratch: Path, archive: str) -> Iterator[Fact]:
    """Run every stage on a small archive and count its work."""
    from benchmarks.counts import counting, planned_reads, run_counts
    from s2fast.config import load_config
    from s2fast.pipeline import STAGES, Job, run_stages
    from s2fast.results import Run

    out = scratch / "facts"
    config = load_config(overrides={"compute.threads": 1, "features.max_per_scene": 1000})
    inputs = [Path(archive)], Path(archive) / "regions.geojson"
    # Where kernels are being compiled, a run reads scenes meanwhile and extracts them later, from the store.
    run_stages(Job(config, *inputs, scratch / "warm-up"))
    # Its scenes stay cached, under its own folder's name.
    with counting() as whole:
        run_stages(Job(config, *inputs, scratch / "whole"))
    done: dict[str, Any] = {}
    for stage in STAGES:
        with counting() as counter:
            run_stages(Job(config, *inputs, out), stages=[stage])
        done[stage] = counter
    run = Run(out)
    planned, counts = planned_reads(run.record), run_counts(run)
    yield Fact("ingest: blocks decoded", done["ingest"]["blocks"], limit=planned["blocks_decoded"])
    yield Fact("ingest: reads", done["ingest"]["reads"], limit=planned["blocks_decoded"])
    yield from of_calls(config, done, counts["pairs"] or 0)
    for name in ("keypoints", "good_matches"):
        yield Fact(f"run: {name}", float(counts[name] or 0), rule="equal")
    yield from of_files(done | {"run": whole})


def of_imports(scratch: Path, archive: str) -> Iterator[Fact]:
    """Count the modules that a new process has loaded after ``import s2fast`` and after loading its commands."""
    del scratch, archive
    for what, module in (("import s2fast", "s2fast"), ("s2fast --help", "s2fast.cli")):
        program = f"import sys, {module}; print(len(sys.modules))"
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        yield Fact(f"{what}: modules loaded", int(told.stdout), slack=0.05)


_FILES = {
    "ingest": ("files written",),
    "extract": ("arrays read", "files written"),
    "match": ("arrays read", "tables read", "files written"),
    "verify": ("arrays read", "tables read", "files written"),
    "report": ("arrays read", "tables read", "files written"),
    "run": ("arrays read", "tables read", "files written"),
}
"""What is counted in each stage, called on its own, and in a run of all stages, which verifies matches in memory. The
stage `verify` finds the features in the cache that matching has filled."""


def of_files(done: Mapping[str, Mapping[str, int]]) -> Iterator[Fact]:
    """Count what every stage reads from and writes to the run folder.

    Parameters
    ----------
    done
        What `benchmarks.counts.counting` counted, by stage, and in a run of all of them.
    """
    for stage, counted in _FILES.items():
        for what in counted:
            yield Fact(f"{stage}: {what}", done[stage][what])


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


COLLECTORS: Mapping[str, str] = {
    "compiled": "benchmarks.check.compiled:of_numba",
    "stages": "benchmarks.check.facts:of_stages",
    "stages, imports": "benchmarks.check.facts:of_imports",
    "stages, at the same time": "benchmarks.check.concurrency:of_waits",
    "memory, hamming_top2": "benchmarks.check.memory:hamming_top2",
    "memory, hamming_top2_both": "benchmarks.check.memory:hamming_top2_both",
    "memory, extraction": "benchmarks.check.memory:extraction",
    "memory, matching": "benchmarks.check.memory:matching",
    "memory, ingest": "benchmarks.check.memory:ingest",
    "memory, report": "benchmarks.check.memory:report",
    "gpu": "benchmarks.check.compiled:of_triton",
}
"""Collectors: a function (empty scratch folder, archive) each. A name begins with the kind of the facts; each is called
in a process of its own, so that it does not use what another one has loaded."""


def collectors_of(kind: str) -> list[str]:
    """Return the names of the collectors of one kind of facts."""
    return [name for name in COLLECTORS if name.partition(",")[0] == kind]


def collect(what: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return the facts of one collector as records."""
    module, _, function = COLLECTORS[what].partition(":")
    arguments = {"scratch": arguments["scratch"], "archive": arguments["archive"]}
    return [asdict(fact) for fact in getattr(importlib.import_module(module), function)(**arguments)]
