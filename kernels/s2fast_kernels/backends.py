"""Select the implementation of an operation: `Backend` is one row of a table, `resolve` selects a row and a device.

An operation's ``BACKENDS`` table lists its rows fastest first. ``"auto"`` selects the first row that can run on this
machine: on a GPU, the rows that run there before those of the CPU. A backend or device requested by name either runs or
raises an error; it is never replaced silently.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from s2fast_kernels import machine
from s2fast_kernels.errors import BackendError as BackendError

CPU = "cpu"
"""The device of all rows that run on the CPU only."""


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
    """Where it computes: on the CPU, on a GPU, or on either. Rows that are not of the CPU take a keyword ``device``."""

    missing: Callable[[], str | None]
    """Returns why this backend cannot run here, or None if it can. Should not import heavy packages."""

    def load(self) -> Callable[..., Any]:
        """Import the implementation and return it."""
        implementation: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return implementation


@dataclass(frozen=True, slots=True)
class Selected:
    """A backend and the device on which it runs."""

    backend: Backend
    """The row of the table."""

    device: str
    """``"cpu"`` or a GPU as torch names it: ``"cuda:0"``."""

    @property
    def name(self) -> str:
        """Name of the backend; a run records it with the device."""
        return self.backend.name

    def load(self) -> Callable[..., Any]:
        """Import the implementation and return it, bound to the device."""
        implementation = self.backend.load()
        return implementation if self.backend.device == "cpu" else partial(implementation, device=self.device)


def find_device(name: str = "auto") -> str:
    """Return the device that a name selects: ``"cpu"``, or a GPU as torch names it.

    Parameters
    ----------
    name
        ``"auto"``: a GPU that torch can use, the first or, in one of several workers, each its own; else the CPU.
        ``"cpu"``, ``"cuda"`` (the first GPU) or ``"cuda:1"``.

    Raises
    ------
    BackendError
        The name is unknown, or this machine has no such device.

    Examples
    --------
    >>> find_device("cpu")
    'cpu'
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise BackendError(f'unknown device {name!r}; write "auto", "cpu", "cuda" or "cuda:1"')
    if name == CPU:
        return CPU
    found = machine.gpus()
    count = len(found.capabilities)
    if name == "auto":
        return f"cuda:{machine.PLACE.gpu(count)}" if count else CPU
    number = int(name.partition(":")[2] or 0)
    if number < count:
        return f"cuda:{number}"
    reason = f"the last GPU is cuda:{count - 1}" if count else found.missing
    hint = f" ({found.remedy})" if found.remedy else ""
    raise BackendError(f'there is no device {name!r}: {reason}{hint}; "auto" uses {find_device()}')


def resolve(table: Sequence[Backend], name: str = "auto", device: str = "auto") -> Selected:
    """Select a backend from an operation's table, and its device.

    Parameters
    ----------
    table
        The operation's rows, fastest first.
    name
        ``"auto"`` or the name of one row.
    device
        See `find_device`. A row of the CPU that is requested by name runs there, whatever the device.

    Returns
    -------
    Selected
        The row to run and where; a run records both.

    Raises
    ------
    BackendError
        The name is unknown, the named backend cannot run here, no row can, or there is no such device.
    """
    found = find_device(device)
    if name == "auto":
        reasons = []
        for row in _in_order(table, found):
            reason = row.missing()
            if reason is None:
                return _on(row, found)
            reasons.append(f"{row.name}: {reason}")
        raise BackendError(f"no backend can run here ({'; '.join(reasons)})")
    for row in table:
        if row.name == name:
            reason = row.missing() or (f"it needs a GPU, and the device is {found}" if _excluded(row, found) else None)
            if reason is None:
                return _on(row, found)
            usable = ", ".join(available(table, found)) or "none"
            raise BackendError(f"backend {name!r} cannot run here: {reason}; these can: {usable}")
    raise BackendError(f"unknown backend {name!r}; known: auto, {', '.join(row.name for row in table)}")


def _excluded(row: Backend, device: str) -> bool:
    """Return whether a row cannot run on a device of a machine on which it can run."""
    return device == CPU and row.device == "gpu"


def _in_order(table: Sequence[Backend], device: str) -> list[Backend]:
    """Return the rows that "auto" tries: on a GPU, those of the CPU last; otherwise all that need none."""
    usable = [row for row in table if not _excluded(row, device)]
    return usable if device == CPU else sorted(usable, key=lambda row: row.device == "cpu")


def _on(row: Backend, device: str) -> Selected:
    return Selected(row, CPU if row.device == "cpu" else device)


def available(table: Sequence[Backend], device: str = "auto") -> list[str]:
    """Return the names of the rows that can run on this machine and device, in the table's order."""
    found = find_device(device)
    return [row.name for row in table if not _excluded(row, found) and row.missing() is None]


def needs_package(*packages: str) -> Callable[[], str | None]:
    """Return a ``missing`` check that requires installed packages; it does not import them."""

    def missing() -> str | None:
        absent = [package for package in packages if importlib.util.find_spec(package) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    return missing


def needs_triton() -> str | None:
    """Return why Triton's kernels cannot run here; a ``missing`` check."""
    reason = needs_package("triton", "torch")()
    if reason is not None:
        return reason
    found = machine.gpus()
    if not found.capabilities:
        return f"{found.missing}: {found.remedy}" if found.remedy else found.missing
    # int8 products need compute capability 8.0; ROCm numbers its devices differently: gfx942 is 9.4.
    least = min(found.capabilities)
    return None if least >= (8, 0) else f"needs compute capability 8.0, got {'.'.join(map(str, least))}"
