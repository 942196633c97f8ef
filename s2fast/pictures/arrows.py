"""Displacements of a pair's inliers as arrows on the query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from s2fast.folder.run_folder import RunFolder
from s2fast.model import Window
from s2fast.pictures.lines import in_window
from s2fast.pictures.panels import TEXT_PT, Panel, length_text, round_length
from s2fast.report.displacements import KeypointPositions
from s2fast.report.match_columns import MatchColumns, inliers
from s2fast.report.shown_matches import MOST_LINES, spread

_LONG_SHARE = 0.1
"""Length of a long arrow, as a share of the panel's width."""

_LONG_PCT = 90.0
"""A long arrow is longer than this share of all [%]."""


@dataclass(frozen=True, slots=True)
class Arrows:
    """Displacements of inliers, spread over the ground."""

    xy: npt.NDArray[np.float32]
    """(k, 2) positions in the query [full-resolution px]."""
    shift_m: npt.NDArray[np.float64]
    """(k, 2) train minus query, east and north [m]."""
    count: int
    """Number of inliers from which they are taken."""
    median_m: npt.NDArray[np.float64]
    """(2,) median displacement of all inliers, east and north [m]."""

    @classmethod
    def of(cls, folder: RunFolder, query: str, train: str, window: Window) -> Arrows | None:
        """Return the displacements within a window of the query; None without stored inliers there."""
        matches = folder.verified.matches(query, train)
        matches = matches[inliers(matches)] if "inlier" in matches else matches[:0]
        if not len(matches):
            return None
        positions = KeypointPositions(folder, [query, train])
        columns = MatchColumns.of_table(pa.Table.from_pandas(matches, preserve_index=False), {query: 0, train: 1})
        shift = positions.displacements(columns).shift
        xy = folder.positions(query)[matches["query_row"].to_numpy()]
        seen = np.flatnonzero(in_window(xy, window))
        if not len(seen):
            return None
        rows = seen[spread(xy[seen].astype(np.float64), np.zeros(len(seen), np.intp), MOST_LINES)]
        return cls(xy[rows], shift[rows], len(seen), np.median(shift[seen], axis=0))


def draw_arrows(panel: Panel, arrows: Arrows, shift_m: npt.NDArray[np.float64], colour: str) -> None:
    """Draw displacements as arrows, enlarged, and an arrow of known length below the panel."""
    grid, width = panel.shown.grid, panel.shown.window.width
    px_m = float(np.hypot(*grid.px_m[:, 0]))
    long_m = float(np.percentile(np.hypot(*shift_m.T), _LONG_PCT))
    if long_m <= 0:
        return
    enlarged = _LONG_SHARE * width * px_m / long_m
    columns, rows = np.linalg.solve(grid.px_m, shift_m.T) * enlarged
    drawn = panel.axes.quiver(
        *arrows.xy.T, columns, rows, color=colour, edgecolor="black", linewidth=0.3, angles="xy", scale_units="xy",
        scale=1.0, width=0.006, headwidth=3.5, headlength=4.0,
    )  # fmt: skip
    key_m = round_length(1.5 * long_m)
    length = key_m / px_m * enlarged
    name = length_text(key_m, in_pixels=not grid.crs_wkt)
    panel.axes.quiverkey(
        drawn, length / width, -0.1, length, f"{name}, {enlarged:.0f} times as long", angle=0,
        coordinates="axes", labelpos="E", fontproperties={"size": TEXT_PT}, labelsep=0.05,
    )  # fmt: skip
