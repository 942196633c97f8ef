"""Handle standard streams that are closed, full, or connected to a closed pipe."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import sys
import textwrap
from contextlib import suppress
from typing import TextIO

import typer

from s2fast.files.legible import legible


def open_missing_streams() -> None:
    """Open the null device in place of closed standard streams, and let the output show any name.

    Otherwise the next files opened would get their descriptors, and receive what libraries print.
    """
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and out.errors == "strict" and out.encoding.lower() not in ("utf-8", "utf8"):
        out.reconfigure(errors="backslashreplace")  # letters that a terminal lacks are shown by their numbers


def final_flush(stream: TextIO) -> str | None:
    """Flush a stream for the last time; return the reason of a failure, or None on success and for a closed pipe."""
    try:
        stream.flush()
    except OSError as error:
        # The remaining buffer would fail again when Python exits: discard it.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return None if error.errno == errno.EPIPE else error.strerror
    except ValueError:
        pass  # closed by the calling program
    return None


def stream_failure(error: Exception | None) -> str | None:
    """Return the reason if an error is a failed write to standard output, that is, names no file; otherwise None."""
    if not isinstance(error, OSError) or error.filename is not None:
        return None
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) and _is_file(sys.stdout)
    return error.strerror if is_full or error.errno == errno.EIO else None


def _is_file(stream: TextIO) -> bool:
    """Return whether a stream goes to a file, or a device that may be full; pipes and terminals never are."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not stream.isatty())


def print_line(*lines: str, err: bool = False, indent: str | None = None) -> None:
    """Print a line, or several, each `legible`; ignore a closed pipe or a full disk.

    Parameters
    ----------
    lines
        The lines.
    err
        Print to standard error.
    indent
        What stands before the rest of a line that is too long for the terminal, see `on_terminal`; None: two spaces on
        standard error, and lines of standard output are not broken.
    """
    text, stream = "\n".join(map(legible, lines)), sys.stderr if err else sys.stdout
    if err or indent is not None:
        text = on_terminal(text, stream, "  " if indent is None else indent)
    with suppress(OSError):
        typer.echo(text, err=err)


_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|(?:m|km|px|s|min|MB|MiB)\b))")


def on_terminal(text: str, stream: TextIO, indent: str) -> str:
    """Return a text that a terminal breaks neither within words nor before units; as it is for any other stream."""
    if not stream.isatty():
        return text
    width = max(1, shutil.get_terminal_size().columns)
    below = indent[: width // 2]
    lines = (
        textwrap.fill(line, width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)
        for line in _BEFORE_UNIT.sub("\0", text).split("\n")
    )
    return "\n".join(lines).replace("\0", " ")
