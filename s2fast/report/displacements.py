"""Matches as displacement vectors on the ground: convert feature rows to positions in metres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.placement import PixelGrid


@dataclass(frozen=True, slots=True)
class Displacements:
    """Displacement vectors of the matches of one pair, on the query's metric map (see `PixelGrid.metric`)."""

    start: npt.NDArray[np.float64]
    """(n, 2) positions in the query, east and north [m]."""
    end: npt.NDArray[np.float64]
    """(n, 2) positions in the train, east and north [m]."""

    @property
    def shift(self) -> npt.NDArray[np.float64]:
        """(n, 2) train minus query, east and north [m]."""
        return self.end - self.start


class FeaturePositions:
    """Positions of a run's features on the ground; data read from the run folder are cached per scene."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.pixels = lru_cache(maxsize=None)(self._pixels)
        self.grid = lru_cache(maxsize=None)(self._grid)

    def _pixels(self, scene_id: str) -> npt.NDArray[np.float32]:
        """Read x and y of all keypoints on the full-resolution grid, pixel centres at integers: (n, 2) [px]."""
        return self._folder.positions(scene_id)

    def _grid(self, scene_id: str) -> PixelGrid:
        """Read the scene's full-resolution grid."""
        return PixelGrid.of_tile(self._folder.tile(scene_id))

    def on_map(self, scene_id: str, rows: npt.NDArray[np.integer], crs_wkt: str) -> npt.NDArray[np.float64]:
        """Return the positions of keypoints in a CRS: (n, 2) x and y."""
        return self.grid(scene_id).on_map(self.pixels(scene_id)[rows], crs_wkt)

    def displacements(self, query: str, train: str, matches: pd.DataFrame) -> Displacements:
        """Return the displacement vectors of a pair's matches."""
        metric = self.grid(query).metric
        start = self.on_map(query, matches["query_row"].to_numpy(), metric)
        return Displacements(start, self.on_map(train, matches["train_row"].to_numpy(), metric))


def pairs_with_matches(folder: RunFolder) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield query, train and the stored matches of each pair, in ascending order of query row."""
    for block in folder.verified.match_tables():
        for (query, train), matches in block.groupby(["query", "train"], observed=True, sort=False):
            yield str(query), str(train), matches


def inliers(matches: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which matches are inliers; all False if verification did not run."""
    return matches["inlier"].fillna(False).to_numpy(dtype=np.bool_)
