"""Table of all operations: their names, their backends, and when the pipeline calls them.

`s2fast doctor` and the benchmarks iterate over `OPERATIONS`; a new operation needs one row here. Importing this module
imports no implementation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from s2fast_kernels import (
    akaze,
    hamming_top2,
    hamming_top2_both,
    hamming_window_top2,
    hamming_window_top2_both,
    window_matches,
)
from s2fast_kernels.backends import Backend


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation."""

    name: str
    """Name of the folder, the function and the tests."""

    backends: tuple[Backend, ...]
    """The operation's ``BACKENDS`` table, fastest first."""

    cases: str
    """Full name of the module with sizes and operands, shared by tests and benchmarks."""

    called: str
    """When the pipeline calls the operation, in one line."""

    stages: tuple[str, ...] = ()
    """Stages that call the operation with `settings`; empty: the pipeline never calls it."""

    settings: Mapping[str, object] = field(default_factory=dict)
    """Values of configuration keys, ``section.key``, with which all stages in `stages` call the operation."""

    engines: tuple[Backend, ...] = ()
    """Backends that work in windows: each is a class, and each window counts as a call."""

    @property
    def rows(self) -> tuple[Backend, ...]:
        """All rows, including those of the engines."""
        return self.backends + self.engines

    def called_under(self, setting: Callable[[str], object]) -> bool:
        """Return whether the pipeline calls the operation, given a function that looks up a configuration key."""
        return bool(self.stages) and all(setting(key) == value for key, value in self.settings.items())

    def load_cases(self) -> ModuleType:
        """Import and return the module with sizes and operands."""
        return importlib.import_module(self.cases)


OPERATIONS = (
    Operation(
        "akaze",
        akaze.BACKENDS,
        "s2fast_kernels.akaze.cases",
        "extract, once per scene, in windows if the backend supports them",
        ("extract",),
        engines=akaze.ENGINES,
    ),
    Operation(
        "window_matches",
        window_matches.BACKENDS,
        "s2fast_kernels.hamming_top2.cases",
        "match, once per block of pairs or per pair and radius, and verify, for the wrong offsets; the default",
        ("match", "verify"),
        {"matching.mode": "windowed"},
    ),
    Operation(
        "hamming_top2_both",
        hamming_top2_both.BACKENDS,
        "s2fast_kernels.hamming_top2.cases",
        "match, once per query and block of pairs, if exhaustive and mutual; pictures of unverified pairs",
        ("match",),
        {"matching.mode": "exhaustive", "matching.mutual": True},
    ),
    Operation(
        "hamming_top2",
        hamming_top2.BACKENDS,
        "s2fast_kernels.hamming_top2.cases",
        "match, once per query and block of pairs, if exhaustive and not mutual; twice for mutual on other backends; "
        "index, find and similar pairs",
        ("match",),
        {"matching.mode": "exhaustive", "matching.mutual": False},
    ),
    Operation(
        "hamming_window_top2_both",
        hamming_window_top2_both.BACKENDS,
        "s2fast_kernels.hamming_top2.cases",
        "never: the definition of window_matches, which searches with its kernel",
    ),
    Operation(
        "hamming_window_top2",
        hamming_window_top2.BACKENDS,
        "s2fast_kernels.hamming_top2.cases",
        "find, twice per scene in which a picture is found; hamming_window_top2_both is tested against it",
    ),
)
"""All operations; those of the default job first."""

CALLED = tuple(operation for operation in OPERATIONS if operation.stages)
"""Operations that the pipeline calls; they are timed, counted and warmed up."""


def operation_of(row: Backend) -> Operation | None:
    """Return the operation to which a backend belongs, or None if it is in no table."""
    found = (row.module, row.function)
    return next((op for op in OPERATIONS for own in op.rows if (own.module, own.function) == found), None)
