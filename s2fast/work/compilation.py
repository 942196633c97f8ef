"""Compile the kernels that a new machine lacks, in processes of their own, beside other work.

The processes are started from the command line: forks would inherit locks of threads, and spawned processes would run a
caller's script again. Each gets the names of modules through its input, one at a time, and ends when its input does:
also if this process is killed. All they leave is compiled code on disk.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TextIO, cast

from s2fast.files.legible import counted
from s2fast.work.executors import Workplace
from s2fast.work.progress import Progress
from s2fast_kernels import compiled
from s2fast_kernels.machine import available_cores

log = logging.getLogger(__name__)

MODULES = (
    "s2fast_kernels.akaze.numba_describe",
    "s2fast_kernels.akaze.numba_scale_space",
    "s2fast.geometry.compiled_votes",
    "s2fast.geometry.compiled_fit",
    "s2fast_kernels.window_matches.numba_cpu",
    "s2fast_kernels.akaze.numba_detect",
    "s2fast_kernels.akaze.numba_forecast",
    "s2fast_kernels.akaze.numba_masks",
    "s2fast_kernels.akaze.numba_suppress",
    "s2fast.image.compiled_pattern",
    "s2fast.image.compiled_ground",
    "s2fast.image.compiled_outlines",
    "s2fast.geometry.compiled_repetition",
    "s2fast.geometry.compiled_nearby",
    "s2fast_kernels.akaze.numba_contrast",
)
"""Modules whose functions the default job calls, those that take longest to compile first."""

EXHAUSTIVE_MODULES = ("s2fast_kernels.hamming_top2.numba_cpu", "s2fast_kernels.hamming_top2_both.numba_cpu")
"""Modules whose functions an exhaustive search calls, which the default job does not need."""

FIND_MODULES = (
    "s2fast_kernels.hamming_window_top2.numba_cpu",
    *EXHAUSTIVE_MODULES,
    *(module for module in MODULES if module.startswith("s2fast_kernels.akaze.")),
)
"""Modules whose functions the search for a picture in an index calls."""

SYNTH_MODULES = ("s2fast.synth.ground", "s2fast.synth.clearings", "s2fast.synth.atmosphere")
"""Modules whose functions draw a synthetic archive."""

_NAME = "compile"
"""The stage that waits for it."""

_MOST_PROCESSES = 4
"""More would wait for the longest module; each takes up to 0.3 GB of memory."""

_POLL_S = 0.25
"""Maximum time to look again whether a process has ended [s]."""

_PATIENCE_S = 120.0
"""Maximum time to wait for other machines [s]."""

_DONE, _FAILED = "done", "failed"


def missing_modules(modules: Iterable[str] = MODULES) -> list[str]:
    """Return those of the modules that are not compiled for this processor."""
    return [module for module in modules if not compiled.is_compiled(module)]


class Compilation:
    """The compilation of modules in processes of their own.

    Parameters
    ----------
    modules
        Modules to compile.
    threads
        Maximum number of processes.
    """

    def __init__(self, modules: Iterable[str], threads: int) -> None:
        self._left: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.todo = 0
        for module in modules:
            self._left.put(module)
            self.todo += 1
        self.done = 0
        self.failure = ""
        """The reason why a module is not compiled; empty: there is none."""
        self._changed = threading.Condition()
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        try:
            for _ in range(min(self.todo, threads, _MOST_PROCESSES)):
                self._processes.append(_started_process())
        except OSError as error:  # no memory, or too many processes
            self.failure = str(error)
        for process in self._processes:
            thread = threading.Thread(target=self._feed, args=(process,), daemon=True, name="s2fast-compilation")
            self._threads.append(thread)
            thread.start()

    def _feed(self, process: subprocess.Popen[str]) -> None:
        """Let a process compile module after module until none is left."""
        names, outcomes = cast("TextIO", process.stdin), cast("TextIO", process.stdout)
        with process, suppress(OSError):
            while True:
                try:
                    module = self._left.get_nowait()
                except queue.Empty:
                    break
                print(module, file=names, flush=True)
                outcome, _, reason = outcomes.readline().rstrip("\n").partition(" ")
                if outcome != _DONE:
                    self.failure = reason or f"the process for {module} was killed"
                    break
                with self._changed:
                    self.done += 1
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait(self, advance: Callable[[], None] = lambda: None) -> None:
        """Wait until all is compiled or has failed; call a function once per finished module."""
        shown = 0
        with self._changed:
            while shown < self.done or any(thread.is_alive() for thread in self._threads):
                if shown < self.done:
                    shown += 1
                    advance()
                else:
                    self._changed.wait(_POLL_S)

    def close(self) -> None:
        """Kill processes that still run."""
        while True:
            try:
                self._left.get_nowait()
            except queue.Empty:
                break
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()


def _started_process() -> subprocess.Popen[str]:
    # What numba builds for a function is dropped soon; looking for garbage takes a tenth of the time.
    program = f"import gc; gc.disable(); from {__name__} import serve; serve()"
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(place or str(Path.cwd()) for place in sys.path)},
    )


def serve() -> None:
    """Compile the modules named on standard input and print the outcome of each; the main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Nothing else may be printed between the outcomes.
    outcomes = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    modules: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(modules,), daemon=True).start()
    while True:
        module = modules.get()
        try:
            compiled.compile_module(module)
        except Exception as error:  # the run compiles it again, and raises the error if it is one of the kernel
            print(_FAILED, f"{module}: {error}".replace("\n", " "), file=outcomes, flush=True)
        else:
            print(_DONE, module, file=outcomes, flush=True)


