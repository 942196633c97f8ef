"""No search for garbage while a process imports what it will run, nor when it ends.

Imports drop little, and an ending interpreter looks for garbage several times in all that was imported.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_state = {"suspended": False}


def suspend_collection() -> None:
    """Suspend garbage collection until `resume_collection`, in a process that ends with its work."""
    _state["suspended"] = True
    gc.disable()
    atexit.register(gc.freeze)


def resume_collection() -> None:
    """Leave what was loaded so far out of garbage collection, and go on with it; do nothing if it was not suspended."""
    if _state["suspended"]:
        _state["suspended"] = False
        gc.freeze()
        gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """Suspend garbage collection within a part of a process, and leave what was imported out of it afterwards."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if running:
            gc.enable()
