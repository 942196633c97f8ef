"""Exceptions of s2fast; each message is one line that states what is wrong, where, and what to do."""

from __future__ import annotations


class S2FastError(Exception):
    """Base class of all errors that s2fast raises; the command line prints the message and exits with code 2."""


class ConfigError(S2FastError, ValueError):
    """A configuration file, key or value is invalid."""


class InputError(S2FastError, ValueError):
    """The given scenes or regions cannot be used."""


class SceneError(S2FastError, OSError):
    """One scene cannot be read; a run skips and records it, unless ``strict`` is set."""


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
