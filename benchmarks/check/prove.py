"""Test that the check finds faults and reports no others: ``python -m benchmarks prove-check [--load 0 2 4]``.

Injects the faults of `benchmarks.check.faults` into copies of this checkout and compares each with it, as `python -m
benchmarks check` would, with new processes every time. A fault is looked for where it should show; the control, an
unchanged copy, is checked as a whole. --load starts busy processes beside each run. Every run is a line of the results
file, and a stopped command continues. The last step prints the table of all runs of this check: runs of other versions
of what measures and judges in a trial do not count, but runs on other commits of s2fast and on other machines do.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.check import command
from benchmarks.check.facts import beyond_limit, used_tolerance
from benchmarks.check.faults import FAULTS
from benchmarks.check.gather import KINDS
from benchmarks.check.inject import Injection, faulty_side
from benchmarks.check.limits import FILE
from benchmarks.check.sides import ROOT, CheckError, Side, head_side, tree_hash
from benchmarks.check.statistics import Verdict
from benchmarks.check.summary import IMPOSSIBLE, PASSED, WORSE, Result
from benchmarks.check.timed import TIMED
from benchmarks.harness import emit, environment, option_parser

CONTROL = "nothing"

TIMES = Injection("nothing, times alone", (), shows=(), timed=tuple(TIMED))
"""The control of what is random: counts of equal code are equal, at any load."""

TRIALS: Mapping[str, Injection | None] = {CONTROL: None, **{fault.name: fault for fault in (TIMES, *FAULTS)}}
"""Faults by name, in the order of trials; None: no fault, and the whole check."""

RESULTS = Path(__file__).with_name("proof.jsonl")
"""The record of every run."""

_MEASURING = ("command", "facts", "gather", "limits", "sides", "worker")
"""Modules that measure and judge in every trial; tolerances belong to them too."""

_COUNTING = ("callgrind", "cases", "counted")

_MEASURING_KIND: Mapping[str, Sequence[str]] = {
    "compiled": ("compiled",),
    "gpu": ("compiled",),
    "stages": ("concurrency",),
    "memory": ("memory",),
    "counts": _COUNTING,
    "growth": (*_COUNTING, "growth"),
    "misses": _COUNTING,
}
"""Modules that measure a kind of facts."""

_TIMING = ("neighbours", "statistics", "timed", "timing")
"""Modules that measure times."""

_NO_TOLERANCE = 1e6
"""Recorded share of the tolerance that a fact without one has used."""

OUTCOMES = ("found", "missed", "false alarm", "not judged")
"""Found: worse, by a witness that should show the fault. False alarm: worse, by none of them. Missed: no worse; for
the control that is right. Not judged: the check did not decide, as with a fault that only times can show."""


def main(argv: Sequence[str]) -> int:
    """Run the trials and print the table."""
    parser = option_parser("prove-check", __doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each trial at each load")
    parser.add_argument("--load", type=int, nargs="+", default=[0], metavar="N", help="busy processes beside a run")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="only trials that match; repeatable")
    parser.add_argument("--cache", type=Path, default=command.default_cache())
    parser.add_argument("--results", type=Path, default=RESULTS, help="file for the record of every run")
    options = parser.parse_args(argv)
    patterns = options.only or ["*"]
    names = [name for name in TRIALS if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if not names:
        parser.error(f"no trial matches {', '.join(patterns)}; the trials: {', '.join(TRIALS)}")
    options.cache.mkdir(parents=True, exist_ok=True)
    try:
        prove(names, options.load, options.runs, options.cache, options.results)
    except CheckError as error:
        print(f"prove-check: {error}", file=sys.stderr)
        return IMPOSSIBLE
    records = read(options.results)
    rows = table(names, options.load, records)
    if options.json:
        for row in rows:
            emit({"benchmark": "prove-check", **row}, as_json=True)
    else:
        print(markdown(rows), machines(records), sep="\n\n")
    return 0


def prove(names: Sequence[str], loads: Sequence[int], runs: int, cache: Path, results: Path) -> None:
    """Try every fault as often as wanted, interleaved, so that other load affects all equally."""
    base = replace(head_side(cache), name="base")
    control = head_side(cache)
    sides: dict[str, Side] = {}
    done = Counter((record["trial"], record["load"]) for record in read(results))
    for number in range(runs):
        for name in names:
            for load in loads:
                if done[name, load] > number:
                    continue
                injection = TRIALS[name]
                if name not in sides:
                    sides[name] = faulty_side(injection, cache) if injection else control
                start = time.monotonic()
                with busy(load):
                    result = one_run(injection, base, sides[name], cache)
                here = environment()
                record = {
                    "trial": name,
                    "load": load,
                    "source": measuring_hash(name),
                    **judged(injection, result),
                    "seconds": round(time.monotonic() - start),
                    "neighbours": result.times and result.times.neighbours and round(result.times.neighbours, 2),
                    "sides": tree_hash(ROOT),
                    **{name: here[name] for name in ("time", "machine", "cores")},
                }
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                told = f"{record['outcome']} {record['witnesses']} {record['others']}, {record['seconds']} s"
                print(f"{name}, load {load}, run {number + 1} of {runs}: {told}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep this number of other processes busy in the block."""
    program = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(program) for _ in range(processes)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def one_run(injection: Injection | None, base: Side, head: Side, cache: Path) -> Result:
    """Compare the sides where this fault should show; without a fault, everywhere."""
    if injection is None:
        return command.check(base, head, cache)
    return command.check(base, head, cache, kinds=injection.kinds, cases=injection.cases, timed=injection.timed)


