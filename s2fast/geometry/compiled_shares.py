"""Compiled loop over neighbouring matches: the share of a witness that each counts, see `NeighbourCorrelation`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, zeros


@njit(nogil=True)
def _cells(
    at: npt.NDArray[np.float64], reach: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], int, int]:
    """Sort positions into cells at least as wide as `reach`: cell of each, start of each cell, order, columns, rows."""
    count = len(at)
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for i in range(count):
        low_x, high_x = min(low_x, at[i, 0]), max(high_x, at[i, 0])
        low_y, high_y = min(low_y, at[i, 1]), max(high_y, at[i, 1])
    # A little wider than the reach, so that rounding never separates neighbours by two cells.
    most = 2 * int(np.sqrt(count)) + 1
    across, down = 1, 1
    if reach > 0:
        across = max(1, int(min((high_x - low_x) / reach * (1 - 1e-6), float(most))))
        down = max(1, int(min((high_y - low_y) / reach * (1 - 1e-6), float(most))))
    scale_x = across / (high_x - low_x) if high_x > low_x else 0.0
    scale_y = down / (high_y - low_y) if high_y > low_y else 0.0
    cell = empty(count, np.int64)
    start = zeros(across * down + 1, np.int64)
    for i in range(count):
        column = min(across - 1, int((at[i, 0] - low_x) * scale_x))
        row = min(down - 1, int((at[i, 1] - low_y) * scale_y))
        cell[i] = row * across + column
        start[cell[i] + 1] += 1
    for c in range(across * down):
        start[c + 1] += start[c]
    order, filled = empty(count, np.int64), empty(across * down, np.int64)
    for c in range(across * down):
        filled[c] = start[c]
    for i in range(count):
        order[filled[cell[i]]] = i
        filled[cell[i]] += 1
    return cell, start, order, across, down


@njit(nogil=True)
def shares(
    at: npt.NDArray[np.float64], size: npt.NDArray[np.float64], near: npt.NDArray[np.bool_], reach: float, half: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the shares of `NeighbourCorrelation.shares`, among all matches and among those that are `near`.

    Parameters
    ----------
    at : (k, 2) float64
        Positions [m].
    size : (k,) float64
        Diameters [m].
    near : (k,) bool
        The matches that count in the second result.
    reach
        Matches farther apart are independent [m].
    half
        Distance at which the correlation falls to one half [mean diameters].
    """
    count = len(at)
    every, strict = zeros(count, np.float64), zeros(count, np.float64)
    _, start, order, across, down = _cells(at, reach)
    limit, scale = reach * reach, half * half
    for row in range(down):
        for column in range(across):
            c = row * across + column
            for a in range(start[c], start[c + 1]):
                i = order[a]
                # The rest of this cell and the next, then the three cells of the next row: every pair once.
                for part in range(2):
                    if part == 0:
                        first, end = a + 1, start[c + 2] if column + 1 < across else start[c + 1]
                    elif row + 1 < down:
                        below = c + across
                        first = start[below - 1] if column > 0 else start[below]
                        end = start[below + 2] if column + 1 < across else start[below + 1]
                    else:
                        break
                    for b in range(first, end):
                        j = order[b]
                        dx, dy = at[i, 0] - at[j, 0], at[i, 1] - at[j, 1]
                        squared = dx * dx + dy * dy
                        if squared <= limit:
                            one, other = min(i, j), max(i, j)
                            both = 1 / (1 + squared / (scale * size[one] * size[other]))
                            every[i] += both
                            every[j] += both
                            if near[i] and near[j]:
                                strict[i] += both
                                strict[j] += both
    for i in range(count):
        every[i] = 1 / (1 + every[i])
        strict[i] = 1 / (1 + strict[i]) if near[i] else 0.0
    return every, strict
