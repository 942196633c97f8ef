"""Draw a pair: both scenes in colour, both masked scenes, the matches between them, and their displacements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from s2fast.errors import InputError, caller_hint, option
from s2fast.files.legible import counted
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.model import Window
from s2fast.pictures.arrows import Arrows, draw_arrows
from s2fast.pictures.lines import Lines, lines_to_draw
from s2fast.pictures.panels import TEXT_PT, Panel, Sheet, Shown
from s2fast.pictures.titles import plain, shift_text
from s2fast.report.imagery import whole_scene

View = Literal["all", "masked", "original"]
Layout = Literal["all", "pair", "matches", "displacement"]

_INLIER, _OUTLIER = "#56b4e9", "#e69f00"
"""Colours of the Okabe-Ito palette, safe for colour-blind readers and visible on grey; line styles differ too."""

_LINE_IN, _TITLE_PT = 0.15, 8.0
"""Height of a line of the title [inches], and its size [points]."""


def pair_picture(
    folder: RunFolder,
    query: str,
    train: str,
    title: str,
    *,
    layout: Layout | None,
    matches: int,
    inliers_only: bool,
    view: View,
    crop: Window | None,
    dpi: float,
    masked: bool,
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
    layout
        "pair": the scenes in colour. "matches": the matches between them. "displacement": the displacements of the
        inliers, and their departures from the median. "all": all of these, and the masked scenes. None: "all", or
        "matches" if a `view` is given.
    matches
        Maximum number of matches to draw, those with the nearest descriptors.
    inliers_only
        Draw inliers only.
    view
        What the matches are drawn on. "original": the scenes in colour; "masked" or "all": in grey, darker outside the
        regions.
    crop
        Window of the query to draw, on its full-resolution grid; the same ground of the train is drawn.
    dpi
        Pixels per inch; the scenes are read in this resolution.
    masked
        Whether the run uses regions: without them, nothing is masked.

    Returns
    -------
    Figure
        A row of two panels for each part of the layout.

    Raises
    ------
    InputError
        An option has no such value, the crop is outside a scene, there are no displacements to draw, or a layout
        without matches is asked for with an option of how these are drawn.
    """
    layout = layout or ("all" if view == "all" else "matches")
    _check_values(layout, view, matches, dpi)
    _check_options(layout, view, inliers_only=inliers_only)
    windows = windows_to_draw(folder, query, train, crop)
    arrows = Arrows.of(folder, query, train, windows[0]) if layout in ("all", "displacement") else None
    if layout == "displacement" and arrows is None:
        raise InputError(f"no inliers of {query} and {train} are stored there: choose a verified pair")
    parts = _parts(layout, masked=masked, displaced=arrows is not None)
    lines = (
        lines_to_draw(folder, query, train, matches, windows, inliers_only=inliers_only) if "matches" in parts else None
    )
    texts = [*title.splitlines(), *([] if lines is None else [_described(lines)])]
    sheet = Sheet(windows, len(parts), 0.06 + _LINE_IN * len(texts), dpi)
    sheet.figure.suptitle(
        "\n".join(map(plain, texts)), fontsize=_TITLE_PT, y=1 - 0.06 / sheet.figure.get_figheight(), va="top"
    )
    with ThreadPoolExecutor(2) as pool:
        read = partial(Shown.read, folder, side_px=sheet.side_px)
        scenes = list(pool.map(lambda part: read(*part), zip((query, train), windows, strict=True)))
    for part in parts:
        _DRAWN[part](sheet, scenes, folder, lines, arrows, view if masked else "original")
        sheet.next_row()
    return sheet.figure


def _check_values(layout: str, view: str, matches: int, dpi: float) -> None:
    """Raise InputError for a value that an option does not have."""
    for name, value, known in (("layout", layout, get_args(Layout)), ("view", view, get_args(View))):
        if value not in known:
            raise InputError(f"{option(name)} is {value!r}: it must be one of {', '.join(known)}")
    if matches < 0:
        raise InputError(f"{option('matches')} is {matches}, must be at least 0")
    if not 0 < dpi < math.inf:
        raise InputError(f"{option('dpi')} is {dpi:g}, must be above 0")


def _check_options(layout: Layout, view: View, *, inliers_only: bool) -> None:
    """Raise InputError for an option of how matches are drawn, with a layout that has none."""
    if layout in ("all", "matches"):
        return
    given = [caller_hint(f"--{view}", f'view="{view}"')] if view != "all" else []
    given += [caller_hint("--inliers-only", "inliers_only")] if inliers_only else []
    if given:
        chosen = caller_hint(f"--layout {layout}", f'layout="{layout}"')
        raise InputError(f"{given[0]} and {chosen} exclude each other: no matches are drawn; leave out one of them")


