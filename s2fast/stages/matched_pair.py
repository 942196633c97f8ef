"""A pair of scenes with its good matches, as input of verification."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast.geometry import compiled_votes
from s2fast.geometry.evidence import Evidence
from s2fast.geometry.placement import alike, common_centre, pair_grid_m
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.matching_rule import Matches
from s2fast.stages.pairs import Pair

Places: TypeAlias = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Positions of the query's and of the train's keypoints on the query's map, and diameters of the query's [m]."""


@dataclass(frozen=True, slots=True)
class MatchedPair:
    """A pair with its scenes and good matches."""

    pair: Pair
    """The pair."""
    query: MatchedScene
    """The query scene."""
    train: MatchedScene
    """The train scene."""
    query_row: npt.NDArray[np.int32]
    """(k,) rows of the query's features."""
    train_row: npt.NDArray[np.int32]
    """(k,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distances [bits]."""
    radius_m: float
    """Search radius: greatest shift between the scenes [m]."""

    @classmethod
    def unmatched(cls, pair: Pair, query: MatchedScene, train: MatchedScene, radius_m: float) -> MatchedPair:
        """Return a pair without matches."""
        none = np.empty(0, np.int32)
        return cls(pair, query, train, none, none, np.empty(0, np.uint16), radius_m)

    def with_matches(self, found: Matches) -> MatchedPair:
        """Return the pair with other matches."""
        # `dataclasses.replace` takes several times as long.
        columns = found.query_row, found.train_row, found.distance
        return MatchedPair(self.pair, self.query, self.train, *columns, found.radius_m)

    def __len__(self) -> int:
        """Return the number of matches."""
        return len(self.query_row)

    @property
    def grid_m(self) -> float:
        """Side of the pixels on which the pair is matched [m]."""
        return pair_grid_m(self.query.placement, self.train.placement)

    def moved_px(self) -> npt.NDArray[np.float32] | None:
        """Return train position minus query position on the two rasters: (k, 2) [px of the tiles, made square].

        None if the pixels of the tiles differ in size.
        """
        query, train = self.query.placement, self.train.placement
        shapes = [(scene.reduction, scene.square_px) for scene in (query, train)]
        if shapes[0] != shapes[1] or not alike(query.pixel_m, train.pixel_m):
            return None
        moved: npt.NDArray[np.float32] = compiled_votes.moved_px(
            self.query.xy, self.train.xy, self.query_row, self.train_row, query.reduction
        )
        if query.square_px != (1.0, 1.0):
            moved /= np.array(query.square_px, np.float32)
        return moved

    def evidence(self, on_ground: npt.NDArray[np.bool_], places: Places | None = None) -> Evidence:
        """Return the matches on the query's map.

        Parameters
        ----------
        on_ground
            See `Evidence.on_ground`.
        places
            What the rows of the matches refer to; None: all features of the scenes.
        """
        query, train = self.query.placement, self.train.placement
        if places is None:
            places = self.query.on_own_map, self.train.on_map_of(self.query), self.query.size_m
        query_m, train_m, size = compiled_votes.gathered(*places, self.query_row, self.train_row)
        return Evidence(
            query_m=query_m,
            train_m=train_m,
            size=size,
            distance=self.distance,
            on_ground=on_ground,
            grid=self.grid_m,
            centre=partial(common_centre, query, train),
        )
