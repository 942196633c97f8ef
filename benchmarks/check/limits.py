"""Limits of counts, from repeated equal runs (see `benchmarks.check.measure_limits`).

Compiled code is reproducible to the instruction, but for loops that choose their way by how arrays lie in memory
(some of the extraction's). Everything else depends a little on the order of threads, the length of numbers that are
printed, and on what time it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("limits.json")
"""Written by the command: runs, processor, by measure and case the tolerance, and by case the instructions."""

INSTRUCTIONS, MISSES, EXPONENT, COMPILED = (
    "instructions",
    "simulated cache misses",
    "growth exponent",
    "instructions of compiled code",
)
"""Measures of counted cases, as in the names of facts."""

SCATTER = 0.0028
"""Share by which the instructions of equal code differed at most. On an idle machine they differ less; beside 25 other
busy processes threads wait more often, and Python counts that."""

LEAST = {INSTRUCTIONS: 0.005, MISSES: 0.005, COMPILED: 0.0}
MOST = {INSTRUCTIONS: 0.005, MISSES: 0.02, COMPILED: 0.0005}
"""Tolerances are between these shares. That of instructions is fixed, above their scatter. That of an exponent follows
from the scatter of its counts, see `benchmarks.check.growth.scatter`."""


def tolerance(measure: str, case: str) -> float:
    """Return the tolerance of a measure of a case: a share of the count."""
    measured: Mapping[str, Mapping[str, float]] = _read()["tolerances"]
    return measured.get(measure, {}).get(case, MOST[measure])


def counted(case: str) -> int:
    """Return how many instructions a case executed at its smallest size when the tolerances were measured."""
    return int(_read()["counts"][case])


@cache
def _read() -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads(FILE.read_text("utf-8"))
    return read
