"""Control-C ends a run at once, whatever it is computing.

A Python signal handler waits until the interpreter has its turn, which a kernel, or a pool that shuts down in good
order, may put off for minutes. The system's own handler writes a byte instead, and a thread that waits for it ends the
process. What was complete stays; local workers end with the process they belong to.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_INTERRUPTED = 130

_SHOW_CURSOR = "\x1b[?25h"
"""A progress bar may have hidden it."""

_QUIET = "ignore:resource_tracker:UserWarning"
"""Workers that end so leave semaphores to Python's tracker, which frees them and need not say so."""


@contextmanager
def ending_at_once(farewell: str) -> Iterator[None]:
    """End the process with exit code 130 when Control-C comes while the block runs; only for the main thread.

    Parameters
    ----------
    farewell
        The last line on standard error.
    """
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    threading.Thread(target=_wait, args=(woken, farewell), daemon=True).start()
    # Without a handler of Python's the system would not write the byte.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    warnings = os.environ.get("PYTHONWARNINGS", "")
    os.environ["PYTHONWARNINGS"] = f"{warnings},{_QUIET}".lstrip(",")
    descriptor = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        os.environ["PYTHONWARNINGS"] = warnings
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGINT, before)
        waker.close()


def _wait(woken: socket.socket, farewell: str) -> None:
    while byte := woken.recv(1):
        if byte[0] == signal.SIGINT:
            cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
            os.write(2, f"{cursor}\n{farewell}\n".encode())
            os._exit(EXIT_INTERRUPTED)
    woken.close()
