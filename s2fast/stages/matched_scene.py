"""A scene as matching sees it: its features, and where they lie on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np
import numpy.typing as npt

from s2fast.geometry.placement import Placement, pair_grid_m
from s2fast.geometry.repetition import repetitions
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.stages.levels import rows_for
from s2fast_kernels.hamming_window_top2_both import WindowRows

_SCALES_PER_OCTAVE = 4
"""Only keypoints of the same size, in steps of a quarter of an octave, are matched: so are 98 % of true matches."""

_NOWHERE_M = 1e9
"""A coordinate on no map of the Earth [m]."""


@dataclass(frozen=True)
class MatchedScene:
    """Features and position of a scene, as input of matching."""

    descriptors: npt.NDArray[np.uint64]
    """(n, 8) packed descriptors."""
    xy: npt.NDArray[np.float32]
    """(n, 2) positions [full-resolution px]."""
    size: npt.NDArray[np.float32]
    """(n,) diameters [full-resolution px]."""
    fixed_pattern: FixedPattern
    """Parts that may be fixed to the pixel grid instead of the ground."""
    placement: Placement
    """Position of the scene on the ground."""
    levels: tuple[tuple[float, int], ...] = ()
    """Coarser grids whose features follow those of the scene's own: sides of pixels [m], numbers of features."""
    _searching: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)
    """Held while `repeats_at` searches."""

    def rows_for(self, other: MatchedScene) -> slice:
        """Return the rows of the features that are matched with another scene: those on the pair's grid."""
        if not self.levels:
            return slice(0, len(self.descriptors))
        pair_m = pair_grid_m(self.placement, other.placement)
        return rows_for(self.placement.grid_m, pair_m, len(self.descriptors), self.levels)

    def count_for(self, other: MatchedScene) -> int:
        """Return the number of features that are matched with another scene."""
        rows = self.rows_for(other)
        return int(rows.stop - rows.start)

    @cached_property
    def on_own_map(self) -> npt.NDArray[np.float64]:
        """(n, 2) positions [m of the placement's `metric` CRS]; see `on_map_of` for those that it does not cover."""
        return _finite(self.placement.on_map(self.xy), -_NOWHERE_M)

    def on_map_of(self, other: MatchedScene) -> npt.NDArray[np.float64]:
        """Return the positions in the `metric` CRS of another scene: (n, 2) [m].

        Those that the projection does not cover lie where no position of the other scene does.
        """
        if self.placement.metric == other.placement.metric and self._is_covered:
            return self.on_own_map
        return _finite(self.placement.on_map(self.xy, other.placement.metric), _NOWHERE_M)

    @cached_property
    def _is_covered(self) -> bool:
        """Whether the scene's own projection covers all positions."""
        return bool((self.on_own_map[:, 0] > -_NOWHERE_M).all())

    def prepared(self, radius: float, query: MatchedScene, rows: slice) -> WindowRows:
        """Return some rows of the features sorted for a search within a radius on the query's map; cached."""
        coarser = self._coarser_than(query)
        key = (radius, query.placement.metric, rows.start, coarser)
        found = self._prepared.get(key)
        if found is None:
            scale = self.scale[rows] + coarser
            found = WindowRows.of(self.descriptors[rows], self.on_map_of(query)[rows], scale, radius)
            # Every pair may try several radii: cache the two latest results only. Other threads may do the same.
            while len(self._prepared) > 1:
                self._prepared.pop(next(iter(self._prepared), key), None)
            self._prepared[key] = found
        return found

    def prepared_rows(
        self, radius: float, query: MatchedScene, rows: npt.NDArray[np.intp], on_map: npt.NDArray[np.float64]
    ) -> WindowRows:
        """Return single rows of the features, with their positions on the query's map, sorted for a search."""
        own_m, other_m = self.placement.grid_m, query.placement.grid_m
        scale = _scale(self.size_m[rows], own_m) + round(_SCALES_PER_OCTAVE * math.log2(own_m / other_m))
        return WindowRows.of(self.descriptors.take(rows, axis=0), on_map, scale, radius)

    @cached_property
    def _prepared(self) -> dict[tuple[float, str, int, int], WindowRows]:
        return {}

    def repeats_at(self, searched_m: float, rows: slice) -> npt.NDArray[np.float64]:
        """Return displacements at which some rows of the features resemble the scene itself; cached.

        Parameters
        ----------
        searched_m
            Radius of the area in which pairs are searched [m].
        rows
            The rows of a grid, see `rows_for`.

        Returns
        -------
        (k, 2) float64
            See `s2fast.geometry.repetition.repetitions`.
        """
        key = (searched_m, rows.start)
        with self._searching:  # neighbouring pairs, which threads judge at the same time, share a query
            if key not in self._repeats_at:
                self._repeats_at[key] = repetitions(
                    self.descriptors[rows], self.on_own_map[rows], self.size_m[rows], self.scale[rows], searched_m,
                    self._grid_of(rows),
                )  # fmt: skip
            return self._repeats_at[key]

    def _grid_of(self, rows: slice) -> float:
        """Return the side of the pixels on which some rows of the features were found [m]; see `rows_for`."""
        first = len(self.descriptors)
        for grid_m, number in reversed(self.levels):
            first -= number
            if number and first == rows.start:
                return grid_m
        return self.placement.grid_m

    @cached_property
    def _repeats_at(self) -> dict[tuple[float, int], npt.NDArray[np.float64]]:
        return {}

    @cached_property
    def size_m(self) -> npt.NDArray[np.float64]:
        """(n,) diameters on the ground [m]."""
        return np.asarray(self.size.astype(np.float64) * self.placement.pixel_m)

    @cached_property
    def scale(self) -> npt.NDArray[np.int64]:
        """(n,) size on the ground in quarters of an octave of the pixels on which each keypoint was found.

        Keypoints of one scale-space level share one bin, and have the same in every scene that was searched on such
        pixels, whatever these measure to the millimetre.
        """
        grids = [self.placement.grid_m, *(grid_m for grid_m, _ in self.levels)]
        of_levels = [number for _, number in self.levels]
        of_rows = np.repeat(grids, [len(self.size) - sum(of_levels), *of_levels])
        return _scale(self.size_m, of_rows)

    def scale_beside(self, query: MatchedScene) -> npt.NDArray[np.int64]:
        """Return `scale` in the bins of a query with which this scene is matched."""
        return self.scale + self._coarser_than(query)

    def _coarser_than(self, query: MatchedScene) -> int:
        """Return how much coarser the grid is on which this scene is matched with a query: 0 unless one lacks a level.

        In quarters of an octave.
        """
        own_m, other_m = self._grid_of(self.rows_for(query)), query._grid_of(query.rows_for(self))
        return round(_SCALES_PER_OCTAVE * math.log2(own_m / other_m))


def _scale(size_m: npt.NDArray[np.float64], grid_m: npt.NDArray[np.float64] | float) -> npt.NDArray[np.int64]:
    """Return sizes in quarters of an octave of the sides of pixels."""
    return np.asarray(np.rint(_SCALES_PER_OCTAVE * np.log2(size_m / grid_m)), np.int64)


def _finite(points: npt.NDArray[np.float64], nowhere: float) -> npt.NDArray[np.float64]:
    """Return points with those outside a projection's domain, which are inf, at a place far from all others."""
    known = np.asarray(np.isfinite(points).all(axis=1))
    return points if known.all() else np.where(known[:, None], points, nowhere)
