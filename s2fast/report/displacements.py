"""Matches as vectors on the ground: rows of features to positions in map units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.ground import reprojected, to_ground
from s2fast.store import RunFolder


@dataclass(frozen=True, slots=True)
class Displacements:
    """Matches of one pair as vectors on the ground, in the query's CRS."""

    start: npt.NDArray[np.float64]
    """(n, 2) east and north where the query shows the feature [CRS units]."""
    end: npt.NDArray[np.float64]
    """(n, 2) east and north where the train shows it [CRS units]."""

    @property
    def shift(self) -> npt.NDArray[np.float64]:
        """(n, 2) train minus query, east and north [CRS units]."""
        return self.end - self.start


class Ground:
    """Positions of a run's features; what was read of a scene is kept."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.pixels = lru_cache(maxsize=None)(self._pixels)
        self._tile = lru_cache(maxsize=None)(folder.tile_attributes)

    def _pixels(self, scene_id: str) -> npt.NDArray[np.float32]:
        """(n, 2) x and y of all keypoints on the scene's full-resolution grid, pixel centres at integers [px]."""
        return self._folder.positions(scene_id)

    def shape(self, scene_id: str) -> tuple[int, int]:
        """Rows and columns of the scene's full-resolution grid."""
        rows, cols = self._tile(scene_id)["full_shape"]
        return rows, cols

    def crs(self, scene_id: str) -> str:
        """CRS of the scene, as WKT."""
        return str(self._tile(scene_id)["crs"])

    def transform(self, scene_id: str) -> tuple[float, ...]:
        """Affine of the scene, see `s2fast.model.Raster`."""
        return tuple(self._tile(scene_id)["transform"])

    def positions(self, scene_id: str, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Map keypoints to the ground: (n, 2) east and north in the scene's CRS."""
        return to_ground(self.pixels(scene_id)[rows], self.transform(scene_id))

    def displacements(self, query: str, train: str, matches: pd.DataFrame) -> Displacements:
        """Map the matches of a pair to vectors on the ground."""
        start = self.positions(query, matches["query_row"].to_numpy())
        end = self.positions(train, matches["train_row"].to_numpy())
        return Displacements(start, reprojected(end, self.crs(train), self.crs(query)))


def pairs_with_matches(folder: RunFolder) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Read the stored matches pair by pair: query, train, rows rising by query row."""
    for block in folder.verified.match_tables():
        for (query, train), matches in block.groupby(["query", "train"], observed=True, sort=False):
            yield str(query), str(train), matches


def inliers(matches: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Say which matches agree with the pair's shift; none does where verification did not run."""
    return matches["inlier"].fillna(False).to_numpy(dtype=np.bool_)
