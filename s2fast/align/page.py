"""The page of an align call: what was done with each scene and why, and the picture of the check."""

from __future__ import annotations

from html import escape

import pandas as pd

from s2fast.files.legible import legible
from s2fast.geometry.scene_verdict import SceneVerdict

NAME = "alignment.html"

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.6rem; text-align: right; vertical-align: top; border-bottom: 1px solid #8884; }
td { white-space: nowrap; }
th:nth-child(-n + 2), td:nth-child(-n + 2) { text-align: left; }
td:nth-child(2) { white-space: normal; min-width: 12rem; }
tr.out td { color: #b35806; }
@media (prefers-color-scheme: dark) { tr.out td { color: #f5a860; } }
.picture { background: white; width: fit-content; max-width: 100%; overflow-x: auto; margin-bottom: 1.5rem; }
@media screen and (prefers-color-scheme: dark) { .picture { filter: invert(0.93) hue-rotate(180deg); } }
svg { display: block; max-width: 100%; min-width: 36rem; height: auto; }
@media print { body { max-width: none; } div { overflow: visible; } }
"""

_COLUMNS = {
    "scene_id": "scene", "said": "outcome", "add_x_m": "added to x [m]", "add_y_m": "added to y [m]",
    "offset_error_m": "error [m]", "model": "model", "gain_m": "gain on held-out matches [m]",
    "before_median_m": "median before [m]", "after_median_m": "median after [m]",
    "before_ce90_m": "CE90 before [m]", "after_ce90_m": "CE90 after [m]",
}  # fmt: skip
"""Columns of the table that are shown, with their headings, unless they are empty."""


def page(table: pd.DataFrame, picture: bytes | None) -> str:
    """Return the page; equal input gives equal text.

    Parameters
    ----------
    table
        See `s2fast.align.aligned.align`, without geometry.
    picture
        SVG of `s2fast.align.picture.before_after`; None without a check.
    """
    aligned = table["aligned"].to_numpy(dtype=bool)
    shown = table.assign(said=outcomes(table))
    names = [name for name in _COLUMNS if name in shown and shown[name].notna().any()]
    head = "".join(f"<th>{escape(_COLUMNS[name])}</th>" for name in names)
    rows = "".join(
        f"<tr{'' if fine else ' class=out'}>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>\n"
        for fine, row in zip(aligned, shown[names].itertuples(index=False), strict=True)
    )
    drawing = picture.decode()[picture.decode().index("<svg") :] if picture else ""
    known = table["offset_x_m"].notna()  # the others have no datum
    reference = "; ".join(dict.fromkeys(table.loc[known, "reference"]))
    datum = f"Offsets are relative to: {escape(legible(reference))}." if reference else "No offset is known."
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Aligned scenes</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n'
        f"<h1>{aligned.sum()} of {len(table)} scenes aligned</h1>\n<p>{sentence(table)} "
        f"Corrections were added to coordinates, x east and y north. {datum} Columns and limits: docs/align.md.</p>\n"
        + (f'<div class="picture">{drawing}</div>\n' if drawing else "")
        + f"<div><table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>\n</body></html>\n"
    )


def outcomes(table: pd.DataFrame) -> list[str]:
    """Return what became of each scene, in words."""
    meanings = {verdict.value: f": {verdict.meaning}" for verdict in SceneVerdict}
    return [
        (f"aligned; {note}" if note else "aligned") if fine else f"left out, {reason}{meanings.get(reason, '')}"
        for fine, reason, note in zip(table["aligned"], table["reason"], table["note"], strict=True)
    ]


def sentence(table: pd.DataFrame) -> str:
    """Return a sentence about the check."""
    if "n_windows" not in table:
        return "The written files were not compared with each other (--check)."
    compared = medians(table)
    if compared is None:
        return "No written file could be compared with another."
    before, after, count = compared
    return (
        f"Compared by phase correlation, {count:.0f} scenes are displaced by {before:.2f} m before and {after:.2f} m "
        "after the correction (median)."
    )


def medians(table: pd.DataFrame) -> tuple[float, float, int] | None:
    """Return the median displacement before and after the correction [m], and of how many scenes; None: no check."""
    if "n_windows" not in table:
        return None
    known = table[(table["n_windows"] > 0) & table["before_median_m"].notna() & table["after_median_m"].notna()]
    if known.empty:
        return None
    before, after = (float(known[f"{side}_median_m"].median()) for side in ("before", "after"))
    return before, after, len(known)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.3f}"
    return escape(legible(str(value)))
