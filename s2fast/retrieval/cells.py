"""Cells of rotation, scale and position: those in which matches of keypoints agree on where a picture lies.

A keypoint's match implies how the picture is turned and scaled, by both orientations and sizes, and thereby where its
middle lies in the scene. It counts in the nearest two cells of each, so that an edge between cells divides nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

TURNS = 12
"""Bins of the rotation; a vote counts in the two nearest, so that votes within 30 to 60 degrees agree."""

OCTAVE_BINS = 2
"""Bins of the scale per octave; a vote counts in the two nearest."""

_OCTAVES = 5
"""Greatest scale, either way [octaves]."""

SCALES = 2 * _OCTAVES * OCTAVE_BINS + 1

BINS = TURNS * SCALES
"""Number of bins of rotation and scale."""

CELL_SIDES = 0.5
"""Side of a cell, in those of the picture; a vote counts in the two nearest, right and down."""

STEPS = 4
"""Positions are rounded to this part of a cell, so that votes of one keypoint for the dates of a place are equal."""

ACROSS = 1 << 10
"""Cells across a scene, right and down; a vote for what lies farther out counts in the last."""

CELLS = BINS * ACROSS**2
"""Number of cells of a scene."""


def bins_of(
    query_size: npt.NDArray[np.float32],
    query_angle: npt.NDArray[np.float32],
    train_size: npt.NDArray[np.float32],
    train_angle: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """Return the bins of rotation and scale in which matches count: (k, 4) int64."""
    turn = ((train_angle - query_angle) / (2 * np.pi) % 1.0) * TURNS
    scale = np.log2(train_size / query_size) * OCTAVE_BINS + _OCTAVES * OCTAVE_BINS
    turns = np.floor(turn - 0.5).astype(np.int64) % TURNS
    scales = np.floor(np.clip(scale, 0.0, SCALES - 2)).astype(np.int64)
    return _four(turns * SCALES + scales)


def _four(first: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bins of the two nearest rotations and scales, given the first of each: (k, 4)."""
    turns = (first // SCALES)[:, None] + (0, 0, 1, 1)
    scales = (first % SCALES)[:, None] + (0, 1, 0, 1)
    return np.asarray(turns % TURNS * SCALES + scales)


def cells_of(first: npt.NDArray[np.int64], step: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return the cells in which votes count, the two nearest of rotation, scale, x and y each: (k, 16).

    Parameters
    ----------
    first, step
        See `Votes.bin` and `Votes.step`.
    """
    # A cell of the next scale is so much larger.
    larger = scale_of(np.array([0, 1, 0, 1])) / scale_of(np.array([0]))
    nearest = np.floor((step[:, None, :] + 0.5) / STEPS / larger[:, None] - 0.5).astype(np.int64) + ACROSS // 2
    columns, rows = nearest[:, :, :1] + (0, 1, 0, 1), nearest[:, :, 1:] + (0, 0, 1, 1)
    return np.asarray(((_four(first)[:, :, None] * ACROSS + rows) * ACROSS + columns).reshape(len(first), 16))


def numbered(cells: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the different cells, ascending, and the number of each cell among them, of the shape of `cells`."""
    different, number = np.unique(cells, return_inverse=True)
    return different, number.reshape(cells.shape).astype(np.int64)


def scale_of(number: npt.NDArray[np.integer[Any] | np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return the scales of bins [pixels of the scene per pixel of the picture]."""
    return np.asarray(np.exp2(number / OCTAVE_BINS - _OCTAVES))
