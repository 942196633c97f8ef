"""Run cases side by side: in local processes, or on a Dask cluster. They disturb each other, so that none is timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from s2fast.sweeps.folders import SideBySide
from s2fast.sweeps.limited_process import Children, Limits, run_alone
from s2fast.sweeps.running import Running, outcome
from s2fast.work.executors import DaskCluster, Workplace
from s2fast.work.progress import duration_text
from s2fast.work.units import run_units
from s2fast_kernels.machine import available_cores, available_mb

_IDLE_MB = 400.0
"""Memory of the process of a case before it holds any data [MiB]."""

_PROMISED = 0.9
"""Share of the machine's free memory that is promised to cases."""

Answer = tuple[dict[str, Any], str, float]


def run_beside(sweep: Running, folder: Path, todo: list[int], workers: int, scheduler: str | None) -> None:
    """Run cases side by side, in groups: those that share stages of others begin when all of the group before are done.

    Parameters
    ----------
    sweep
        The sweep.
    folder
        For run folders; with a scheduler, on a disk that its workers share.
    todo
        Cases to run, by index.
    workers, scheduler
        Number of local processes; or the address of a Dask scheduler.
    """
    if not todo:
        return
    cases = [sweep.checked.cases[at] for at in todo]
    folders, begun, done = SideBySide(folder, cases), time.monotonic(), 0
    with _workplace(sweep, todo, folder, workers, scheduler) as (workplace, run):
        for wave in folders.waves():
            # A folder is copied when its case begins.
            units = ((number, sweep.job(todo[number], folders.out(number))) for number in wave)
            for (number, _), (answer, reason, took_s) in run_units(workplace, run, units):
                stages = answer.pop("stages", {})
                if not reason:
                    stages = folders.charge(number, {name: _untimed(stage) for name, stage in stages.items()})
                folders.done(number, failed=bool(reason))
                row = sweep.add(todo[number], answer, reason, stages, took_s, timed=False)
                done += 1
                left_s = (time.monotonic() - begun) / done * (len(todo) - done)
                left = f", {duration_text(left_s)} left" if done < len(todo) else ""
                sweep.report(f"{done} of {len(todo)}, {outcome(row)}{left}: {cases[number].label}")


def _untimed(stage: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stage.items() if name != "seconds"}


@contextmanager
def _workplace(
    sweep: Running, todo: list[int], folder: Path, workers: int, scheduler: str | None
) -> Iterator[tuple[Workplace, Callable[..., Answer]]]:
    """Yield where the cases run, and the function that runs one."""
    file = sweep.file
    if scheduler is not None:
        cluster = DaskCluster(scheduler, threads=0)
        limits = Limits(file.limit_s, file.limit_mb or cluster.memory_mb, 1, str(folder.absolute()))
        try:
            sweep.report(f"up to {cluster.slots} cases side by side on {scheduler}")
            yield cluster, partial(_run_one, file.CHILD, limits, None)
        finally:
            cluster.close()
        return
    least_mb = max(promised_mb(sweep, at) for at in todo)
    slots, share_mb = slots_for(workers, least_mb, _PROMISED * available_mb())
    lack = f", not {workers}: each may need {least_mb:,.0f} MiB" if slots < workers else ""
    sweep.report(f"up to {slots} cases side by side{lack}")
    limits = Limits(file.limit_s, file.limit_mb or share_mb, max(1, available_cores() // slots))
    children = Children()
    workplace = Workplace(ThreadPoolExecutor(slots), slots, threads=0)
    try:
        yield workplace, partial(_run_one, file.CHILD, limits, children)
    finally:
        children.stop()
        workplace.close()


def promised_mb(sweep: Running, at: int) -> float:
    """Return the memory that a case may need [MiB]: its limit, or what its settings allow its processes."""
    case = sweep.checked.cases[at]
    processes = max(1, case.run.get("run.workers", 1))
    return sweep.file.limit_mb or _IDLE_MB + processes * case.config.compute.budget_mb


def slots_for(workers: int, least_mb: float, free_mb: float) -> tuple[int, float]:
    """Return how many cases may run at once, and the memory of each [MiB]; all together fit in the free memory.

    Examples
    --------
    >>> slots_for(4, 2500, 6000), slots_for(2, 2500, 8000), slots_for(4, 2500, 1000)
    ((2, 3000.0), (2, 4000.0), (1, 1000.0))
    """
    slots = max(1, min(workers, math.floor(free_mb / least_mb)))
    return slots, free_mb / slots


def _run_one(module: str, limits: Limits, children: Children | None, unit: tuple[int, dict[str, Any]]) -> Answer:
    """Run a case and return its answer, or the reason why there is none, and how long it took [s]."""
    start = time.monotonic()
    answer, reason = run_alone(module, unit[1], limits, children)
    return answer, reason, time.monotonic() - start