def _read(modules: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        modules.put(line.rstrip("\n"))
    os._exit(0)  # the run needs nothing more, or has ended


def compile_missing(modules: Iterable[str]) -> None:
    """Compile the missing modules with all cores; for workers on other machines."""
    if compiled.is_kept():
        compilation = Compilation(missing_modules(modules), available_cores())
        try:
            compilation.wait()
        finally:
            compilation.close()


class AnnouncedCompilation:
    """The compilation of this machine's missing kernels; nothing if no kernel is missing.

    A line is printed when it begins; the wait for it is a stage.

    Parameters
    ----------
    progress
        Where to print.
    threads
        Maximum number of processes; 0: one per core.
    modules
        Modules that are needed.
    """

    def __init__(self, progress: Progress, threads: int = 0, modules: Iterable[str] = MODULES) -> None:
        self._progress = progress
        self._compilation: Compilation | None = None
        missing = missing_modules(modules)
        if not missing:
            return
        if not compiled.is_kept():
            compiled.warn_unkept("the folder is not writable")
            return
        progress.print_line(f"compiling kernels, once for this machine: {counted(len(missing), 'module')}")
        self._compilation = Compilation(missing, threads or available_cores())

    @property
    def begun(self) -> bool:
        """Whether anything is missing and being compiled."""
        return self._compilation is not None

    def wait(self) -> None:
        """Wait until all is compiled; print how far it is."""
        compilation, self._compilation = self._compilation, None
        if compilation is None:
            return
        try:
            with self._progress.stage(_NAME, compilation.todo, 0) as bar:
                compilation.wait(bar.advance)
        finally:
            compilation.close()
        if compilation.failure:
            log.warning("kernels are compiled while the run needs them: %s", compilation.failure)

    def close(self) -> None:
        """End what still runs."""
        if self._compilation is not None:
            self._compilation.close()
            self._compilation = None


def begin_compiling(workplace: Workplace, progress: Progress, modules: Sequence[str]) -> Callable[[], None]:
    """Begin to compile the modules that the workplace's machines lack; return a function that ends this.

    The workplace's ``wait_for_kernels`` waits for it.
    """
    hosts = workplace.submit_to_hosts(partial(compile_missing, modules))
    if hosts is None:
        compilation = AnnouncedCompilation(progress, workplace.threads * workplace.slots, modules)
        workplace.wait_for_kernels, workplace.compiles = compilation.wait, compilation.begun
        return compilation.close
    workplace.wait_for_kernels = lambda: _wait_for_hosts(hosts)
    return lambda: None


def _wait_for_hosts(hosts: list[Future[None]]) -> None:
    """Wait until the machines are ready; those that fail or take too long compile when they need kernels."""
    if left := wait(hosts, timeout=_PATIENCE_S).not_done:
        log.info("%d of %d machines did not compile all kernels beforehand", len(left), len(hosts))
