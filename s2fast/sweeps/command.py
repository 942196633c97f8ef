"""The body of ``s2fast sweep``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import typer

from s2fast.sweeps.results import How, load_all, make_folder, run_checked
from s2fast.sweeps.text import terminal_table


def run_files(
    files: Sequence[Path],
    out: str,
    scenes: Sequence[str],
    regions: str | None,
    state: list[str],
    how: How,
    *,
    plan: bool,
) -> int:
    """Run sweeps and print their tables; return the number of failed cases.

    Parameters
    ----------
    files, out, scenes, regions, plan
        Arguments and options of the command.
    state
        Receives, for each sweep that begins, a text that tells where its finished cases are.
    how
        The options that say how cases run.
    """
    all_checked = load_all(files, scenes, regions, how)
    if plan:
        for checked in all_checked:
            typer.echo(f"{checked.sweep.name}: {len(checked.cases)} cases{checked.forecast(checked.cases)}")
            typer.echo("\n".join(f"  {case.label}" for case in checked.cases))
        return 0
    folder, failed = make_folder(out), 0
    for checked in all_checked:
        state.append(f"the finished cases are kept in {folder / checked.sweep.name}.jsonl")
        results = run_checked(checked, folder, _report, how)
        typer.echo(terminal_table(checked.sweep, results.flat, _width()))
        typer.echo(f"{results.stem}.html, {results.stem}.parquet, {results.stem}.jsonl")
        failed += results.failed
    return failed


def _width() -> int | None:
    """Return the width of the terminal; None if the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _report(text: str) -> None:
    """Print a line of progress; ignore a closed pipe or a full disk."""
    with suppress(OSError):
        typer.echo(text, err=True)
