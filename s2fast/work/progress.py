"""Progress on standard error: one bar per stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from s2fast.arguments import wrong_type
from s2fast.errors import InputError
from s2fast.files.legible import legible

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_PLAIN_INTERVAL_S = 10.0
"""Time between two lines of progress where there is no terminal [s]."""


class Bar:
    """Progress of one stage; this base class displays nothing."""

    def advance(self) -> None:
        """Count one unit as done."""


class Progress:
    """Progress of a run; this base class displays nothing."""

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage with `todo` units to compute and `kept` units reused."""
        del name, todo, kept
        yield Bar()

    def print_line(self, text: str) -> None:
        """Print a line."""


class CalledProgress(Progress):
    """Calls a function with the stage, the units done and their total, at a stage's begin and after each unit."""

    def __init__(self, call: Callable[[str, int, int], object]) -> None:
        self._call = call

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage; see `Progress`."""
        del kept
        self._call(name, 0, todo)
        yield _CallingBar(self._call, name, todo)


class _CallingBar(Bar):
    def __init__(self, call: Callable[[str, int, int], object], name: str, todo: int) -> None:
        self._call, self._name, self._todo, self._done = call, name, todo, 0

    def advance(self) -> None:
        self._done += 1
        self._call(self._name, self._done, self._todo)


class PlainProgress(Progress):
    """Prints a line when a stage starts, about every ten seconds while it runs, and when it ends."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage; see `Progress`."""
        if todo == 0:
            self.print_line(f"{name}: nothing to do, {kept} up to date")
            yield Bar()
            return
        bar = _PlainBar(self, name, todo)
        self.print_line(f"{name}: {todo} to do" + (f", {kept} up to date" if kept else ""))
        with bar:
            yield bar
        self.print_line(f"{name}: {bar.done} done in {bar.seconds:.1f} s")

    def print_line(self, text: str) -> None:
        """Print a line."""
        # A closed pipe or a full disk must not stop the run.
        with suppress(OSError):
            print(legible(text), file=self._stream, flush=True)


class _PlainBar(Bar):
    """Counts units; a thread prints how many are done, also while a single unit takes long."""

    def __init__(self, progress: PlainProgress, name: str, todo: int) -> None:
        self._progress, self._name, self._todo = progress, name, todo
        self.done = 0
        self._start = self._first_done = time.monotonic()
        self._ended = threading.Event()
        self._printer = threading.Thread(target=self._print, daemon=True, name="s2fast-progress")

    def __enter__(self) -> None:
        self._printer.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._printer.join()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def advance(self) -> None:
        self.done += 1
        if self.done == 1:
            self._first_done = time.monotonic()

    def _print(self) -> None:
        while not self._ended.wait(_PLAIN_INTERVAL_S):
            if self.done < self._todo:
                so_far = f", {duration_text(self.seconds)} so far" if self.done < 2 else ""
                self._progress.print_line(f"{self._name}: {self.done} of {self._todo}{so_far}{self._pace()}")

    def _pace(self) -> str:
        # The first unit includes compilation time, so the rate is measured from its end.
        seconds = time.monotonic() - self._first_done
        if self.done < 2 or not seconds:
            return ""
        rate = (self.done - 1) / seconds
        return f", {rate_text(rate)}, {duration_text((self._todo - self.done) / rate)} left"


def rate_text(per_second: float) -> str:
    """Format a rate, per second or per minute.

    Examples
    --------
    >>> rate_text(25.8), rate_text(0.05)
    ('25.8/s', '3.0/min')
    """
    if per_second >= 100:
        return f"{per_second:,.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{60 * per_second:.1f}/min"


def duration_text(seconds: float) -> str:
    """Format a duration.

    Examples
    --------
    >>> duration_text(8.2), duration_text(95), duration_text(7_300)
    ('8 s', '1 min 35 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class TerminalProgress(Progress):
    """One bar per stage, with count, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage; see `Progress`."""
        if todo == 0:
            self.print_line(f"{name}: nothing to do, {kept} up to date")
            yield Bar()
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeElapsedColumn(),
        )
        with RichProgress(*columns, console=self._console) as display:
            yield _TerminalBar(display, display.add_task(name, total=todo, pace=""))

    def print_line(self, text: str) -> None:
        """Print a line."""
        self._console.print(legible(text), highlight=False, markup=False)


class _TerminalBar(Bar):
    def __init__(self, display: RichProgress, task: TaskID) -> None:
        self._display, self._task = display, task

    def advance(self) -> None:
        self._display.update(self._task, advance=1)
        task = self._display.tasks[self._task]
        speed = task.finished_speed or task.speed
        left = f", {duration_text(task.remaining / speed)} left" if speed and task.remaining else ""
        self._display.update(self._task, pace=f"{rate_text(speed)}{left}" if speed else "")


def print_where_seen(text: str) -> None:
    """Print a line on a terminal, to standard error, and in a notebook; print nothing elsewhere."""
    if "ipykernel" in sys.modules:
        print(text, flush=True)  # noqa: T201  below the cell, where standard error would look like a failure
    elif sys.stderr.isatty():
        PlainProgress().print_line(text)


def progress_of(asked: bool | Callable[[str, int, int], object] | Progress) -> Progress:
    """Return the progress display of the Python API: True shows it on a terminal and in a notebook, False nowhere."""
    if isinstance(asked, Progress):
        return asked  # a command's own
    if callable(asked):
        return CalledProgress(asked)
    if not isinstance(asked, bool):
        raise InputError(wrong_type("progress", asked, "True, False, or a function of stage, done and total"))
    if asked and "ipykernel" in sys.modules:
        return PlainProgress(sys.stdout)  # below the cell, where standard error would look like a failure
    return TerminalProgress() if asked and sys.stderr.isatty() else Progress()


def progress_for_stderr() -> Progress:
    """Return a progress display for standard error: bars on a terminal, lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()
