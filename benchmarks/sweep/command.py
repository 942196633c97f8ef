"""What settings give at what cost: ``python -m benchmarks sweep configs/sweep_*.toml``.

Writes, for every file, NAME.jsonl (one line a run; a sweep that was stopped goes on where it was), NAME.parquet and
NAME.html into --out, and prints the table. A failed case is a row with its reason.

exit codes: 0 all cases have a result; 1 some failed; 2 nothing could be run
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.check.command import default_cache
from benchmarks.check.sides import CheckError
from benchmarks.harness import option_parser
from benchmarks.sweep.grid import SweepFile, cases_of, load_sweep
from benchmarks.sweep.page import cell, front_of, page, shown_columns
from benchmarks.sweep.runner import columns, run_sweep
from s2fast.errors import S2FastError


def main(argv: Sequence[str]) -> int:
    """Run sweeps and show what they gave."""
    parser = option_parser("sweep", __doc__)
    parser.add_argument("sweep", nargs="+", type=Path, help="TOML files")
    parser.add_argument("--out", type=Path, default=Path("sweeps"), help="folder of results")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where synthetic data sets are kept")
    parser.add_argument("--retry", action="store_true", help="run failed cases again")
    parser.add_argument("--plan", action="store_true", help="list the cases, run nothing")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    failed = 0
    try:
        for sweep in [load_sweep(path) for path in options.sweep]:
            if options.plan:
                print(sweep.name, *(f"  {case.label}" for case in cases_of(sweep)), sep="\n")
                continue
            failed += show(sweep, options)
    except (S2FastError, CheckError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


def show(sweep: SweepFile, options: argparse.Namespace) -> int:
    """Run one sweep and write its three files; return how many cases failed."""
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / sweep.name
    rows = run_sweep(
        sweep,
        place.with_suffix(".jsonl"),
        options.cache,
        lambda text: print(text, file=sys.stderr, flush=True),
        retry=options.retry,
    )
    flat = columns(rows)
    pd.DataFrame(flat).convert_dtypes().to_parquet(place.with_suffix(".parquet"))
    place.with_suffix(".html").write_text(page(sweep, flat), "utf-8")
    for row in rows if options.json else ():
        print(json.dumps(row))
    if not options.json:
        print(terminal_table(sweep, flat))
        print(f"{place}.jsonl, {place}.parquet, {place}.html")
    return sum(row["status"] != "ok" for row in rows)


def terminal_table(sweep: SweepFile, rows: Sequence[dict[str, Any]]) -> str:
    """Write rows for a terminal, a star at those on the first plot's Pareto front."""
    best = front_of(rows, sweep.plot[0])
    names = shown_columns(rows)
    heads = ["#", *(name.rpartition(".")[2] for name in names), ""]
    lines = [
        [
            str(place + 1),
            *(cell(row.get(name)) for name in names),
            row["reason"] or ("* front" if place in best else ""),
        ]
        for place, row in enumerate(rows)
    ]
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    # Words are flush left, numbers flush right.
    sides = ["<" if at in (1, len(heads) - 1) else ">" for at in range(len(heads))]
    formats = [f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True)]
    return "\n".join("  ".join(map(str.format, formats, line)).rstrip() for line in [heads, *lines])
