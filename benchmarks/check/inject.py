"""Inject faults into a copy of the sources, to test that the check finds them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.check.sides import PACKAGES, ROOT, CheckError, Side, make_side

_SEARCH = "kernels/s2fast_kernels/hamming_top2/numba_cpu.py"

_BLOCK = """            state[:] = NO_KEY
            for item in range(0, last - first, TOGETHER):
                for group in range(-(-rows[block] // LANES)):
                    compare(panel[block], group, queries, item, state)
"""


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault, and the facts or cases that should show it."""

    name: str
    """Name in the table."""
    file: str
    """File to change."""
    old: str
    """Text to replace; must occur once in the file."""
    new: str
    """Replacement."""
    kinds: Sequence[str] = ()
    """Facts that should show it."""
    cases: Sequence[str] = ()
    """Cases whose time should show it."""


def slower_search(percent: int, **looks: Sequence[str]) -> Injection:
    """Return a fault that does a share of the search's work twice, with equal results."""
    indented = "".join("    " + line for line in _BLOCK.splitlines(keepends=True))
    twice = f"            for _ in range(2 if (7 * tile + block) % 20 < {percent // 5} else 1):\n{indented}"
    return Injection(f"+{percent} % in a kernel", _SEARCH, _BLOCK, twice, **looks)


ALLOCATION = Injection(
    "one more big array",
    _SEARCH,
    "    for blocks in panels(train_offsets, _PANEL_BLOCKS):\n",
    "    train = train.copy()\n    for blocks in panels(train_offsets, _PANEL_BLOCKS):\n",
    kinds=("memory",),
)

DECODE = Injection(
    "one needless decode",
    "s2fast/raster/reader.py",
    "        return read or self._shrunk(",
    "        if window.row == window.col == 0:\n"
    "            self._pixels(self._dataset, reduced(window, self.raster.level))\n"
    "        return read or self._shrunk(",
    kinds=("stages",),
)


def faulty_side(injection: Injection, cache: Path) -> Side:
    """Copy this checkout's packages, inject the fault, and make a side of them.

    Raises
    ------
    CheckError
        The text to replace does not occur once: the source has changed and the injection must be updated.
    """
    root = cache / "faults" / "".join(letter if letter.isalnum() else "-" for letter in injection.name)
    for package in PACKAGES.values():
        shutil.rmtree(root / package, ignore_errors=True)
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    path = root / injection.file
    text = path.read_text("utf-8")
    if text.count(injection.old) != 1:
        raise CheckError(
            f"{injection.name}: {injection.file} does not contain the text to replace once: "
            "update benchmarks/check/inject.py"
        )
    path.write_text(text.replace(injection.old, injection.new), "utf-8")
    return make_side("head", root, sys.executable, cache)
