"""Filter the pairs of a run's table, and print them."""

from __future__ import annotations

import sys

import pandas as pd

_SHOWN = (
    "query", "train", "n_query", "n_train", "n_good", "similarity_pct", "n_inliers", "n_witnesses", "dx_m", "dy_m",
    "rotation_deg", "verified", "verdict",
)  # fmt: skip


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
    if form == "csv":
        sys.stdout.write(pairs.to_csv(index=False))
    elif form == "json":
        sys.stdout.write((pairs.to_json(orient="records", date_format="iso") or "[]") + "\n")
    else:
        _print_table(pairs)


def _cell(value: object) -> str:
    """Format a value of the table; blank if it is missing."""
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _print_table(pairs: pd.DataFrame) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = [name for name in _SHOWN if name in pairs and not pairs[name].isna().all()]
    table = Table(box=box.SIMPLE_HEAD, caption=f"{len(pairs)} pairs", caption_justify="left")
    for name in shown:
        numeric = pd.api.types.is_numeric_dtype(pairs[name])
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in pairs[shown].itertuples(index=False):
        table.add_row(*map(_cell, row))
    console = Console()
    if not console.is_terminal:
        # A pipe has no width: use one that does not cut lines.
        console = Console(width=240)
    console.print(table if len(pairs) else "0 pairs")
