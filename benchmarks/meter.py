"""Measure peaks of memory of a block of code; call functions in new processes.

Sides of the regression check may be older than `s2fast.work.meter`, so nothing of it is used here.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

MIB = 1 << 20

P = ParamSpec("P")
T = TypeVar("T")


def alone(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a module-level function in a new process, spawned with the current environment, and return its result."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        return worker.submit(function, *arguments, **options).result()


@contextmanager
def environment_set(**variables: str) -> Iterator[None]:
    """Set environment variables temporarily, for processes started in the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def peak_memory(into: list[float]) -> Iterator[None]:
    """Measure how much a block of code raises the peak resident memory [MiB]."""
    # Return freed memory to the system first, so that its reuse does not hide new allocations.
    ctypes.CDLL(None).malloc_trim(0)
    before = forget_peak()
    yield
    into.append(memory_mib("VmHWM") - before)


def forget_peak(process: str | int = "self") -> float:
    """Reset a process's peak to its current resident memory, and return that [MiB]."""
    Path(f"/proc/{process}/clear_refs").write_text("5")
    return memory_mib("VmHWM", process)


def memory_mib(line: str, process: str | int = "self") -> float:
    """Return a field of a process's memory status [MiB]: VmRSS is resident memory, VmHWM its peak since the reset."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) / 1024
