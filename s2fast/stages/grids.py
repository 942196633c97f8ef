"""Features and masks between the grids on which a tile is searched and those of the tile and of the scene's file."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from s2fast.detectors import MaskSource
from s2fast.model import Features


def on_tile(features: Features, factor: npt.NDArray[np.float64]) -> Features:
    """Convert features from a coarser grid over the same ground, with pixels of (2,) px in x and y, to the tile's.

    Sizes are in sides of square pixels of equal area.
    """
    xy = features.xy.astype(np.float64) * factor + (factor - 1) / 2
    return replace(features, xy=xy.astype(np.float32), size=features.size * np.float32(math.sqrt(factor.prod())))


def upscaled_mask_source(valid: MaskSource, clear: npt.NDArray[np.bool_], factor: int) -> MaskSource:
    """Return a function that returns windows of the mask of valid keypoint positions, on the upscaled grid."""
    if factor == 1:
        return lambda rows, columns: valid(rows, columns) & clear[rows, columns]

    def part(rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
        down, right = (slice(axis.start // factor, -(-axis.stop // factor)) for axis in (rows, columns))
        small = valid(down, right) & clear[down, right]
        large = small.repeat(factor, axis=0).repeat(factor, axis=1)
        top, left = rows.start - factor * down.start, columns.start - factor * right.start
        return large[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]

    return part


def on_full_grid(features: Features, reduction: float, centre_px: float) -> Features:
    """Convert features from the grid of a reduced or upscaled tile to the original grid; pixel centres are at integers.

    Parameters
    ----------
    features
        Features on the tile's own grid.
    reduction
        Side of a pixel of the tile in pixels of the original grid.
    centre_px
        Position on the original grid of the centre of the tile's first pixel [px]: ``(reduction - 1) / 2`` for means
        and upscaling, 0 for a level of a JPEG 2000 wavelet.
    """
    if reduction == 1:
        return features
    xy = features.xy.astype(np.float64) * reduction + centre_px
    return replace(features, xy=xy.astype(np.float32), size=features.size * np.float32(reduction))
