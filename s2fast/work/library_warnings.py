"""Warnings of libraries belong in run.log; the terminal has a line of s2fast's own for what a user can act on."""

from __future__ import annotations

import logging

LOGGERS = ("py.warnings", "rasterio", "matplotlib")
"""Loggers of Python's own warnings, of what GDAL says while rasterio reads, and of Matplotlib, about its caches."""


def keep_off_the_terminal() -> None:
    """Pass no library's warning on to the handlers of this process's root logger."""
    logging.captureWarnings(True)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
