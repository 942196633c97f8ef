"""Run units of work in a workplace, again and again until each is done or has lost too many workers."""

from __future__ import annotations

import logging
import textwrap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from typing import Any

from s2fast.errors import S2FastError
from s2fast.work.collection import resume_collection
from s2fast.work.executors import Workplace
from s2fast.work.relay import Logged, log_again, with_logged
from s2fast.work.thread_limits import limit_threads

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


class _Tasks:
    """The units that are not done: those never submitted, those lost with a worker, and those submitted."""

    def __init__(self, workplace: Workplace, function: Callable[..., Any], units: Iterable[Any], context: Any) -> None:
        self._workplace, self._function, self._context = workplace, function, context
        self._apart = not workplace.in_process
        self._run = _run_apart if self._apart else _run_unit
        self._new = map(_Task, units)
        self._lost: deque[_Task] = deque()
        self._submitted: dict[Future[Any], _Task] = {}
        self._broken = False

    def submit(self) -> bool:
        """Submit as many units as may run; return whether any is left."""
        if self._broken and not self._submitted:
            self._workplace.reopen()
            self._broken = False
        alone = any(task.suspect for task in (*self._lost, *self._submitted.values()))
        most = 1 if alone or self._workplace.slots == 1 else 2 * self._workplace.slots
        while not self._broken and len(self._submitted) < most:
            task = self._lost.popleft() if self._lost else next(self._new, None)
            if task is None:
                break
            try:
                future = self._workplace.executor.submit(
                    self._run, self._workplace.threads, self._function, task.unit, *self._context
                )
            except BrokenExecutor:
                self._lost.appendleft(task)
                self._broken = True
            else:
                self._submitted[future] = task
        return bool(self._submitted) or self._broken

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Wait for submitted units; yield those that are done with their results, and take back those that are lost."""
        done = wait(self._submitted, timeout=LIVENESS_CHECK_S, return_when=FIRST_COMPLETED).done
        lost = []
        for future in done:
            task = self._submitted.pop(future)
            try:
                result = future.result()
            except (BrokenExecutor, CancelledError):
                lost.append(task)
            except self._workplace.give_up_errors as error:
                if task.suspect:
                    raise _too_many_losses(task.unit) from error
                task.losses = MAX_LOSSES - 1
                self._lost.append(task)
            else:
                if self._apart:
                    result, logged = result
                    log_again(logged)
                yield task.unit, result
        if lost or (self._submitted and not done and (self._broken or self._workplace.is_lost())):
            # All other submitted units are lost too, even if the executor does not report it.
            self.cancel()
            self._take_back([*lost, *self._submitted.values()])
            self._submitted.clear()
            self._broken = True

    def _take_back(self, lost: Sequence[_Task]) -> None:
        for task in lost:
            task.losses += 1
            if task.losses == MAX_LOSSES:
                raise _too_many_losses(task.unit)
        self._lost.extend(lost)

    def cancel(self) -> None:
        """Cancel the submitted units that are not started yet."""
        for future in self._submitted:
            future.cancel()


def run_units(
    workplace: Workplace, function: Callable[..., Any], units: Iterable[Any], *context: Any
) -> Iterator[tuple[Any, Any]]:
    """Run ``function(unit, *context)`` for every unit; yield (unit, result) in order of completion.

    Only a few units are submitted at a time, so that a long list needs little memory. A unit lost with its worker, or
    with the connection to it, is submitted again. What units log in other processes is logged here when they are done.
    The first exception of a unit is raised here and cancels the units not yet started.

    Raises
    ------
    S2FastError
        A unit was lost `MAX_LOSSES` times, or the executor did not return.
    """
    tasks = _Tasks(workplace, function, units, context)
    try:
        while tasks.submit():
            yield from tasks.results()
    finally:
        tasks.cancel()


def _run_unit(threads: int, function: Callable[..., Any], unit: Any, *context: Any) -> Any:
    """Run a unit within its number of threads; called in the worker."""
    limit_threads(threads)
    return function(unit, *context)


def _run_apart(threads: int, function: Callable[..., Any], unit: Any, *context: Any) -> tuple[Any, list[Logged]]:
    """Run a unit in another process; return its result and what it logged."""
    resume_collection()
    return with_logged(_run_unit, threads, function, unit, *context)


def _too_many_losses(unit: Any) -> S2FastError:
    name = textwrap.shorten(str(unit), 100, placeholder=" ...")
    return S2FastError(
        f"{name}: the worker died each time it ran this unit (killed, or out of memory): completed results are kept; "
        "run again with fewer workers, a smaller compute.budget_mb or more memory"
    )