def judged(injection: Injection | None, result: Result) -> dict[str, Any]:
    """Return the outcome of a run, with what called it worse: witnesses that should show the fault, and others.

    Where facts are compared with base, "strongest" is the witness that changed most, with the share of its tolerance it
    used, and "nearest" the other fact that came nearest to its tolerance: one trial says how far from a miss and from a
    false alarm it was.
    """
    worse = [fault.name for fault in result.faults if not fault.accepted]
    worse += [f"{timing.case}: {timing.clock}" for timing in result.timings if timing.verdict is Verdict.SLOWER]
    witnesses = [name for name in worse if injection and is_witness(injection, name)]
    others = [name for name in worse if name not in witnesses]
    if result.code == WORSE:
        outcome = "found" if witnesses else "false alarm"
    else:
        unsure = bool(injection and injection.timed) and all(
            timing.verdict is Verdict.NOISY for timing in result.timings
        )
        outcome = "missed" if result.code == PASSED and not unsure else "not judged"
    used = {
        head.name: math.inf if beyond_limit(head) else used_tolerance(head, base) for base, head in result.facts if base
    }
    by_witness = {name: share for name, share in used.items() if injection and is_witness(injection, name)}
    return {
        "outcome": outcome,
        "witnesses": witnesses,
        "others": others,
        "strongest": _largest(by_witness),
        "nearest": _largest({name: share for name, share in used.items() if name not in by_witness}),
    }


def _largest(used: Mapping[str, float]) -> tuple[str, float] | None:
    """Return the name of the fact that changed most for the worse, and the share of its tolerance it used."""
    # JSON has no infinity.
    shares = [(name, round(min(share, _NO_TOLERANCE), 3)) for name, share in used.items()]
    return max(shares, key=lambda each: each[1], default=None)


def is_witness(injection: Injection, name: str) -> bool:
    """Return whether a fact, or a timed case with its clock, should show the fault."""
    timed = [f"{pattern}: *" for pattern in injection.shows] if injection.timed else []
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in (*injection.shows, *timed))


def measuring_hash(name: str) -> str:
    """Return a hash of the sources that measure and judge in a trial, and of the tolerances."""
    injection = TRIALS[name]
    modules = {*_MEASURING}
    modules |= {module for kind in (injection.kinds if injection else KINDS) for module in _MEASURING_KIND[kind]}
    if injection is None or injection.timed:
        modules |= {*_TIMING}
    folder = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for source in [folder.parent / "calls.py", *(folder / f"{module}.py" for module in sorted(modules))]:
        digest.update(source.read_bytes())
    digest.update(json.dumps(json.loads(FILE.read_text("utf-8"))["tolerances"], sort_keys=True).encode())
    return digest.hexdigest()


def read(results: Path) -> list[dict[str, Any]]:
    """Return the recorded runs by the sources that measure and judge today."""
    if not results.exists():
        return []
    records = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    return [
        record
        for record in records
        if record["trial"] in TRIALS and record["source"] == measuring_hash(record["trial"])
    ]


def table(names: Sequence[str], loads: Sequence[int], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Summarise the runs, one row per trial and load."""
    rows = []
    for name in names:
        for load in loads:
            here = [record for record in records if (record["trial"], record["load"]) == (name, load)]
            if not here:
                continue
            outcomes = Counter(record["outcome"] for record in here)
            # The witness that found it most often, first in the order of the facts.
            found = Counter(witness for record in here for witness in record["witnesses"])
            others = Counter(other for record in here for other in record["others"])
            rows.append(
                {
                    "trial": name,
                    "load": load,
                    "runs": len(here),
                    **{outcome: outcomes[outcome] for outcome in OUTCOMES},
                    "median_s": statistics.median(record["seconds"] for record in here),
                    "witness": found.most_common(1)[0][0] if found else "",
                    "strongest": min((record["strongest"][1] for record in here if record["strongest"]), default=None),
                    "nearest": max((record["nearest"][1] for record in here if record["nearest"]), default=None),
                    "others": dict(others),
                }
            )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table.

    Changes are in units of a fact's tolerance: over all runs, the smallest of the strongest witness, and the largest of
    the other facts.
    """
    names = ("found", "missed", "false alarm", "not judged")
    lines = [
        f"| put in | busy processes | runs | {' | '.join(names)} | seconds | witness | its change | other facts |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        outcomes = " | ".join(str(row[name]) for name in names)
        tried = f"| {row['trial']} | {row['load']} | {row['runs']}"
        changes = " | ".join(_times(row[name]) for name in ("strongest", "nearest"))
        lines.append(f"{tried} | {outcomes} | {row['median_s']:.0f} | {row['witness']} | {changes} |")
    return "\n".join(lines)


def _times(share: float | None) -> str:
    """Format a share of a tolerance."""
    if share is None:
        return ""
    return "no tolerance" if share >= _NO_TOLERANCE else f"{share:.2g}"


def machines(records: Sequence[Mapping[str, Any]]) -> str:
    """Return on which machines and days the runs were made, in one line."""
    runs = Counter(f"{record['machine']}, {record['cores']} cores" for record in records)
    days = sorted({record["time"][:10] for record in records})
    where = "; ".join(f"{count} runs on {machine}" for machine, count in runs.most_common())
    return f"{where}; {' to '.join(dict.fromkeys((days[0], days[-1])))}." if records else "No runs yet."
