"""Run units of work in a workplace, again and again until each is done or has lost too many workers."""

from __future__ import annotations

import logging
import textwrap
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from typing import Any

from s2fast.errors import S2FastError
from s2fast.work.executors import Workplace, limit_threads

log = logging.getLogger(__name__)

MAX_LOSSES = 3
"""A unit that lost its worker this many times raises an error. The last attempt runs without other units, so that the
unit itself is known to be the cause."""

LIVENESS_CHECK_S = 30.0
"""The executor is checked for being alive after this long without a result [s]."""


class _Task:
    """A unit of work and the number of times it was lost with its worker."""

    def __init__(self, unit: Any) -> None:
        self.unit = unit
        self.losses = 0

    @property
    def suspect(self) -> bool:
        """Whether to run the unit alone, because its next loss is the last one allowed."""
        return self.losses == MAX_LOSSES - 1


def run_units(
    workplace: Workplace, function: Callable[..., Any], units: Iterable[Any], *context: Any
) -> Iterator[tuple[Any, Any]]:
    """Run ``function(unit, *context)`` for every unit; yield (unit, result) in order of completion.

    Only a few units are submitted at a time, so that a long list needs little memory. A unit lost with its worker, or
    with the connection to it, is submitted again. The first exception of a unit is raised here and cancels the units
    not yet started.

    Raises
    ------
    S2FastError
        A unit was lost `MAX_LOSSES` times, or the executor did not return.
    """
    new_tasks = map(_Task, units)
    retries: deque[_Task] = deque()
    submitted: dict[Future[Any], _Task] = {}
    broken = False
    try:
        while True:
            if broken and not submitted:
                workplace.reopen()
                broken = False
            one_at_a_time = workplace.slots == 1 or any(task.suspect for task in retries)
            while not broken and len(submitted) < (1 if one_at_a_time else 2 * workplace.slots):
                task = retries.popleft() if retries else next(new_tasks, None)
                if task is None:
                    break
                try:
                    future = workplace.executor.submit(_run_unit, workplace.threads, function, task.unit, *context)
                except BrokenExecutor:
                    retries.appendleft(task)
                    broken = True
                else:
                    submitted[future] = task
            if not submitted and not broken:
                return
            done = wait(submitted, timeout=LIVENESS_CHECK_S, return_when=FIRST_COMPLETED).done
            lost = []
            for future in done:
                task = submitted.pop(future)
                try:
                    result = future.result()
                except (BrokenExecutor, CancelledError):
                    lost.append(task)
                except workplace.give_up_errors as error:
                    if task.suspect:
                        raise _too_many_losses(task.unit) from error
                    task.losses = MAX_LOSSES - 1
                    retries.append(task)
                else:
                    yield task.unit, result
            if lost or (submitted and not done and (broken or workplace.is_lost())):
                # All other submitted units are lost too, even if the executor does not report it.
                for future, task in submitted.items():
                    future.cancel()
                    lost.append(task)
                submitted.clear()
                for task in lost:
                    task.losses += 1
                    if task.losses == MAX_LOSSES:
                        raise _too_many_losses(task.unit)
                retries.extend(lost)
                broken = True
    finally:
        for future in submitted:
            future.cancel()


def _run_unit(threads: int, function: Callable[..., Any], unit: Any, *context: Any) -> Any:
    """Run a unit within its number of threads; called in the worker."""
    limit_threads(threads)
    return function(unit, *context)


def _too_many_losses(unit: Any) -> S2FastError:
    name = textwrap.shorten(str(unit), 100, placeholder=" ...")
    return S2FastError(
        f"{name}: the worker died each time it ran this unit (killed, or out of memory): completed results are kept; "
        "run again with fewer workers, a smaller compute.budget_mb or more memory"
    )
