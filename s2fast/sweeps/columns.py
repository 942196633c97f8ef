"""The columns of a sweep's results: which there are, which are shown, and which cases are best at what."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from s2fast.errors import ConfigError
from s2fast.sweeps.grid import Plot, SweepFile
from s2fast.sweeps.intervals import NOISE, difference, runs_of
from s2fast.sweeps.pareto import honest_front
from s2fast.sweeps.quality import Quality
from s2fast.sweeps.without_truth import Found
from s2fast.truth.scoring import Answer
from s2fast.work.meter import StageCost

FlatRow = dict[str, Any]

_STAGES = ("ingest", "extract", "match", "verify", "report")
_COUNTS = (
    "scenes",
    "pairs",
    "keypoints",
    "good_matches",
    "verified",
    "null_trials",
    "null_verified",
    "comparisons",
)

KNOWN = (
    "seconds", "cpu_s", "peak_mb", "above_mb", "took_s", "problems",
    "seconds_low", "seconds_high", "cpu_s_low", "cpu_s_high", "runs.count",
    *(f"found.{field.name}" for field in fields(Found)),
    *(f"quality.{field.name}" for field in fields(Quality)),
    *(f"injected.{field.name}" for field in fields(Answer)),
    *(f"counts.{name}" for name in _COUNTS),
    *(f"stages.{stage}.{field.name}" for stage in _STAGES for field in fields(StageCost)),
)  # fmt: skip
"""Numbers that a run may have; plots may use them, and ``set.`` with a setting."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A column of the table."""

    name: str
    """The column that is compared."""
    title: str
    """Its title."""
    brief: str
    """Its title where there is little room."""
    meaning: str
    """What it means, in one sentence."""
    better: int = 0
    """1: more is better; -1: less is better; 0: neither."""
    noise: float = 0.0
    """Relative difference that is no difference."""
    text: Callable[[FlatRow], str] | None = None
    """Formats the cell; None: the number."""
    basis: str = ""
    """The column that counts what the value rests on; cases with less than half of the most are not compared."""

    def cell(self, row: FlatRow) -> str:
        """Return the text of a cell; empty where there is no value."""
        value = row.get(self.name)
        return "" if is_missing(value) else self.text(row) if self.text else cell(value)


def value_text(value: Any) -> str:
    """Format a setting's value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def cell(value: Any) -> str:
    """Format a value for a table."""
    if is_missing(value):
        return ""
    if isinstance(value, float):
        return digits(value, 4) if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def digits(value: float, number: int) -> str:
    """Format a value with as many digits as asked for, zeros at the end among them; a 0 and a 100 are whole.

    Examples
    --------
    >>> digits(3.8, 4), digits(11.0, 3), digits(100.0, 3), digits(0.0, 3)
    ('3.800', '11.0', '100', '0')
    """
    return f"{value:#.{number}g}".rstrip(".") if value not in (0, 100) else f"{value:g}"


def is_missing(value: Any) -> bool:
    """Return whether a row has no value: None, or NaN from a table."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _verified(row: FlatRow) -> str:
    verified, pairs = (cell(row[f"found.{name}"]) for name in ("verified_pairs", "pairs_with_ground"))
    return f"{verified} of {pairs}, {digits(row['found.verified_pct'], 3)} %"


def _nulls(row: FlatRow) -> str:
    low, high = (f"{row[f'found.null_{end}_pct']:.2g}" for end in ("low", "high"))
    interval = f"{low} to {high} %" if row["found.null_verified"] else f"≤ {high} %"
    return f"{cell(row['found.null_verified'])} of {cell(row['found.null_trials'])} ({interval})"


def _closure(row: FlatRow) -> str:
    return f"{digits(row['found.closure_m'], 3)}, {digits(row['found.closure_95_m'], 3)} ({cell(row['found.triples'])})"


def _injected_error(row: FlatRow) -> str:
    return f"{digits(row['injected.error_px'], 3)}, {digits(row['injected.error_95_px'], 3)}"


