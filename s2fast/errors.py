"""Exceptions of s2fast; each message is one line that states what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from s2fast_kernels.errors import BackendError, S2FastError

__all__ = [
    "BackendError", "ConfigError", "DamageError", "InputError", "MissingError", "RunFolderError", "S2FastError",
    "SceneError", "UnexpectedError", "caller_hint", "cli_wording", "option", "setting",
]  # fmt: skip

_names_options = False
"""Whether messages name options of the command line; else they name parameters of Python."""


@contextmanager
def cli_wording() -> Iterator[None]:
    """Let messages name the options of commands while the block runs."""
    global _names_options
    before, _names_options = _names_options, True
    try:
        yield
    finally:
        _names_options = before


def caller_hint(command: str, python: str) -> str:
    """Return what the caller may write next: a command, or an expression of Python.

    Examples
    --------
    >>> caller_hint("s2fast demo", "s2fast.run(...)")
    's2fast.run(...)'
    """
    return command if _names_options else python


def option(name: str, command: str = "") -> str:
    """Return how the caller writes an option: ``out`` from Python, ``--out`` on the command line.

    Parameters
    ----------
    name
        Name of the parameter.
    command
        Name of the option, if it differs.

    Examples
    --------
    >>> option("out")
    'out'
    >>> with cli_wording():
    ...     option("form", "as")
    '--as'
    """
    return f"--{command or name}" if _names_options else name


def setting(key: str, value: str) -> str:
    """Return how the caller overrides a setting, whose value is a string.

    Examples
    --------
    >>> setting("regions.crs", "EPSG:4326")
    'overrides={"regions.crs": "EPSG:4326"}'
    """
    return f"--set {key}={value}" if _names_options else f'overrides={{"{key}": "{value}"}}'


class ConfigError(S2FastError, ValueError):
    """A configuration file, key or value is invalid."""


class InputError(S2FastError, ValueError):
    """The given scenes or regions cannot be used."""


class SceneError(S2FastError, OSError):
    """One scene cannot be read; a run skips and records it, unless ``strict`` is set."""


class MissingError(SceneError):
    """A server has no such file; some say that it may not be read instead."""


class RunFolderError(S2FastError, OSError):
    """The run folder cannot be used, or lacks a requested result."""


class DamageError(RunFolderError):
    """A file in the run folder is damaged or missing."""

    finding: str = ""
    """The damaged file and the kind of damage."""
    seal: str = ""
    """The seal file that marks the damaged result as complete; if it is removed, the next run recomputes the result."""


class UnexpectedError(S2FastError):
    """An exception of another type was raised; the log named in the message holds the traceback."""

    def __init__(self, error: Exception, log: object) -> None:
        reason = str(error).strip().partition("\n")[0]
        super().__init__(f"unexpected {type(error).__name__}: {reason}; please report it with {log}")
