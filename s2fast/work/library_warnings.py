"""Warnings of libraries belong in run.log; the terminal has a line of s2fast's own for what a user can act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("py.warnings", "rasterio", "matplotlib")
"""Loggers of Python's own warnings, of what GDAL says while rasterio reads, and of Matplotlib, about its caches."""


def keep_off_the_terminal() -> None:
    """Pass no library's warning on to the handlers of this process's root logger."""
    logging.captureWarnings(True)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())


@contextmanager
def no_warnings_of_threads() -> Iterator[None]:
    """Silence the warning about rasters without georeferencing, for threads that open some.

    Whoever opens a raster silences it for a moment, which threads undo for each other.
    """
    from rasterio.errors import NotGeoreferencedWarning  # the command line imports this module, but no rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
