"""The rows of a sweep: JSON lines, one per run of a case, and one row per case made of them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from s2fast.errors import InputError, option
from s2fast.sweeps.intervals import FEWEST, interval

Row = dict[str, Any]

MOST_RUNS = 100
"""Most runs of a case."""

REPEATED = ("seconds", "cpu_s", "peak_mb", "above_mb")
"""Figures of a case of which every run has its own."""


class RowFile:
    """The file of a sweep's rows; a case that runs several times has a line per run.

    Parameters
    ----------
    path
        The file; created when the first row is added.
    retry
        Leave out failed runs, so that they run again.
    """

    def __init__(self, path: Path, *, retry: bool = False) -> None:
        self._path = path
        self._first: dict[str, Row] = {}
        self._again: dict[str, dict[int, Row]] = {}
        for row in read_rows(path):
            if not retry or row["status"] == "ok":
                self._hold(row)

    def _hold(self, row: Row) -> None:
        if row.get("round", 1) > 1:
            self._again.setdefault(row["case"], {})[row["round"]] = row
        else:
            self._first[row["case"]] = row

    def add(self, row: Row) -> None:
        """Append a row."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._hold(row)

    def has(self, case: str, round_: int, *, timed: bool) -> bool:
        """Return whether a run of a case is done; a run beside others does not count if it is to be `timed`."""
        if round_ > 1:
            return round_ in self._again.get(case, {})
        return case in self._first and (not timed or self._first[case].get("timed", True))

    def row(self, case: str) -> Row:
        """Return a case's row: its first run, with the medians of all runs and their intervals."""
        first, again = self._first[case], self._again.get(case, {})
        if not again:
            return first
        runs = [first, *(again.get(number, {}) for number in range(2, max(again) + 1))]
        held = {name: [run.get(name) for run in runs] for name in REPEATED}
        stages = {name: _middle(name, stage, runs) for name, stage in first["stages"].items()}
        found: Row = {**first, "stages": stages, "runs": {"count": len(_known(held["seconds"])), **held}}
        for name, values in held.items():
            if known := _known(values):
                found[name] = round(median(known), 6)
            if len(known) >= FEWEST and name in ("seconds", "cpu_s"):
                found[f"{name}_low"], found[f"{name}_high"] = (round(max(0.0, end), 6) for end in interval(known))
        return found

    def others(self, cases: Sequence[str]) -> list[Row]:
        """Return the rows of cases besides these: of other sources, other scenes, or no longer in the sweep."""
        wanted = set(cases)
        return [self.row(case) for case in self._first if case not in wanted]


def _known(values: Sequence[Any]) -> list[float]:
    return [value for value in values if value is not None]


def _middle(name: str, stage: Mapping[str, Any], runs: Sequence[Row]) -> Row:
    """Return a stage's cost with the medians of all runs."""
    costs = [run["stages"][name] for run in runs if name in run.get("stages", {})]
    times = {key: round(median(cost[key] for cost in costs), 6) for key in ("seconds", "cpu_s") if key in stage}
    return {**stage, **times}


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Lock the file of rows."""
    if platform.system() != "Linux":
        raise InputError("sweeps and tuning need Linux, which says how much time and memory a process takes")
    import fcntl

    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another sweep is writing {path}: wait for it, or choose another {option('out')}"
            ) from error
        yield


def read_rows(path: Path) -> list[Row]:
    """Read JSON lines; remove a last line truncated by a kill, also from the file."""
    try:
        rows, text = [], path.read_text("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"cannot read the rows of a sweep {path}: {why}; choose another {option('out')}") from error
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(path, len(whole.encode()))  # writing it anew would lose it on a full disk
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
            texts = isinstance(row["case"], str) and isinstance(row["status"], str)
            if not (texts and isinstance(row.get("round", 1), int) and 1 <= row.get("round", 1) <= MOST_RUNS):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path}, line {number} is not a row of a sweep: remove the line, or choose another {option('out')}"
            ) from error
        rows.append(row)
    return rows


def columns(rows: Sequence[Row]) -> list[Row]:
    """Flatten rows: join nested names by dots, write lists and nested settings as JSON."""
    return [dict(_flat("", row)) for row in rows]


def _flat(prefix: str, row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        name = f"{prefix}{key}"
        if name in ("config", "data", "settings", "environment.versions") or isinstance(value, list):
            yield name, json.dumps(value)
            if name == "settings":
                yield from ((f"set.{setting}", given) for setting, given in value.items())
        elif isinstance(value, dict):
            yield from _flat(f"{name}.", value)
        else:
            yield name, value
