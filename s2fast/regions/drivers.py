"""Which of GDAL's vector drivers may open a file: pyogrio has no parameter for them, so its registry is restricted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import RLock

import pyogrio
from pyogrio import _ogr

_ONE_AT_A_TIME = RLock()


@contextmanager
def only_drivers(names: Collection[str]) -> Iterator[None]:
    """Let pyogrio open files with these drivers alone; afterwards it has all its drivers again.

    GDAL asks each registered driver whether it knows a file, and goes on to the next when one fails. A file may look
    like one format to s2fast and be another to a driver that reads other files or asks servers.

    Parameters
    ----------
    names
        GDAL's short names of drivers. A build that lacks all of them opens nothing.
    """
    with _ONE_AT_A_TIME:
        every = list(pyogrio.list_drivers())
        _register(without=[name for name in every if name not in names])
        try:
            yield
        finally:
            _register(without=every)  # so that they come back in GDAL's own order
            _register()


def _register(without: Collection[str] = ()) -> None:
    """Register all drivers, then remove some; takes a millisecond."""
    before = pyogrio.get_gdal_config_option("GDAL_SKIP")
    pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(without) or None})
    try:
        _ogr._register_drivers()
    finally:
        pyogrio.set_gdal_config_options({"GDAL_SKIP": before})
