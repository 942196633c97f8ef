"""Hold a sweep against another one: of other sources or scenes in the same file, or in another file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2fast.errors import InputError, option
from s2fast.files.legible import counted
from s2fast.files.places import is_file
from s2fast.files.suffixes import check_path
from s2fast.sweeps.columns import FlatRow, is_missing, is_time, noise_of, shown_columns
from s2fast.sweeps.intervals import NOISE, runs_of
from s2fast.sweeps.rows import Row, RowFile, columns


@dataclass(frozen=True, slots=True)
class Earlier:
    """Rows to hold a sweep against."""

    name: str
    """What they are: a version, a commit or a file."""
    rows: Sequence[FlatRow]
    """The rows."""


@dataclass(frozen=True, slots=True)
class Change:
    """A case in both sweeps."""

    index: int
    """Its number in this sweep, from 0."""
    before: FlatRow
    """Its row in the other one."""
    by: Mapping[str, float]
    """By how much it differs in each column, now minus before; 0 if that is within its interval."""


def earlier_runs(others: Sequence[Row]) -> list[Earlier]:
    """Group the other rows of a sweep's file by what ran, the latest first."""
    groups: dict[str, list[Row]] = {}
    for row in others:
        groups.setdefault(_source(row), []).append(row)
    return [Earlier(_named(rows), columns(rows)) for rows in reversed(groups.values())]


def load_earlier(path: Path) -> list[Earlier]:
    """Read the rows of another sweep: its .jsonl, or the .html or .parquet beside it.

    Raises
    ------
    InputError
        There is no such file, or it holds no rows that a page can show.
    """
    check_path(path)
    path = path if path.suffix == ".jsonl" else path.with_suffix(".jsonl")
    if not is_file(path):
        raise InputError(f"no sweep {path}: name the .jsonl of another sweep with {option('against')}")
    try:
        rows = RowFile(path).others([])
        if not rows:
            raise InputError(f"{path} holds no rows: name the .jsonl of a sweep that has run")
        found = earlier_runs(rows)
        for earlier in found:
            _check_shown(earlier.rows)
    except InputError:
        raise
    except _NOT_A_ROW as error:
        raise InputError(f"{path} holds a row that no sweep writes ({error!r}): run that sweep again") from error
    return [Earlier(f"{path}, {earlier.name}", earlier.rows) for earlier in found]


_NOT_A_ROW = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What rows raise that a stranger has written."""


def _check_shown(rows: Sequence[FlatRow]) -> None:
    """Show all rows, and raise one of `_NOT_A_ROW` if that fails: else it would once the other sweep has run."""
    changes(rows, rows)
    for column in shown_columns(rows):
        for row in rows:
            column.cell(row)
            if not (is_missing(row.get(column.name)) or math.isfinite(row[column.name])):
                raise ValueError(f"{column.name} is infinite")


def _source(row: Mapping[str, Any]) -> str:
    return str(row.get("commit") or row.get("source") or "")


def _named(rows: Sequence[Row]) -> str:
    last = rows[-1]
    what = f"commit {last['commit'][:12]}" if last.get("commit") else f"s2fast {last.get('version', '')}"
    when = str(last.get("environment", {}).get("time", ""))[:16].replace("T", " ")
    return f"{what}{' with changes' if last.get('dirty') else ''}, {when} ({counted(len(rows), 'case')})"


def changes(rows: Sequence[FlatRow], before: Sequence[FlatRow]) -> list[Change]:
    """Return the cases of equal settings in both, with what differs."""
    known = {row["config"]: row for row in before}
    by_label = {row["label"]: row for row in before}
    names = [column.name for column in shown_columns(rows)]
    found = []
    for index, row in enumerate(rows):
        # Settings that a version has not known yet make its configurations differ: then equal labels are equal cases.
        other = known.get(row["config"]) or by_label.get(row["label"])
        if other is not None:
            by = {name: _apart(row, other, name) for name in names if _both(row, other, name)}
            found.append(Change(index, other, by))
    return found


def _both(row: FlatRow, other: FlatRow, name: str) -> bool:
    return not is_missing(row.get(name)) and not is_missing(other.get(name))


def _apart(row: FlatRow, other: FlatRow, name: str) -> float:
    """Return now minus before; runs of two sweeps were not made in turn, so that only their intervals can be told."""
    apart = float(row[name]) - float(other[name])
    if is_time(name) and runs_of(row, name) and runs_of(other, name):
        known = [f"{name}_{end}" for end in ("low", "high") if f"{name}_{end}" in row and f"{name}_{end}" in other]
        if len(known) == 2:
            low, high = known
            overlap = row[low] <= other[high] and other[low] <= row[high]
            return 0.0 if overlap or abs(apart) <= NOISE * abs(other[name]) else apart
    return 0.0 if abs(apart) <= noise_of(name) * max(abs(row[name]), abs(other[name])) else apart
