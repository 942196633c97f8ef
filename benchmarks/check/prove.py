"""Does the check find what it must, and only that? ``python -m benchmarks prove-check [--runs 20]``.

Puts faults into copies of this checkout and holds each against it, as `python -m benchmarks check` would, again and
again, with processes started anew every time; the control is an unchanged copy. Every run is a line of the results
file, and a command that was stopped goes on where it was. A first round of all faults takes about three minutes on two
quiet cores; 20 of the control and of +15 % together about 15.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.check import command
from benchmarks.check.inject import ALLOCATION, DECODE, Injection, faulty_side, slower_search
from benchmarks.check.sides import ROOT, CheckError, Side, head_side, tree_hash
from benchmarks.check.summary import IMPOSSIBLE, NOISY, PASSED, WORSE, Result
from benchmarks.harness import emit, environment, option_parser

CONTROL = "nothing (A/A)"
TIMED = ("hamming_top2",)

TRIALS: Mapping[str, Injection | None] = {
    CONTROL: None,
    **{fault.name: fault for fault in (slower_search(percent, cases=TIMED) for percent in (15, 10, 30))},
    **{fault.name: fault for fault in (ALLOCATION, DECODE)},
    "+10 %, instructions counted": slower_search(10, kinds=("instructions",)),
    "nothing, facts compared": None,
}
"""By name, in the order they are tried; None: nothing is put in."""

FACTS_ONLY = {"nothing, facts compared": ("stages", "memory")}

SLOW = ("+10 %, instructions counted",)
"""Tried a few times only: valgrind takes its time, and counts the same every time."""

OUTCOMES = {PASSED: "passed", WORSE: "found", NOISY: "too noisy"}


def main(argv: Sequence[str]) -> int:
    """Try, and print the table."""
    parser = option_parser("prove-check", __doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each trial")
    parser.add_argument("--slow-runs", type=int, default=3, help="runs of each trial that counts instructions")
    parser.add_argument("--only", action="append", choices=list(TRIALS), help="only this trial; may be repeated")
    parser.add_argument("--cache", type=Path, default=command.default_cache())
    parser.add_argument("--results", type=Path, help="where every run is noted; default: in the cache folder")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    results = options.results or options.cache / "prove-check.jsonl"
    source = tree_hash(ROOT) + measuring_hash()
    wanted = {name: options.slow_runs if name in SLOW else options.runs for name in options.only or TRIALS}
    try:
        prove(wanted, options.cache, results, source)
    except CheckError as error:
        print(f"prove-check: {error}", file=sys.stderr)
        return IMPOSSIBLE
    for name in wanted:
        row = table_row(name, [record for record in read(results, source) if record["trial"] == name])
        if options.json:
            emit({"benchmark": "prove-check", **row}, as_json=True)
        else:
            print("  ".join(f"{key}: {value}" for key, value in row.items()))
    return 0


def prove(wanted: Mapping[str, int], cache: Path, results: Path, source: str) -> None:
    """Try every fault as often as wanted, in turn, so that whatever else the machine does falls on all alike."""
    base = head_side(cache)
    sides: dict[str, Side] = {}
    done = Counter(record["trial"] for record in read(results, source))
    for number in range(max(wanted.values())):
        for name, runs in wanted.items():
            if number >= runs or done[name] > number:
                continue
            injection = TRIALS[name]
            if name not in sides:
                sides[name] = faulty_side(injection, cache) if injection else base
            start = time.monotonic()
            result = one_run(name, base, sides[name], cache)
            outcome = OUTCOMES[result.code]
            ratios = {
                timing.clock: {"control": str(timing.control), "measured": str(timing.measured)}
                for timing in result.timings
            }
            told = [f"{fault.name}: {fault.told}" for fault in result.faults]
            seconds = round(time.monotonic() - start, 1)
            with results.open("a", encoding="utf-8") as file:
                line = {"trial": name, "source": source, "outcome": outcome, "ratios": ratios, "faults": told}
                file.write(json.dumps(line | {"seconds": seconds, "environment": environment()}) + "\n")
            print(f"{name}, run {number + 1} of {runs}: {outcome} {ratios or told}, {seconds} s", file=sys.stderr)


def one_run(name: str, base: Side, head: Side, cache: Path) -> Result:
    """Check one side against the other, looking where this fault should show."""
    injection = TRIALS[name]
    kinds = injection.kinds if injection else FACTS_ONLY.get(name, ())
    cases = injection.cases if injection else () if kinds else TIMED
    return command.check(base, head, cache, kinds=kinds, cases=cases, most_s=60.0)


def measuring_hash() -> str:
    """Hash the check itself: runs of another check prove nothing of this one."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.blake2b(b"".join(file.read_bytes() for file in files), digest_size=4).hexdigest()


def read(results: Path, source: str) -> list[dict[str, Any]]:
    """Read the runs of these sources."""
    if not results.exists():
        return []
    records = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    return [record for record in records if record["source"] == source]


def table_row(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up one trial's runs."""
    outcomes = Counter(record["outcome"] for record in records)
    seconds = sorted(record["seconds"] for record in records)
    return {
        "trial": name,
        "runs": len(records),
        **{outcome: outcomes[outcome] for outcome in OUTCOMES.values()},
        "median_s": seconds[len(seconds) // 2] if seconds else None,
    }
