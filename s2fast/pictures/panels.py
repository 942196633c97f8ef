"""The panels of a picture: one scene each, at known places of the figure, with scale bar and north arrow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.model import Window
from s2fast.pictures.titles import plain
from s2fast.report.imagery import original, stored

WIDTH_IN = 7.2
"""Width of a figure [inches]: two columns of a journal."""

TEXT_PT = 7.0
"""Size of most text [points]."""

_MARGIN_IN, _GAP_IN, _TICKS_IN, _HEAD_IN = 0.08, 0.16, 0.5, 0.2
"""Width of the outer margin, of the gap between columns, of the axis labels, and height of a panel's title [inches]."""

_BELOW_IN = 0.34
"""Height of the labels below a panel [inches]."""

_MOST_ROWS_PER_COLUMN = 1.6
"""Largest height of a panel, as a multiple of its width; a taller window is drawn narrower."""

_BAR_SHARE = 0.3
"""Largest share of a panel's width that the scale bar takes."""

_DIMMED = 0.4
"""Brightness of pixels outside the regions, below lines."""


@dataclass(frozen=True)
class Shown:
    """A window of a scene, as pixels to draw."""

    scene_id: str
    """The scene."""
    window: Window
    """The window of its full-resolution grid."""
    grid: PixelGrid
    """The scene's grid on the ground."""
    colour: npt.NDArray[np.uint8]
    """(rows, cols, 3) or (rows, cols) the scene, stretched."""
    inside: npt.NDArray[np.bool_]
    """(rows, cols) whether keypoints may lie there."""

    @classmethod
    def read(cls, folder: RunFolder, scene_id: str, window: Window, side_px: int) -> Shown:
        """Read a window with at most `side_px` per side."""
        colour = original(folder, scene_id, window, side_px)
        valid = stored(folder.valid(scene_id), folder, scene_id, window).view(np.uint8) * np.uint8(255)
        rows, cols = colour.shape[:2]
        # "> 0" keeps regions visible that are smaller than a drawn pixel.
        way = cv2.INTER_NEAREST if rows > valid.shape[0] else cv2.INTER_AREA
        inside = cv2.resize(valid, (cols, rows), interpolation=way) > 0
        return cls(scene_id, window, PixelGrid.of_tile(folder.tile(scene_id)), colour, inside)

    @property
    def grey(self) -> npt.NDArray[np.uint8]:
        """(rows, cols) the scene in grey."""
        if self.colour.ndim == 2:
            return self.colour
        grey: npt.NDArray[np.uint8] = cv2.cvtColor(self.colour, cv2.COLOR_RGB2GRAY)
        return grey

    def masked(self, outside: float = 0.0) -> npt.NDArray[np.uint8]:
        """Return the scene in grey, its pixels outside the regions multiplied by a factor."""
        return np.where(self.inside, self.grey, (self.grey * np.float32(outside)).astype(np.uint8))

    def dimmed(self) -> npt.NDArray[np.uint8]:
        """Return the scene in grey, darker outside the regions."""
        return self.masked(_DIMMED)


