"""Print a run's pairs or scenes, or write them to a file: short on a terminal, whole elsewhere."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from s2fast.archive.fragments import short_ids
from s2fast.errors import InputError
from s2fast.files.legible import counted, legible
from s2fast.files.suffixes import check_suffix
from s2fast.geometry.scene_verdict import SIGN
from s2fast.report.rounding import csv_bytes, rounded, with_texts
from s2fast.report.selection import SHIFT, named, with_shift

_PAIR_COLUMNS = (
    "query", "train", "n_query", "n_train", "n_good", "similarity_pct", "n_inliers", "n_witnesses", "dx_m", "dy_m",
    "shift_error_m", "network_residual_m", "rotation_deg", "verified", "verdict",
)  # fmt: skip

_SCENE_COLUMNS = (
    "scene_id", "n_keypoints", "clear_pct", "n_verified", "offset_x_m", "offset_y_m", "offset_error_m", "verdict",
    "correction", "mask",
)  # fmt: skip

_PAIR_TITLES = {
    "query": "query", "train": "train", "similarity_pct": "sim. %", "n_inliers": "inliers", "dx_m": "east m",
    "dy_m": "north m", "shift_error_m": "± m", "verdict": "verdict",
}  # fmt: skip
"""Columns of pairs on a terminal, with their titles there."""

_IN_PIXELS = {"dx_m": ("dx_px", "right px"), "dy_m": ("dy_px", "down px")}
"""Columns of pairs in metres, and those in pixels and their titles that replace them for scenes without a CRS."""

_SCENE_TITLES = {
    "scene_id": "scene", "clear_pct": "clear %", "n_verified": "pairs", "offset_x_m": "east m", "offset_y_m": "north m",
    "offset_error_m": "± m", "verdict": "verdict", "correction": "correction",
}  # fmt: skip
"""The same, of scenes."""

_PAIR_SIGN = "east, north: train position minus query position; empty where chance explains the matches."

_PIXEL_SIGN = "right, down: train position minus query position; empty where chance explains the matches."

_SCENE_SIGN = "east, north: how far a scene shows the same ground from its series; a correction is the opposite."

_SPARE = ("correction", "± m", "inliers", "clear %", "sim. %", "pairs")
"""Titles of columns that a narrow terminal leaves out, in this order."""

_EDGE, _GAP = "  ", "   "
"""Blanks at both ends of a line of the table, and between two columns."""

_DIGITS = 2
"""Decimals of the numbers in a table."""

FORMATS = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table", "": "table"}
"""Formats of a listing, by the suffix of the file to write; Parquet only in a file."""


@dataclass(frozen=True, slots=True)
class Listing:
    """How rows are listed."""

    form: str = ""
    """A value of `FORMATS`; empty: by the suffix of the file, or a table."""
    columns: Sequence[str] = ()
    """Columns by name or fragment of a name; empty: on a terminal those of most interest, elsewhere many or all."""
    file: Path | None = None
    """File to write; None: standard output."""
    scene_ids: Sequence[str] = ()
    """Ids of all scenes of the run, among which shortened ids must be unambiguous."""
    total: int | None = None
    """Number of rows before selection; None: all rows are listed."""


def print_pairs(pairs: pd.DataFrame, listing: Listing = Listing()) -> None:
    """Print pairs, or write them to a file."""
    if any(SHIFT.startswith(name) for name in listing.columns):
        pairs = with_shift(pairs)
    kind = _Kind("pair", ("query", "train"), _PAIR_COLUMNS, _PAIR_TITLES, "dx_m", _PAIR_SIGN, "")
    if "dx_px" in pairs and pairs["dx_m"].isna().all() and pairs["dx_px"].notna().any():  # scenes without a CRS
        columns = [_IN_PIXELS.get(name, (name, ""))[0] for name in _PAIR_COLUMNS]
        titles = dict(_IN_PIXELS.get(name, (name, title)) for name, title in _PAIR_TITLES.items())
        kind = replace(kind, columns=columns, titles=titles, signed="dx_px", brief_sign=_PIXEL_SIGN)
    _list(pairs, listing, kind)


def print_scenes(scenes: pd.DataFrame, listing: Listing = Listing()) -> None:
    """Print scenes without footprints, or write them to a file; below a table, explain the sign of the offsets."""
    rows = pd.DataFrame(scenes.drop(columns="geometry"))
    data = sorted(set(scenes["datum"]) - {""}) if "datum" in scenes else []
    below = [f"Datum: {legible(name)}." for name in data]
    signs = ("\n".join([sign, *below]) for sign in (_SCENE_SIGN, SIGN))
    _list(rows, listing, _Kind("scene", ("scene_id",), _SCENE_COLUMNS, _SCENE_TITLES, "offset_x_m", *signs))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What rows are."""

    noun: str
    """What a row is, "pair", for messages."""
    ids: Sequence[str]
    """Columns of scene ids."""
    columns: Sequence[str]
    """Columns of a table in a pipe."""
    titles: Mapping[str, str]
    """Columns of a table on a terminal, with their titles."""
    signed: str
    """Column that has signs."""
    brief_sign: str
    """Lines below a table with titles on the meaning of signs."""
    sign: str
    """The same, below any other table; empty: none."""


