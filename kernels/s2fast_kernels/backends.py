"""Select the implementation of an operation: `Backend` is one row of a table, `resolve` selects a row.

An operation's ``BACKENDS`` table lists its rows fastest first. ``"auto"`` selects the first row that can run on this
machine. A backend requested by name either runs or raises an error; it is never replaced silently.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal


class BackendError(RuntimeError):
    """The requested backend does not exist or cannot run on this machine."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One implementation of one operation."""

    name: str
    """Name in a configuration: ``"numba"``."""

    module: str
    """Full name of the module with the implementation; imported on first use."""

    function: str
    """Name of the implementation in that module: the operation's own name."""

    device: Literal["cpu", "gpu", "any"]
    """Where it computes: on the CPU, on a GPU, or on any device that its library finds."""

    missing: Callable[[], str | None]
    """Returns why this backend cannot run here, or None if it can. Should not import heavy packages."""

    auto: Callable[[], bool] = lambda: True
    """Returns whether ``"auto"`` may select this backend here."""

    def load(self) -> Callable[..., Any]:
        """Import the implementation and return it."""
        implementation: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return implementation


def resolve(table: Sequence[Backend], name: str = "auto") -> Backend:
    """Select a backend from an operation's table.

    Parameters
    ----------
    table
        The operation's rows, fastest first.
    name
        ``"auto"`` or the name of one row.

    Returns
    -------
    Backend
        The row to run; a run records its ``name``.

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
    """Return the names of the rows that can run on this machine, in the table's order."""
    return [row.name for row in table if row.missing() is None]


def needs_package(*packages: str) -> Callable[[], str | None]:
    """Return a ``missing`` check that requires installed packages; it does not import them."""

    def missing() -> str | None:
        absent = [package for package in packages if importlib.util.find_spec(package) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    return missing
