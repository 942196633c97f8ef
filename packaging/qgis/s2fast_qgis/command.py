"""Call the command s2fast from QGIS; nothing here needs QGIS."""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

_OF_QGIS = (
    "PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA", "QT_PLUGIN_PATH",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
)  # fmt: skip
"""Variables that QGIS sets for its own Python, GDAL and PROJ; those of s2fast are others."""

_PROGRESS = re.compile(r"\w+: (\d+) of (\d+)\b")

LEFT_OUT = 3
"""Exit code of a success that has left something out."""

_POLL_S = 0.2


class CommandError(Exception):
    """The command cannot be called, has failed, or was cancelled."""


def found(command: str) -> str:
    """Return the path of the command; raise CommandError if there is none."""
    path = shutil.which(command)
    if path is None:
        raise CommandError(
            f"There is no command {command}: install s2fast, or set its path in Settings, Options, Processing, "
            "Providers, s2fast"
        )
    return path


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for the command: those of QGIS, without what only QGIS's own Python may read."""
    return {name: value for name, value in inherited.items() if name not in _OF_QGIS}


def lines(arguments: Sequence[str], is_cancelled: Callable[[], bool]) -> Iterator[str]:
    """Call the command; yield the lines that it prints, as it prints them.

    Parameters
    ----------
    arguments
        Path of the command, and its arguments.
    is_cancelled
        Asked five times a second; the command is then ended. What it has finished stays, and the same call goes on.

    Raises
    ------
    CommandError
        The command has failed, with the reason that it gives; or was cancelled. An exit code below 2, or `LEFT_OUT`, is
        no failure.
    """
    with subprocess.Popen(  # noqa: S603  the user's own command
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, encoding="utf-8",
        errors="replace", env=environment(os.environ),
    ) as process:  # fmt: skip
        printed: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            for line in process.stdout or ():
                printed.put(line.rstrip())
            printed.put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        last = ""
        try:
            while True:
                try:
                    line = printed.get(timeout=_POLL_S)
                except queue.Empty:
                    line = ""
                if is_cancelled():
                    raise CommandError("cancelled; the same call goes on with what is left")
                if line is None:
                    break
                if line:
                    last = line
                    yield line
        except BaseException:
            process.terminate()
            raise
        finally:
            reader.join()
    if process.returncode not in (0, 1, LEFT_OUT):
        told = last.removeprefix("s2fast: error: ")
        raise CommandError(told or f"{arguments[0]} ended with exit code {process.returncode}")
    if process.returncode == LEFT_OUT:
        yield "s2fast: some scenes or polygons were left out, see above"


def percent(line: str) -> float | None:
    """Return how much of a stage is done by a line of progress [%]; None: the line is another.

    Examples
    --------
    >>> percent("ingest: 6 of 12, 23.7/min, 15 s left"), percent("12 scenes, 66 pairs")
    (50.0, None)
    """
    match = _PROGRESS.match(line)
    return 100 * int(match[1]) / int(match[2]) if match and int(match[2]) else None


def is_serious(line: str) -> bool:
    """Return whether a line is a warning, or says what was left out."""
    return line.startswith("s2fast: ") and not line.startswith("s2fast: error: ")
