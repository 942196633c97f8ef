"""Control-C exits a run immediately, whatever it is computing; so do the signals that end a job or close a terminal.

A Python signal handler runs only between bytecodes, so a kernel, or a pool that shuts down in order, may delay it for
minutes. Instead, Python's C-level handler writes a byte to a wake-up socket, and a thread reading from it exits the
process. Completed results are kept; local workers exit with their parent process.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from s2fast.files.temporary import remove_folders

EXIT_INTERRUPTED = 130

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a run; ``nohup`` and programs that embed s2fast decide for themselves."""

_SHOW_CURSOR = "\x1b[?25h"
"""Terminal sequence that restores the cursor, which a progress bar may have hidden."""

_IGNORE_LEAKS = "ignore:resource_tracker:UserWarning"
"""Warning filter that silences resource_tracker about semaphores leaked by killed workers."""


@contextmanager
def exiting_on_interrupt(farewell: str) -> Iterator[None]:
    """Exit the process at once on Control-C (code 130), SIGTERM (143) or SIGHUP (129) while the block runs.

    Main thread only.

    Parameters
    ----------
    farewell
        Text to print to standard error before exiting.
    """
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    threading.Thread(target=_wait, args=(woken, farewell), daemon=True).start()
    # The wake-up byte is written only for signals that have a Python handler.
    before = {
        number: signal.signal(number, lambda *_: None)
        for number in _ENDING
        if number == signal.SIGINT or signal.getsignal(number) == signal.SIG_DFL
    }
    warnings = os.environ.get("PYTHONWARNINGS", "")
    os.environ["PYTHONWARNINGS"] = f"{warnings},{_IGNORE_LEAKS}".lstrip(",")
    descriptor = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        os.environ["PYTHONWARNINGS"] = warnings
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        waker.close()


def _wait(woken: socket.socket, farewell: str) -> None:
    while byte := woken.recv(1):
        if byte[0] in _ENDING:
            with suppress(OSError):  # the terminal may be closed
                cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
                os.write(2, f"{cursor}\n{farewell}\n".encode())
            remove_folders()
            os._exit(128 + byte[0])
    woken.close()
