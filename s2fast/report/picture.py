"""Draw a pair: both scenes in colour, both masked tiles, and the matches between them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch
from matplotlib.patheffects import Normal, withStroke

from s2fast.errors import InputError
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.placement import PixelGrid
from s2fast.model import Window
from s2fast.report.imagery import original, shown_tile, snapped_to_tile, whole_scene
from s2fast.report.sample import Lines, lines_to_draw

View = Literal["all", "masked", "original"]

_SIDE_PX = 1200
"""Longest side of a drawn scene."""

_INLIER = {"color": "#56b4e9", "linestyle": "solid"}
_OUTLIER = {"color": "#e69f00", "linestyle": "dashed"}
"""Colours of the Okabe-Ito palette, safe for colour-blind readers and visible on grey; line styles differ too."""

_EDGE = [withStroke(linewidth=3.0, foreground="black", alpha=0.6), Normal()]
"""Dark edge that keeps lines visible on bright ground."""

_DIMMED = 0.4
"""Relative brightness of pixels outside the regions, below the lines."""


def pair_picture(
    folder: RunFolder,
    query: str,
    train: str,
    title: str = "",
    *,
    matches: int = 20,
    inliers_only: bool = False,
    view: View = "all",
    crop: Window | None = None,
) -> Figure:
    """Draw a pair of scenes.

    Parameters
    ----------
    folder
        The run folder with both scenes.
    query, train
        Scene ids.
    title
        Title above the picture.
    matches
        Maximum number of matches to draw, those with the nearest descriptors.
    inliers_only
        Draw inliers only.
    view
        "all": three rows with the scenes in colour, the masked tiles, and the matches. "original" or "masked": only
        the matches, on the scenes in colour or on the masked tiles.
    crop
        Window of the query to draw, on its full-resolution grid; the same ground of the train is drawn.

    Returns
    -------
    Figure
        One row, or three for the view "all".
    """
    windows = windows_to_draw(folder, query, train, crop)
    lines = lines_to_draw(folder, query, train, matches, windows, inliers_only=inliers_only)
    figure = Figure(figsize=(12, 19 if view == "all" else 7.2), layout="constrained")
    axes = figure.subplots(3 if view == "all" else 1, 2, squeeze=False)
    for column, (scene_id, window) in enumerate(zip((query, train), windows, strict=True)):
        count = folder.keypoints(scene_id)
        side = f"{'query' if column == 0 else 'train'} {scene_id}"
        below = axes[-1, column]
        if view == "all":
            _draw(axes[0, column], folder, scene_id, window, "original", f"{scene_id}\nthe scene")
            _draw(axes[1, column], folder, scene_id, window, "masked", f"inside the regions: {count} keypoints")
        _draw(below, folder, scene_id, window, "original" if view == "original" else "dimmed", side)
    _connect(figure, axes[-1, 0], axes[-1, 1], lines)
    for right in axes[:, 1]:
        # Lines cross the gap between the columns: keep axis labels out of it.
        right.yaxis.tick_right()
        right.yaxis.set_label_position("right")
    figure.suptitle(f"{title}\n{_legend(lines)}".lstrip(), fontsize=13)
    return figure


def windows_to_draw(folder: RunFolder, query: str, train: str, crop: Window | None) -> tuple[Window, Window]:
    """Return the windows of the query and the train to draw: whole scenes, or the crop and the same ground.

    Raises
    ------
    InputError
        The crop is outside the query, or its ground is outside the train.
    """
    scenes = whole_scene(folder, query), whole_scene(folder, train)
    if crop is None:
        return scenes
    grids = [PixelGrid.of_tile(folder.tile(scene_id)) for scene_id in (query, train)]
    x0, y0, x1, y1 = crop.bounds
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64) - 0.5
    crs = grids[0].crs_wkt
    in_train = grids[1].from_map(grids[0].on_map(corners, crs), crs) + 0.5
    low, high = np.rint(in_train.min(0)).astype(int), np.rint(in_train.max(0)).astype(int)
    same_ground = Window(int(low[1]), int(low[0]), int(high[1] - low[1]), int(high[0] - low[0]))
    shown = _common(crop, scenes[0]), _common(same_ground, scenes[1])
    for scene_id, scene, window in zip((query, train), scenes, shown, strict=True):
        if not window:
            raise InputError(
                f"the crop {crop.col},{crop.row},{crop.width},{crop.height} of {query} is outside {scene_id}, "
                f"which has {scene.width} columns and {scene.height} rows: choose another crop"
            )
    return shown


def _common(window: Window, scene: Window) -> Window:
    x0, y0, x1, y1 = window.bounds
    left, top = max(x0, 0), max(y0, 0)
    return Window(top, left, min(y1, scene.height) - top, min(x1, scene.width) - left)


def _draw(axes: Axes, folder: RunFolder, scene_id: str, window: Window, kind: str, title: str) -> None:
    if kind == "original":
        image = original(folder, scene_id, window, _SIDE_PX)
    else:
        image = shown_tile(folder, scene_id, window, _SIDE_PX, _DIMMED if kind == "dimmed" else 0.0)
    # A stored pixel may extend beyond the crop. Pixel centres are at integers, edges at half-integers.
    drawn = window if kind == "original" else snapped_to_tile(folder, scene_id, window)
    left, top, right, bottom = (edge - 0.5 for edge in drawn.bounds)
    extent = (left, right, bottom, top)
    axes.imshow(image, extent=extent, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    left, top, right, bottom = (edge - 0.5 for edge in window.bounds)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("column [px]", fontsize=9)
    axes.set_ylabel("row [px]", fontsize=9)
    axes.tick_params(labelsize=8)


def _connect(figure: Figure, left: Axes, right: Axes, lines: Lines) -> None:
    agree = np.ones(len(lines), np.bool_) if lines.inlier is None else lines.inlier
    for start, end, inlier in zip(lines.query_xy, lines.train_xy, agree, strict=True):
        # Unverified matches are solid too, but in the colour of outliers.
        style = _INLIER if inlier and lines.inlier is not None else _OUTLIER
        line = style["linestyle"] if lines.inlier is not None else "solid"
        figure.add_artist(
            ConnectionPatch(
                tuple(start), tuple(end), "data", "data", axesA=left, axesB=right, color=style["color"], linestyle=line,
                linewidth=1.4, path_effects=_EDGE,
            )
        )  # fmt: skip
        for axes, point in ((left, start), (right, end)):
            axes.scatter(
                point[0],
                point[1],
                s=22,
                facecolors="none",
                edgecolors=style["color"],
                linewidths=1.2,
                path_effects=_EDGE,
            )
    if lines.inlier is not None:
        handles = [Line2D([], [], label="inlier", **_INLIER), Line2D([], [], label="outlier", **_OUTLIER)]  # type: ignore[arg-type]
        left.legend(handles=handles, loc="lower left", fontsize=9)


def _legend(lines: Lines) -> str:
    if lines.inlier is None:
        return f"lines: the {len(lines)} nearest mutual matches; not verified"
    inliers = int(lines.inlier.sum())
    return f"lines: {inliers} inliers, {len(lines) - inliers} outliers, the nearest good matches"
