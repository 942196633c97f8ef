"""Gather the facts of both sides concurrently and compare head's with base's and with the limits."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.check import instructions
from benchmarks.check.facts import Fact, against_base, beyond_limit, collectors_of
from benchmarks.check.memory import ENVIRONMENT
from benchmarks.check.sides import CheckError, Side, SideError, Worker
from benchmarks.datasets import ensure_archive

KINDS = ("compiled", "stages", "memory", "gpu", "instructions")
"""Kinds of facts in the order of gathering: the first compiles the kernels that the others load."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fact that violates its rule or limit."""

    name: str
    """Name of the fact."""
    told: str
    """Description of the violation."""
    accepted: bool
    """Whether the caller accepts it."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Facts of one side."""

    facts: list[Fact]
    """Facts of the kinds that the side can gather."""
    left_out: dict[str, str]
    """Kinds that the side cannot gather, and why."""


def gather(side: Side, kinds: Sequence[str], archive: Path, *, lenient: bool = False) -> Gathered:
    """Gather facts of a side, one kind and process after another.

    Parameters
    ----------
    side, kinds, archive
        The side, the kinds to gather and the archive for the stages.
    lenient
        Skip kinds that the side cannot gather, for a base older than the kind.
    """
    facts, left_out = [], {}
    for kind in kinds:
        try:
            facts += _gather_kind(side, kind, archive)
        except SideError as error:
            if not lenient:
                raise
            left_out[kind] = error.reason
    return Gathered(facts, left_out)


def _gather_kind(side: Side, kind: str, archive: Path) -> list[Fact]:
    if kind == "instructions":
        return _instructions(side)
    return [fact for what in collectors_of(kind) for fact in _ask(side, what, archive)]


def _ask(side: Side, what: str, archive: Path) -> list[Fact]:
    with tempfile.TemporaryDirectory() as fresh:
        environment = dict(ENVIRONMENT) if what.startswith("memory") else {}
        # Code loaded from a cache has no assembly, so compile into an empty cache, or into the shared one if it is new.
        if what == "compiled" and side.cache.exists():
            environment["NUMBA_CACHE_DIR"] = fresh
        worker = Worker(side, environment=environment)
        try:
            answer = worker.ask("collect", what=what, archive=str(archive))
            return [Fact(**record) for record in answer["facts"]]
        finally:
            worker.close()


def _instructions(side: Side) -> list[Fact]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            counted = instructions.finish(instructions.start(side, Path(folder) / "counts"), Path(folder) / "counts")
        except OSError as error:
            raise SideError(side.name, str(error)) from error
    return [Fact(f"{name}: instructions executed", count, slack=0.02) for name, count in counted.items()]


def gather_both(base: Side | None, head: Side, kinds: Sequence[str], archive: Path) -> tuple[Gathered, Gathered]:
    """Gather the facts of both sides concurrently; without base, its facts are empty."""
    with ThreadPoolExecutor(2) as threads:
        of_head = threads.submit(gather, head, kinds, archive)
        of_base = threads.submit(gather, base, kinds, archive, lenient=True) if base else None
        return of_base.result() if of_base else Gathered([], {}), of_head.result()


def faults(base: Sequence[Fact], head: Sequence[Fact], accept: Sequence[str] = ()) -> list[Fault]:
    """List the facts that violate their limit, or their rule against base.

    Parameters
    ----------
    base, head
        Facts; with an empty base only limits are checked.
    accept
        Shell patterns of facts whose changes are accepted.
    """
    before = {fact.name: fact for fact in base}
    found = []
    for fact in head:
        violation = beyond_limit(fact)
        if violation is None and fact.name in before:
            violation = against_base(fact, before[fact.name])
        if violation:
            accepted = any(fnmatch.fnmatchcase(fact.name, pattern) for pattern in accept)
            found.append(Fault(fact.name, violation, accepted))
    return found


def small_archive(cache: Path) -> Path:
    """Return the archive for the facts and times of the stages, four synthetic scenes of 512 px; generate it once."""
    return ensure_archive(cache / "archive-512-2-0", size=512, dates=2, seed=0)


def choose_kinds(wanted: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the wanted kinds that can be gathered here, and the reasons for the others."""
    import importlib.util

    left_out = {}
    if reason := instructions.missing():
        left_out["instructions"] = reason
    if importlib.util.find_spec("triton") is None:
        left_out["gpu"] = "not installed: triton"
    unknown = set(wanted) - set(KINDS)
    if unknown:
        raise CheckError(f"unknown kind of fact {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in wanted and kind not in left_out], {
        kind: reason for kind, reason in left_out.items() if kind in wanted
    }
