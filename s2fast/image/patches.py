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


def excess_agreement(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Compare the correlations of patches at equal positions with those at unequal ones, by their ranks.

    Parameters
    ----------
    one, other : (n, p) float32
        Patches of two scenes, those at equal positions in equal rows, without their mean and of length 1.

    Returns
    -------
    excess : float
        Mean rank of the correlations at equal positions among those at unequal ones, 0 to 1, minus 1/2.
    score : float
        The excess in standard errors of that of unrelated patches.
    """
    count = len(one)
    equal = np.abs(np.einsum("ij,ij->i", one, other))
    unequal = np.empty((_SHIFTS, count), one.dtype)
    for number, found in enumerate(unequal, 1):
        shift = count * number // (_SHIFTS + 1)
        np.einsum("ij,ij->i", one[shift:], other[: count - shift], out=found[shift:])
        np.einsum("ij,ij->i", one[:shift], other[count - shift :], out=found[:shift])
    ordered = np.sort(np.abs(unequal, out=unequal), axis=None)
    # Sorted ones are found faster, as they are near each other in memory.
    excess = float(np.searchsorted(ordered, np.sort(equal)).mean()) / len(ordered) - 0.5
    return excess, excess / excess_error(count)


def excess_error(count: int) -> float:
    """Return the standard error of the excess of that many unrelated patches; see `excess_agreement`."""
    # Ranks of numbers from one distribution have a mean of 1/2, with a variance of 1/12 for either sample.
    return math.sqrt((1 + 1 / _SHIFTS) / (12 * count))
