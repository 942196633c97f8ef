"""Standard streams that are closed, full, or have lost their reader."""

from __future__ import annotations

import errno
import os
import sys
from typing import TextIO


def open_missing() -> None:
    """Open the null device in place of standard streams that are closed.

    Else the next files opened take their numbers, and what a library prints lands in them.
    """
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


def flushed(stream: TextIO) -> str | None:
    """Flush a stream for the last time; return why it cannot be written, None if it can or nobody reads it any more."""
    try:
        stream.flush()
    except OSError as error:
        # What is left in the stream would fail once more when Python ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return None if error.errno == errno.EPIPE else error.strerror
    except ValueError:
        pass  # closed by whoever called us
    return None


def full(error: Exception | None) -> str | None:
    """Return why a stream could not be written if that is what an error says: it names no file; else None."""
    if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return error.strerror
    return None
