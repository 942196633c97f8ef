"""Run a sweep's cases, one after another, repeatedly in turn, or side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s2fast.files.legible import counted
from s2fast.sweeps import alone
from s2fast.sweeps.alone import Limits
from s2fast.sweeps.beside import run_beside
from s2fast.sweeps.checks import Checked
from s2fast.sweeps.columns import FlatRow
from s2fast.sweeps.competing import competing
from s2fast.sweeps.folders import InTurn, scratch
from s2fast.sweeps.kept import remove_partial
from s2fast.sweeps.rows import Row, RowFile, columns, only_writer
from s2fast.sweeps.running import Report, Running, about, outcome
from s2fast.work.compilation import AnnouncedCompilation
from s2fast.work.progress import Progress, duration_text


def run_sweep(
    checked: Checked,
    rows_path: Path,
    report: Report,
    *,
    retry: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    about: Callable[[], dict[str, Any]] = about,
) -> tuple[list[Row], list[Row]]:
    """Run every case that has no row yet.

    Parameters
    ----------
    checked
        The sweep, its cases and its inputs.
    rows_path
        JSON lines, one per run of a case, appended to; a case with a row of equal settings, data and sources is not run
        again. Run folders lie beside it while the sweep runs.
    report
        Receives progress messages.
    retry
        Run failed cases again.
    workers, scheduler
        Run cases side by side, in local processes or on a Dask cluster; then no seconds are measured.
    about
        Returns what ran and where, for each row.

    Returns
    -------
    rows
        The rows of all cases, in the order they run.
    others
        The file's other rows: of other sources or scenes, or no longer in the sweep.
    """
    timed, rows_path = workers == 1 and scheduler is None, rows_path.absolute()
    with only_writer(rows_path):
        rows = RowFile(rows_path, retry=retry)
        remove_partial(rows_path)
        sweep = Running(checked, rows, rows_path, report, about)
        todo = sweep.todo(timed=timed)
        forecast = checked.forecast([checked.cases[at] for at in todo])
        report(
            f"{checked.sweep.name}: {counted(len(checked.cases), 'case')}, {len(sweep.names) - len(todo)} done before"
            f"{forecast}"
        )
        with scratch(rows_path.with_name(f"{rows_path.stem}.work")) as folder:
            if todo:
                compile_kernels(report)
                sweep.inject()
            if timed:
                _in_turn(sweep, folder / "1", todo)
                _repeat(sweep, folder)
            else:
                run_beside(sweep, folder, todo, workers, scheduler)
        return [rows.row(name) for name in sweep.names], rows.others(sweep.names)


def _repeat(sweep: Running, folder: Path) -> None:
    """Run the cases that compete again, in turn: forward, backward, and so on."""
    repeats = sweep.file.repeats
    if repeats < 2:
        return
    flat: list[FlatRow] = columns([sweep.rows.row(name) for name in sweep.names])
    compete = competing(flat, sweep.file.plot)
    turns = {
        round_: [at for at in sweep.todo(round_=round_) if at in compete][:: 1 if round_ % 2 else -1]
        for round_ in range(2, repeats + 1)
    }
    if not any(turns.values()):
        return
    once_s = sum(float(flat[at]["took_s"]) for at in compete)
    sweep.report(
        f"{len(compete)} of {len(flat)} cases compete and run {repeats} times, in turn; about "
        f"{duration_text(once_s * sum(map(bool, turns.values())))} to go"
    )
    for round_, turn in turns.items():
        _in_turn(sweep, folder / str(round_), turn, round_=round_)


def _in_turn(sweep: Running, folder: Path, turn: list[int], *, round_: int = 1) -> None:
    """Run cases one after another."""
    if not turn:
        return
    cases, file, begun = sweep.checked.cases, sweep.file, time.monotonic()
    with scratch(folder) as own:
        shared = InTurn(own)
        for number, at in enumerate(turn, 1):
            case, start = cases[at], time.monotonic()
            out = shared.out(case) if file.shares_stages else own
            job = sweep.job(at, out, again=round_ > 1)
            answer, reason = alone.run_alone(file.CHILD, job, Limits(file.limit_s, file.limit_mb))
            if reason:
                shared.drop(case)
            stages = answer.pop("stages", {})
            if file.shares_stages and not reason:
                stages = shared.charge(case, stages)
            more = {"round": round_} if round_ > 1 else {"timed": True}
            row = sweep.add(at, answer, reason, stages, time.monotonic() - start, **more)
            left_s = (time.monotonic() - begun) / number * (len(turn) - number)
            left = f", {duration_text(left_s)} left" if number < len(turn) else ""
            which = f"run {round_} of {file.repeats}: " if round_ > 1 else ""
            sweep.report(f"{which}{number} of {len(turn)}, {outcome(row)}{left}: {case.label}")


def compile_kernels(report: Report) -> None:
    """Compile the kernels that this machine lacks, so that no case is charged with it."""

    class Lines(Progress):
        def print_line(self, text: str) -> None:
            report(text)

    compilation = AnnouncedCompilation(Lines())
    try:
        compilation.wait()
    finally:
        compilation.close()
