"""Measure how much equal counts differ, and write down the tolerances: ``python -m benchmarks check-limits``."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.check import gather
from benchmarks.check.cases import CASES
from benchmarks.check.command import default_cache
from benchmarks.check.facts import Fact
from benchmarks.check.limits import FILE, INSTRUCTIONS, LEAST, MOST
from benchmarks.check.sides import CheckError, head_side
from benchmarks.harness import environment, option_parser


def tolerances(runs: Sequence[Sequence[Fact]]) -> dict[str, dict[str, float]]:
    """Return the tolerances by measure and case: twice the largest spread of equal runs, within fixed bounds."""
    values: dict[str, list[float]] = defaultdict(list)
    for facts in runs:
        for fact in facts:
            values[fact.name].append(fact.value)
    found: dict[str, dict[str, float]] = {measure: {} for measure in LEAST}
    for name, seen in values.items():
        label, _, measure = name.rpartition(": ")
        if measure in found:
            case = label.partition(",")[0]
            spread = max(seen) - min(seen)
            wide = 2 * spread / max(min(seen), 1.0)
            limit = min(max(math.ceil(wide * 10_000) / 10_000, LEAST[measure]), MOST[measure])
            found[measure][case] = max(limit, found[measure].get(case, 0.0))
    return found


def counts(facts: Sequence[Fact]) -> dict[str, int]:
    """Return the instructions of every case at its smallest size."""
    found: dict[str, int] = {}
    for fact in facts:
        label, _, measure = fact.name.rpartition(": ")
        if measure == INSTRUCTIONS:
            found.setdefault(label.partition(",")[0], int(fact.value))
    return found


def main(argv: Sequence[str]) -> int:
    """Count this checkout several times and write the tolerances."""
    parser = option_parser("check-limits", __doc__)
    parser.add_argument("--runs", type=int, default=5, help="equal runs")
    parser.add_argument("--quick", action="store_true", help="count the smallest sizes only")
    parser.add_argument("--cache", type=Path, default=default_cache())
    options = parser.parse_args(argv)
    try:
        side = head_side(options.cache)
        kinds = ["counts", "misses"] if options.quick else ["counts", "growth", "misses"]
        runs = []
        for number in range(options.runs):
            print(f"run {number + 1} of {options.runs}", file=sys.stderr, flush=True)
            with gather.processors() as pool:
                runs.append(gather.gather(side, kinds, options.cache, pool=pool, cases=list(CASES)).facts)
    except CheckError as error:
        print(f"check-limits: {error}", file=sys.stderr)
        return 2
    measured = {"tolerances": tolerances(runs), "counts": counts(runs[0])}
    record = {"runs": options.runs, "environment": environment(), **measured}
    text = json.dumps(record, indent=2, sort_keys=True)
    FILE.write_text(text + "\n", "utf-8")
    print(text)
    return 0