def _falsely(row: FlatRow) -> str:
    low, high = (f"{row[f'injected.false_{end}_pct']:.2g}" for end in ("low", "high"))
    interval = f"{low} to {high} %" if row["injected.false"] else f"≤ {high} %"
    return f"{cell(row['injected.false'])} of {row['injected.unrelated'] + row['injected.pairs']:,} ({interval})"


def _timed(name: str) -> Callable[[FlatRow], str]:
    """Format a time with its interval, if it has one."""

    def text(row: FlatRow) -> str:
        if is_missing(row.get(f"{name}_low")):
            return digits(row[name], 3)
        low, high = (digits(row[f"{name}_{end}"], 3) for end in ("low", "high"))
        return f"{digits(row[name], 3)} ({low} to {high})"

    return text


SHOWN = (
    Shown("seconds", "seconds", "seconds",
          "Wall time of all stages. Of cases that ran several times, the median and its 95 % confidence interval.", -1,
          NOISE, _timed("seconds")),
    Shown("cpu_s", "CPU seconds", "CPU s",
          "Processor time of all stages, of all threads together; less disturbed by other work than the wall time.", -1,
          NOISE, _timed("cpu_s")),
    Shown("peak_mb", "peak MiB", "MiB", "Largest memory of the processes.", -1, NOISE,
          lambda row: f"{row['peak_mb']:,.0f}"),
    Shown("counts.keypoints", "keypoints", "keypoints", "Keypoints of all scenes."),
    Shown("found.good_matches", "good matches", "good", "Matches that pass the ratio test, of all pairs."),
    Shown("found.verified_pairs", "verified pairs", "verified",
          "Pairs whose matches agree on a shift, of the pairs whose scenes share clear ground.", 1, 0, _verified),
    Shown("found.null_pct", "verified nulls", "nulls",
          "Trials at wrong offsets that were verified: each is an error. In brackets the 95 % confidence interval "
          "of their rate.", -1, 0, _nulls),
    Shown("found.stated_error_m", "stated error [m]", "error m",
          "Median standard error of the verified pairs' shifts, as they state it themselves.", -1, 0.02,
          basis="found.verified_pairs"),
    Shown("found.closure_m", "closure [m]: median, 95 % (triples)", "closure m",
          "For every three scenes a, b, c of a tile whose pairs are verified: the shifts from a to b, b to c and c to "
          "a must add up to nothing; this is the length of what they add up to. Its median is about twice the stated "
          "error if that is right.", -1, NOISE, _closure, basis="found.triples"),
    Shown("found.agreeing_pct", "scenes in agreement [%]", "agree %",
          "Scenes whose shifts agree with the other scenes of their tile.", 1),
    Shown("problems", "scenes left out", "left out", "Scenes that could not be used."),
    Shown("injected.verified", "moved pairs verified", "moved",
          "Pairs with a copy of a scene that was moved by a known amount, verified with the right shift.", 1, 0,
          lambda row: f"{cell(row['injected.verified'])} of {cell(row['injected.pairs'])}"),
    Shown("injected.error_px", "injected error [px]: median, 95 %", "inj. px",
          "How far the shift of a pair changes when one scene is moved, less the known move.", -1, NOISE,
          _injected_error, basis="injected.verified"),
    Shown("injected.within_pct", "within twice the stated error [%]", "held %",
          "Share of these errors, east and north, that lie within twice the error that the pair states."),
    Shown("injected.false_pct", "injected falsehoods", "false",
          "Verified pairs of different ground that was brought to one place, and moved pairs verified with a "
          "shift that is off by more than 2 px. In brackets the 95 % confidence interval of their rate.", -1, 0,
          _falsely),
    Shown("quality.true_matches", "true matches", "true", "Matches at the true displacement.", 1),
    Shown("quality.precision_pct", "precision [%]", "precision", "Share of the true ones among all matches kept.", 1),
    Shown("quality.verified_pairs", "rightly verified", "right", "Pairs verified with the true shift.", 1),
    Shown("quality.false_verifications", "wrongly verified", "wrong",
          "Pairs verified with a wrong shift, or without common ground.", -1),
    Shown("quality.shift_error_px", "true error [px]", "true px",
          "Median distance of the verified shifts from the truth.", -1, 0.02),
)  # fmt: skip
"""Columns of the table, in order; those that no row has are left out."""

