"""Coarser grids on which scenes are searched too, so that they match scenes of larger pixels.

What a keypoint looks like depends on the pixels on which it was found. A scene beside coarser scenes of the same ground
is therefore also searched on the means of its pixels over theirs, and a pair is matched on the grid of its coarser
scene: keypoints of equal size on the ground then exist in both, and look alike. Scenes of one resolution have no such
levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from s2fast.config import Config
from s2fast.folder.record import SceneInput
from s2fast.geometry.placement import PixelGrid
from s2fast.model import Raster
from s2fast.raster.windows import reduced_shape

LEAST_RATIO = 1.4
"""Least ratio of two scenes' pixels from which the finer one is searched on the grid of the coarser one."""

ALIKE = 1.05
"""Greatest ratio of pixels that count as equal: those of one sensor differ by 0.2 % from zone to zone."""

LEAST_PX = 32
"""Shortest side of a scene on a coarser grid [px]."""

_LARGE_PX = 4096
"""A scene with a longer side has enough keypoints without being upscaled."""


@dataclass(frozen=True, slots=True)
class Level:
    """A coarser grid."""

    grid_m: float
    """Side of its pixels on the ground [m]."""
    factor: float
    """Side of its pixels [px of the scene's tile]."""
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
    grids = {str(item): _grid(item.raster) for item in scenes}
    sides = {grid: grid.pixel_m * reduction for grid in dict.fromkeys(grids.values())}
    if not sides or max(sides.values()) < LEAST_RATIO * min(sides.values()):
        return {}
    found = {grid: _levels(grid, sides, config) for grid in sides}
    return {name: found[grid] for name, grid in grids.items() if found[grid]}


def _levels(own: PixelGrid, sides: dict[PixelGrid, float], config: Config) -> tuple[Level, ...]:
    """Return the levels of a scene among grids and the sides of their pixels [m]."""
    levels: list[Level] = []
    shape = reduced_shape(own.shape, config.ingest.reduction)
    for other, side in sorted(sides.items(), key=lambda item: (item[1], -max(item[0].shape))):
        factor = side / sides[own]
        if factor < LEAST_RATIO or min(shape) < factor * LEAST_PX or not _overlap(own, other):
            continue
        enlarged = upsampling(reduced_shape(other.shape, config.ingest.reduction), config)
        if levels and side < ALIKE * levels[-1].grid_m:
            # One level serves all scenes of about these pixels; the smallest of them have most keypoints to find.
            levels[-1] = Level(levels[-1].grid_m, levels[-1].factor, max(enlarged, levels[-1].upsample))
        else:
            levels.append(Level(side, round(factor, 3), enlarged))
    return tuple(levels)


@lru_cache(maxsize=4096)
def _grid(raster: Raster) -> PixelGrid:
    """Return a raster's grid, which remembers the size of its pixels from stage to stage."""
    return PixelGrid.of_raster(raster)


@lru_cache(maxsize=65536)
def _overlap(one: PixelGrid, other: PixelGrid) -> bool:
    """Return whether the bounding boxes of two rasters overlap; not where the other lies beyond the projection."""
    box = one.box
    there = other.box_on(one.metric)
    return bool((np.maximum(box[0], there[0]) < np.minimum(box[1], there[1])).all())


def rows_for(own_m: float, other_m: float, count: int, levels: Sequence[tuple[float, int]]) -> slice:
    """Return the rows of a scene's features that are matched with a scene of other pixels.

    Parameters
    ----------
    own_m, other_m
        Sides of the pixels of the scene and of the other one [m].
    count
        Number of the scene's features.
    levels
        Its levels: sides of their pixels [m], and numbers of their features, which follow those of its own grid.

    Examples
    --------
    >>> levels = [(20.0, 40), (60.0, 10)]
    >>> [rows_for(10.0, other, 150, levels) for other in (10.0, 60.04, 20.0, 240.0)]
    [slice(0, 100, None), slice(140, 150, None), slice(100, 140, None), slice(0, 100, None)]
    """
    first = count - sum(number for _, number in levels)
    own = slice(0, first)
    if other_m < LEAST_RATIO * own_m:
        return own
    for grid_m, number in levels:
        if max(grid_m, other_m) < ALIKE * min(grid_m, other_m):
            return slice(first, first + number)
        first += number
    return own
