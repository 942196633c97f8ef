"""Draw what a check of corrected scenes has found: displacements before and after, and offsets over time."""

from __future__ import annotations

import io

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure

from s2fast.pictures.titles import plain

_WIDTH_IN, _ROW_IN, _FRAME_IN, _SERIES_IN = 7.2, 0.16, 0.9, 2.2
"""Width of the picture, height of a scene's row, of the labels around a panel, and of the lower panel [inches]."""

_BEFORE, _AFTER = "#b35806", "#2166ac"
"""Colours that stay apart for colour-blind readers."""


def before_after(table: pd.DataFrame, times: pd.Series) -> bytes:
    """Draw each scene before and after its correction, and the offsets over time; return an SVG.

    Equal input gives equal bytes.

    Parameters
    ----------
    table
        The table of a check, see `s2fast.align.aligned.align`.
    times
        Sensing time of each row; missing if unknown.
    """
    scenes_in = _ROW_IN * len(table)
    height_in = scenes_in + _SERIES_IN + 2 * _FRAME_IN
    with mpl.rc_context({"svg.hashsalt": "s2fast", "svg.fonttype": "none", "font.size": 7}):
        figure = Figure(figsize=(_WIDTH_IN, height_in))
        low = (_SERIES_IN + _FRAME_IN + _FRAME_IN / 2) / height_in
        _draw_scenes(figure.add_axes((0.34, low, 0.63, scenes_in / height_in)), table)
        _draw_series(
            figure.add_axes((0.1, _FRAME_IN / 2 / height_in, 0.87, _SERIES_IN / height_in)),
            table,
            pd.to_datetime(times),
        )
        sink = io.BytesIO()
        figure.savefig(sink, format="svg", metadata={"Date": None})
    return sink.getvalue()


def _draw_scenes(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a row per scene: median length before and after, and lines from there to 90 % of the windows."""
    rows = range(len(table))
    for name, colour, marker, shift in (("before", _BEFORE, "o", -0.15), ("after", _AFTER, "s", 0.15)):
        median, ce90 = table[f"{name}_median_m"], table[f"{name}_ce90_m"]
        places = [row + shift for row in rows]
        axes.hlines(places, median, ce90, color=colour, linewidth=0.8)
        axes.plot(median, places, marker, color=colour, markersize=3, label=f"{name}: median, line to 90 %")
    kept = table["aligned"].to_numpy()
    axes.set_yticks(
        rows,
        [plain(name if fine else f"{name} (left out)") for name, fine in zip(table["scene_id"], kept, strict=True)],
    )
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("displacement from other corrected scenes [m]")
    axes.grid(axis="x", linewidth=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)


def _draw_series(axes: Axes, table: pd.DataFrame, times: pd.Series) -> None:
    """Draw the offsets over time with their standard errors."""
    known = (times.notna() & table["offset_x_m"].notna()).to_numpy()
    for name, colour, marker in (("x", _BEFORE, "o"), ("y", _AFTER, "s")):
        label = f"offset {'east' if name == 'x' else 'north'}, with its standard error"
        axes.errorbar(
            times[known], table.loc[known, f"offset_{name}_m"], table.loc[known, "offset_error_m"], color=colour,
            fmt=marker, markersize=3, linewidth=0.8, capsize=2, label=label,
        )  # fmt: skip
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=7, interval_multiples=False))  # type: ignore[no-untyped-call]
    axes.axhline(0, color="0.5", linewidth=0.5)
    axes.set_ylabel("offset as delivered [m]")
    axes.grid(linewidth=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