_SPARE = ("problems",)
"""Columns that are left out as well if all their values are 0."""


def shown_columns(rows: Sequence[FlatRow]) -> list[Shown]:
    """Return the columns of a table: those that any row has, and after them other columns named quality."""
    named = {column.name for column in SHOWN}
    others = dict.fromkeys(name for row in rows for name in row if name.startswith("quality.") and name not in named)
    known = {f"quality.{field.name}" for field in fields(Quality)}
    candidates = [
        *SHOWN,
        *(
            Shown(name, name.removeprefix("quality."), name.removeprefix("quality."), "")
            for name in others
            if name not in known
        ),
    ]

    def used(column: Shown) -> bool:
        values = [row.get(column.name) for row in rows if not is_missing(row.get(column.name))]
        return any(values) if column.name in _SPARE else bool(values)

    return [column for column in candidates if used(column)]


def _alike(rows: Sequence[FlatRow], column: Shown) -> str:
    """Format the values of cases that are equal in a column, or cannot be told apart."""
    low, high = (end(rows, key=lambda row: float(row[column.name])) for end in (min, max))
    if low[column.name] == high[column.name]:
        return column.cell(low)
    return f"{cell(low[column.name])} to {cell(high[column.name])}, no more apart than their noise"


def is_time(name: str) -> bool:
    """Return whether a column is a time of this machine, which differs from run to run."""
    return name in ("seconds", "cpu_s", "took_s") or (
        name.startswith("stages.") and name.endswith((".seconds", ".cpu_s"))
    )


def noise_of(name: str) -> float:
    """Return the relative difference that is no difference in a column, of cases that ran once."""
    shown = next((column.noise for column in SHOWN if column.name == name), 0.0)
    return max(shown, NOISE) if is_time(name) or name.endswith("_mb") else shown


def points_of(rows: Sequence[FlatRow], plot: Plot) -> tuple[list[int], list[float], list[float]]:
    """Return the indices of the rows that have both figures, and the figures."""
    indices = [
        index
        for index, row in enumerate(rows)
        if not (is_missing(row.get(plot.cost)) or is_missing(row.get(plot.gain)))
    ]
    return indices, [float(rows[i][plot.cost]) for i in indices], [float(rows[i][plot.gain]) for i in indices]


def front_of(rows: Sequence[FlatRow], plot: Plot) -> list[int]:
    """Return the indices of the rows on a plot's Pareto front, cheapest first.

    A difference within its interval makes no case better than another.
    """
    indices, costs, gains = points_of(rows, plot)
    # Of cases with equal figures, one is compared: thousands may be equal.
    alike: dict[object, list[int]] = {}
    for at, index in enumerate(indices):
        alike.setdefault(at if runs_of(rows[index], plot.cost) else (costs[at], gains[at]), []).append(at)
    one_of = [group[0] for group in alike.values()]

    def compare(name: str) -> Callable[[int, int], float]:
        noise = noise_of(name)
        return lambda first, second: difference(
            rows[indices[one_of[first]]], rows[indices[one_of[second]]], name, noise
        )

    groups = list(alike.values())
    kept = honest_front(
        [costs[at] for at in one_of], [gains[at] for at in one_of], compare(plot.cost), compare(plot.gain)
    )
    return [indices[at] for group in kept for at in groups[group]]


