"""run.log: what was asked of a run folder, when, and how it went."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from s2fast.errors import RunFolderError, S2FastError, UnexpectedError
from s2fast.files.redaction import PublicFormatter, public
from s2fast.folder.run_folder import RunFolder
from s2fast.work.progress import Bar, Progress

NAME = "run.log"

_MOST_BYTES = 1_000_000
"""Older lines than these fall off: a log must not grow for ever."""

_FORMAT = "%(asctime)sZ %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


class RunLog(logging.Handler):
    """Gathers what is logged and adds it to the run folder's log, local or in an object store.

    Nothing is written before `save` is called: a folder that turns out not to be the run's stays as it was.

    Parameters
    ----------
    out
        The run folder.
    """

    def __init__(self, out: str) -> None:
        super().__init__(logging.INFO)
        formatter = PublicFormatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self._out = out
        self._lines: list[str] = []
        self.begun = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line until the next `save`."""
        self._lines.append(self.format(record))

    def keep(self, text: str) -> None:
        """Keep a text that is for the log alone until the next `save`."""
        self._lines.append(public(text.rstrip()))

    def save(self) -> None:
        """Write what was gathered behind what the folder's log holds."""
        if not self._lines:
            return
        self.begun = True
        folder = RunFolder(self._out)
        try:
            before = folder.read(NAME)
        except FileNotFoundError:
            before = b""
        lines, self._lines = self._lines, []
        folder.write(NAME, (before + "".join(f"{line}\n" for line in lines).encode())[-_MOST_BYTES:])


RECORDED = {"recorded": True}
"""The ``extra`` of a warning that run.json and the page tell in a place of its own."""


class Noticed(logging.Handler):
    """Gathers warnings, each once, for whoever reads the results and never saw the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(PublicFormatter("%(message)s"))
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        text = self.format(record)
        if not getattr(record, "recorded", False) and text not in self.told:
            self.told.append(text)


@contextmanager
def noticed() -> Iterator[list[str]]:
    """Gather what is warned of while the block runs."""
    handler = Noticed()
    logging.getLogger("s2fast").addHandler(handler)
    try:
        yield handler.told
    finally:
        logging.getLogger("s2fast").removeHandler(handler)


class LoggedProgress(Progress):
    """Shows progress as another does, and logs each stage; the log is saved where a stage begins and ends.

    Parameters
    ----------
    shown
        What shows it.
    run_log
        The run's log.
    """

    def __init__(self, shown: Progress, run_log: RunLog) -> None:
        self._shown = shown
        self._run_log = run_log

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage; see `Progress`."""
        start = time.monotonic()
        log.info("%s: %d to do, %d up to date", name, todo, kept)
        self._run_log.save()
        with self._shown.stage(name, todo, kept) as bar:
            yield bar
        log.info("%s: ended after %.1f s", name, time.monotonic() - start)
        self._run_log.save()

    def say(self, text: str) -> None:
        """Show a line."""
        log.info("%s", text)
        self._run_log.save()
        self._shown.say(text)


@contextmanager
def logged(out: str, shown: Progress) -> Iterator[LoggedProgress]:
    """Log to the run folder while the block runs; what ends it is the log's last line.

    A block that fails before its first stage leaves no log: nothing is to be written then.
    """
    ours, of_python = logging.getLogger("s2fast"), logging.getLogger("py.warnings")
    run_log = RunLog(out)
    before = ours.level
    ours.addHandler(run_log)
    of_python.addHandler(run_log)
    ours.setLevel(logging.INFO)
    try:
        yield LoggedProgress(shown, run_log)
    except S2FastError as error:
        log.info("ended with an error: %s", error)  # the command line shows it as one line
        raise
    except Exception as error:
        if not run_log.begun:
            raise
        run_log.keep(traceback.format_exc())
        raise UnexpectedError(error, f"{out}/{NAME}") from error
    finally:
        ours.removeHandler(run_log)
        of_python.removeHandler(run_log)
        ours.setLevel(before)
        if run_log.begun:
            _save_last(run_log, out)


def _save_last(run_log: RunLog, out: str) -> None:
    """Save the last lines; where there is no room for them, how the run itself ended is what matters."""
    try:
        run_log.save()
    except RunFolderError as error:
        log.warning("the end of %s is missing: %s", NAME, error)
    # The run has swept its folder already.
    RunFolder(out).sweep()
