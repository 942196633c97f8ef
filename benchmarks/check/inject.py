"""Faults put into a copy of the sources, to see the check find them."""

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
    """One fault, and what should find it."""

    name: str
    """What it is called in the table."""
    file: str
    """The file it is put into."""
    old: str
    """Text of the file; must be there once."""
    new: str
    """What replaces it."""
    kinds: Sequence[str] = ()
    """Facts that should show it."""
    cases: Sequence[str] = ()
    """Cases whose time should show it."""


def slower_search(percent: int, **looks: Sequence[str]) -> Injection:
    """Do a share of the search's work twice: the same answers, later."""
    turned = "".join("    " + line for line in _BLOCK.splitlines(keepends=True))
    twice = f"            for _ in range(2 if (7 * tile + block) % 20 < {percent // 5} else 1):\n{turned}"
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
    """Copy this checkout's packages, put the fault in, and make a side of them.

    Raises
    ------
    CheckError
        The text to replace is not there once: the source has changed and the injection must follow.
    """
    root = cache / "faults" / "".join(letter if letter.isalnum() else "-" for letter in injection.name)
    for place in PACKAGES.values():
        shutil.rmtree(root / place, ignore_errors=True)
        shutil.copytree(ROOT / place, root / place, ignore=shutil.ignore_patterns("__pycache__"))
    path = root / injection.file
    text = path.read_text("utf-8")
    if text.count(injection.old) != 1:
        raise CheckError(
            f"{injection.name}: {injection.file} does not hold the text to replace once: "
            "update benchmarks/check/inject.py"
        )
    path.write_text(text.replace(injection.old, injection.new), "utf-8")
    return make_side("head", root, sys.executable, cache)
