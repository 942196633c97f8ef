"""The run folders of a sweep, in which cases share the stages that their settings have in common."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s2fast.sweeps.grid import Case

Costs = dict[str, dict[str, Any]]


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for run folders, and remove it in the end; a killed sweep may have left one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _linked(source: str, target: str) -> None:
    """Make a hard link, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _charged(known: Costs, computed: Mapping[str, Any]) -> Costs:
    """Return the full cost of a case's stages, computed by it or shared."""
    known.update(computed)
    return {name: {**cost, "shared": name not in computed} for name, cost in known.items()}


class InTurn:
    """One folder for the cases that run one after another, and the costs of the stages computed in it.

    The folder's content keys decide what is recomputed. Cases are ordered so that each result is computed once in one
    folder; cases with settings that change only costs use other folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._costs: dict[str, Costs] = {}

    def out(self, case: Case) -> Path:
        """Return the run folder of a case; remove the folder of earlier cases with other cost settings."""
        for other in self._folder.iterdir():
            if other.name != case.folder_name:
                shutil.rmtree(other)
        return self._folder / case.folder_name

    def charge(self, case: Case, computed: Mapping[str, Any]) -> Costs:
        """Return the full cost of a case's stages, computed by it or shared."""
        return _charged(self._costs.setdefault(case.folder_name, {}), computed)

    def drop(self, case: Case) -> None:
        """Remove a folder that a failed case may have left incomplete."""
        shutil.rmtree(self._folder / case.folder_name, ignore_errors=True)
        self._costs.pop(case.folder_name, None)


class SideBySide:
    """A folder per case. Each begins as a copy, of hard links, of that of the case that shares most of its stages.

    Files of a run folder are never changed, only replaced, so that a copy is not affected by what becomes of another.
    """

    def __init__(self, folder: Path, cases: Sequence[Case]) -> None:
        self._folder = folder
        self._cases = cases
        self._begins_with = origins(cases)
        self._costs: dict[int, Costs] = {}

    def waves(self) -> list[list[int]]:
        """Return the cases, by index, in groups that may run at once; each needs folders of earlier groups only."""
        wave: list[int] = []
        for origin in self._begins_with:
            wave.append(0 if origin is None else wave[origin] + 1)
        last = max(wave, default=-1)
        return [[at for at, number in enumerate(wave) if number == wanted] for wanted in range(last + 1)]

    def out(self, at: int) -> Path:
        """Return the run folder of a case, with the stages that it shares."""
        origin, own = self._begins_with[at], self._folder / str(at)
        shutil.rmtree(own, ignore_errors=True)
        if origin is not None and origin in self._costs:
            shutil.copytree(self._folder / str(origin), own, copy_function=_linked)
        return own

    def charge(self, at: int, computed: Mapping[str, Any]) -> Costs:
        """Return the full cost of a case's stages, computed by it or shared."""
        origin = self._begins_with[at]
        known = self._costs[at] = dict(self._costs.get(origin, {})) if origin is not None else {}
        return _charged(known, computed)

    def done(self, at: int, *, failed: bool) -> None:
        """Remove a folder that no case will begin with."""
        if failed or at not in self._begins_with:
            shutil.rmtree(self._folder / str(at), ignore_errors=True)


def origins(cases: Sequence[Case]) -> list[int | None]:
    """Return for each case the index of the earlier one that shares most of its stages; None if none does."""
    first: dict[tuple[str, ...], int] = {}
    found: list[int | None] = []
    for at, case in enumerate(cases):
        shared = [(case.folder_name, *case.stages[:depth]) for depth in (3, 2, 1)]
        found.append(next((first[part] for part in shared if part in first), None))
        for part in shared:
            first.setdefault(part, at)
    return found
