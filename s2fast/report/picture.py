"""The picture of one pair: both scenes, both as the detector saw them, the best matches between them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from rasterio.errors import RasterioError

from s2fast.model import Features
from s2fast.store import RunFolder
from s2fast_kernels.hamming_top2_both import hamming_top2_both

log = logging.getLogger(__name__)

_SIDE_PX = 1200
"""Longest side a scene is drawn with."""

_MATCH_COLOUR = "#e69f00"  # orange of the Okabe-Ito palette: safe for colour-blind readers, seen on grey


@dataclass(frozen=True, slots=True)
class CrossMatches:
    """Matches that are each other's best, nearest first."""

    query_row: npt.NDArray[np.intp]
    """(k,) rows of the query's features."""
    train_row: npt.NDArray[np.intp]
    """(k,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distance [bits], rising."""


def cross_matches(query: Features, train: Features, most: int) -> CrossMatches:
    """Find the nearest matches that are best in both directions, as BFMatcher's crossCheck does.

    Returns
    -------
    CrossMatches
        At most `most`, by distance, then query row.
    """
    there, back = hamming_top2_both(query.descriptors, train.descriptors, np.array([0, len(train)], np.int64))
    if not len(query) or not len(train):
        return CrossMatches(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.uint16))
    chosen = there.index[:, 0]
    rows = np.flatnonzero(back.index[chosen, 0] == np.arange(len(query)))
    rows = rows[np.argsort(there.best[rows, 0], kind="stable")][:most]
    return CrossMatches(rows, chosen[rows].astype(np.intp), there.best[rows, 0])


def pair_picture(folder: RunFolder, query: str, train: str, title: str = "", most: int = 20) -> Figure:
    """Draw a pair of scenes.

    Parameters
    ----------
    folder
        The run folder that holds both.
    query, train
        Scene ids.
    title
        A line above the picture.
    most
        Matches to draw: the nearest that are best in both directions.

    Returns
    -------
    Figure
        Three rows: the scenes in colour, the tiles the detector saw, the matches.
    """
    figure = Figure(figsize=(12, 17), layout="constrained")
    axes = figure.subplots(3, 2)
    features = folder.features(query), folder.features(train)
    matches = cross_matches(*features, most)
    for column, scene_id in enumerate((query, train)):
        extent = _extent(folder, scene_id)
        count = len(features[column])
        _draw(axes[0, column], stretched(original(folder, scene_id)), extent, f"{scene_id}\nthe scene")
        _draw(axes[1, column], shown_tile(folder, scene_id), extent, f"inside the regions: {count} keypoints")
        _draw(axes[2, column], shown_tile(folder, scene_id, 0.4), extent, "query" if column == 0 else "train")
    ends = features[0].xy[matches.query_row], features[1].xy[matches.train_row]
    for left, right in zip(*ends, strict=True):
        figure.add_artist(
            ConnectionPatch(
                tuple(left), tuple(right), "data", "data", axesA=axes[2, 0], axesB=axes[2, 1], color=_MATCH_COLOUR
            )
        )
    for column, points in enumerate(ends):
        axes[2, column].scatter(*points.T, s=22, facecolors="none", edgecolors=_MATCH_COLOUR, linewidths=1.2)
    for right in axes[:, 1]:
        # The lines cross the gap between the columns.
        right.yaxis.tick_right()
        right.yaxis.set_label_position("right")
    lines = f"lines: the {len(matches.query_row)} nearest matches that are best in both directions"
    figure.suptitle(f"{title}\n{lines}".lstrip(), fontsize=13)
    return figure


def original(folder: RunFolder, scene_id: str) -> npt.NDArray[np.uint8]:
    """Read the scene in colour, shrunk for drawing; grey from the store where the source is gone.

    Returns
    -------
    (rows, cols, 3) or (rows, cols) uint8
    """
    source = Path(folder.tile_attributes(scene_id)["source"])
    try:
        with rasterio.open(source) as dataset:
            shrink = max(1.0, max(dataset.shape) / _SIDE_PX)
            size = round(dataset.height / shrink), round(dataset.width / shrink)
            bands = [1, 2, 3] if dataset.count >= 3 else [1]
            pixels: npt.NDArray[np.uint8] = dataset.read(bands, out_shape=(len(bands), *size))
    except RasterioError:
        log.warning("%s is gone: the scene is drawn from the run folder, in grey", source)
        return _shrunk(folder.grey(scene_id))
    return np.moveaxis(pixels, 0, 2) if len(bands) == 3 else pixels[0]


def shown_tile(folder: RunFolder, scene_id: str, outside: float = 0.0) -> npt.NDArray[np.uint8]:
    """Read the tile, darkened to a share `outside` of its brightness where no keypoint may lie; shrunk for drawing."""
    grey = stretched(folder.grey(scene_id))
    return _shrunk(np.where(folder.valid(scene_id), grey, (grey * np.float32(outside)).astype(np.uint8)))


def _shrunk(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    shrink = max(1.0, max(grey.shape) / _SIDE_PX)
    size = round(grey.shape[1] / shrink), round(grey.shape[0] / shrink)
    shrunk: npt.NDArray[np.uint8] = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return shrunk


def stretched(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Spread the middle 98 % of the pixels that are not 0 over the whole range: true colours are dark to the eye."""
    lit = image[image > 0]
    if not lit.size:
        return image
    low, high = np.percentile(lit, (1, 99))
    spread = np.clip((image.astype(np.float32) - low) * (254 / max(high - low, 1.0)) + 1, 1, 255)
    return np.where(image > 0, spread, 0).astype(np.uint8)


def _extent(folder: RunFolder, scene_id: str) -> tuple[float, float, float, float]:
    """Edges of the scene in its full-resolution pixel grid, pixel centres at integers: left, right, bottom, top."""
    rows, cols = folder.tile_attributes(scene_id)["full_shape"]
    return -0.5, cols - 0.5, rows - 0.5, -0.5


def _draw(axes: Axes, image: npt.NDArray[np.uint8], extent: tuple[float, float, float, float], title: str) -> None:
    axes.imshow(image, extent=extent, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("column [px]", fontsize=9)
    axes.set_ylabel("row [px]", fontsize=9)
    axes.tick_params(labelsize=8)
