"""Schedulers and workers of Dask as processes of their own, as on other machines."""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from s2fast.work.executors import DaskCluster
from tests.forked import forked


def wait_until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something is true; fail if it does not become so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def dask_pair(port: int, workers: int = 1) -> ExitStack:
    """Start a scheduler and one worker or more, without the nanny that would start it anew."""
    stack = ExitStack()
    stack.enter_context(_dask_process("scheduler", "--host", "127.0.0.1", "--port", str(port)))
    for _ in range(workers):
        stack.enter_context(_dask_process("worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny"))
    return stack


def open_when_ready(address: str, workers: int = 1) -> DaskCluster:
    """Connect to a scheduler as soon as it has so many workers."""
    from distributed import Client

    with Client(address, timeout=120, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=120)
    return DaskCluster(address, 0)


@contextmanager
def _dask_process(part: str, *arguments: str) -> Iterator[BaseProcess]:
    process = forked(_run_dask, part, arguments)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _run_dask(part: str, arguments: tuple[str, ...]) -> None:
    with Path(os.devnull).open("wb", 0) as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    importlib.import_module(f"distributed.cli.dask_{part}").main([*arguments, "--no-dashboard"])
