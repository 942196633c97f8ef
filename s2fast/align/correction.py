"""Decide which scenes can be corrected, by how much, and relative to what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.errors import InputError
from s2fast.folder.record import SceneInput
from s2fast.geometry.network import tile_network
from s2fast.geometry.placement import PixelGrid
from s2fast.geometry.scene_verdict import VERIFIED
from s2fast.model import Raster

MEDIAN = "median"
"""Reference: the median of the scenes of the same tile."""

MOST_ERROR_PX = 0.1
"""Default limit of an offset's error [px of the scene]."""


@dataclass(frozen=True, slots=True)
class Correction:
    """The correction of one scene."""

    scene_id: str
    """The scene."""
    offset_m: tuple[float, float]
    """How far the scene shows the ground from where the reference shows it, east and north [m]; NaN if unknown."""
    error_m: float
    """Standard error of each component [m]; NaN if unknown."""
    reference: str
    """`MEDIAN`, or the id of a scene."""
    problem: str
    """Why the scene is not corrected; empty if it is."""

    @property
    def add_m(self) -> tuple[float, float]:
        """What to add to the scene's coordinates, east and north [m]."""
        east, north = self.offset_m
        return 0.0 - east, 0.0 - north


def corrections(
    items: Sequence[SceneInput],
    scenes: pd.DataFrame,
    pairs: pd.DataFrame,
    *,
    reference: str = MEDIAN,
    max_error_m: float | None = None,
) -> list[Correction]:
    """Return the correction of every scene, in the run's order.

    Parameters
    ----------
    items
        The run's scenes.
    scenes, pairs
        Its tables.
    reference
        `MEDIAN`, or the id of a scene: it stays where it is, and only scenes of its tile are corrected.
    max_error_m
        Limit of an offset's error [m]; None: `MOST_ERROR_PX`.

    Raises
    ------
    InputError
        The reference is no scene of the run, or its own offset cannot be relied on.
    """
    table = scenes.set_index("scene_id")
    offset = table[["offset_x_m", "offset_y_m"]].to_numpy(np.float64)
    error = table["offset_error_m"].to_numpy(np.float64)
    if reference != MEDIAN:
        _check_reference(reference, table)
        offset, error = _relative(reference, table, pairs)
    found = []
    for row, item in enumerate(items):
        scene_id = item.scene.scene_id
        limit_m = MOST_ERROR_PX * pixel_m(item.raster) if max_error_m is None else max_error_m
        problem = str(table["verdict"].iloc[row])
        if problem == VERIFIED:
            problem = ""
            if math.isnan(offset[row, 0]):
                problem = f"not of the tile of the reference {reference}"
            elif error[row] > limit_m:
                problem = f"error {error[row]:.2f} m above the limit {limit_m:.2f} m"
        at = float(offset[row, 0]), float(offset[row, 1])
        found.append(Correction(scene_id, at, float(error[row]), reference, problem))
    return found


def pixel_m(raster: Raster) -> float:
    """Return the side of a square pixel of the raster's area [m]."""
    return float(np.sqrt(abs(np.linalg.det(PixelGrid.of_raster(raster).px_m))))


def _check_reference(reference: str, table: pd.DataFrame) -> None:
    if reference not in table.index:
        raise InputError(f"no scene {reference!r} in the run: `s2fast scenes OUT` lists those that can be a reference")
    verdict = str(table["verdict"][reference])
    if verdict != VERIFIED:
        raise InputError(f"{reference} cannot be the reference: {verdict}; choose a verified scene of `s2fast scenes`")


def _relative(
    reference: str, table: pd.DataFrame, pairs: pd.DataFrame
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return offsets relative to a scene and their errors, (n, 2) and (n,) [m]; NaN for scenes of other tiles."""
    names = table.index[table["tile"] == table.loc[reference, "tile"]]
    network, _ = tile_network(names, pairs)
    at = names.get_loc(reference)
    variance = np.diag(network.covariance)
    # The errors of two offsets depend on each other: their sum is constant.
    between = variance + variance[at] - 2 * network.covariance[at]
    offset, error = np.full((len(table), 2), math.nan), np.full(len(table), math.nan)
    rows = table.index.get_indexer(names)
    offset[rows] = network.offset - network.offset[at]
    error[rows] = np.sqrt(np.maximum(between, 0))
    return offset, error
