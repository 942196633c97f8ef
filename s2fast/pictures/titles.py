"""What is written above a picture."""

from __future__ import annotations

from typing import Any

import pandas as pd


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
        text += f"\n{row.verdict}: {row.n_inliers} inliers, shift {shift_text(row.dx_m, row.dy_m)}{error}"
        if pd.notna(row.rotation_deg):
            text += f", rotation {row.rotation_deg:.3f}°, scale {row.scale:.5f}"
    elif row.verdict:
        text += f"\n{row.verdict}"
    return text


def shift_text(east_m: float, north_m: float) -> str:
    """Return a shift in words.

    Examples
    --------
    >>> shift_text(3.12, -1.57)
    '3.12 m east, 1.57 m south'
    """
    east_west, north_south = "west" if east_m < 0 else "east", "south" if north_m < 0 else "north"
    return f"{abs(east_m):.2f} m {east_west}, {abs(north_m):.2f} m {north_south}"
