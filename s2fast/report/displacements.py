"""Matches as vectors on the ground: rows of features to positions in metres."""

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
    """Matches of one pair as vectors on the ground, on the query's metric map (see `PixelGrid`)."""

    start: npt.NDArray[np.float64]
    """(n, 2) east and north where the query shows the feature [m]."""
    end: npt.NDArray[np.float64]
    """(n, 2) east and north where the train shows it [m]."""

    @property
    def shift(self) -> npt.NDArray[np.float64]:
        """(n, 2) train minus query, east and north [m]."""
        return self.end - self.start


class Ground:
    """Positions of a run's features; what was read of a scene is kept."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.pixels = lru_cache(maxsize=None)(self._pixels)
        self.grid = lru_cache(maxsize=None)(self._grid)

    def _pixels(self, scene_id: str) -> npt.NDArray[np.float32]:
        """(n, 2) x and y of all keypoints on the scene's full-resolution grid, pixel centres at integers [px]."""
        return self._folder.positions(scene_id)

    def _grid(self, scene_id: str) -> PixelGrid:
        """Return the scene's full-resolution grid; see `grid`, which keeps it."""
        return PixelGrid.of_tile(self._folder.tile(scene_id))

    def positions(self, scene_id: str, rows: npt.NDArray[np.integer], crs_wkt: str) -> npt.NDArray[np.float64]:
        """Map keypoints to a CRS: (n, 2) x and y."""
        return self.grid(scene_id).on_map(self.pixels(scene_id)[rows], crs_wkt)

    def displacements(self, query: str, train: str, matches: pd.DataFrame) -> Displacements:
        """Map the matches of a pair to vectors on the ground."""
        metric = self.grid(query).metric
        start = self.positions(query, matches["query_row"].to_numpy(), metric)
        return Displacements(start, self.positions(train, matches["train_row"].to_numpy(), metric))


def pairs_with_matches(folder: RunFolder) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Read the stored matches pair by pair: query, train, rows rising by query row."""
    for block in folder.verified.match_tables():
        for (query, train), matches in block.groupby(["query", "train"], observed=True, sort=False):
            yield str(query), str(train), matches


def inliers(matches: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Say which matches agree with the pair's shift; none does where verification did not run."""
    return matches["inlier"].fillna(False).to_numpy(dtype=np.bool_)
