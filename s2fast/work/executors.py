"""Executors for units of work: this process, local worker processes, or a Dask cluster.

All are used through `concurrent.futures.Executor`. Units of work are idempotent and write their own files, so a unit
whose worker died is simply submitted again.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from s2fast.errors import ConfigError, S2FastError, option
from s2fast.files.temporary import remove_folders
from s2fast.work.collection import suspend_collection
from s2fast.work.library_warnings import keep_off_the_terminal
from s2fast_kernels.machine import MIB, PLACE, available_cores, gpus

log = logging.getLogger(__name__)

CONNECT_S = 5.0
"""How long to wait for a Dask scheduler to answer at all [s]."""

RECONNECT_S = 60.0
"""How long to wait for a lost Dask scheduler to return with a worker [s]."""

ANSWER_TIMEOUT_S = 30.0
"""Timeout for a finished unit's result, and for closing a connection, of a Dask cluster [s]."""


class Workplace:
    """An executor, its number of slots and its threads per unit.

    Parameters
    ----------
    executor
        Executor to submit units to.
    slots
        Number of units that run at once.
    threads
        Threads one unit may use; 0: each library's own default.
    """

    def __init__(self, executor: Executor, slots: int, threads: int) -> None:
        self.executor = executor
        self.slots = slots
        self.threads = threads
        self.wait_for_kernels: Callable[[], None] = lambda: None
        """Called before the first unit that calls compiled kernels."""
        self.compiles = False
        """Whether kernels are being compiled on this machine."""

    give_up_errors: tuple[type[Exception], ...] = ()
    """Errors with which the executor itself gives up a unit after replacing its worker too often. They may also hit
    innocent units that were queued on the same workers."""

    @property
    def in_process(self) -> bool:
        """Whether units run in this process, in the thread that submits them or in others."""
        return isinstance(self.executor, InProcess | ThreadPoolExecutor)

    @property
    def is_local(self) -> bool:
        """Whether units run on this machine."""
        return self.in_process or isinstance(self.executor, ProcessPoolExecutor)

    def devices(self, device: str, asked: str) -> str:
        """Return the devices on which the workers compute, given the first one and ``compute.device``."""
        del asked
        return device

    def is_lost(self) -> bool:
        """Return whether the executor stopped responding; may block for a while."""
        return False

    def reopen(self) -> None:
        """Replace an executor that was lost together with all submitted units."""
        raise NotImplementedError

    def submit_to_hosts(self, function: Callable[[], None]) -> list[Future[None]] | None:
        """Call a function once on each machine of the workers; None: the only machine is this one."""
        del function
        return None

    def close(self) -> None:
        """Cancel queued units and wait for running ones."""
        self.executor.shutdown(cancel_futures=True)


class InProcess(Executor):
    """Run each call immediately, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function and return a finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # future.result() raises it, as with every executor
            future.set_exception(error)
        return future


class LocalPool(Workplace):
    """Local worker processes, spawned because OpenCV, OpenMP and Zarr are not fork-safe."""

    def __init__(self, workers: int, threads: int) -> None:
        super().__init__(self._open(workers), workers, threads)

    @staticmethod
    def _open(workers: int) -> Executor:
        spawn = multiprocessing.get_context("spawn")
        started = spawn.Value("i", 0)
        return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin_worker, initargs=(started, workers))

    def devices(self, device: str, asked: str) -> str:
        """See `Workplace`."""
        if device == "cpu" or asked != "auto":
            return device
        return ", ".join(f"cuda:{number}" for number in range(min(self.slots, len(gpus().capabilities))))

    def reopen(self) -> None:
        """See `Workplace`."""
        log.warning("a worker process died (killed, or out of memory); its units are recomputed")
        self.close()
        self.executor = self._open(self.slots)


def _begin_worker(started: Any, workers: int) -> None:
    """Prepare a worker process; `started` counts those before it."""
    suspend_collection()  # until it has loaded its first unit
    with started.get_lock():
        place_worker(started.value, workers)
        started.value += 1
    keep_off_the_terminal()
    logging.getLogger("s2fast_kernels").setLevel(logging.ERROR)  # the parent warns of a folder that is not writable
    _exit_with_parent()


def place_worker(number: int, workers: int) -> None:
    """Set the place of this process among the workers of its machine, from which its GPU follows."""
    PLACE.number, PLACE.workers = number, workers


def _exit_with_parent() -> None:
    """Exit this worker when its parent process ends, even if the parent is killed."""
    parent = multiprocessing.parent_process()
    # Control-C reaches every process of a terminal; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            remove_folders()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


class _DaskExecutor(Executor):
    """Submits to a Dask client; unlike Dask's own executor, resolves a future even if its result cannot be fetched."""

    def __init__(self, client: Any, worker: str | None = None, workers: Iterable[str] = ()) -> None:
        self._client = client
        self._worker = worker
        self._places = places(workers)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call; raise `BrokenExecutor` if the connection is lost."""
        if self._client.status != "running":
            raise BrokenExecutor("no connection to the scheduler")
        where = {} if self._worker is None else {"workers": self._worker, "allow_other_workers": True}
        remote = self._client.submit(_run_placed, self._places, fn, *args, pure=False, **where, **kwargs)
        future: Future[Any] = Future()
        # Release the result of a cancelled call; Dask's own cancel() would block on the scheduler.
        future.add_done_callback(lambda done: remote.release() if done.cancelled() else None)
        remote.add_done_callback(partial(_copy_outcome, future))
        return future


def places(workers: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return the number of each worker among those on its machine, and how many these are, by address.

    Examples
    --------
    >>> places(["tcp://a:3", "tcp://b:1", "tcp://a:2"])
    {'tcp://a:2': (0, 2), 'tcp://a:3': (1, 2), 'tcp://b:1': (0, 1)}
    """
    machines: dict[str, list[str]] = {}
    for address in sorted(workers):
        machines.setdefault(address.rpartition(":")[0], []).append(address)
    return {address: (i, len(own)) for own in machines.values() for i, address in enumerate(own)}


