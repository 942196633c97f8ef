"""Tables of M-LDB: the sampling points of descriptors and orientations, and the cells that each bit compares.

The patch is a lattice of 21 x 21 points, one keypoint radius apart and rotated with the keypoint. It is divided into
cells by three grids: 2 x 2 cells of 10 x 10 points, 3 x 3 of 7 x 7 and 4 x 4 of 5 x 5. A cell has three values: the
mean of the image ("L"), of the derivative along the lattice's first axis ("u") and along its second ("v").
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

LATTICE = 21
"""Points along a side of the sampling lattice, at -10 .. 10."""

GRIDS = ((2, 10), (3, 7), (4, 5))
"""(cells along a side, points along a cell's side) of the three grids."""

CELLS = 4 + 9 + 16
"""Number of cells of all grids. Cells are ordered by grid, then row-major in the lattice's first axis."""

L, U, V = 0, 1, 2
"""Rows of the value table: image, derivative along the first axis, derivative along the second."""

SLICES = 42
"""Number of angular slices of the orientation histogram."""

SLICES_WIDE = 7
"""Width of the sliding window over the histogram, in slices: 60 degrees."""

_SUBSET_SEED = 1024
_MULTIPLIER = 4164903690


def _pairs() -> list[tuple[int, int, int]]:
    """Return (grid, cell, cell) of all pairs within a grid; cells are numbered over all grids."""
    pairs, first = [], 0
    for grid, (side, _) in enumerate(GRIDS):
        cells = side * side
        pairs += [(grid, first + i, first + j) for i in range(cells) for j in range(i + 1, cells)]
        first += cells
    return pairs


@cache
def comparisons(descriptor_size: int, upright: bool) -> npt.NDArray[np.int32]:
    """Return the pair of values that each bit of a descriptor compares.

    Parameters
    ----------
    descriptor_size
        Number of bits of the descriptor; 0: all 486. Fewer bits are OpenCV's pseudo-random selection of pairs, those of
        the coarse grid first.
    upright
        Whether descriptors are upright: OpenCV orders their bits differently.

    Returns
    -------
    (bits, 2) int32
        Bit b is set if value ``[b, 0]`` exceeds value ``[b, 1]``. The index of a value is ``CELLS * value + cell``,
        where value is one of `L`, `U`, `V`.

    Examples
    --------
    >>> comparisons(0, False).shape, comparisons(100, True).shape
    ((486, 2), (100, 2))
    """
    pairs = _pairs()
    if descriptor_size:
        bits = [(value, *pairs[pick][1:]) for pick in _subset(-(-descriptor_size // 3)) for value in (L, U, V)]
        bits = [(value, _transposed(i), _transposed(j)) for value, i, j in bits[:descriptor_size]]
    elif upright:
        bits = [(value, i, j) for _, i, j in pairs for value in (L, U, V)]
    else:
        # The rotated descriptor stores v before u, and all pairs of a value before the next value.
        bits = [(value, i, j) for grid in range(3) for value in (L, V, U) for g, i, j in pairs if g == grid]
    table = np.array([(CELLS * value + i, CELLS * value + j) for value, i, j in bits], np.int32)
    table.flags.writeable = False
    return table


def _subset(picks: int) -> list[int]:
    """Return the pairs of OpenCV's short descriptors: the coarse grid's six, then those of its random generator."""
    state = _SUBSET_SEED
    pool = list(range(len(_pairs())))
    selected = []
    for i in range(picks):
        state = ((state & 0xFFFFFFFF) * _MULTIPLIER + (state >> 32)) & 0xFFFFFFFFFFFFFFFF
        left = len(pool) - i
        pick = i if i < 6 else (state & 0xFFFFFFFF) % left
        selected.append(pool[pick])
        pool[pick] = pool[left - 1]
    return selected


def _transposed(cell: int) -> int:
    """Return a cell with its axes swapped: short descriptors number a grid's cells along the lattice's other axis."""
    first = 0
    for side, _ in GRIDS:
        if cell < first + side * side:
            return first + (cell - first) % side * side + (cell - first) // side
        first += side * side
    raise ValueError(f"cell {cell} of {CELLS}")


@cache
def orientation_samples() -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the sampling points of an orientation: 109 points within 6 radii, with Gaussian weights, sigma 2.5 radii.

    Returns
    -------
    dy, dx : (109,) int32
        Positions in units of the level's radius, in row-major order.
    weight : (109,) float32
        Weights to eight decimals, as in OpenCV's table.
    """
    # The table is a normalised Gaussian, truncated to eight decimals. Three of its 49 entries differ from the formula
    # in the last decimal, so the table cannot be replaced by the formula.
    quarter = np.array(
        [
            [0.02546481, 0.02350698, 0.01849125, 0.01239505, 0.00708017, 0.00344629, 0.00142946],
            [0.02350698, 0.02169968, 0.01706957, 0.01144208, 0.00653582, 0.00318132, 0.00131956],
            [0.01849125, 0.01706957, 0.01342740, 0.00900066, 0.00514126, 0.00250252, 0.00103800],
            [0.01239505, 0.01144208, 0.00900066, 0.00603332, 0.00344629, 0.00167749, 0.00069579],
            [0.00708017, 0.00653582, 0.00514126, 0.00344629, 0.00196855, 0.00095820, 0.00039744],
            [0.00344629, 0.00318132, 0.00250252, 0.00167749, 0.00095820, 0.00046640, 0.00019346],
            [0.00142946, 0.00131956, 0.00103800, 0.00069579, 0.00039744, 0.00019346, 0.00008024],
        ],
        np.float32,
    )
    dy, dx = np.mgrid[-6:7, -6:7]
    inside = dy * dy + dx * dx < 36
    dy, dx = dy[inside].astype(np.int32), dx[inside].astype(np.int32)
    return dy, dx, np.ascontiguousarray(quarter[np.abs(dy), np.abs(dx)])
