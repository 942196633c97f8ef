"""Small patches of ground, and whether those of two scenes agree more at equal positions than at unequal ones."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

_SHIFTS = 7
"""Number of patches at unequal positions with which each patch is compared."""


def cut(blocks: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Cut (m, b, b) blocks into patches of `side` px, row by row: (m, s, side * side); b is a multiple of `side`."""
    count = blocks.shape[1] // side
    return blocks.reshape(-1, count, side, count, side).swapaxes(2, 3).reshape(-1, count**2, side**2)


def without_plane(pixels: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """Return (m, s, side * side) pixels of patches minus the plane of regression of each patch."""
    planes = _planes(side)
    return np.asarray(pixels - (pixels @ planes.T) @ planes, np.float32)


@cache
def _planes(side: int) -> npt.NDArray[np.float32]:
    """Return an orthonormal basis of the planes over a patch: (3, side * side)."""
    down, right = np.mgrid[:side, :side].reshape(2, -1) - (side - 1) / 2
    basis = np.stack([np.ones(side**2), down, right])
    return np.asarray(basis / np.linalg.norm(basis, axis=1, keepdims=True), np.float32)


def normalised(blocks: npt.NDArray[np.uint8], side: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cut blocks into patches, and subtract the plane of regression of each patch.

    Parameters
    ----------
    blocks : (m, b, b) uint8
        The blocks [DN].
    side
        Side of a patch [px]; b is a multiple of it.

    Returns
    -------
    shape : (m, s, side * side) float32
        Pixels of each patch minus its plane, normalised to a length of 1.
    energy : (m, s) float32
        Sum of their squares before that [DN2].
    """
    shape = without_plane(cut(blocks, side).astype(np.float32), side)
    energy = np.einsum("ijk,ijk->ij", shape, shape)
    shape /= np.maximum(np.sqrt(energy), 1e-3)[:, :, None]
    return shape, energy


def excess_agreement(
    query: npt.NDArray[np.float32],
    train: npt.NDArray[np.float32],
    blocks: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    chosen: npt.NDArray[np.int64],
) -> tuple[float, float]:
    """Compare the correlations of patches at equal positions with those at unequal ones, by their ranks.

    Parameters
    ----------
    query, train : (m, s, p) float32
        Patches of two scenes' blocks, without their mean and of length 1.
    blocks
        Numbers of the blocks at positions that both scenes have, in either scene.
    chosen : (n,) int64
        Numbers of the patches to compare among those of these blocks, block after block; at least one.

    Returns
    -------
    excess : float
        Mean rank of the correlations at equal positions among those at unequal ones, 0 to 1, minus 1/2.
    score : float
        The excess in standard errors of that of unrelated patches.
    """
    from s2fast.image.compiled_ground import correlate  # when used: who only reads a run folder needs no compiler

    count, of_block = len(chosen), query.shape[1]
    block, patch = chosen // of_block, chosen % of_block
    one, other = (part.reshape(-1, part.shape[2]) for part in (query, train))
    here, there = (number[block] * of_block + patch for number in blocks)
    found = np.empty((1 + _SHIFTS, count), np.float32)
    correlate(one, other, here, there, found)
    ordered = np.sort(found[1:], axis=None)
    # Sorted ones are found faster, as they are near each other in memory.
    ranks = np.searchsorted(ordered, np.sort(found[0]))
    excess = int(ranks.sum()) / count / len(ordered) - 0.5
    return excess, excess / excess_error(count)


def excess_error(count: int) -> float:
    """Return the standard error of the excess of that many unrelated patches; see `excess_agreement`."""
    # Ranks of numbers from one distribution have a mean of 1/2, with a variance of 1/12 for either sample.
    return math.sqrt((1 + 1 / _SHIFTS) / (12 * count))
