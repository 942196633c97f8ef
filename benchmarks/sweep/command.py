"""Measure quality and cost of settings: ``python -m benchmarks sweep configs/sweep_*.toml``.

The engine is that of ``s2fast sweep``. Here, sweeps may also use data sets with known truth (``real`` and ``synth``),
AKAZE's windows (``kernel.core_px``), and single calls of the Hamming search (``kind = "hamming"``).

For every file, writes NAME.jsonl (one line per run; a stopped sweep continues), NAME.parquet, NAME.html and NAME.pairs
into --out, and prints the table. A failed case is a row with its reason.

exit codes: 0 all cases have a result; 1 some failed; 2 nothing could be run
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.check.command import default_cache
from benchmarks.check.sides import CheckError, git
from benchmarks.datasets import open_dataset
from benchmarks.harness import environment, option_parser
from benchmarks.sweep.kinds import BenchmarkSweep
from s2fast.errors import S2FastError
from s2fast.sweeps.grid import load_sweep
from s2fast.sweeps.results import How, check_all, make_folder, run_checked
from s2fast.sweeps.running import source_hash
from s2fast.sweeps.text import terminal_table


def main(argv: Sequence[str]) -> int:
    """Run sweeps and show their results."""
    parser = option_parser("sweep", __doc__)
    parser.add_argument("sweep", nargs="+", type=Path, help="TOML files")
    parser.add_argument("--out", type=Path, default=Path("sweeps"), help="folder for results")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder for synthetic data sets")
    parser.add_argument("--retry", action="store_true", help="run failed cases again")
    parser.add_argument("--repeats", type=int, default=0, help="run the cases that compete this many times, in turn")
    parser.add_argument("--workers", type=int, default=1, help="run this many cases side by side, not timed")
    parser.add_argument("--scheduler", help="address of a Dask scheduler to run cases side by side on")
    parser.add_argument("--against", type=Path, nargs="*", default=[], help=".jsonl of sweeps to compare with")
    parser.add_argument("--dry-run", action="store_true", help="list the cases without running them")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    how = How(options.retry, options.repeats, options.workers, options.scheduler, options.against)
    failed = 0
    try:
        sweeps = [how.applied(load_sweep(path, BenchmarkSweep)) for path in options.sweep]
        for checked in check_all(sweeps, lambda sweep: open_dataset(sweep.data, options.cache)):
            if options.dry_run:
                print(checked.sweep.name, *(f"  {case.label}" for case in checked.cases), sep="\n")
                continue
            results = run_checked(
                checked, make_folder(options.out), lambda text: print(text, file=sys.stderr, flush=True), how,
                about=revision,
            )  # fmt: skip
            failed += results.failed
            if options.json:
                print(*map(json.dumps, results.rows), sep="\n")
                continue
            print(terminal_table(checked.sweep, results.flat))
            print(f"{results.stem}.jsonl, {results.stem}.parquet, {results.stem}.html")
    except (S2FastError, CheckError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


def revision() -> dict[str, Any]:
    """Report which sources are measured, and where."""
    try:
        commit = git("rev-parse", "HEAD")
        dirty = bool(git("status", "--porcelain", "--", "s2fast", "kernels", "benchmarks"))
    except CheckError:  # an installed copy has no history
        commit, dirty = "", None
    return {"commit": commit, "dirty": dirty, "source": source_hash(), "environment": environment()}
