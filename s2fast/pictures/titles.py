"""What is written above a picture."""

from __future__ import annotations

from typing import Any

import pandas as pd

from s2fast.files.legible import legible


def plain(text: str) -> str:
    """Return a text as Matplotlib shall draw it: as it is, and nothing in it as a formula."""
    return legible(text).replace("$", r"\$")


def pair_title(row: Any) -> str:
    """Return the title of a pair's picture: its similarity, and its verdict with what was found, on two lines.

    Parameters
    ----------
    row
        The pair's row of pairs.parquet.
    """
    text = f"similarity {row.similarity_pct:.2f} %: {row.n_good} good matches of {row.n_query} query keypoints"
    if pd.notna(row.verified) and row.verified:
        error = "" if pd.isna(row.shift_error_m) else f" ± {row.shift_error_m:.2f} m"
        in_pixels = pd.isna(row.dx_m)
        shift = shift_text(row.dx_px, -row.dy_px, in_pixels=True) if in_pixels else shift_text(row.dx_m, row.dy_m)
        text += f"\n{row.verdict}: {row.n_inliers} inliers, shift {shift}{error}"
        if pd.notna(row.rotation_deg):
            text += f", rotation {row.rotation_deg:.3f}°, scale {row.scale:.5f}"
    elif row.verdict:
        text += f"\n{row.verdict}"
    return text


def shift_text(east: float, north: float, *, in_pixels: bool = False) -> str:
    """Return a shift in words: east and north [m] or, of scenes without a CRS, to the right and up [px].

    Examples
    --------
    >>> shift_text(3.12, -1.57)
    '3.12 m east, 1.57 m south'
    """
    unit, *ways = ("px", "left", "right", "down", "up") if in_pixels else ("m", "west", "east", "south", "north")
    return f"{abs(east):.2f} {unit} {ways[int(east >= 0)]}, {abs(north):.2f} {unit} {ways[2 + int(north >= 0)]}"
