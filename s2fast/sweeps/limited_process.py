"""Run one job in a process of its own, within limits of time and memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2fast.errors import S2FastError
from s2fast.files.redaction import public
from s2fast.work.meter import memory_mib

_LOOK_S = 0.1
"""Interval between two looks at a process that is watched [s]."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use."""

    seconds: float
    """Wall time [s]."""
    memory_mb: float = 0.0
    """Resident memory of the process and its workers [MiB]; 0: not limited."""
    threads: int = 0
    """Threads of each library; 0: its own default."""
    folder: str = ""
    """The process ends when this folder is removed, by a sweep that was stopped on another machine; empty: none."""


class Children:
    """Processes that other threads wait for; when this one is interrupted, it ends them all."""

    def __init__(self) -> None:
        self._running: set[int] = set()
        self._lock = threading.Lock()
        self._stopped = False

    @contextmanager
    def holding(self, process: int) -> Iterator[None]:
        """Count a process, the first of its group, while it runs."""
        with self._lock:
            self._running.add(process)
            if self._stopped:
                _kill(process)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """Kill all processes, also those that are still being started."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def run_alone(
    module: str, job: Mapping[str, Any], limits: Limits, children: Children | None = None
) -> tuple[dict[str, Any], str]:
    """Run a job in a process of its own; return its answer, or an empty one and the reason.

    Parameters
    ----------
    module
        Module whose function `main` reads the job from standard input and prints its answer.
    job
        JSON values.
    limits
        What the process may use; it is killed if it needs more.
    children
        Counts the process, so that another thread can end it.
    """
    # The process ends when the other end of this pipe is closed, even if this process is killed.
    lifeline, held = os.pipe()
    suspend = "from s2fast.work.collection import suspend_collection; suspend_collection()"
    command = [sys.executable, "-P", "-c", f"{suspend}; from {module} import main; main()"]
    pipe = subprocess.PIPE
    path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    if limits.threads:
        names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "GDAL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment |= dict.fromkeys(names, str(limits.threads))
    # In a session of its own, since a Control-C on the terminal is meant for this process, which then ends the child.
    try:
        # Not through a pipe: `communicate` does not write the rest of what a slow process has not read in time.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as given:
            json.dump({**job, "threads": limits.threads, "lifeline": lifeline}, given)
            given.seek(0)
            child = subprocess.Popen(  # noqa: S603
                command, stdin=given, stdout=pipe, stderr=pipe, text=True, pass_fds=(lifeline,),
                start_new_session=True, env=environment,
            )  # fmt: skip
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(lifeline)
    with child:
        try:
            with (children or Children()).holding(child.pid):
                output, errors = _waited(child, limits)
        except _OverLimitError as limit:
            return {}, str(limit)
        finally:
            _kill(child.pid)
            os.close(held)
    if child.returncode == 0:
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
        return answer, ""
    if child.returncode < 0:
        reason = ": out of memory, most likely" if child.returncode == -signal.SIGKILL else ""
        return {}, f"killed by signal {-child.returncode}{reason}"
    return {}, public((errors.strip().splitlines() or [f"exit code {child.returncode}"])[-1])


class _OverLimitError(S2FastError):
    """A job exceeded a limit."""


def _waited(child: subprocess.Popen[str], limits: Limits) -> tuple[str, str]:
    """Wait for a process and return what it printed; raise `_OverLimitError` if it needs more than it may."""
    deadline, watched = time.monotonic() + limits.seconds, limits.memory_mb or limits.folder
    while True:
        left_s = max(0.0, deadline - time.monotonic())
        try:
            return child.communicate(timeout=min(left_s, _LOOK_S) if watched else left_s)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise _OverLimitError(f"took longer than {limits.seconds:g} s and was killed") from None
            if limits.memory_mb and resident_mb(child.pid) > limits.memory_mb:
                raise _OverLimitError(
                    f"needed more than {limits.memory_mb:,.0f} MiB of memory and was killed"
                ) from None
            if limits.folder and not Path(limits.folder).exists():
                raise _OverLimitError("stopped, since the sweep has ended") from None


def resident_mb(process: int) -> float:
    """Return the resident memory of a process and all processes below it [MiB]; 0 if it has ended."""
    total, todo = 0.0, [process]
    while todo:
        one = todo.pop()
        # A process that has just ended has no memory and no children.
        with suppress(OSError, IndexError):
            total += memory_mib("VmRSS", one)
            for task in Path(f"/proc/{one}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
    return total
