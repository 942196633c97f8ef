"""Gather the facts of both sides concurrently and compare head's with base's and with the limits."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.check import callgrind, counted
from benchmarks.check.cases import CASES
from benchmarks.check.facts import Fact, against_base, beyond_limit, collectors_of
from benchmarks.check.growth import exponent, scatter
from benchmarks.check.limits import COMPILED, EXPONENT, INSTRUCTIONS, MISSES, SCATTER, tolerance
from benchmarks.check.memory import ENVIRONMENT
from benchmarks.check.sides import CheckError, Side, SideError, Worker
from benchmarks.datasets import ensure_archive, ensure_crops
from benchmarks.harness import environment

COUNTED = ("counts", "growth", "misses")
"""Kinds of facts that valgrind counts: instructions, their growth with the work, and simulated cache misses."""

KINDS = ("compiled", "stages", "memory", "gpu", *COUNTED)
"""Kinds of facts in the order of gathering: the first compiles the kernels that the others load."""

UNDISTURBED = ("compiled", "gpu")
"""Kinds of facts that are properties of the compiled code."""

Functions = Mapping[str, int]
"""Counts by function."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fact that violates its rule or limit."""

    name: str
    """Name of the fact."""
    told: str
    """Description of the violation."""
    accepted: bool
    """Whether the caller accepts it."""
    grown: tuple[str, ...] = ()
    """Functions whose counts grew most, for counts."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Facts of one side."""

    facts: list[Fact] = field(default_factory=list)
    """Facts of the kinds that the side can gather."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Kinds that the side cannot gather, and why."""
    functions: dict[str, list[Functions]] = field(default_factory=dict)
    """By name of a fact: instructions by function, and calls of Python functions."""


def gather(
    side: Side,
    kinds: Sequence[str],
    cache: Path,
    *,
    pool: Executor,
    cases: Sequence[str] = tuple(CASES),
    lenient: bool = False,
) -> Gathered:
    """Gather facts of a side, one kind after another.

    Parameters
    ----------
    side, kinds, cache
        The side, the kinds to gather and the folder for archives.
    pool
        Runs the processes, see `processors`: those of one kind side by side.
    cases
        Cases to count.
    lenient
        Skip kinds that the side cannot gather, for a base older than the kind.
    """
    found = Gathered()
    for kind in kinds:
        try:
            if kind not in COUNTED:
                found.facts.extend(_facts(side, kind, small_archive(cache), pool))
        except SideError as error:
            if not lenient:
                raise
            found.left_out[kind] = error.reason
    if wanted := [kind for kind in COUNTED if kind in kinds]:
        try:
            _add_counts(found, side, wanted, cases, small_scenes(cache), pool)
        except SideError as error:
            if not lenient:
                raise
            found.left_out.update(dict.fromkeys(wanted, error.reason))
    return found


def _facts(side: Side, kind: str, archive: Path, pool: Executor) -> list[Fact]:
    def ask() -> list[Fact]:
        answers = pool.map(partial(_ask, side, kind, archive), collectors_of(kind))
        return [fact for facts in answers for fact in facts]

    if kind not in UNDISTURBED:
        return ask()
    record = _once(side, [kind], lambda: {"facts": [asdict(fact) for fact in ask()]})
    return [Fact(**fact) for fact in record["facts"]]


def _ask(side: Side, kind: str, archive: Path, collector: str) -> list[Fact]:
    with tempfile.TemporaryDirectory() as fresh:
        variables = dict(ENVIRONMENT) if kind == "memory" else {}
        # Code loaded from a cache has no assembly, so compile into an empty cache, or the shared one if it is new.
        if kind == "compiled" and side.cache.exists():
            variables["NUMBA_CACHE_DIR"] = fresh
        worker = Worker(side, environment=variables)
        try:
            answer = worker.ask("collect", what=collector, archive=str(archive))
            return [Fact(**record) for record in answer["facts"]]
        finally:
            worker.close()


def _add_counts(
    found: Gathered, side: Side, kinds: Sequence[str], cases: Sequence[str], scenes: Path, pool: Executor
) -> None:
    def count() -> dict[str, Any]:
        runs, errors = counted.count(side, cases, scenes, growth="growth" in kinds, caches="misses" in kinds, pool=pool)
        for case, reason in errors.items():
            if side.name != "base":
                raise SideError(side.name, f"{case}: {reason}")
        facts, functions = facts_of_counts(runs, kinds)
        return {"facts": [asdict(fact) for fact in facts], "functions": functions, "errors": errors}

    record = _once(side, [*kinds, *cases], count)
    found.facts.extend(Fact(**fact) for fact in record["facts"])
    found.functions.update(record["functions"])
    found.left_out.update(record["errors"])


