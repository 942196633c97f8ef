"""Ground around the inliers: scenes of different ground that share a drawing agree where it is, and nowhere else.

Lettering, outlines, painted shapes and dust that two scenes have at the same pixels, blended with the ground or
blurred by compression, match like ground. But scenes of the same ground also agree between their inliers, if weakly,
and with either sign: a field may be darker than its surroundings in spring and brighter in autumn. Therefore small
squares around the inliers are correlated, and the strength of the correlation at equal positions is compared with that
at unequal ones.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.image.patches import cut, excess_agreement, without_plane

SQUARE_PX = 8
"""Side of a square."""

_NEAR_PX = 6
"""Squares nearer than this to an inlier may show the drawing."""

_REACH = 3
"""Farther squares are compared up to this number of squares away: still farther ones may show other kinds of ground,
such as the sea around an island."""

_LEAST_VARIANCE = 3.0
"""Squares with less contrast show nothing, as calm water [DN2]."""

_WEAKER = 0.7
"""Share of the squares that are compared, those of least contrast: the others may show other parts of the drawing."""

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
    """(m, s, 2) row and column of each square on the tile's grid of squares."""

    @classmethod
    def of(cls, blocks: npt.NDArray[np.uint8], corners: npt.NDArray[np.int32]) -> Squares:
        """Cut blocks.

        Parameters
        ----------
        blocks : (m, b, b) uint8
            The blocks [DN].
        corners : (m, 2) int32
            First row and column of each block on the tile; multiples of `SQUARE_PX`.
        """
        side = blocks.shape[1] // SQUARE_PX
        shape = without_plane(cut(blocks, SQUARE_PX).astype(np.float32), SQUARE_PX)
        variance = np.asarray((shape**2).mean(axis=2), np.float32)
        inside = np.array(list(itertools.product(range(side), repeat=2)), np.int64).reshape(-1, 2)
        return cls(
            shape / np.maximum(np.sqrt(variance) * SQUARE_PX, 1e-3)[:, :, None],
            variance,
            corners[:, None].astype(np.int64) // SQUARE_PX + inside,
        )


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
    block, square = np.nonzero(seen & _around(inlier_px, query.place[here]))
    if not len(block):
        return False
    contrast = one[block, square] * other[block, square]
    weaker = contrast <= np.quantile(contrast, _WEAKER)
    block, square = block[weaker], square[weaker]
    if len(block) < _LEAST_SQUARES:
        return False
    _, score = excess_agreement(query.shape[here[block], square], train.shape[there[block], square])
    return score < _LEAST_SCORE


def _around(inlier_px: npt.NDArray[np.float32], place: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which squares at (..., 2) places of the grid are around the inliers, but not near one: (...) bool."""
    rows, columns = (int(place[..., axis].max()) + 1 for axis in (0, 1))
    near = np.zeros((rows + 2, columns + 2), np.uint8)  # with a margin for inliers beyond the grid
    shifts = np.array([-_NEAR_PX, 0, _NEAR_PX])[:, None] + 0.5
    column, row = (
        np.clip(np.floor((axis + shifts) / SQUARE_PX), -1, count).astype(np.intp) + 1
        for axis, count in zip(np.ascontiguousarray(inlier_px.T), (columns, rows), strict=True)
    )
    near[row[:, None], column] = 1
    near = near[1:-1, 1:-1]
    around = cv2.dilate(near, np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)) > near
    return np.asarray(around[place[..., 0], place[..., 1]])
