"""Meters: memory touched and peaks of a block of code, costs of a run's stages, calls in processes of their own."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from s2fast.work.progress import Bar, Progress

PAGE = resource.getpagesize()
MIB = 1 << 20
_PR_SET_THP_DISABLE = 41

P = ParamSpec("P")
T = TypeVar("T")


def alone(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a module's function in a process of its own, spawned with this environment, and return its result."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        return worker.submit(function, *arguments, **options).result()


@contextmanager
def environment_set(**variables: str) -> Iterator[None]:
    """Set environment variables, for processes started meanwhile."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def fresh_memory(into: dict[str, float], name: str) -> Iterator[None]:
    """Measure how much memory from the system a block of code touches [MiB], freed again or not.

    Every array above the allocator's threshold is mapped anew and its pages are touched for the first time, which the
    system counts; with huge pages off the count is the bytes, whatever else the machine does.
    """
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    yield
    into[name] = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * PAGE / MIB


@contextmanager
def peak_memory(into: list[float]) -> Iterator[None]:
    """Measure how far a block of code raises the resident memory [MiB]."""
    # What was freed before must not hide what is taken now.
    ctypes.CDLL(None).malloc_trim(0)
    before = forget_peak()
    yield
    into.append(memory_mib("VmHWM") - before)


def forget_peak(process: str | int = "self") -> float:
    """Let a process's peak start again from what is resident now, and return that [MiB]."""
    Path(f"/proc/{process}/clear_refs").write_text("5")
    return memory_mib("VmHWM", process)


def memory_mib(line: str, process: str | int = "self") -> float:
    """Read a line of a process's memory account [MiB]: VmRSS is what is resident, VmHWM the most since the reset."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage took."""

    seconds: float
    """Wall time [s]."""
    cpu_s: float
    """CPU seconds of this process, all threads [s]."""
    peak_mb: float
    """Sum of the peak resident memories of this process and its workers [MiB]; they need not fall together."""
    above_mb: float
    """Peak of this process above what was resident when the stage began [MiB]."""
    done: int
    """Units computed."""
    kept: int
    """Units that were there already."""


class Metered(Progress):
    """Takes every stage's cost as the stages report their progress."""

    def __init__(self) -> None:
        self.stages: dict[str, StageCost] = {}
        """Costs by stage, of those that had something to do."""

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Measure a stage; see `Progress`."""
        before = _summed(forget_peak), memory_mib("VmHWM")
        wall, cpu = time.perf_counter(), time.process_time()
        yield Bar()
        if todo:
            self.stages[name] = StageCost(
                round(time.perf_counter() - wall, 3),
                time.process_time() - cpu,
                round(_summed(lambda process: memory_mib("VmHWM", process)), 1),
                round(memory_mib("VmHWM") - before[1], 1),
                todo,
                kept,
            )


def _summed(measure: Callable[[str], float]) -> float:
    """Sum a measure of this process and its workers [MiB]."""
    processes, total = ["self"], 0.0
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended has no children
            processes += (task / "children").read_text().split()
    for process in processes:
        with suppress(FileNotFoundError):  # a worker that has just ended has no peak
            total += measure(process)
    return total
