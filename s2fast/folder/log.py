"""run.log: the commands run on a folder, their times and their outcomes."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from s2fast.errors import RunFolderError, S2FastError, UnexpectedError
from s2fast.files.redaction import PublicFormatter, public
from s2fast.folder.run_folder import RunFolder
from s2fast.work.library_warnings import LOGGERS
from s2fast.work.progress import Bar, Progress

NAME = "run.log"

_MOST_BYTES = 1_000_000
"""Maximum size of the log; the oldest lines are cut off."""

_FORMAT = "%(asctime)sZ %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


class RunLog(logging.Handler):
    """Buffers log messages and appends them to the run folder's log, local or in an object store.

    Nothing is written until `save` is called, so that a folder of another job is never changed.

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
        self.started = False

    def emit(self, record: logging.LogRecord) -> None:
        """Buffer a message until the next `save`."""
        self._lines.append(self.format(record))

    def append(self, text: str) -> None:
        """Buffer text that is shown nowhere else until the next `save`."""
        self._lines.append(public(text.rstrip()))

    def save(self) -> None:
        """Append the buffered lines to the folder's log."""
        if not self._lines:
            return
        self.started = True
        folder = RunFolder(self._out)
        try:
            before = folder.read(NAME)
        except FileNotFoundError:
            before = b""
        lines, self._lines = self._lines, []
        folder.write(NAME, (before + "".join(f"{line}\n" for line in lines).encode())[-_MOST_BYTES:])


RECORDED = {"recorded": True}
"""The ``extra`` of a warning that run.json and the report already show in a field of its own."""


class WarningCollector(logging.Handler):
    """Collects distinct warnings, to store them with the results."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(PublicFormatter("%(message)s"))
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning, unless it is a duplicate or is recorded elsewhere."""
        text = self.format(record)
        if not getattr(record, "recorded", False) and text not in self.messages:
            self.messages.append(text)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the warnings logged while the block runs."""
    handler = WarningCollector()
    logging.getLogger("s2fast").addHandler(handler)
    try:
        yield handler.messages
    finally:
        logging.getLogger("s2fast").removeHandler(handler)


class LoggedProgress(Progress):
    """Logs each stage and forwards to another progress display; saves the log when a stage starts and ends.

    Parameters
    ----------
    display
        The progress display to forward to.
    run_log
        The run's log.
    """

    def __init__(self, display: Progress, run_log: RunLog) -> None:
        self._display = display
        self._run_log = run_log

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:
        """Show a stage; see `Progress`."""
        start = time.monotonic()
        log.info("%s: %d to do, %d up to date", name, todo, kept)
        self._run_log.save()
        with self._display.stage(name, todo, kept) as bar:
            yield bar
        log.info("%s: ended after %.1f s", name, time.monotonic() - start)
        self._run_log.save()

    def print_line(self, text: str) -> None:
        """Log a line and print it."""
        log.info("%s", text)
        self._run_log.save()
        self._display.print_line(text)


@contextmanager
def logged(out: str, display: Progress) -> Iterator[LoggedProgress]:
    """Log to the run folder while the block runs, including the error that ends it.

    A block that fails before its first stage writes no log.
    """
    own_logger = logging.getLogger("s2fast")
    loggers = [own_logger, *map(logging.getLogger, LOGGERS)]
    run_log = RunLog(out)
    before = own_logger.level
    for logger in loggers:
        logger.addHandler(run_log)
    own_logger.setLevel(logging.INFO)
    try:
        yield LoggedProgress(display, run_log)
    except S2FastError as error:
        log.info("ended with an error: %s", error)  # not logged as an error: the command line prints it
        raise
    except Exception as error:
        if not run_log.started:
            raise
        run_log.append(traceback.format_exc())
        raise UnexpectedError(error, f"{out}/{NAME}") from error
    finally:
        for logger in loggers:
            logger.removeHandler(run_log)
        own_logger.setLevel(before)
        if run_log.started:
            _save_last(run_log, out)


def _save_last(run_log: RunLog, out: str) -> None:
    """Save the last lines; only warn on failure, so that the run's own outcome is kept."""
    try:
        run_log.save()
    except RunFolderError as error:
        log.warning("the end of %s is missing: %s", NAME, error)
    # Remove the partial file of a failed write: the run swept the folder before this one.
    RunFolder(out).sweep()
