"""Filter the pairs of a run's table, and print them."""

from __future__ import annotations

import shutil
import sys

import pandas as pd

from s2fast.files.legible import legible

_SHOWN = (
    "query", "train", "n_query", "n_train", "n_good", "similarity_pct", "n_inliers", "n_witnesses", "dx_m", "dy_m",
    "rotation_deg", "verified", "verdict",
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
    # A run folder may be somebody else's: its names may hold anything.
    pairs = pairs.map(lambda cell: legible(cell) if isinstance(cell, str) else cell)
    if form == "csv":
        sys.stdout.write(pairs.to_csv(index=False))
    elif form == "json":
        sys.stdout.write((pairs.to_json(orient="records", date_format="iso") or "[]") + "\n")
    else:
        _print_table(pairs)


def _print_table(pairs: pd.DataFrame) -> None:
    if pairs.empty:
        sys.stdout.write("0 pairs\n")
        return
    shown = [name for name in _SHOWN if name in pairs and not pairs[name].isna().all()]
    columns = [[name, *_cells(pairs[name])] for name in shown]
    widths = [max(map(len, column)) for column in columns]
    if sys.stdout.isatty():
        blanks = 2 * len(_EDGE) + (len(widths) - 1) * len(_GAP)
        _narrow(widths, shutil.get_terminal_size().columns - blanks)
    for number, (name, width) in enumerate(zip(shown, widths, strict=True)):
        align = str.rjust if pd.api.types.is_numeric_dtype(pairs[name]) else str.ljust
        fitting = (cell if len(cell) <= width else cell[: width - 1] + "…" for cell in columns[number])
        columns[number] = [align(cell, width) for cell in fitting]
    head, *body = (f"{_EDGE}{_GAP.join(cells)}{_EDGE}" for cells in zip(*columns, strict=True))
    empty, rule = " " * len(head), f" {'─' * (len(head) - 2)} "
    lines = [empty, head, rule, *body, empty, f"{len(pairs)} pairs".ljust(len(head))]
    sys.stdout.write("\n".join(lines) + "\n")


def _cells(column: pd.Series) -> list[str]:
    """Format the values of a column; blank where they are missing."""
    form = "{:.2f}".format if pd.api.types.is_float_dtype(column) else str
    return ["" if missing else form(value) for value, missing in zip(column.tolist(), column.isna(), strict=True)]


def _narrow(widths: list[int], most: int) -> None:
    """Reduce the widest of the widths until their sum is at most `most`, but none below 1."""
    while sum(widths) > max(most, len(widths)):
        widths[widths.index(max(widths))] -= 1
