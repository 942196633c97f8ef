"""Filter the pairs of a run's table, and print pairs or scenes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import pandas as pd

from s2fast.files.legible import legible
from s2fast.geometry.scene_verdict import SIGN

_PAIR_COLUMNS = (
    "query", "train", "n_query", "n_train", "n_good", "similarity_pct", "n_inliers", "n_witnesses", "dx_m", "dy_m",
    "rotation_deg", "ce90_m", "rmse_dx_m", "rmse_dy_m", "verified", "verdict",
)  # fmt: skip

_SCENE_COLUMNS = (
    "scene_id", "n_keypoints", "clear_pct", "n_verified", "offset_x_m", "offset_y_m", "offset_error_m", "verdict",
    "correction",
)  # fmt: skip

_EDGE, _GAP = "  ", "   "
"""Blanks at both ends of a line of the table, and between two columns."""


def filter_pairs(
    pairs: pd.DataFrame,
    *,
    min_similarity: float | None = None,
    max_similarity: float | None = None,
    verified: bool = False,
    tile: str | None = None,
) -> pd.DataFrame:
    """Return the pairs that pass all filters, in descending order of similarity.

    Parameters
    ----------
    pairs
        The run's table.
    min_similarity
        Keep pairs of at least this similarity [%].
    max_similarity
        Keep pairs below this similarity [%]. The same value as minimum and as maximum splits the table in two.
    verified
        Keep verified pairs only.
    tile
        Keep pairs of two scenes of this tile.
    """
    kept = pd.Series(True, index=pairs.index)
    if min_similarity is not None:
        kept &= pairs["similarity_pct"] >= min_similarity
    if max_similarity is not None:
        kept &= pairs["similarity_pct"] < max_similarity
    if verified:
        kept &= pairs["verified"].fillna(False).astype(bool)
    if tile is not None:
        kept &= (pairs["query_tile"] == tile) & (pairs["train_tile"] == tile)
    return pairs[kept].sort_values("similarity_pct", ascending=False, kind="stable")


def print_pairs(pairs: pd.DataFrame, form: str) -> None:
    """Print pairs to standard output as "table", "csv" or "json" (one array of objects)."""
    _print(pairs, form, _PAIR_COLUMNS, "pairs")


def print_scenes(scenes: pd.DataFrame, form: str) -> None:
    """Print scenes, without footprints, as `print_pairs` does; below the table, explain the sign of the offsets."""
    _print(pd.DataFrame(scenes.drop(columns="geometry")), form, _SCENE_COLUMNS, "scenes")
    if form == "table" and scenes["offset_x_m"].notna().any():
        data = sorted(set(scenes["datum"]) - {""}) if "datum" in scenes else []
        sys.stdout.write("".join(f"{line}\n" for line in (SIGN, *(f"Datum: {legible(name)}." for name in data))))


def _print(rows: pd.DataFrame, form: str, columns: Sequence[str], noun: str) -> None:
    # A run folder may be somebody else's: its names may hold anything.
    rows = rows.map(lambda cell: legible(cell) if isinstance(cell, str) else cell)
    if form == "csv":
        sys.stdout.write(rows.to_csv(index=False))
    elif form == "json":
        sys.stdout.write((rows.to_json(orient="records", date_format="iso") or "[]") + "\n")
    else:
        _print_table(rows, columns, noun)


def _print_table(rows: pd.DataFrame, names: Sequence[str], noun: str) -> None:
    if rows.empty:
        sys.stdout.write(f"0 {noun}\n")
        return
    shown = [name for name in names if name in rows and not rows[name].isna().all()]
    columns = [[name, *_cells(rows[name])] for name in shown]
    widths = [max(map(len, column)) for column in columns]
    if sys.stdout.isatty():
        blanks = 2 * len(_EDGE) + (len(widths) - 1) * len(_GAP)
        _narrow(widths, shutil.get_terminal_size().columns - blanks)
    for number, (name, width) in enumerate(zip(shown, widths, strict=True)):
        align = str.rjust if pd.api.types.is_numeric_dtype(rows[name]) else str.ljust
        fitting = (cell if len(cell) <= width else cell[: width - 1] + "…" for cell in columns[number])
        columns[number] = [align(cell, width) for cell in fitting]
    head, *body = (f"{_EDGE}{_GAP.join(cells)}{_EDGE}" for cells in zip(*columns, strict=True))
    empty, rule = " " * len(head), f" {'─' * (len(head) - 2)} "
    lines = [empty, head, rule, *body, empty, f"{len(rows)} {noun}".ljust(len(head))]
    sys.stdout.write("\n".join(lines) + "\n")


def _cells(column: pd.Series) -> list[str]:
    """Format the values of a column; blank where they are missing."""
    form = "{:.2f}".format if pd.api.types.is_float_dtype(column) else str
    return ["" if missing else form(value) for value, missing in zip(column.tolist(), column.isna(), strict=True)]


def _narrow(widths: list[int], most: int) -> None:
    """Reduce the widest of the widths until their sum is at most `most`, but none below 1."""
    while sum(widths) > max(most, len(widths)):
        widths[widths.index(max(widths))] -= 1
