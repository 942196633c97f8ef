"""Whether a change makes s2fast slower: ``python -m benchmarks check [--base REV]``.

First facts that no clock disturbs, then times, head beside base in one session. Without --base, uncommitted changes
are held against HEAD, a clean checkout against its parent; with --facts only, limits that need no base are looked at.

exit codes: 0 no slower; 1 slower, or a fact is worse; 2 the check cannot be done; 3 too noisy to say: not a pass
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.check import gather
from benchmarks.check.cases import CASES
from benchmarks.check.sides import CheckError, Side, SideError, base_side, git, head_side, workers
from benchmarks.check.statistics import MAX_ROUNDS, MIN_ROUNDS
from benchmarks.check.summary import IMPOSSIBLE, Result, markdown
from benchmarks.check.timing import time_case
from benchmarks.harness import environment, option_parser


def main(argv: Sequence[str]) -> int:
    """Check and print a summary."""
    parser = option_parser("check", __doc__)
    parser.add_argument("--base", metavar="REV", help="what to hold this checkout against")
    parser.add_argument("--facts", action="store_true", help="only facts against their limits: no base, no clock")
    parser.add_argument("--kind", action="append", choices=gather.KINDS, help="only these facts; may be repeated")
    parser.add_argument("--case", action="append", choices=list(CASES), help="time only this; may be repeated")
    parser.add_argument("--accept", action="append", default=[], metavar="PATTERN", help="a fact meant to change")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="worktrees, environments, compiled kernels")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the summary here as well")
    parser.add_argument("--most-s", type=float, default=160.0, help="time to spend on the rounds of all cases [s]")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    try:
        base = None if options.facts else base_side(options.base or default_base(), options.cache)
        result = check(
            base,
            head_side(options.cache),
            options.cache,
            kinds=options.kind or default_kinds(options.facts),
            cases=[] if options.facts else options.case or list(CASES),
            accept=options.accept,
            most_s=options.most_s,
        )
    except CheckError as error:
        print(f"check: {error}", file=sys.stderr)
        return IMPOSSIBLE
    text = markdown(result)
    print(json.dumps(record(result)) if options.json else text)
    if options.markdown:
        with options.markdown.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    return result.code


def check(
    base: Side | None,
    head: Side,
    cache: Path,
    *,
    kinds: Sequence[str] = gather.KINDS,
    cases: Sequence[str] = tuple(CASES),
    accept: Sequence[str] = (),
    most_s: float = 160.0,
    rounds: tuple[int, int] = (MIN_ROUNDS, MAX_ROUNDS),
) -> Result:
    """Hold head against base.

    Parameters
    ----------
    base, head
        The sides; no base: facts against their limits.
    cache
        Folder for what is made once.
    kinds, cases
        Facts to gather and cases to time.
    accept
        Patterns of facts that are meant to change.
    most_s, rounds
        Time to spend on the rounds of all cases [s], and the fewest and most rounds of one.
    """
    start = time.monotonic()
    archive = gather.small_archive(cache)
    possible, left_out = gather.choose_kinds(kinds)
    of_base, of_head = gather.gather_both(base, head, possible, archive)
    before = {fact.name: fact for fact in of_base.facts}
    result = Result(
        base.name if base else "",
        [(before.get(fact.name), fact) for fact in of_head.facts],
        gather.faults(of_base.facts, of_head.facts, accept),
        left_out,
        not_compared=dict(of_base.left_out),
    )
    if base and cases:
        with workers((base, "base"), (base, "base again"), (head, "head")) as (one, twin, other):
            deadline = time.monotonic() + most_s
            for number, case in enumerate(cases):
                print(f"timing {case}", file=sys.stderr, flush=True)
                # What quiet cases leave is there for the others.
                share_s = (deadline - time.monotonic()) / (len(cases) - number)
                try:
                    result.timings += time_case(case, str(archive), one, twin, other, most_s=share_s, rounds=rounds)
                except SideError as error:
                    if error.side == other.label:
                        raise
                    result.not_compared[case] = error.reason
    asked = [*possible, *(cases if base else [])]
    if base and asked and set(asked) <= set(result.not_compared):
        raise CheckError(f"nothing can be held against this base: {next(iter(result.not_compared.values()))}")
    result.seconds = time.monotonic() - start
    return result


def default_cache() -> Path:
    """Where what is made once is kept: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s2fast-benchmarks"


def default_base() -> str:
    """Choose what uncommitted changes, or the last commit's, are held against."""
    return "HEAD" if git("status", "--porcelain", "--", "s2fast", "kernels") else "HEAD^"


def default_kinds(only_limits: bool) -> Sequence[str]:
    """Instruction counts have no limit, so without a base they say nothing."""
    return [kind for kind in gather.KINDS if not (only_limits and kind == "instructions")]


def record(result: Result) -> dict[str, object]:
    """Write a result as one JSON object."""
    return {
        "benchmark": "check",
        "code": result.code,
        "seconds": round(result.seconds, 1),
        "facts": {fact.name: [base and base.value, fact.value] for base, fact in result.facts},
        "faults": [asdict(fault) for fault in result.faults],
        "left_out": result.left_out,
        "not_compared": result.not_compared,
        "timings": [{**asdict(timing), "verdict": timing.verdict.value} for timing in result.timings],
        "environment": environment(),
    }
