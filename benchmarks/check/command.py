"""Check whether a change makes s2fast slower: ``python -m benchmarks check [--base REV]``.

Compares facts independent of timing, then times, of head and base in one session. Without --base, uncommitted changes
are compared with HEAD, a clean checkout with its parent; --facts only checks limits, which need no base.

exit codes: 0 not slower; 1 slower, or a fact is worse; 2 the check cannot be done; 3 too noisy: not a pass
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
from benchmarks.check.sides import CheckError, Side, base_side, git, head_side
from benchmarks.check.summary import IMPOSSIBLE, Result, markdown
from benchmarks.check.timed import TIMED
from benchmarks.check.timing import time_cases
from benchmarks.harness import environment, option_parser


def main(argv: Sequence[str]) -> int:
    """Check and print a summary."""
    parser = option_parser("check", __doc__)
    parser.add_argument("--base", metavar="REV", help="revision to compare this checkout with")
    parser.add_argument(
        "--facts", action="store_true", help="only check facts against their limits, without base and timing"
    )
    parser.add_argument("--kind", action="append", choices=gather.KINDS, help="only this kind of facts; repeatable")
    parser.add_argument("--case", action="append", choices=list(TIMED), help="only time this case; repeatable")
    parser.add_argument(
        "--accept", action="append", default=[], metavar="PATTERN", help="accept changes of facts that match"
    )
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="folder for worktrees, environments, compiled kernels"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also append the summary to this file")
    parser.add_argument("--most-s", type=float, default=90.0, help="time limit for the timing of all cases [s]")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    try:
        base = None if options.facts else base_side(options.base or default_base(), options.cache)
        result = check(
            base,
            head_side(options.cache),
            options.cache,
            kinds=options.kind or default_kinds(options.facts),
            cases=[] if options.facts else options.case or list(TIMED),
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
    cases: Sequence[str] = tuple(TIMED),
    accept: Sequence[str] = (),
    most_s: float = 90.0,
) -> Result:
    """Compare head with base.

    Parameters
    ----------
    base, head
        The sides; without base, facts are only checked against their limits.
    cache
        Folder for worktrees, environments, compiled kernels and the archive.
    kinds, cases
        Facts to gather and cases to time.
    accept
        Patterns of facts whose changes are accepted.
    most_s
        Time limit for the timing of all cases [s].
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
        print("timing", file=sys.stderr, flush=True)
        times = time_cases(cases, base, head, archive, budget_s=most_s)
        result.timings += times.timings
        result.neighbours = times.neighbours
        result.not_compared |= times.not_compared
    asked = [*possible, *(cases if base else [])]
    if base and asked and set(asked) <= set(result.not_compared):
        raise CheckError(f"nothing can be compared with this base: {next(iter(result.not_compared.values()))}")
    result.seconds = time.monotonic() - start
    return result


def default_cache() -> Path:
    """Return the benchmarks' folder in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s2fast-benchmarks"


def default_base() -> str:
    """Return the base of uncommitted changes, or else of the last commit."""
    return "HEAD" if git("status", "--porcelain", "--", "s2fast", "kernels") else "HEAD^"


def default_kinds(only_limits: bool) -> Sequence[str]:
    """Return the kinds of facts to gather; instruction counts have no limit and need a base."""
    return [kind for kind in gather.KINDS if not (only_limits and kind == "instructions")]


def record(result: Result) -> dict[str, object]:
    """Return a result as a JSON-serialisable record."""
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
