"""Test that the check finds faults and reports no others: ``python -m benchmarks prove-check [--runs 20]``.

Injects faults into copies of this checkout and compares each with it repeatedly, as `python -m benchmarks check` would,
with new processes every time; the control is an unchanged copy. Every run is a line of the results file, and a stopped
command continues. A first round of all faults takes about three minutes on two quiet cores; 20 rounds of the control
and of +15 % together take about 15.
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
"""Faults by name, in the order of trials; None: no fault."""

FACTS_ONLY = {"nothing, facts compared": ("stages", "memory")}

SLOW = ("+10 %, instructions counted",)
"""Trials with few runs: valgrind is slow, and its counts are reproducible."""

OUTCOMES = {PASSED: "passed", WORSE: "found", NOISY: "too noisy"}


def main(argv: Sequence[str]) -> int:
    """Run the trials and print the table."""
    parser = option_parser("prove-check", __doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each trial")
    parser.add_argument("--slow-runs", type=int, default=3, help="runs of each trial that counts instructions")
    parser.add_argument("--only", action="append", choices=list(TRIALS), help="only this trial; repeatable")
    parser.add_argument("--cache", type=Path, default=command.default_cache())
    parser.add_argument("--results", type=Path, help="file for the record of every run; default: in the cache folder")
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
    """Try every fault as often as wanted, interleaved, so that other load affects all equally."""
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
            ratios = {timing.clock: str(timing.measured) for timing in result.timings}
            faults = [f"{fault.name}: {fault.told}" for fault in result.faults]
            seconds = round(time.monotonic() - start, 1)
            with results.open("a", encoding="utf-8") as file:
                line = {"trial": name, "source": source, "outcome": outcome, "ratios": ratios, "faults": faults}
                file.write(json.dumps(line | {"seconds": seconds, "environment": environment()}) + "\n")
            print(f"{name}, run {number + 1} of {runs}: {outcome} {ratios or faults}, {seconds} s", file=sys.stderr)


def one_run(name: str, base: Side, head: Side, cache: Path) -> Result:
    """Compare the sides by the facts or cases that should show this fault."""
    injection = TRIALS[name]
    kinds = injection.kinds if injection else FACTS_ONLY.get(name, ())
    cases = injection.cases if injection else () if kinds else TIMED
    return command.check(base, head, cache, kinds=kinds, cases=cases, most_s=60.0)


def measuring_hash() -> str:
    """Return a hash of the check's sources: runs of another version are not valid for this one."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.blake2b(b"".join(file.read_bytes() for file in files), digest_size=4).hexdigest()


def read(results: Path, source: str) -> list[dict[str, Any]]:
    """Return the recorded runs of these sources."""
    if not results.exists():
        return []
    records = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    return [record for record in records if record["source"] == source]


def table_row(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise the runs of one trial."""
    outcomes = Counter(record["outcome"] for record in records)
    seconds = sorted(record["seconds"] for record in records)
    return {
        "trial": name,
        "runs": len(records),
        **{outcome: outcomes[outcome] for outcome in OUTCOMES.values()},
        "median_s": seconds[len(seconds) // 2] if seconds else None,
    }
