"""The base class of all errors, and the error of a backend that cannot run."""

from __future__ import annotations


class S2FastError(Exception):
    """Base class of all errors that s2fast raises; the command line prints the message and exits with code 2."""


class BackendError(S2FastError, RuntimeError):
    """The requested backend or device does not exist or cannot run on this machine."""
