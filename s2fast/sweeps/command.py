"""The body of ``s2fast sweep``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from s2fast.files.legible import counted
from s2fast.sweeps.results import How, load_all, make_folder, run_checked
from s2fast.sweeps.text import terminal_table
from s2fast.work.streams import print_line


def run_files(
    files: Sequence[Path],
    out: str,
    scenes: Sequence[str],
    regions: str | None,
    state: list[str],
    how: How,
    *,
    dry_run: bool,
) -> int:
    """Run sweeps and print their tables; return the number of failed cases.

    Parameters
    ----------
    files, out, scenes, regions, dry_run
        Arguments and options of the command.
    state
        Receives, for each sweep that begins, a text that tells where its finished cases are.
    how
        The options that say how cases run.
    """
    all_checked = load_all(files, scenes, regions, how)
    if dry_run:
        for checked in all_checked:
            print_line(f"{checked.sweep.name}: {counted(len(checked.cases), 'case')}{checked.forecast(checked.cases)}")
            print_line(*(f"  {case.label}" for case in checked.cases))
        return 0
    folder, failed = make_folder(out), 0
    for checked in all_checked:
        state.append(f"the finished cases are kept in {folder / checked.sweep.name}.jsonl")
        results = run_checked(checked, folder, _report, how)
        print_line(*terminal_table(checked.sweep, results.flat, _width()).split("\n"))
        print_line(f"{results.stem}.html, {checked.sweep.name}.parquet, {checked.sweep.name}.jsonl")
        failed += results.failed
    return failed


def _width() -> int | None:
    """Return the width of the terminal; None if the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _report(text: str) -> None:
    """Print a line of progress; ignore a closed pipe or a full disk."""
    print_line(text, err=True)
