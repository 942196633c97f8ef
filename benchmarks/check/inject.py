"""Inject faults into a copy of the sources, to test that the check finds them.

The faults themselves are in `benchmarks.check.faults`; each is of a kind that happened to real projects, and leaves all
results equal.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.check.sides import PACKAGES, ROOT, CheckError, Side, make_side


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement of text."""

    file: str
    """File to change."""
    old: str
    """Text to replace; must occur once in the file."""
    new: str
    """Replacement."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault, and what should show it."""

    name: str
    """Name in the table."""
    edits: Sequence[Edit]
    """Changes of the sources."""
    shows: Sequence[str]
    """Shell patterns of the facts that must be worse. For a fault that only times show: of the timed cases."""
    kinds: Sequence[str] = ()
    """Kinds of facts to gather."""
    cases: Sequence[str] = ()
    """Cases whose instructions are counted."""
    timed: Sequence[str] = ()
    """Cases to time."""


def injected(injection: Injection, root: Path) -> None:
    """Copy this checkout's packages to a folder and inject the fault.

    Raises
    ------
    CheckError
        The text to replace does not occur once: the source has changed and the injection must be updated.
    """
    for folder in PACKAGES.values():
        shutil.rmtree(root / folder, ignore_errors=True)
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in injection.edits:
        path = root / edit.file
        text = path.read_text("utf-8")
        if text.count(edit.old) != 1:
            raise CheckError(
                f"{injection.name}: {edit.file} does not contain the text to replace once: "
                "update benchmarks/check/faults_*.py"
            )
        path.write_text(text.replace(edit.old, edit.new), "utf-8")


def faulty_side(injection: Injection, cache: Path) -> Side:
    """Copy this checkout's packages, inject the fault, and make a side of them."""
    root = cache / "faults" / "".join(letter if letter.isalnum() else "-" for letter in injection.name)
    injected(injection, root)
    return make_side("head", root, sys.executable, cache)
