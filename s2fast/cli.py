"""The command line: registers all commands, and turns every error into one line."""

from __future__ import annotations

import gc
import logging
import os
import sys

# Each adds its commands.
from s2fast.commands import drawing, fetching, first_steps, results, retrieval, running  # noqa: F401
from s2fast.commands.app import EXIT_BAD_INPUT, app, only_asked, print_line

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; on an error print one line to standard error and exit with code 2."""
    from s2fast.errors import S2FastError, cli_wording
    from s2fast.files.legible import legible
    from s2fast.files.redaction import PublicFormatter, public
    from s2fast.work.library_warnings import keep_off_the_terminal
    from s2fast.work.streams import final_flush, open_missing_streams, stream_failure

    # Systems of a hundred unknowns take many times the CPU time on several threads. NumPy reads this when imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    open_missing_streams()
    terminal = logging.StreamHandler()
    # run.log also records INFO messages; see s2fast/folder/log.py.
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(PublicFormatter("s2fast: %(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[terminal])
    keep_off_the_terminal()
    logging.raiseExceptions = False  # a failing log handler must not stop the run
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")
    code: int | str | None = EXIT_BAD_INPUT
    problem, unexpected = "", None
    try:
        with cli_wording(), only_asked(sys.argv[1:]):
            app()
    except SystemExit as request:
        code = request.code
    except S2FastError as error:
        problem = str(error)
    except Exception as error:
        unexpected = error
    if unwritable := final_flush(sys.stdout) or stream_failure(unexpected):
        code, problem = EXIT_BAD_INPUT, f"cannot write to standard output: {unwritable}"
    elif isinstance(unexpected, UnicodeEncodeError) and unexpected.reason == "surrogates not allowed":
        problem = f"{legible(unexpected.object)[:200]}: the name is not UTF-8: rename it"
    elif isinstance(unexpected, FileNotFoundError) and unexpected.filename is None and not _has_folder():
        problem = "the current folder has been removed: change to another, or give absolute paths"
    elif unexpected:
        problem = _unexpected(unexpected)
    if problem:
        print_line(f"s2fast: error: {public(problem)}", err=True)
    final_flush(sys.stderr)
    gc.freeze()  # an ending interpreter looks for garbage several times, in all that a run has imported
    sys.exit(code)


def _has_folder() -> bool:
    """Return whether the current folder, to which relative paths are relative, still exists."""
    try:
        os.getcwd()  # noqa: PTH109  Path.cwd is no shorter
    except FileNotFoundError:
        return False
    return True


def _unexpected(error: Exception) -> str:
    """Write the traceback of an unexpected error to a temporary log; return the message that names the log."""
    import tempfile
    import traceback

    from s2fast.errors import UnexpectedError
    from s2fast.files.redaction import public

    try:
        with tempfile.NamedTemporaryFile("w", prefix="s2fast-", suffix=".log", delete=False) as log_file:
            log_file.write(public("".join(traceback.format_exception(error))))
    except OSError:
        return str(UnexpectedError(error, "the command, as no log can be written"))
    return str(UnexpectedError(error, log_file.name))


if __name__ == "__main__":
    main()
