"""The data of a sweep's page, as one JSON value."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s2fast.files.legible import counted
from s2fast.sweeps.against import Earlier, changes
from s2fast.sweeps.columns import (
    FlatRow,
    Shown,
    best_lines,
    best_of,
    front_of,
    is_missing,
    plots_of,
    points_of,
    shown_columns,
)
from s2fast.sweeps.effects import effects, setting_text, varied
from s2fast.sweeps.grid import Plot, SweepFile
from s2fast.sweeps.kept import read_pairs, read_pictures, text_of
from s2fast.verdicts import is_verified

MOST_PAIRS = 300
"""Pairs in the page, of those that not all cases verify."""

MOST_LINES_BYTES = 3_000_000
"""Size of the matches in the page, beyond which there are none."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished sweep, as its page shows it."""

    sweep: SweepFile
    """Its settings."""
    rows: Sequence[FlatRow]
    """Flat rows, see `s2fast.sweeps.rows.columns`."""
    rows_path: Path | None = None
    """The file of its rows, beside which its pairs are kept; None: no pairs are shown."""
    earlier: Sequence[Earlier] = ()
    """Sweeps that it is held against."""


def payload(finished: Finished) -> dict[str, Any]:
    """Return the page's data: JSON values only."""
    sweep, rows = finished.sweep, finished.rows
    plots = plots_of(rows, sweep.plot)
    shown = with_plotted(shown_columns(rows), plots)
    settings = varied(rows)
    best = [best_of(rows, column) for column in shown]
    return {
        "name": sweep.name,
        "facts": facts(rows),
        "timed": any(not is_missing(row.get("seconds")) for row in rows),
        "best": best_lines(rows),
        "columns": [
            {"name": column.name, "title": column.title, "meaning": column.meaning, "better": column.better}
            for column in shown
        ],
        "settings": [{"key": key, "values": values} for key, values in settings.items()],
        "rows": [_row(row, shown, list(settings), [at in top for top in best]) for at, row in enumerate(rows)],
        "plots": [asdict_of(plot) for plot in plots],
        "fronts": {f"{plot.cost}|{plot.gain}": front_of(rows, plot) for plot in possible(rows, shown, plots)},
        "effects": [asdict(effect) for effect in effects(rows, [column.name for column in shown])],
        "pairs": _pairs(finished),
        "earlier": [_earlier(rows, earlier, shown) for earlier in finished.earlier],
    }


def asdict_of(plot: Plot) -> dict[str, str]:
    """Return a plot's columns."""
    return {"cost": plot.cost, "gain": plot.gain}


def with_plotted(shown: Sequence[Shown], plots: Sequence[Plot]) -> list[Shown]:
    """Return the columns of the table, and those that only plots use."""
    known = {column.name for column in shown}
    names = dict.fromkeys(name for plot in plots for name in (plot.cost, plot.gain) if name not in known)
    gains = {plot.gain for plot in plots}
    titles = [(name, name.rpartition(".")[2].replace("_", " ")) for name in names]
    return [*shown, *(Shown(name, title, title, "", 1 if name in gains else -1) for name, title in titles)]


def possible(rows: Sequence[FlatRow], shown: Sequence[Shown], plots: Sequence[Plot]) -> list[Plot]:
    """Return the plots that the page can show: every cost against every gain, those of the sweep's file included."""
    costs = [*(plot.cost for plot in plots), *(column.name for column in shown if column.better < 0)]
    gains = [*(plot.gain for plot in plots), *(column.name for column in shown if column.better > 0)]
    own = [(plot.cost, plot.gain) for plot in plots]
    pairs = dict.fromkeys([*own, *itertools.product(dict.fromkeys(costs), dict.fromkeys(gains))])
    found = [Plot(cost=cost, gain=gain) for cost, gain in pairs]
    return [plot for plot in found if points_of(rows, plot)[0]]


