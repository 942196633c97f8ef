"""What each setting does by itself: means over the cases that differ in nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from s2fast.sweeps.columns import FlatRow, is_missing, value_text


@dataclass(frozen=True, slots=True)
class Effect:
    """A setting's effect."""

    setting: str
    """The setting."""
    values: tuple[str, ...]
    """Its values that can be compared, in the order of the sweep."""
    groups: int
    """Combinations of the other settings that ran with every one of these values."""
    means: dict[str, tuple[float | None, ...]]
    """By column: mean over the groups, for each value; None where a case has no value."""
    left_out: tuple[str, ...] = ()
    """Values that ran with no such combination."""


def varied(rows: Sequence[FlatRow]) -> dict[str, list[str]]:
    """Return the settings that differ between cases, with their values as text, in the order they first appear.

    A case that does not set what others set has the value of the configuration, if it has one there.
    """
    keys = dict.fromkeys(name.removeprefix("set.") for row in rows for name in row if name.startswith("set."))
    values = {key: list(dict.fromkeys(setting_text(row, key) for row in rows)) for key in keys}
    return {key: found for key, found in values.items() if len(found) > 1}


def setting_text(row: FlatRow, key: str) -> str:
    """Return a setting of a case as text."""
    given = row.get(f"set.{key}")
    if is_missing(given):
        section, _, name = key.partition(".")
        config = json.loads(row.get("config") or "{}")
        part = config.get(section, {}) if name else config
        given = part.get(name or section) if isinstance(part, dict) else None
        given = config.get(key) if given is None else given
    return "" if given is None else value_text(given)


def effects(rows: Sequence[FlatRow], columns: Sequence[str]) -> list[Effect]:
    """Return the effect of each setting of which two values ran with an equal combination of the others.

    Parameters
    ----------
    rows
        Flat rows; failed cases count as not run.
    columns
        Columns to average.
    """
    rows = [row for row in rows if row["status"] == "ok"]
    settings = varied(rows)
    given = [{key: setting_text(row, key) for key in settings} for row in rows]
    found = []
    for key, values in settings.items():
        groups: dict[tuple[str, ...], dict[str, FlatRow]] = {}
        for row, own in zip(rows, given, strict=True):
            rest = tuple(value for other, value in own.items() if other != key)
            groups.setdefault(rest, {})[own[key]] = row
        compared = _most_comparable(values, list(groups.values()))
        whole = [group for group in groups.values() if all(value in group for value in compared)]
        if len(compared) < 2 or not whole:
            continue
        means = {name: tuple(_mean([group[value] for group in whole], name) for value in compared) for name in columns}
        left_out = tuple(value for value in values if value not in compared)
        found.append(Effect(key, tuple(compared), len(whole), means, left_out))
    return found


def _most_comparable(values: Sequence[str], groups: Sequence[dict[str, FlatRow]]) -> list[str]:
    """Return the values of the group with the most values that most groups share."""
    sizes = Counter(frozenset(group) for group in groups if len(group) > 1)
    if not sizes:
        return []
    # A single case beside a grid has a value of its own, which no group of the grid has.
    best = max(sizes, key=lambda kept: sum(count for other, count in sizes.items() if kept <= other) * len(kept))
    return [value for value in values if value in best]


def _mean(rows: Sequence[FlatRow], name: str) -> float | None:
    values = [row.get(name) for row in rows]
    return None if any(map(is_missing, values)) else fmean(map(float, values))  # type: ignore[arg-type]
