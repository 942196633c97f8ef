"""Check whether a change makes s2fast slower: ``python -m benchmarks check [--base REV]``.

Counts decide: instructions, their growth with the work, cache misses, memory, compiled code and calls, of head and of
base. Times of short calls in turn are the second witness, for waiting, threads and memory bandwidth. Without --base,
uncommitted changes are compared with HEAD, a clean checkout with its parent; --facts only checks limits, without base.

exit codes: 0 not slower; 1 slower, or a fact is worse; 2 the check cannot be done; 3 with --strict-times: times could
not be judged
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
    parser.add_argument("--case", action="append", choices=[*CASES], help="only count and time this case; repeatable")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only count, and the smallest sizes: no growth, compiled code, memory, report and times",
    )
    parser.add_argument("--strict-times", action="store_true", help="end with 3 if times could not be judged")
    parser.add_argument("--times-s", type=float, help="time limit for timing all cases [s]; default: 60, quick: 0")
    parser.add_argument(
        "--accept", action="append", default=[], metavar="PATTERN", help="accept changes of facts that match"
    )
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="folder for worktrees, environments, compiled kernels"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also append the summary to this file")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    try:
        base = None if options.facts else base_side(options.base or default_base(), options.cache)
        cases = options.case or (QUICK_CASES if options.quick else list(CASES))
        times_s = (0.0 if options.quick else 60.0) if options.times_s is None else options.times_s
        result = check(
            base,
            head_side(options.cache),
            options.cache,
            kinds=options.kind or default_kinds(only_limits=options.facts, quick=options.quick),
            cases=cases,
            timed=[case for case in TIMED if case in cases and times_s and not options.facts],
            accept=options.accept,
            times_s=times_s,
            strict=options.strict_times,
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
    timed: Sequence[str] = tuple(TIMED),
    accept: Sequence[str] = (),
    times_s: float = 60.0,
    strict: bool = False,
) -> Result:
    """Compare head with base.

    Parameters
    ----------
    base, head
        The sides; without base, facts are only checked against their limits.
    cache
        Folder for worktrees, environments, compiled kernels and archives.
    kinds, cases, timed
        Facts to gather, cases to count, and cases to time.
    accept
        Patterns of facts whose changes are accepted.
    times_s
        Time limit for timing all cases [s].
    strict
        The exit code tells if times could not be judged.
    """
    start = time.monotonic()
    possible, left_out = gather.choose_kinds(kinds)
    print(f"counting: {', '.join(possible) or 'nothing'}", file=sys.stderr, flush=True)
    of_base, of_head = gather.gather_both(base, head, possible, cache, cases)
    before = {fact.name: fact for fact in of_base.facts}
    result = Result(
        base.name if base else "",
        [(before.get(fact.name), fact) for fact in of_head.facts],
        gather.faults(of_base, of_head, accept),
        left_out,
        not_compared=dict(of_base.left_out),
        strict=strict,
    )
    if base and timed:
        print(f"timing: {', '.join(timed)}", file=sys.stderr, flush=True)
        result.times = time_cases(timed, base, head, gather.small_scenes(cache), budget_s=times_s)
        result.not_compared |= result.times.not_compared
    asked = [*possible, *(timed if base else [])]
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


QUICK_CASES = [name for name in CASES if name not in ("report", "s2fast pairs")]
"""Cases of ``--quick``: the report comes last and costs as much as all stages before it."""


def default_kinds(*, only_limits: bool, quick: bool) -> Sequence[str]:
    """Return the kinds of facts to gather; counts need a base, what takes long is left out if it must be quick."""
    if only_limits:
        return [kind for kind in gather.KINDS if kind not in gather.COUNTED]
    return ["stages", "counts"] if quick else gather.KINDS


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
        "neighbours": result.times.neighbours if result.times else None,
        "environment": environment(),
    }
