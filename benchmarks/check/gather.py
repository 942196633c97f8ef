"""Gather both sides' facts, side by side, and hold head's against base's and against the limits."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.check import instructions
from benchmarks.check.facts import Fact, against_base, beyond_limit
from benchmarks.check.sides import CheckError, Side, SideError, Worker
from benchmarks.datasets import made

KINDS = ("compiled", "stages", "memory", "gpu", "instructions")
"""Kinds of facts, in the order they are gathered: the first compiles what the others load."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fact that is worse than it may be."""

    name: str
    """The fact."""
    told: str
    """How it is worse."""
    accepted: bool
    """Whether the caller expected it."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Facts of one side."""

    facts: list[Fact]
    """Facts of the kinds that the side can gather."""
    left_out: dict[str, str]
    """Kinds that it cannot, and why."""


def gather(side: Side, kinds: Sequence[str], archive: Path, *, lenient: bool = False) -> Gathered:
    """Gather a side's facts of some kinds, one process after another.

    Parameters
    ----------
    side, kinds, archive
        What to gather, and where from.
    lenient
        Leave out a kind that the side cannot gather; a base may be from before it.
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
    return _ask(side, kind, **({"archive": str(archive)} if kind == "stages" else {}))


def _ask(side: Side, kind: str, **arguments: str) -> list[Fact]:
    with tempfile.TemporaryDirectory() as fresh:
        # Big arrays come straight from the system and go back to it, small ones stay: a heap that shrinks and grows
        # again made equal code differ by 13 %. Machine code is read as it is compiled.
        environment = {
            "MALLOC_MMAP_THRESHOLD_": str(1 << 18),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
            "MALLOC_ARENA_MAX": "1",
            "NUMPY_MADVISE_HUGEPAGE": "0",
        }
        # Code that is loaded has no assembly to read; where none is kept yet, what is compiled here serves the rest.
        if kind == "compiled" and side.cache.exists():
            environment["NUMBA_CACHE_DIR"] = fresh
        worker = Worker(side, environment=environment)
        try:
            return [Fact(**record) for record in worker.ask("collect", what=kind, **arguments)["facts"]]
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
    """Gather both sides' facts at the same time; no base, no facts of it."""
    with ThreadPoolExecutor(2) as threads:
        of_head = threads.submit(gather, head, kinds, archive)
        of_base = threads.submit(gather, base, kinds, archive, lenient=True) if base else None
        return of_base.result() if of_base else Gathered([], {}), of_head.result()


def faults(base: Sequence[Fact], head: Sequence[Fact], accept: Sequence[str] = ()) -> list[Fault]:
    """List what is worse than its limit or than base.

    Parameters
    ----------
    base, head
        Facts; empty base: only limits count.
    accept
        Patterns, as a shell's, of facts that are meant to change.
    """
    before = {fact.name: fact for fact in base}
    found = []
    for fact in head:
        told = beyond_limit(fact)
        if told is None and fact.name in before:
            told = against_base(fact, before[fact.name])
        if told:
            accepted = any(fnmatch.fnmatchcase(fact.name, pattern) for pattern in accept)
            found.append(Fault(fact.name, told, accepted))
    return found


def small_archive(cache: Path) -> Path:
    """Make, once, the archive that the stages' facts and times are taken on: four scenes of 512 px, by recipe."""
    return made(cache / "archive-512-2-0", size=512, dates=2, seed=0)


def choose_kinds(wanted: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Say which kinds can be gathered here, and why the others cannot."""
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