def _run_placed(known: dict[str, tuple[int, int]], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a Dask worker; a worker that joined later stays at the first place."""
    if known:
        from distributed import get_worker

        place_worker(*known.get(get_worker().address, (0, 1)))
    return function(*args, **kwargs)


def _copy_outcome(future: Future[Any], remote: Any) -> None:
    """Set a future's result or exception from a finished Dask future."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(remote.result(timeout=ANSWER_TIMEOUT_S))
    except (TimeoutError, CancelledError, asyncio.CancelledError) as error:
        future.set_exception(BrokenExecutor(f"the scheduler went away: {error}"))
    except Exception as error:  # raised by the unit, or by the connection
        lost = remote.status != "error"
        future.set_exception(BrokenExecutor(f"the result was lost: {error}") if lost else error)


def _least_memory(dask_scheduler: Any) -> float:
    """Return the least memory that a worker has for each of its threads [bytes]."""
    return float(min(worker.memory_limit / worker.nthreads for worker in dask_scheduler.workers.values()))


class DaskCluster(Workplace):
    """Workers of a Dask scheduler, which reassigns the units of a dead worker."""

    def __init__(self, address: str, threads: int) -> None:
        try:
            import distributed
        except ImportError as error:
            raise ConfigError(f"{option('scheduler')} needs Dask: pip install 's2fast[cluster]'") from error
        self.give_up_errors = (distributed.scheduler.KilledWorker,)
        self._address = address
        self._client = self._connect()
        workers = self._workers()
        slots = sum(workers.values())
        if slots == 0:
            self.close()
            raise ConfigError(f"the Dask scheduler at {address} has no workers; start one: dask worker {address}")
        super().__init__(_DaskExecutor(self._client, workers=workers), slots, threads or 1)

    def _connect(self) -> Any:
        from distributed import Client

        try:
            return Client(self._address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no Dask scheduler answers at {self._address}: {error}") from error
        except TypeError as error:
            raise ConfigError(
                f"{self._address}: Dask's settings name no certificates; set distributed.comm.tls"
            ) from error

    def _workers(self) -> dict[str, int]:
        """Return the number of threads of each worker; empty if the scheduler does not answer."""
        try:
            found: dict[str, int] = self._client.sync(self._client.scheduler.ncores, callback_timeout=ANSWER_TIMEOUT_S)
        except (OSError, RuntimeError, AttributeError):  # a closed client has neither scheduler nor loop
            return {}
        return found

    @property
    def memory_mb(self) -> float:
        """Memory of each unit that runs at once, on the worker with the least of it [MiB]."""
        return float(self._client.run_on_scheduler(_least_memory)) / MIB

    def is_lost(self) -> bool:
        """See `Workplace`."""
        return not self._workers()

    def submit_to_hosts(self, function: Callable[[], None]) -> list[Future[None]]:
        """See `Workplace`."""
        one_of = {address.rpartition(":")[0]: address for address in self._workers()}
        return [_DaskExecutor(self._client, address).submit(function) for address in one_of.values()]

    def reopen(self) -> None:
        """Wait for the scheduler to return with a worker; see `Workplace`."""
        log.warning("the Dask scheduler at %s went away; waiting %.0f s for it", self._address, RECONNECT_S)
        self.close()
        deadline = time.monotonic() + RECONNECT_S
        while time.monotonic() < deadline:
            try:
                self._client = self._connect()
            except ConfigError:
                time.sleep(0.5)
                continue
            with suppress(OSError):
                self._client.wait_for_workers(1, timeout=max(1.0, deadline - time.monotonic()))
                self.executor = _DaskExecutor(self._client, workers=self._workers())
                return
            self.close()
        raise S2FastError(
            f"the Dask scheduler at {self._address} went away and did not come back with a worker within "
            f"{RECONNECT_S:.0f} s: completed results are kept; start the scheduler and run again"
        )

    def close(self) -> None:
        """See `Workplace`."""
        # A scheduler that does not answer counts as closed.
        with suppress(OSError):
            self._client.close(timeout=ANSWER_TIMEOUT_S)


@contextmanager
def open_workplace(workers: int = 1, scheduler: str | None = None, threads: int = 0) -> Iterator[Workplace]:
    """Yield the workplace that the options select; close it afterwards.

    Parameters
    ----------
    workers
        Number of local worker processes; 1: run in this process.
    scheduler
        Address of a Dask scheduler; takes precedence over `workers`.
    threads
        ``compute.threads``; 0: share the cores between local workers.

    Raises
    ------
    ConfigError
        `workers` is below 1, or the scheduler cannot be used.
    """
    if workers < 1:
        raise ConfigError(f"{option('workers')} is {workers}, must be at least 1")
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
