"""Coarser grids on which scenes are searched too, so that they match scenes of larger pixels.

What a keypoint looks like depends on the pixels on which it was found. A scene beside coarser scenes of the same ground
is therefore also searched on the means of its pixels over theirs, and a pair is matched on the grid of its coarser
scene: keypoints of equal size on the ground then exist in both, and look alike. Scenes of one resolution have no such
levels, but for those that were interpolated from larger pixels (see `s2fast.image.interpolated`): two of these are
matched on the means over such pixels, which have no lattice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from s2fast.config import Config
from s2fast.folder.record import SceneInput
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.geometry.placement import ALIKE, alike
from s2fast.image.coarser import coarser_shape
from s2fast.model import Raster
from s2fast.raster.windows import reduced_shape

LEAST_RATIO = ALIKE
"""Least ratio of two scenes' pixels from which the finer one is searched on the grid of the coarser one: pixels that do
not count as equal. Between two levels of the scale space, the finest keypoints of one scene have none like them in the
other."""

LEAST_PX = 32
"""Shortest side of a scene on a coarser grid [px]."""

_LEAST_SEEN_PX = 100
"""Shortest side of an interpolated scene that is searched on its larger pixels [of these]: the crop of Paris is matched
at 104, while 64 hold too few keypoints."""

_LARGE_PX = 4096
"""A scene with a longer side has enough keypoints without being upscaled."""


@dataclass(frozen=True, slots=True)
class Level:
    """A coarser grid."""

    grid_m: float
    """Side of its pixels on the ground [m]."""
    factor: float
    """Side of its pixels, in those on which the scene itself is searched."""
    upsample: int
    """Factor by which the coarser scene, and so this level, is enlarged for the detector."""


def upsampling(shape: tuple[int, ...], config: Config) -> int:
    """Return the factor by which a tile of this shape is upscaled for the detector."""
    wanted = config.features.upsample
    return (1 if max(shape) > _LARGE_PX else 2) if wanted == "auto" else wanted


def levels_of(scenes: Sequence[SceneInput], config: Config) -> dict[str, tuple[Level, ...]]:
    """Return the levels of those scenes that have any, by scene id, the finest level first.

    There is one for each size of pixels, at least `LEAST_RATIO` times its own, of the scenes whose rasters overlap a
    scene's; none if keypoints are not matched by their size, or ``features.coarser`` is false.
    """
    if not config.features.coarser or config.matching.mode != "windowed":
        return {}
    reduction = config.ingest.reduction
    grids = {str(item): grid_of(item.raster) for item in scenes}
    sides = {grid: grid.square_m * reduction for grid in dict.fromkeys(grids.values())}
    if not sides or max(sides.values()) < LEAST_RATIO * min(sides.values()):
        return {}
    found = {grid: _levels(grid, sides, config) for grid in sides}
    return {name: found[grid] for name, grid in grids.items() if found[grid]}


def _levels(own: PixelGrid, sides: dict[PixelGrid, float], config: Config) -> tuple[Level, ...]:
    """Return the levels of a scene among grids and the sides of their pixels [m]."""
    levels: list[Level] = []
    shape = _searched_shape(own, config)
    for other, side in sorted(sides.items(), key=lambda item: (item[1], -max(item[0].shape))):
        factor = side / sides[own]
        if factor < LEAST_RATIO or min(shape) < factor * LEAST_PX or not _overlap(own, other):
            continue
        enlarged = upsampling(_searched_shape(other, config), config)
        if levels and alike(side, levels[-1].grid_m):
            # One level serves all scenes of about these pixels; the smallest of them have most keypoints to find.
            levels[-1] = Level(levels[-1].grid_m, levels[-1].factor, max(enlarged, levels[-1].upsample))
        else:
            levels.append(Level(side, round(factor, 3), enlarged))
    return tuple(levels)


def upsampling_of_interpolated(side: int, shape: tuple[int, ...], levels: Sequence[Level], config: Config) -> int:
    """Return the factor by which means over the larger pixels of an interpolated tile are enlarged for the detector.

    Parameters
    ----------
    side
        Side of the pixels from which the tile was interpolated [px of the tile]; 1: it was not.
    shape
        Rows and columns of the tile.
    levels
        The levels that it has because of other scenes.
    config
        The run's settings.

    Returns
    -------
    int
        The factor; 0: these means are not searched, or one of the levels is theirs.
    """
    known = any(alike(level.factor, side) for level in levels)
    if side == 1 or known or not config.features.coarser or min(shape) < side * _LEAST_SEEN_PX:
        return 0
    # Fewer pixels than the tile's own: the prediction of memory is made without this level.
    return min(upsampling(coarser_shape(shape, side), config), side * upsampling(shape, config) - 1)


def _searched_shape(grid: PixelGrid, config: Config) -> tuple[int, int]:
    """Return the rows and columns of the square pixels on which a scene is searched."""
    return coarser_shape(reduced_shape(grid.shape, config.ingest.reduction), grid.square_px)


@lru_cache(maxsize=4096)
def grid_of(raster: Raster) -> PixelGrid:
    """Return a raster's grid, which remembers the size of its pixels from stage to stage."""
    return PixelGrid.of_raster(raster)


@lru_cache(maxsize=65536)
def _overlap(one: PixelGrid, other: PixelGrid) -> bool:
    """Return whether the bounding boxes of two rasters overlap; not where the other lies beyond the projection."""
    box = one.box
    there = other.box_on(one.metric)
    return bool((np.maximum(box[0], there[0]) < np.minimum(box[1], there[1])).all())


def rows_for(own_m: float, pair_m: float, count: int, levels: Sequence[tuple[float, int]]) -> slice:
    """Return the rows of a scene's features that are matched with another scene.

    Parameters
    ----------
    own_m, pair_m
        Sides of the pixels of the scene, and of those on which the pair is matched [m].
    count
        Number of the scene's features.
    levels
        Its levels: sides of their pixels [m], and numbers of their features, which follow those of its own grid.

    Examples
    --------
    >>> levels = [(20.0, 40), (60.0, 10)]
    >>> [rows_for(10.0, pair, 150, levels) for pair in (10.0, 60.04, 20.0, 240.0)]
    [slice(0, 100, None), slice(140, 150, None), slice(100, 140, None), slice(0, 100, None)]
    """
    first = count - sum(number for _, number in levels)
    own = slice(0, first)
    if pair_m < LEAST_RATIO * own_m:
        return own
    for grid_m, number in levels:
        if alike(grid_m, pair_m):
            return slice(first, first + number)
        first += number
    return own