def _parts(layout: Layout, *, masked: bool, displaced: bool) -> list[str]:
    if layout != "all":
        return [layout]
    return ["pair", *(["masked"] if masked else []), "matches", *(["displacement"] if displaced else [])]


def _described(lines: Lines) -> str:
    if lines.inlier is None:
        return f"lines: the {counted(len(lines), 'nearest mutual match', 'es')}; not verified"
    inliers = int(lines.inlier.sum())
    return f"lines: {counted(inliers, 'inlier')}, {counted(len(lines) - inliers, 'outlier')}, the nearest good matches"


def _draw_pair(sheet: Sheet, scenes: Sequence[Shown], *_: object) -> None:
    for column, (scene, side) in enumerate(zip(scenes, ("query", "train"), strict=True)):
        sheet.panel(column, scene, scene.colour, f"{side} {scene.scene_id}")


def _draw_masked(sheet: Sheet, scenes: Sequence[Shown], folder: RunFolder, *_: object) -> None:
    for column, scene in enumerate(scenes):
        keypoints = counted(folder.keypoints(scene.scene_id), "keypoint")
        sheet.panel(column, scene, scene.masked(), f"inside the regions: {keypoints}")


def _draw_matches(
    sheet: Sheet, scenes: Sequence[Shown], folder: RunFolder, lines: Lines, arrows: object, view: View
) -> None:
    del folder, arrows
    images = [scene.colour if view == "original" else scene.dimmed() for scene in scenes]
    panels = [
        sheet.panel(column, scene, image, f"{side} {scene.scene_id}")
        for column, (scene, image, side) in enumerate(zip(scenes, images, ("query", "train"), strict=True))
    ]
    _connect(sheet.figure, panels, lines)


def _connect(figure: Figure, panels: Sequence[Panel], lines: Lines) -> None:
    """Draw the matches, and a legend of the kinds that occur."""
    agree = np.zeros(len(lines), np.bool_) if lines.inlier is None else lines.inlier
    handles = []
    for kind, colour, label in ((True, _INLIER, "inlier"), (False, _OUTLIER, "outlier")):
        rows = np.flatnonzero(agree == kind)
        if not len(rows):
            continue
        # Unverified matches are solid too, but in the colour of outliers.
        style: Literal["solid", "dashed"] = "solid" if kind or lines.inlier is None else "dashed"
        ends = [lines.query_xy[rows], lines.train_xy[rows]]
        across = np.stack([panel.in_figure(xy) for panel, xy in zip(panels, ends, strict=True)], axis=1)
        # A dark edge keeps lines visible on bright ground.
        for width, drawn, alpha in ((2.0, "black", 0.6), (0.9, colour, 1.0)):
            figure.add_artist(
                LineCollection(
                    list(across), colors=drawn, linewidths=width, alpha=alpha, linestyles=style, label=label,
                    transform=figure.transFigure,
                )
            )  # fmt: skip
        for panel, xy in zip(panels, ends, strict=True):
            for width, drawn in ((1.6, "black"), (0.8, colour)):
                panel.axes.scatter(xy[:, 0], xy[:, 1], s=9, facecolors="none", edgecolors=drawn, linewidths=width)
        handles.append(Line2D([], [], color=colour, linestyle=style, label=label))
    if lines.inlier is not None and handles:
        panels[0].axes.legend(handles=handles, loc="lower left", fontsize=TEXT_PT, borderpad=0.3)


def _draw_displacement(
    sheet: Sheet, scenes: Sequence[Shown], folder: RunFolder, lines: object, arrows: Arrows, view: object
) -> None:
    del folder, lines, view
    query = scenes[0]
    kinds: list[tuple[str, npt.NDArray[np.float64]]] = [
        (f"displacement of {len(arrows.xy)} of {arrows.count} inliers, train minus query", arrows.shift_m),
        (
            f"departure from their median, {shift_text(*arrows.median_m, in_pixels=not query.grid.crs_wkt)}",
            arrows.shift_m - arrows.median_m,
        ),
    ]
    for column, (title, shift) in enumerate(kinds):
        draw_arrows(sheet.panel(column, query, query.dimmed(), title), arrows, shift, _INLIER)


_DRAWN: dict[str, Callable[..., None]] = {
    "pair": _draw_pair,
    "masked": _draw_masked,
    "matches": _draw_matches,
    "displacement": _draw_displacement,
}


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