def _once(side: Side, what: Sequence[str], gather_facts: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Gather facts that no other load changes; base's are kept from an earlier check, in which it was base or head."""
    kept = side.path / f"facts-{_facts_key(side, what)}.json"
    if side.name == "base" and kept.exists():
        known: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return known
    record = gather_facts()
    partial = kept.with_suffix(f".{side.name}")
    partial.write_text(json.dumps(record), "utf-8")
    partial.replace(kept)
    return record


def facts_of_counts(
    runs: Sequence[counted.Counted], kinds: Sequence[str]
) -> tuple[list[Fact], dict[str, list[Functions]]]:
    """Return the facts of counted cases, and the counts by function of each."""
    facts: list[Fact] = []
    functions: dict[str, list[Functions]] = {}
    by_case: dict[str, dict[int, counted.Counted]] = {}
    for run in runs:
        by_case.setdefault(run.case, {})[run.size] = run
    for name in (name for name in CASES if name in by_case):
        case, sizes = CASES[name], dict(sorted(by_case[name].items()))
        for size, run in sizes.items():
            label = case.labels(name)[size]
            if "counts" in kinds:
                facts.append(Fact(f"{label}: {INSTRUCTIONS}", run.profile.total, slack=tolerance(INSTRUCTIONS, name)))
                if case.kind == "operation":
                    facts.append(Fact(f"{label}: {COMPILED}", run.profile.compiled, slack=tolerance(COMPILED, name)))
            if "misses" in kinds and case.kind == "operation":
                facts.append(Fact(f"{label}: {MISSES}", run.profile.misses, slack=tolerance(MISSES, name), grain=400))
            for measure in (INSTRUCTIONS, COMPILED, MISSES):
                functions[f"{label}: {measure}"] = [run.functions, run.python]
        if "growth" in kinds and len(sizes) > 1:
            measured = [sizes[size].profile.total for size in sizes]
            work = [case.work(size) for size in sizes]
            rate, grain = exponent(work, measured), scatter(work, measured, SCATTER)
            fact = f"{name}: {EXPONENT}"
            facts.append(Fact(fact, round(rate, 4), grain=round(grain, 4), limit=case.most_exponent))
            functions[fact] = [run.functions, run.python]
    return facts, functions


def _facts_key(side: Side, what: Sequence[str]) -> str:
    """Return what facts depend on besides the side's sources: what is gathered, by what, with which libraries."""
    folder = Path(__file__).parent
    gathering = ("callgrind", "cases", "compiled", "counted", "facts", "gather", "growth", "limits")
    digest = hashlib.blake2b(digest_size=8)
    for source in [folder.parent / "calls.py", folder / "limits.json", *(folder / f"{name}.py" for name in gathering)]:
        digest.update(source.read_bytes())
    digest.update(json.dumps([side.python, what, _libraries(), environment()["machine"]]).encode())
    return digest.hexdigest()


@cache
def _libraries() -> list[str]:
    return sorted(f"{found.name} {found.version}" for found in importlib.metadata.distributions())


def gather_both(
    base: Side | None, head: Side, kinds: Sequence[str], cache: Path, cases: Sequence[str] = tuple(CASES)
) -> tuple[Gathered, Gathered]:
    """Gather the facts of both sides concurrently; without base, its facts are empty."""
    with processors() as pool, ThreadPoolExecutor(2) as threads:
        of_head = threads.submit(gather, head, kinds, cache, pool=pool, cases=cases)
        of_base = threads.submit(gather, base, kinds, cache, pool=pool, cases=cases, lenient=True) if base else None
        return of_base.result() if of_base else Gathered(), of_head.result()


def processors() -> ThreadPoolExecutor:
    """Return a pool that runs one process for each processor at once."""
    return ThreadPoolExecutor(os.cpu_count() or 1)


def faults(base: Gathered, head: Gathered, accept: Sequence[str] = ()) -> list[Fault]:
    """List the facts that violate their limit, or their rule against base.

    Parameters
    ----------
    base, head
        Facts of both sides; with an empty base only limits are checked.
    accept
        Shell patterns of facts whose changes are accepted.
    """
    before = {fact.name: fact for fact in base.facts}
    found = []
    for fact in head.facts:
        violation = beyond_limit(fact)
        if violation is None and fact.name in before:
            violation = against_base(fact, before[fact.name])
        if violation:
            accepted = any(fnmatch.fnmatchcase(fact.name, pattern) for pattern in accept)
            of_base, of_head = base.functions.get(fact.name, []), head.functions.get(fact.name, [])
            grown = [callgrind.grown(*both) for both in zip(of_base, of_head, strict=False)]
            found.append(Fault(fact.name, violation, accepted, tuple(line for lines in grown for line in lines)))
    return found


def small_archive(cache: Path) -> Path:
    """Return the archive for the facts of the stages, four synthetic scenes of 512 px; generate it once."""
    return ensure_archive(cache / "archive-512-2-0", size=512, dates=2, seed=0)


def small_scenes(cache: Path) -> Path:
    """Return a folder of 16 synthetic scenes of 128 px, eight of each of two tiles; generate it once."""
    return ensure_crops(cache / "scenes-128-8-0", side_px=128, size=256, dates=8, seed=0)


def choose_kinds(wanted: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the wanted kinds that can be gathered here, and the reasons for the others."""
    left_out: dict[str, str] = {}
    if reason := callgrind.missing():
        left_out |= dict.fromkeys(COUNTED, reason)
    if importlib.util.find_spec("triton") is None:
        left_out["gpu"] = "triton is not installed: pip install triton"
    unknown = set(wanted) - set(KINDS)
    if unknown:
        raise CheckError(f"unknown kind of fact {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in wanted and kind not in left_out], {
        kind: reason for kind, reason in left_out.items() if kind in wanted
    }
