"""Measure the costs of a run's stages: seconds, and peaks of memory as Linux reports them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from s2fast.work.progress import Bar, Progress


def forget_peak(process: str | int = "self") -> float:
    """Reset a process's peak to its current resident memory, and return that [MiB]."""
    Path(f"/proc/{process}/clear_refs").write_text("5")
    return memory_mib("VmHWM", process)


def memory_mib(line: str, process: str | int = "self") -> float:
    """Return a field of a process's memory status [MiB]: VmRSS is resident memory, VmHWM its peak since the reset."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class StageCost:
    """Cost of one stage."""

    seconds: float
    """Wall time [s]."""
    cpu_s: float
    """CPU seconds of this process and its workers, all threads [s]."""
    peak_mb: float
    """Sum of the peak resident memories of this process and its workers [MiB]; peaks may occur at different times."""
    above_mb: float
    """Peak of this process minus its resident memory at the start of the stage [MiB]."""
    done: int
    """Units computed."""
    kept: int
    """Units already computed before."""


class Metered(Progress):
    """Measures the cost of every stage through its progress reports."""

    def __init__(self) -> None:
        self.stages: dict[str, StageCost] = {}
        """Costs by stage, without stages that had nothing to compute."""

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Measure a stage; see `Progress`."""
        before = _summed(forget_peak), memory_mib("VmHWM")
        wall, cpu = time.perf_counter(), _cpu_s()
        yield Bar()
        if todo:
            self.stages[name] = StageCost(
                round(time.perf_counter() - wall, 3),
                _cpu_s() - cpu,
                round(_summed(lambda process: memory_mib("VmHWM", process)), 1),
                round(memory_mib("VmHWM") - before[1], 1),
                todo,
                kept,
            )


def _summed(measure: Callable[[str], float]) -> float:
    """Return the sum of a measure over this process and its workers [MiB]."""
    total = 0.0
    for process in ["self", *_workers()]:
        with suppress(FileNotFoundError):  # a worker that has just ended has no peak
            total += measure(process)
    return total


def _workers() -> list[str]:
    """Return the processes that this process has started and that have not ended."""
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended has no children
            found += (task / "children").read_text().split()
    return found


def _cpu_s() -> float:
    """Return the CPU seconds of this process, of its running workers, and of those that have ended and been awaited."""
    total, tick_s = time.process_time(), 1 / os.sysconf("SC_CLK_TCK")
    ended = os.times()
    total += ended.children_user + ended.children_system
    for process in _workers():
        with suppress(OSError):  # it has just ended
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * tick_s
    return total