def plots_of(rows: Sequence[FlatRow], plots: Sequence[Plot]) -> list[Plot]:
    """Return the plots of a sweep; where no case was timed, over CPU seconds instead of seconds."""
    timed = any(not is_missing(row.get("seconds")) for row in rows)
    return [plot if timed or plot.cost != "seconds" else plot.model_copy(update={"cost": "cpu_s"}) for plot in plots]


def best_of(rows: Sequence[FlatRow], column: Shown) -> set[int]:
    """Return the indices of the cases that no other surpasses by more than noise in a column; empty if that is all."""
    values = {at: float(row[column.name]) for at, row in enumerate(rows) if not is_missing(row.get(column.name))}
    bases = {at: float(rows[at].get(column.basis) or 0) for at in values}
    values = {at: value for at, value in values.items() if bases[at] >= max(bases.values()) / 2}
    if not column.better or not values:
        return set()
    order = sorted(values, key=lambda at: -column.better * values[at])

    def is_surpassed(at: int) -> bool:
        return difference(rows[at], rows[order[0]], column.name, column.noise) * column.better < 0

    # What comes after a case that is surely worse is not the best either, however wide its own interval.
    best = set(itertools.takewhile(lambda at: not is_surpassed(at), order))
    return set() if len(best) == len(bases) > 1 else best


def best_lines(rows: Sequence[FlatRow], *, brief: bool = False) -> list[tuple[str, str]]:
    """Return what the cases are best at, as title and text: the best value, and the cases by number and label.

    Columns in which all cases are equal come last, together. If `brief`, cases are named by their numbers alone.
    """
    found, equal = [], []
    for column in shown_columns(rows):
        best = sorted(best_of(rows, column))
        values = [at for at, row in enumerate(rows) if not is_missing(row.get(column.name))]
        if not column.better or len(values) < 2:
            continue
        if not best:
            equal.append(f"{column.title}: {_alike([rows[at] for at in values], column)}")
            continue
        top = max(best, key=lambda at: column.better * float(rows[at][column.name]))
        order, most = [top, *(at for at in best if at != top)], 12 if brief else 3
        named = [f"#{at + 1}" if brief else f"#{at + 1} {rows[at]['label']}" for at in order[:most]]
        more = f"; and {len(best) - most} more" if len(best) > most else ""
        found.append((column.title, f"{column.cell(rows[top])}: {(', ' if brief else '; ').join(named)}{more}"))
    return [*found, *([("all about equal", "; ".join(equal))] if equal else [])]


def check_plots(sweep: SweepFile) -> None:
    """Raise ConfigError if a plot names a column that no case can have; name the nearest ones."""
    settings: dict[str, list[Any]] = {}
    for key, values in [pair for grid in sweep.grid for pair in grid.items()]:
        settings.setdefault(key, []).extend(values)
    for key, value in [pair for case in sweep.case for pair in case.items()]:
        settings.setdefault(key, []).append(value)
    known = [*KNOWN, *sweep.extra_columns, *(f"set.{key}" for key in sorted(settings))]
    for number, plot in enumerate(sweep.plot, 1):
        for axis in ("cost", "gain"):
            name = getattr(plot, axis)
            if name not in known:
                raise ConfigError(
                    f"sweep {sweep.name}, plot {number}: {axis} = {name!r} is no column; {_nearest(name, known)}"
                )
            words = [value for value in settings.get(name.removeprefix("set."), []) if not _is_number(value)]
            if name.startswith("set.") and words:
                raise ConfigError(
                    f"sweep {sweep.name}, plot {number}: {axis} = {name!r} has values that are no numbers, such as "
                    f"{words[0]!r}: choose another column"
                )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _nearest(name: str, known: Sequence[str]) -> str:
    ends = {column.rpartition(".")[2]: column for column in reversed(known)}
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    close += [ends[end] for end in difflib.get_close_matches(name.rpartition(".")[2], list(ends), n=3, cutoff=0.5)]
    if not close:
        return "columns are seconds, peak_mb, found.verified_pairs, ...: see docs/sweeps.md"
    return f"the nearest are {', '.join(dict.fromkeys(close))}"