@dataclass(frozen=True)
class Panel:
    """A panel that has been drawn."""

    axes: Axes
    """Its axes; data coordinates are full-resolution pixels, their centres at integers."""
    shown: Shown
    """What it shows."""

    def in_figure(self, xy: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Convert pixel positions to coordinates of the figure, 0 to 1: (n, 2)."""
        box = self.axes.get_position()
        x0, y0, x1, y1 = self.shown.window.bounds
        share = (np.asarray(xy, np.float64) + 0.5 - (x0, y0)) / (x1 - x0, y1 - y0)
        return np.column_stack([box.x0 + share[:, 0] * box.width, box.y1 - share[:, 1] * box.height])


class Sheet:
    """A figure of two columns, whose rows are added from the top.

    Parameters
    ----------
    windows
        The windows of the query and of the train.
    rows
        Number of rows.
    head_in
        Height of the title [inches].
    dpi
        Pixels per inch.
    """

    def __init__(self, windows: Sequence[Window], rows: int, head_in: float, dpi: float) -> None:
        room = (WIDTH_IN - 2 * (_MARGIN_IN + _TICKS_IN) - _GAP_IN) / 2
        tallest = max(window.height / window.width for window in windows)
        self._side = (min(room, room * _MOST_ROWS_PER_COLUMN / tallest), room)
        self._tall = min(tallest, _MOST_ROWS_PER_COLUMN) * room
        self._step = _HEAD_IN + self._tall + _BELOW_IN
        height = head_in + rows * self._step
        self.figure = Figure(figsize=(WIDTH_IN, height), dpi=dpi)
        self._top = height - head_in
        self._row = 0

    @property
    def side_px(self) -> int:
        """Pixels of the longest side of a panel."""
        return math.ceil(max(self._side[1], self._tall) * self.figure.dpi)

    def next_row(self) -> None:
        """Begin a row."""
        self._row += 1

    def panel(self, column: int, shown: Shown, image: npt.NDArray[np.uint8], title: str) -> Panel:
        """Draw a scene in a column of the current row: 0, left, or 1."""
        width = self._side[0]
        height = width * shown.window.height / shown.window.width
        if height > self._tall:
            width, height = width * self._tall / height, self._tall
        room = self._side[1]
        # The panels of a row stand beside each other: the left one at the right end of its room.
        left = _MARGIN_IN + _TICKS_IN + (room - width if column == 0 else room + _GAP_IN)
        top = self._top - self._row * self._step - _HEAD_IN
        wide, high = self.figure.get_size_inches()
        axes = self.figure.add_axes((left / wide, (top - height) / high, width / wide, height / high))
        x0, y0, x1, y1 = (edge - 0.5 for edge in shown.window.bounds)
        drawn = _at_size(image, round(width * self.figure.dpi), round(height * self.figure.dpi))
        axes.imshow(drawn, extent=(x0, x1, y1, y0), interpolation="nearest", aspect="auto")
        axes.set_title(plain(title), fontsize=TEXT_PT, pad=3)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.tick_params(labelsize=TEXT_PT - 1, length=2, pad=1.5)
        axes.set_xlabel("column [px]", fontsize=TEXT_PT - 1, labelpad=1)
        axes.set_ylabel("row [px]", fontsize=TEXT_PT - 1, labelpad=1)
        if column == 1:
            # Lines cross the gap between the columns: keep axis labels out of it.
            axes.yaxis.tick_right()
            axes.yaxis.set_label_position("right")
        panel = Panel(axes, shown)
        _draw_scale(panel)
        if shown.grid.crs_wkt:
            _draw_north(panel)
        return panel


def _at_size(image: npt.NDArray[np.uint8], cols: int, rows: int) -> npt.NDArray[np.uint8]:
    """Return an image as matplotlib draws it fastest: RGBA, with as many pixels as it is drawn with, at most."""
    if image.shape[0] > rows:
        image = cv2.resize(image, (max(cols, 1), max(rows, 1)), interpolation=cv2.INTER_AREA)
    drawn: npt.NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_GRAY2RGBA if image.ndim == 2 else cv2.COLOR_RGB2RGBA)
    return drawn


def round_length(most: float) -> float:
    """Return the longest length of 1, 2 or 5 times a power of ten that is at most this.

    Examples
    --------
    >>> round_length(730), round_length(0.23)
    (500.0, 0.2)
    """
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))


def length_text(length: float, *, in_pixels: bool = False) -> str:
    """Format a length in metres, or in pixels.

    Examples
    --------
    >>> length_text(5000), length_text(200), length_text(0.5)
    ('5 km', '200 m', '0.5 m')
    """
    if in_pixels:
        return f"{length:g} px"
    return f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"


def _draw_scale(panel: Panel) -> None:
    """Draw a scale bar in the lower right corner, for lengths along the rows."""
    window, px_m = panel.shown.window, float(np.hypot(*panel.shown.grid.px_m[:, 0]))
    length_m = round_length(_BAR_SHARE * window.width * px_m)
    share, axes = length_m / px_m / window.width, panel.axes
    ends, height = [0.96 - share, 0.96], 0.045
    for colour, width in (("black", 3.2), ("white", 1.6)):
        axes.plot(ends, [height] * 2, color=colour, linewidth=width, transform=axes.transAxes, solid_capstyle="butt")
    _label(
        axes,
        0.96 - share / 2,
        height + 0.015,
        length_text(length_m, in_pixels=not panel.shown.grid.crs_wkt),
        va="bottom",
    )


def _draw_north(panel: Panel) -> None:
    """Draw an arrow to the north of the map in the upper right corner."""
    column, row = np.linalg.solve(panel.shown.grid.px_m, [0.0, 1.0])
    length = math.hypot(column, row)
    window, axes = panel.shown.window, panel.axes
    # As shares of the axes, whose pixels are square.
    step = np.array([column, -row * window.width / window.height]) / length * 0.075
    middle = np.array([0.93, 1 - 0.09 * window.width / window.height])
    tail, head = middle - step / 2, middle + step / 2
    for colour, width in (("black", 3.0), ("white", 1.2)):
        arrow = {
            "arrowstyle": "-|>",
            "color": colour,
            "linewidth": width,
            "mutation_scale": 7,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        axes.annotate(
            "", tuple(head), tuple(tail), xycoords="axes fraction", textcoords="axes fraction", arrowprops=arrow
        )
    x, y = tail - step * 0.35
    _label(axes, x, y, "N", va="center")


def _label(axes: Axes, x: float, y: float, text: str, va: str) -> None:
    box = {"facecolor": "black", "alpha": 0.55, "pad": 0.8, "linewidth": 0}
    axes.text(x, y, text, color="white", fontsize=TEXT_PT - 0.5, ha="center", va=va, transform=axes.transAxes, bbox=box)
