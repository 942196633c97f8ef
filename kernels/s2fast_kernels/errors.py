"""The base class of all errors, and the error of a backend that cannot run."""

from __future__ import annotations


class S2FastError(Exception):
    """Base class of all errors that s2fast raises; the command line prints the message and exits with code 2."""

    MOST_CHARACTERS = 2000
    """Length of the longest message: a file from a stranger may name things of any length."""

    def __str__(self) -> str:
        """Return the message, its middle left out if it is too long."""
        text, half = super().__str__(), self.MOST_CHARACTERS // 2
        return text if len(text) <= self.MOST_CHARACTERS else f"{text[: half - 3]}...{text[-half:]}"


class BackendError(S2FastError, RuntimeError):
    """The requested backend or device does not exist or cannot run on this machine."""
