"""What can go wrong, each kind also a builtin, each message one line: what, where, what to do."""

from __future__ import annotations


class S2FastError(Exception):
    """Base of every error s2fast raises on purpose; the command line prints it as one line and exits with 2."""


class ConfigError(S2FastError, ValueError):
    """A configuration file, key or value is wrong."""


class InputError(S2FastError, ValueError):
    """The scenes or regions asked for cannot be used."""


class SceneError(S2FastError, OSError):
    """One scene cannot be read; a run skips and counts it unless it is strict."""


class RunFolderError(S2FastError, OSError):
    """The output folder cannot be used, or does not hold what was asked of it."""


class DamageError(RunFolderError):
    """Something in the output folder is not as it was written."""

    finding: str = ""
    """What is damaged, and how."""
    seal: str = ""
    """The file that says that the damaged result is whole: without it the next run computes the result again."""


class UnexpectedError(S2FastError):
    """What nobody has thought of; the log it names holds the traceback."""

    def __init__(self, error: Exception, log: object) -> None:
        reason = str(error).strip().partition("\n")[0]
        super().__init__(f"unexpected {type(error).__name__}: {reason}; please report it with {log}")
