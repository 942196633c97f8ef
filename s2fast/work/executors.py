"""Where work runs: this process, local workers, or a Dask cluster, behind `concurrent.futures.Executor`.

Units of work are idempotent and write their own files, so that a unit whose worker died is simply submitted again.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from s2fast.errors import ConfigError, S2FastError
from s2fast_kernels.machine import available_cores

log = logging.getLogger(__name__)

_limit = 0
"""Threads per unit of work in this process; see `limit_threads`."""

MAX_LOSSES = 3
"""A unit lost with its worker this often is given up. Before the last attempt it runs with no other beside it, so that
it is the one to blame."""

RETURN_S = 60.0
"""How long to wait [s] for a Dask scheduler that went away, and a worker of it."""


ANSWER_S = 30.0
"""How long the result of a finished unit, or the end of a connection, may take to arrive from a Dask cluster [s]."""

SILENCE_S = 30.0
"""After so long [s] without a result the executor is asked whether it is still there."""


class Workplace:
    """An executor and what units of work may assume of it.

    Parameters
    ----------
    executor
        Where to submit units.
    slots
        How many units run at once.
    threads
        Threads one unit may use; 0: leave every library its own default.
    """

    def __init__(self, executor: Executor, slots: int, threads: int) -> None:
        self.executor = executor
        self.slots = slots
        self.threads = threads

    given_up: tuple[type[Exception], ...] = ()
    """What a unit ends with when the executor itself has replaced its worker too often. Another unit that only waited
    on the same workers may end so too."""

    def is_lost(self) -> bool:
        """Return whether the executor is gone without a word; may take a while."""
        return False

    def reopen(self) -> None:
        """Open the executor anew after it was lost, with all units under way."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop what waits, let what runs end."""
        self.executor.shutdown(cancel_futures=True)


class InProcess(Executor):
    """Run each call at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function now; the future is done when this returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # handed to the caller by future.result(), as every executor does
            future.set_exception(error)
        return future


class LocalPool(Workplace):
    """Processes of this machine, spawned: OpenCV, OpenMP and Zarr do not survive a fork."""

    def __init__(self, workers: int, threads: int) -> None:
        super().__init__(self._open(workers), workers, threads)

    @staticmethod
    def _open(workers: int) -> Executor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin_worker)

    def reopen(self) -> None:
        """See `Workplace`."""
        log.warning("a worker process died (killed, or out of memory); its units are computed again")
        self.close()
        self.executor = self._open(self.slots)


def _begin_worker() -> None:
    # Warnings of libraries are not for users, who see what a worker prints.
    logging.captureWarnings(True)
    _follow_parent()


def _follow_parent() -> None:
    """Tie this worker to the process that started it, which may be killed and then can tell nobody."""
    parent = multiprocessing.parent_process()
    # Control-C reaches every process of a terminal; what to do about it is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


class _DaskExecutor(Executor):
    """Submits to a Dask client; unlike Dask's own executor, no future stays open when its result cannot be fetched."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call; a lost connection is a `BrokenExecutor`."""
        if self._client.status != "running":
            raise BrokenExecutor("no connection to the scheduler")
        remote = self._client.submit(fn, *args, pure=False, **kwargs)
        future: Future[Any] = Future()
        # Whoever cancels has no further use for the result; Dask's own cancel() would wait for the scheduler.
        future.add_done_callback(lambda done: remote.release() if done.cancelled() else None)
        remote.add_done_callback(partial(_hand_over, future))
        return future


