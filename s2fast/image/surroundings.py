"""Ground around the inliers: scenes of different ground that share a drawing agree where it is, and nowhere else.

Lettering, outlines, painted shapes and dust that two scenes have at the same pixels, blended with the ground or
blurred by compression, match like ground. But scenes of the same ground also agree between their inliers, if weakly,
and with either sign: a field may be darker than its surroundings in spring and brighter in autumn. Therefore small
squares around the inliers are correlated, and the strength of the correlation at equal positions is compared with that
at unequal ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.image.patches import excess_agreement, normalised

SQUARE_PX = 8
"""Side of a square."""

_NEAR_PX = 6
"""Squares nearer than this to an inlier may show the drawing."""

_REACH = 3
"""Farther squares are compared up to this number of squares away: still farther ones may show other kinds of ground,
such as the sea around an island."""

_LEAST_VARIANCE = 3.0
"""Squares with less contrast show nothing, as calm water [DN2]."""

_WEAKER_PCT = 70
"""Share of the squares that are compared [%], those of least contrast: the others may show other parts of the drawing.
"""

_LEAST_SQUARES = 150
"""Minimum number of squares to compare."""

_LEAST_SCORE = 3.0
"""Minimum excess of the correlations at equal positions [standard errors]; different ground exceeds it in one of 700
pairs. Chosen on tile 36UYA."""


@dataclass(frozen=True, slots=True)
class Squares:
    """The sampled blocks of a scene, cut into squares."""

    shape: npt.NDArray[np.float32]
    """(m, s, 64) pixels of each square minus their plane of regression, normalised to a length of 1."""
    variance: npt.NDArray[np.float32]
    """(m, s) variance of the pixels about the plane [DN2]."""
    place: npt.NDArray[np.int64]
    """(m, 2) row and column of each block on the tile's grid of blocks."""

    @classmethod
    def of(cls, blocks: npt.NDArray[np.uint8], corners: npt.NDArray[np.int32]) -> Squares:
        """Cut blocks.

        Parameters
        ----------
        blocks : (m, b, b) uint8
            The blocks [DN].
        corners : (m, 2) int32
            First row and column of each block on the tile; multiples of b, which is a multiple of `SQUARE_PX`.
        """
        shape, energy = normalised(blocks, SQUARE_PX)
        return cls(shape, energy / np.float32(SQUARE_PX**2), corners.astype(np.int64) // blocks.shape[1])


def grounds_differ(
    query: Squares,
    train: Squares,
    blocks: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    inlier_px: npt.NDArray[np.float32],
) -> bool:
    """Return whether the ground around the inliers of two scenes agrees no better than unrelated ground.

    Parameters
    ----------
    query, train
        The scenes, which are at rest to each other on their pixels.
    blocks
        Numbers of the blocks at positions that both scenes have, in either scene.
    inlier_px : (k, 2) float32
        The inliers on the query [px of the tile].

    Returns
    -------
    bool
        False also if there is too little ground to compare.
    """
    here, there = blocks
    one, other = query.variance[here], train.variance[there]
    seen = np.minimum(one, other) > _LEAST_VARIANCE
    if np.count_nonzero(seen) < _LEAST_SQUARES:
        return False
    chosen = np.flatnonzero(seen & _around(inlier_px, query.place[here], math.isqrt(one.shape[1])))
    if not len(chosen):
        return False
    contrast = one.take(chosen) * other.take(chosen)
    last = _WEAKER_PCT * (len(chosen) - 1) // 100
    chosen = chosen[contrast <= np.partition(contrast, last)[last]]
    if len(chosen) < _LEAST_SQUARES:
        return False
    _, score = excess_agreement(query.shape, train.shape, blocks, chosen)
    return score < _LEAST_SCORE


def _around(inlier_px: npt.NDArray[np.float32], place: npt.NDArray[np.int64], along: int) -> npt.NDArray[np.bool_]:
    """Return which squares are around the inliers, but not near one: (m, s) bool.

    Parameters
    ----------
    inlier_px : (k, 2) float32
        The inliers [px of the tile].
    place : (m, 2) int64
        Row and column of each block on the tile's grid of blocks.
    along
        Number of squares along a block.
    """
    from s2fast.image.compiled_ground import mark_near  # when used: who only reads a run folder needs no compiler

    rows, columns = (place.max(axis=0) + 1).tolist()
    near = np.zeros((rows * along, columns * along), np.uint8)
    mark_near(np.ascontiguousarray(inlier_px), _NEAR_PX, SQUARE_PX, near)
    around = cv2.dilate(near, np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)) > near
    of_block = around.reshape(rows, along, columns, along)[place[:, 0], :, place[:, 1]]
    return np.asarray(of_block.reshape(len(place), -1))