def _list(rows: pd.DataFrame, listing: Listing, kind: _Kind) -> None:
    form = _form(listing)
    # A run folder may be somebody else's: its names may hold anything.
    rows = with_texts(rows, legible)
    columns = [named(name, map(str, rows.columns), "column") for name in listing.columns]
    if form != "table":
        data = _encoded(rows[columns] if columns else rows, form)
        return _write(data, listing.file)
    width = shutil.get_terminal_size().columns if listing.file is None and sys.stdout.isatty() else None
    below = kind.sign
    if width is not None and not columns:
        below = kind.brief_sign
        short = short_ids(listing.scene_ids or list(pd.unique(rows[list(kind.ids)].to_numpy().ravel())))
        shown = {name: title for name, title in kind.titles.items() if name in rows}
        signed = rows[kind.signed].notna().any()
        rows = rows.assign(**{name: rows[name].map(short) for name in kind.ids})[list(shown)].rename(columns=shown)
        columns = list(shown.values())
    else:
        signed = rows[kind.signed].notna().any()
    names = columns or kind.columns
    if not listing.columns:
        names = [name for name in names if name in rows and not rows[name].isna().all()]
    lines = _table(rows, names, kind.noun, listing.total, width)
    if below and signed:
        lines += [part for line in below.split("\n") for part in (textwrap.wrap(line, width) if width else [line])]
    return _write("".join(f"{line}\n" for line in lines).encode(), listing.file)


def _form(listing: Listing) -> str:
    form = listing.form or FORMATS[check_suffix(listing.file or "", list(FORMATS))]
    if form == "parquet" and listing.file is None:
        raise InputError("a Parquet table cannot be printed: name a file with -o FILE.parquet")
    return form


def _encoded(rows: pd.DataFrame, form: str) -> bytes:
    if form == "csv":
        return csv_bytes(rows, index=False)
    if form == "json":
        return ((rounded(rows).to_json(orient="records", date_format="iso") or "[]") + "\n").encode()
    return rows.to_parquet(index=False)


def _write(data: bytes, file: Path | None) -> None:
    if file is None:
        sys.stdout.write(data.decode())
        return
    try:
        file.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from error


def _table(rows: pd.DataFrame, names: Sequence[str], noun: str, total: int | None, width: int | None) -> list[str]:
    """Return the lines of a table; of a terminal's width, if it has one."""
    count = counted(len(rows), noun) if total in (None, len(rows)) else f"{len(rows)} of {counted(total or 0, noun)}"
    if rows.empty:
        return [count]
    shown = list(names)
    columns = [[name, *_cells(rows[name])] for name in shown]
    widths = [max(map(len, column)) for column in columns]
    edge, gap = _EDGE, _GAP
    if width is not None and 2 * len(edge) + sum(widths) + (len(widths) - 1) * len(gap) > width:
        edge, gap = "", "  "
        if left_out := _leave_out(shown, columns, widths, width, len(gap)):
            count += f"; too narrow for {', '.join(left_out)}: -o FILE.csv writes all columns"
    for number, (name, side) in enumerate(zip(shown, widths, strict=True)):
        align = str.rjust if pd.api.types.is_numeric_dtype(rows[name]) else str.ljust
        columns[number] = [align(cell, side) for cell in columns[number]]
    head, *body = (f"{edge}{gap.join(cells)}{edge}" for cells in zip(*columns, strict=True))
    empty, rule = " " * len(head), f"{edge[1:]}{'─' * (len(head) - 2 * len(edge[1:]))}{edge[1:]}"
    return [empty, head, rule, *body, empty, count.ljust(len(head))]


def _leave_out(shown: list[str], columns: list[list[str]], widths: list[int], most: int, gap: int) -> list[str]:
    """Remove spare columns until the others fit into a line; return their titles. Nothing is ever cut."""
    left_out: list[str] = []
    for name in _SPARE:
        if sum(widths) + (len(widths) - 1) * gap <= most:
            break
        if name in shown:
            at = shown.index(name)
            left_out.append(shown[at])
            del shown[at], columns[at], widths[at]
    return left_out


def _cells(column: pd.Series) -> list[str]:
    """Format the values of a column; blank where they are missing."""
    form = _number if pd.api.types.is_float_dtype(column) else str
    return ["" if missing else form(value) for value, missing in zip(column.tolist(), column.isna(), strict=True)]


def _number(value: float) -> str:
    # Adding 0 makes a negative zero positive.
    return f"{round(value, _DIGITS) + 0.0:.{_DIGITS}f}"