def _hand_over(future: Future[Any], remote: Any) -> None:
    """Give a future what became of Dask's future, which has ended."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(remote.result(timeout=ANSWER_S))
    except (TimeoutError, CancelledError, asyncio.CancelledError) as error:
        future.set_exception(BrokenExecutor(f"the scheduler went away: {error}"))
    except Exception as error:  # the unit's own, or the connection's
        lost = remote.status != "error"
        future.set_exception(BrokenExecutor(f"the result was lost: {error}") if lost else error)


class DaskCluster(Workplace):
    """Workers of a Dask scheduler. Dask itself gives the units of a dead worker to another."""

    def __init__(self, address: str, threads: int) -> None:
        try:
            import distributed
        except ImportError as error:
            raise ConfigError("--scheduler needs Dask: pip install 's2fast[cluster]'") from error
        self.given_up = (distributed.scheduler.KilledWorker,)
        self._address = address
        self._client = self._connect()
        slots = sum(self._workers().values())
        if slots == 0:
            self.close()
            raise ConfigError(f"the Dask scheduler at {address} has no workers; start one: dask worker {address}")
        super().__init__(_DaskExecutor(self._client), slots, threads or 1)

    def _connect(self) -> Any:
        from distributed import Client

        try:
            return Client(self._address, timeout="5s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no Dask scheduler answers at {self._address}: {error}") from error

    def _workers(self) -> dict[str, int]:
        """Ask the scheduler for its workers and their threads; none if it does not answer."""
        try:
            found: dict[str, int] = self._client.sync(self._client.scheduler.ncores, callback_timeout=ANSWER_S)
        except (OSError, RuntimeError, AttributeError):  # a closed client has neither scheduler nor loop
            return {}
        return found

    def is_lost(self) -> bool:
        """See `Workplace`."""
        return not self._workers()

    def reopen(self) -> None:
        """Wait for the scheduler and a worker to be back; see `Workplace`."""
        log.warning("the Dask scheduler at %s went away; waiting %.0f s for it", self._address, RETURN_S)
        self.close()
        deadline = time.monotonic() + RETURN_S
        while time.monotonic() < deadline:
            try:
                self._client = self._connect()
            except ConfigError:
                time.sleep(0.5)
                continue
            with suppress(OSError):
                self._client.wait_for_workers(1, timeout=max(1.0, deadline - time.monotonic()))
                self.executor = _DaskExecutor(self._client)
                return
            self.close()
        raise S2FastError(
            f"the Dask scheduler at {self._address} went away and did not come back with a worker within "
            f"{RETURN_S:.0f} s: what was complete is kept; start it and run again"
        )

    def close(self) -> None:
        """See `Workplace`."""
        # A scheduler that does not answer is as good as closed.
        with suppress(OSError):
            self._client.close(timeout=ANSWER_S)


@contextmanager
def open_workplace(workers: int = 1, scheduler: str | None = None, threads: int = 0) -> Iterator[Workplace]:
    """Open the executor the options ask for, and close it at the end.

    Parameters
    ----------
    workers
        Local processes; 1: this process.
    scheduler
        Address of a Dask scheduler; wins over `workers`.
    threads
        ``compute.threads``; 0 shares the cores between local workers.

    Raises
    ------
    ConfigError
        The options contradict each other, or the scheduler cannot be reached.
    """
    if workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    workplace: Workplace
    if scheduler is not None:
        workplace = DaskCluster(scheduler, threads)
    elif workers == 1:
        workplace = Workplace(InProcess(), 1, threads)
    else:
        workplace = LocalPool(workers, threads or max(1, available_cores() // workers))
    try:
        yield workplace
    finally:
        workplace.close()


class _Task:
    """A unit on its way, and how often its worker died."""

    def __init__(self, unit: Any) -> None:
        self.unit = unit
        self.losses = 0

    @property
    def suspect(self) -> bool:
        """Whether to run it alone: once more and it is given up."""
        return self.losses == MAX_LOSSES - 1


def run_units(
    workplace: Workplace, function: Callable[..., Any], units: Iterable[Any], *context: Any
) -> Iterator[tuple[Any, Any]]:
    """Run ``function(unit, *context)`` for every unit; yield (unit, result) as they finish.

    Only a few units wait at the executor at a time, so that a long list costs no memory. A unit that was lost with its
    worker, or with the connection to it, is submitted again. The first failure of a unit itself is raised here and the
    units not yet started are dropped.

    Raises
    ------
    S2FastError
        A unit was lost `MAX_LOSSES` times, or the executor did not come back.
    """
    fresh = map(_Task, units)
    again: deque[_Task] = deque()
    waiting: dict[Future[Any], _Task] = {}
    broken = False
    try:
        while True:
            if broken and not waiting:
                workplace.reopen()
                broken = False
            alone = workplace.slots == 1 or any(task.suspect for task in again)
            while not broken and len(waiting) < (1 if alone else 2 * workplace.slots):
                task = again.popleft() if again else next(fresh, None)
                if task is None:
                    break
                try:
                    future = workplace.executor.submit(_run_unit, workplace.threads, function, task.unit, *context)
                except BrokenExecutor:
                    again.appendleft(task)
                    broken = True
                else:
                    waiting[future] = task
            if not waiting and not broken:
                return
            done = wait(waiting, timeout=SILENCE_S, return_when=FIRST_COMPLETED).done
            lost = []
            for future in done:
                task = waiting.pop(future)
                try:
                    result = future.result()
                except (BrokenExecutor, CancelledError):
                    lost.append(task)
                except workplace.given_up as error:
                    if task.suspect:
                        raise _given_up(task.unit) from error
                    task.losses = MAX_LOSSES - 1
                    again.append(task)
                else:
                    yield task.unit, result
            if lost or (waiting and not done and (broken or workplace.is_lost())):
                # Whatever else was under way is lost with the executor; not every executor says so.
                for future, task in waiting.items():
                    future.cancel()
                    lost.append(task)
                waiting.clear()
                for task in lost:
                    task.losses += 1
                    if task.losses == MAX_LOSSES:
                        raise _given_up(task.unit)
                again.extend(lost)
                broken = True
    finally:
        for future in waiting:
            future.cancel()


def _run_unit(threads: int, function: Callable[..., Any], unit: Any, *context: Any) -> Any:
    """Run a unit where it was sent, within its number of threads."""
    limit_threads(threads)
    return function(unit, *context)


def _given_up(unit: Any) -> S2FastError:
    name = textwrap.shorten(str(unit), 100, placeholder=" ...")
    return S2FastError(
        f"{name}: the worker died each time it was given this (killed, or out of memory): what was complete is kept; "
        "run again with fewer --workers, a smaller compute.budget_mb or more memory"
    )


def thread_limit() -> int:
    """Return the number of threads set by `limit_threads` in this process; 0: none was set."""
    return _limit


def limit_threads(threads: int) -> None:
    """Hold the libraries that a unit of work uses to a number of threads; 0 changes nothing."""
    global _limit
    _limit = threads
    if threads == 0:
        return
    import cv2

    cv2.setNumThreads(threads)
    os.environ["GDAL_NUM_THREADS"] = str(threads)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(threads)
    else:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    else:
        # Numba refuses a change of this variable once its threads run, so it is set for the first load only.
        os.environ.setdefault("NUMBA_NUM_THREADS", str(threads))
