"""Where work runs: this process, local workers, or a Dask cluster, behind `concurrent.futures.Executor`."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from s2fast.errors import ConfigError, S2FastError


@dataclass(frozen=True, slots=True)
class Workplace:
    """An executor and what units of work may assume of it."""

    executor: Executor
    """Where to submit units."""

    slots: int
    """How many units run at once."""

    threads: int
    """Threads one unit may use; 0: leave every library its own default."""


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


@contextmanager
def open_workplace(workers: int = 1, scheduler: str | None = None, threads: int = 0) -> Iterator[Workplace]:
    """Open the executor the options ask for, and close it at the end.

    Parameters
    ----------
    workers
        Local processes, spawned: OpenCV, OpenMP and Zarr do not survive a fork. 1: this process.
    scheduler
        Address of a Dask scheduler; wins over `workers`.
    threads
        ``compute.threads``; 0 shares the cores between local workers.

    Raises
    ------
    ConfigError
        The options contradict each other, or the scheduler cannot be reached.
    """
    if scheduler is not None:
        with _dask(scheduler, threads) as workplace:
            yield workplace
    elif workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    elif workers == 1:
        yield Workplace(InProcess(), 1, threads)
    else:
        share = threads or max(1, available_cores() // workers)
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            yield Workplace(pool, workers, share)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _dask(address: str, threads: int) -> Iterator[Workplace]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError("--scheduler needs Dask: pip install 's2fast[cluster]'") from error
    try:
        client = Client(address, timeout="5s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        slots = sum(client.nthreads().values())
        if slots == 0:
            raise ConfigError(f"the Dask scheduler at {address} has no workers; start one: dask worker {address}")
        with client.get_executor() as executor:
            yield Workplace(executor, slots, threads or 1)


def run_units(
    workplace: Workplace, function: Callable[..., Any], units: Iterable[Any], *context: Any
) -> Iterator[tuple[Any, Any]]:
    """Run ``function(unit, *context, threads)`` for every unit; yield (unit, result) as they finish.

    Only a few units wait at the executor at a time, so that a long list costs no memory. The first failure is raised
    here and the units not yet started are dropped.
    """
    waiting: dict[Future[Any], Any] = {}
    queue = iter(units)
    try:
        while True:
            for unit in islice(queue, max(0, 2 * workplace.slots - len(waiting)) if workplace.slots > 1 else 1):
                waiting[workplace.executor.submit(function, unit, *context, workplace.threads)] = unit
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool as error:
        raise S2FastError(
            "a worker process died (killed, or out of memory): what was complete is kept; run again, with fewer "
            "--workers if memory is short"
        ) from error
    finally:
        for future in waiting:
            future.cancel()


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(threads: int) -> None:
    """Hold the libraries a unit of work uses to a number of threads; 0 changes nothing."""
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