def facts(rows: Sequence[FlatRow]) -> list[str]:
    """Return what was measured, on what, and by what."""
    last: FlatRow = dict(rows[-1]) if rows else {}
    machines = {row["environment.machine"] for row in rows if row.get("environment.machine")}
    several = f"; measured on {len(machines)} machines: seconds cannot be compared" if len(machines) > 1 else ""
    counts = next((row for row in rows if row.get("counts.scenes")), last)
    failed = sum(row["status"] != "ok" for row in rows)
    return [
        f"{counted(len(rows), 'case')}{f', {failed} failed' if failed else ''}",
        f"{counts.get('counts.scenes') or '?'} scenes, {counts.get('counts.pairs') or '?'} pairs",
        f"{last.get('environment.machine', '')}, {last.get('environment.cores', '')} cores{several}",
        f"commit {str(last['commit'])[:12]}{' with changes' if last.get('dirty') else ''}"
        if last.get("commit")
        else f"s2fast {last.get('version', '')}",
    ]


def _row(row: FlatRow, shown: Sequence[Shown], settings: Sequence[str], best: Sequence[bool]) -> dict[str, Any]:
    return {
        "label": row["label"],
        "failed": row["status"] != "ok",
        "reason": row["reason"] or "",
        "set": [setting_text(row, key) for key in settings],
        "values": [_number(row.get(column.name)) for column in shown],
        "texts": [column.cell(row) for column in shown],
        "best": list(best),
        "runs": row.get("runs.count") or 1,
        "ends": {
            name: [row[f"{name}_low"], row[f"{name}_high"]]
            for name in ("seconds", "cpu_s")
            if not is_missing(row.get(f"{name}_low"))
        },
    }


def _number(value: Any) -> float | None:
    return None if is_missing(value) else float(value)


def _earlier(rows: Sequence[FlatRow], earlier: Earlier, shown: Sequence[Shown]) -> dict[str, Any]:
    return {
        "name": earlier.name,
        "cases": [
            {
                "index": change.index,
                "values": [_number(change.before.get(column.name)) for column in shown],
                "texts": [column.cell(change.before) for column in shown],
                "by": [change.by.get(column.name) for column in shown],
            }
            for change in changes(rows, earlier.rows)
        ],
    }


def _pairs(finished: Finished) -> dict[str, Any] | None:
    """Return the pairs that some cases verify and others do not; None if there are none, or none are kept."""
    path = finished.rows_path
    if path is None:
        return None
    kept = [read_pairs(path, str(row["case"])) if row["status"] == "ok" else None for row in finished.rows]
    tables = {at: _indexed(table) for at, table in enumerate(kept) if table is not None}
    if len(tables) < 2:
        return None
    verified = pd.DataFrame({at: table["verified"] for at, table in tables.items()}).fillna(False).astype(bool)
    split = verified[verified.any(axis=1) & ~verified.all(axis=1)]
    if split.empty:
        return None
    # The most telling first: those about which the cases are most divided.
    share = split.mean(axis=1)
    chosen = split.loc[(share - 0.5).abs().sort_values(kind="stable").index[:MOST_PAIRS]]
    tables = {at: table.reindex(chosen.index) for at, table in tables.items()}
    pictures = read_pictures(path)
    scenes = sorted({name for pair in chosen.index for name in pair})
    heavy = sum(table["lines"].dropna().map(len).sum() for table in tables.values()) * 4 / 3 > MOST_LINES_BYTES
    return {
        "total": len(split),
        "scenes": {name: pictures[name] for name in scenes if name in pictures},
        "pairs": [list(pair) for pair in chosen.index],
        "cases": {at: _verdicts(table, with_lines=not heavy) for at, table in tables.items()},
    }


def _indexed(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(verified=is_verified(table)).set_index(["query", "train"])


def _verdicts(table: pd.DataFrame, *, with_lines: bool) -> dict[str, list[Any]]:
    """Return a case's verdicts on the pairs, by column."""
    names = [name for name in ("n_good", "n_inliers", "dx_m", "dy_m", "shift_error_m") if name in table]
    found: dict[str, list[Any]] = {
        name: [None if is_missing(value) or value is pd.NA else round(float(value), 3) for value in table[name]]
        for name in names
    }
    found["verified"] = is_verified(table).astype(int).tolist()
    found["verdict"] = ["" if not isinstance(value, str) else value for value in table["verdict"]]
    found["lines"] = [text_of(value) if with_lines and isinstance(value, bytes) else "" for value in table["lines"]]
    return found
