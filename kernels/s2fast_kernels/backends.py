"""Which implementation of an operation runs: one frozen row a backend, one function to choose.

An operation's ``BACKENDS`` table lists its rows fastest first. ``"auto"`` takes the first row that can run on this
machine; a backend asked for by name runs or raises, it is never replaced silently.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal


class BackendError(RuntimeError):
    """A backend was asked for that does not exist or cannot run on this machine."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One implementation of one operation."""

    name: str
    """What a user writes in a configuration: ``"numba"``."""

    module: str
    """Full name of the module that holds the implementation; imported only when it is used."""

    function: str
    """Name of the implementation in that module: the operation's own name."""

    device: Literal["cpu", "gpu", "any"]
    """Where it computes: on the processor, on a GPU, or on whatever device its library finds."""

    missing: Callable[[], str | None]
    """Returns why this backend cannot run here, or None when it can. Must not import heavy packages needlessly."""

    auto: Callable[[], bool] = lambda: True
    """Returns whether ``"auto"`` may choose it here."""

    def load(self) -> Callable[..., Any]:
        """Import the implementation and return it."""
        implementation: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return implementation


def resolve(table: Sequence[Backend], name: str = "auto") -> Backend:
    """Choose a backend from an operation's table.

    Parameters
    ----------
    table
        The operation's rows, fastest first.
    name
        ``"auto"`` or the name of one row.

    Returns
    -------
    Backend
        The row to run. Its ``name`` is what a run records.

    Raises
    ------
    BackendError
        The name is unknown, the named backend cannot run here, or no row can.
    """
    if name == "auto":
        reasons = []
        for row in table:
            if not row.auto():
                continue
            reason = row.missing()
            if reason is None:
                return row
            reasons.append(f"{row.name}: {reason}")
        raise BackendError(f"no backend can run here ({'; '.join(reasons)})")
    for row in table:
        if row.name == name:
            reason = row.missing()
            if reason is None:
                return row
            usable = ", ".join(available(table)) or "none"
            raise BackendError(f"backend {name!r} cannot run here: {reason}; these can: {usable}")
    raise BackendError(f"unknown backend {name!r}; known: auto, {', '.join(row.name for row in table)}")


def available(table: Sequence[Backend]) -> list[str]:
    """Names of the rows that can run on this machine, in the table's order."""
    return [row.name for row in table if row.missing() is None]


def needs_package(*packages: str) -> Callable[[], str | None]:
    """Build a ``missing`` check: every named package must be installed. Looks, does not import."""

    def missing() -> str | None:
        absent = [package for package in packages if importlib.util.find_spec(package) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    return missing
