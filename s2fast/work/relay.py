"""Bring what is logged in other processes to the loggers of the process that waits for their results."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from s2fast.work.library_warnings import LOGGERS

_NAMES = ("s2fast", *LOGGERS)

_running: set[int] = set()
"""Threads of this process that run units: a worker may run several at once."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A warning or an error that was logged."""

    logger: str
    """Name of the logger."""
    level: int
    """See `logging`."""
    message: str
    """The text."""


class _Keeper(logging.Handler):
    """Keeps what a unit logs, in its thread or in one that it has started."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._unit = threading.get_ident()
        self.kept: list[Logged] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._unit or record.thread not in _running:
            self.kept.append(Logged(record.name, record.levelno, record.getMessage()))


def with_logged(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[Logged]]:
    """Call a function; return its result and what was logged meanwhile."""
    keeper, thread = _Keeper(), threading.get_ident()
    loggers = [logging.getLogger(name) for name in _NAMES]
    for logger in loggers:
        logger.addHandler(keeper)
    _running.add(thread)
    try:
        return function(*arguments), keeper.kept
    finally:
        _running.discard(thread)
        for logger in loggers:
            logger.removeHandler(keeper)


def log_again(records: Iterable[Logged]) -> None:
    """Log here what was logged elsewhere."""
    for record in records:
        logging.getLogger(record.logger).log(record.level, "%s", record.message)
