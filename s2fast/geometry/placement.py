"""Two scenes on the ground: the pixels on which they are matched, search radii, and clear ground that both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine

from s2fast.geometry.pixel_grid import PixelGrid, reprojected
from s2fast.image.prepare import cell_px
from s2fast.model import TileInfo

WINDOW_PX = 5.0
"""Default search radius: greatest shift between two scenes [px of the coarser grid]. Sentinel-2's absolute error is
below two pixels of 10 m."""

AUTO_FACTORS = (1, 3, 9, 27)
"""Search radii that "auto" tries, as multiples of `WINDOW_PX`."""

MOST_AWAY = 0.3
"""Largest search radius, as a share of the smaller scene's side: beyond it, too little ground overlaps."""

ALIKE = 1.05
"""Greatest ratio of pixels that count as equal."""

SEARCHED_RADII = 2.0
"""Matches are searched within this many radii, so that a true shift just outside the radius is recognised as such."""


@dataclass(frozen=True)
class Placement(PixelGrid):
    """A scene's pixel grid on the ground, and its map of clear ground."""

    reduction: int
    """Full-resolution pixels per tile pixel, along each side."""
    clear: npt.NDArray[np.uint8]
    """Share of clear pixels in square cells [%], see `s2fast.image.prepare.clear_cells`."""
    interpolated: int = 1
    """Side of the pixels from which the tile was interpolated [px of the tile]; 1: it was not."""
    averaged: bool = False
    """Whether an interpolated tile was also searched on the means over these pixels."""

    @classmethod
    def of(
        cls,
        tile: TileInfo,
        clear: npt.NDArray[np.uint8],
        interpolated: int = 1,
        levels: Sequence[tuple[float, int]] = (),
    ) -> Placement:
        """Create the placement from the stored metadata of a tile, its map of clear ground, and its levels.

        See `interpolated`, and `s2fast.stages.matched_scene.MatchedScene.levels`.
        """
        found = cls(tile.crs, tile.transform, tile.full_shape, tile.reduction, clear, interpolated)
        averaged = interpolated > 1 and any(alike(found.seen_m, grid_m) for grid_m, _ in levels)
        return replace(found, averaged=averaged)

    @cached_property
    def grid_m(self) -> float:
        """Side of a pixel of the tile, made square [m]."""
        return self.square_m * self.reduction

    @property
    def searched_px(self) -> npt.NDArray[np.float32]:
        """Sides of the pixels on which the scene is searched: (2,) in x and y [full-resolution px]."""
        return np.multiply(self.square_px, self.reduction).astype(np.float32)

    @property
    def seen_m(self) -> float:
        """Side of the pixels from which the tile was interpolated, or else of its own [m]."""
        return self.interpolated * self.grid_m

    @cached_property
    def clear_m2(self) -> float:
        """Area of clear ground [m2]."""
        cells = float(self.clear.sum(dtype=np.int64)) / 100
        return cells * self.cell**2 * self.area_m2 / (self.shape[0] * self.shape[1])

    @cached_property
    def clear_ground(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """Cells with any clear pixel: (k,) share of clear pixels [%], and (k, 2) centres in the scene's own CRS."""
        rows, columns = np.nonzero(self.clear)
        centres = (np.column_stack([columns, rows]) + 0.5) * self.cell - 0.5
        return self.clear[rows, columns], self.on_map(centres, self.crs_wkt)

    @cached_property
    def cell(self) -> int:
        """Side of a cell of `clear` [full-resolution px]."""
        return cell_px((self.shape[0] // self.reduction, self.shape[1] // self.reduction)) * self.reduction


def alike(one_m: float, other_m: float) -> bool:
    """Return whether the sides of two pixels count as equal: those of one sensor differ by 0.2 % from zone to zone."""
    return max(one_m, other_m) < ALIKE * min(one_m, other_m)


def pair_grid_m(query: Placement, train: Placement) -> float:
    """Return the side of the pixels on which two scenes are matched [m].

    It is that of the coarser grid or, if both scenes were interpolated from pixels of one size, of these.
    """
    if query.averaged and train.averaged and alike(query.seen_m, train.seen_m):
        return max(query.seen_m, train.seen_m)
    return max(query.grid_m, train.grid_m)


def radii_m(query: Placement, train: Placement, wanted_m: float | Literal["auto"]) -> list[float]:
    """Return the search radii [m], in the order to try.

    There is one radius, the wanted one or, if that is 0, five pixels of the pair's grid. For "auto", it is followed
    by radii each three times as large. None exceeds `MOST_AWAY` of the smaller scene's side, unless that is below five
    pixels.
    """
    least = WINDOW_PX * pair_grid_m(query, train)
    most = max(least, MOST_AWAY * float(np.sqrt(min(query.area_m2, train.area_m2))))
    if wanted_m != "auto":
        return [min(wanted_m or least, most)]
    return [least * factor for factor in AUTO_FACTORS if least * factor <= most]


def common_centre(query: Placement, train: Placement) -> npt.NDArray[np.float64]:
    """Return the centre of the ground that both rasters cover, or of the query if they share none: (2,) [m]."""
    one = query.box
    other = train.box if train.metric == query.metric else train.box_on(query.metric)
    low, high = np.maximum(one[0], other[0]), np.minimum(one[1], other[1])
    if not (low < high).all():
        return np.asarray(query.on_map(query.middle)[0])
    return np.asarray((low + high) / 2)


def overlap_pct(query: Placement, train: Placement) -> float:
    """Return the clear ground that both scenes show, as a share of the smaller scene's raster [%].

    The ground is compared cell by cell, with 128 cells along the scene's longer side.
    """
    grids = [(scene.crs_wkt, scene.transform, scene.cell, scene.clear.shape) for scene in (query, train)]
    both = np.minimum(query.clear, train.clear) if grids[0] == grids[1] else _both_clear(query, train)
    cell_m2 = query.area_m2 * query.cell**2 / (query.shape[0] * query.shape[1])
    return round(min(100.0, float(both.sum(dtype=np.int64)) * cell_m2 / min(query.area_m2, train.area_m2)), 2)


def _both_clear(query: Placement, train: Placement) -> npt.NDArray[np.uint8]:
    """Return the share of pixels [%] that are clear in both scenes, per cell of the query that lies in the train."""
    share, centres = query.clear_ground
    in_train = train.unwrapped(reprojected(centres, query.crs_wkt, train.crs_wkt))
    column, row = ~Affine(*train.transform) @ tuple(in_train.T)
    row, column = np.floor(row / train.cell), np.floor(column / train.cell)
    # Comparisons are false for points outside the domain of the other scene's CRS (inf).
    inside = (row >= 0) & (row < train.clear.shape[0]) & (column >= 0) & (column < train.clear.shape[1])
    return np.asarray(
        np.minimum(share[inside], train.clear[row[inside].astype(np.intp), column[inside].astype(np.intp)])
    )
