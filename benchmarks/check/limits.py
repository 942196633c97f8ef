"""Limits of counts, from repeated equal runs: ``python -m benchmarks check-limits [--runs 5]`` writes them down.

Compiled code is reproducible to the instruction and has no tolerance. Everything else depends a little on the order of
threads, the length of numbers that are printed, and on what time it is.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.check.cases import CASES
from benchmarks.check.facts import Fact

FILE = Path(__file__).with_name("limits.json")
"""Written by the command: runs, processor, and by measure and case the tolerance."""

INSTRUCTIONS, MISSES, EXPONENT, COMPILED = (
    "instructions",
    "simulated cache misses",
    "growth exponent",
    "instructions of compiled code",
)
"""Measures of counted cases, as in the names of facts."""

_LEAST = {INSTRUCTIONS: 0.001, MISSES: 0.005, EXPONENT: 0.005, COMPILED: 0.0}
_MOST = {INSTRUCTIONS: 0.005, MISSES: 0.02, EXPONENT: 0.05, COMPILED: 0.0}
"""Tolerances are between these: shares, but exponents absolute."""


def tolerance(measure: str, case: str) -> float:
    """Return the tolerance of a measure of a case: a share of the count, or the rise of an exponent."""
    measured: Mapping[str, Mapping[str, float]] = _read()
    return measured.get(measure, {}).get(case, _MOST[measure])


@cache
def _read() -> Mapping[str, Any]:
    return json.loads(FILE.read_text("utf-8"))["tolerances"] if FILE.exists() else {}


def tolerances(runs: Sequence[Sequence[Fact]]) -> dict[str, dict[str, float]]:
    """Return the tolerances by measure and case: twice the largest spread of equal runs, within fixed bounds."""
    values: dict[str, list[float]] = defaultdict(list)
    for facts in runs:
        for fact in facts:
            values[fact.name].append(fact.value)
    found: dict[str, dict[str, float]] = {measure: {} for measure in _LEAST if measure != COMPILED}
    for name, seen in values.items():
        label, _, measure = name.rpartition(": ")
        if measure in found:
            case = label.partition(",")[0]
            spread = max(seen) - min(seen)
            wide = 2 * (spread if measure == EXPONENT else spread / max(min(seen), 1.0))
            limit = min(max(math.ceil(wide * 2000) / 2000, _LEAST[measure]), _MOST[measure])
            found[measure][case] = max(limit, found[measure].get(case, 0.0))
    return found


def main(argv: Sequence[str]) -> int:
    """Count this checkout several times and write the tolerances."""
    from benchmarks.check import gather
    from benchmarks.check.command import default_cache
    from benchmarks.check.sides import CheckError, head_side
    from benchmarks.harness import environment, option_parser

    parser = option_parser("check-limits", __doc__)
    parser.add_argument("--runs", type=int, default=5, help="equal runs")
    parser.add_argument("--cache", type=Path, default=default_cache())
    options = parser.parse_args(argv)
    try:
        side = head_side(options.cache)
        kinds = ["counts", "growth", "misses"]
        runs = []
        for number in range(options.runs):
            print(f"run {number + 1} of {options.runs}", file=sys.stderr, flush=True)
            runs.append(gather.gather(side, kinds, options.cache, cases=list(CASES)).facts)
    except CheckError as error:
        print(f"check-limits: {error}", file=sys.stderr)
        return 2
    moved = {fact.name for facts in runs[1:] for fact, first in zip(facts, runs[0], strict=True) if fact != first}
    unsteady = sorted(name for name in moved if name.endswith(COMPILED))
    record = {"runs": options.runs, "environment": environment(), "tolerances": tolerances(runs)}
    text = json.dumps(record, indent=2, sort_keys=True)
    FILE.write_text(text + "\n", "utf-8")
    print(text)
    if unsteady:
        print(f"check-limits: not reproducible: {', '.join(unsteady)}", file=sys.stderr)
    return 1 if unsteady else 0
