"""Progress on standard error: a bar a stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_PLAIN_INTERVAL_S = 10.0


class Bar:
    """Progress of one stage; this one shows nothing."""

    def advance(self) -> None:
        """Count one unit as done."""


class Progress:
    """Shows nothing; what the Python API uses."""

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage that has `todo` units to compute and found `kept` done."""
        del name, todo, kept
        yield Bar()

    def say(self, text: str) -> None:
        """Show a line."""


class PlainProgress(Progress):
    """Lines: one when a stage starts, one every ten seconds, one when it ends."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage; see `Progress`."""
        if todo == 0:
            self.say(f"{name}: nothing to do, {kept} up to date")
            yield Bar()
            return
        bar = _PlainBar(self, name, todo)
        self.say(f"{name}: {todo} to do" + (f", {kept} up to date" if kept else ""))
        yield bar
        self.say(f"{name}: {bar.done} done in {bar.seconds:.1f} s")

    def say(self, text: str) -> None:
        """Show a line."""
        print(text, file=self._stream, flush=True)


class _PlainBar(Bar):
    def __init__(self, progress: PlainProgress, name: str, todo: int) -> None:
        self._progress, self._name, self._todo = progress, name, todo
        self.done = 0
        self._start = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def advance(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self._said >= _PLAIN_INTERVAL_S:
            self._said = now
            left = self.seconds / self.done * (self._todo - self.done)
            rate = self.done / self.seconds
            self._progress.say(f"{self._name}: {self.done} of {self._todo}, {rate:.1f}/s, {left:.0f} s left")


class TerminalProgress(Progress):
    """A bar a stage, with count, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage; see `Progress`."""
        if todo == 0:
            self.say(f"{name}: nothing to do, {kept} up to date")
            yield Bar()
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console) as display:
            yield _TerminalBar(display, display.add_task(name, total=todo, rate=""))

    def say(self, text: str) -> None:
        """Show a line."""
        self._console.print(text, highlight=False, markup=False)


class _TerminalBar(Bar):
    def __init__(self, display: RichProgress, task: TaskID) -> None:
        self._display, self._task = display, task

    def advance(self) -> None:
        task = self._display.tasks[self._task]
        speed = task.finished_speed or task.speed
        self._display.update(self._task, advance=1, rate=f"{speed:.1f}/s" if speed else "")


def progress_for_stderr() -> Progress:
    """Choose bars on a terminal, lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()
