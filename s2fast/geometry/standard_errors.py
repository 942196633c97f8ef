"""Standard errors of a weighted fit, from residuals that err together within squares of the ground.

References
----------
Liang, Zeger: Longitudinal data analysis using generalized linear models. Biometrika 73, 1986 (errors of groups that err
together). Student: The probable error of a mean. Biometrika 6, 1908.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

_SQUARE_PX = 64.0
"""Matches within one square of this side err together [px of the coarser grid]."""


def standard_errors(
    at: npt.NDArray[np.float64],
    design: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    residual: npt.NDArray[np.float64],
    bread: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Estimate the errors of a fit from how the squares contradict each other.

    Parameters
    ----------
    at : (k, 2) float64
        Positions [px of the coarser grid].
    design : (k, p) float64
        What the p fitted numbers are multiplied by.
    weight : (k,) float64
        What each match counted.
    residual : (k, 2) float64
        Displacements less what was fitted, along either axis.
    bread : (p, p) float64
        Inverse of how the sums of ``design * weight * residual`` fall as the numbers grow.

    Returns
    -------
    (p,) float64
        Half of what holds the truth in 95 of 100 cases, by Student's law for as many squares as count, in units of
        the fitted numbers and the same for both axes; NaN where the squares are too few.
    """
    square = np.floor(at / _SQUARE_PX).astype(np.int64)
    _, group = np.unique((square[:, 1] << 32) + square[:, 0], return_inverse=True)
    squares, numbers = int(group.max(initial=-1)) + 1, design.shape[1]
    if squares <= numbers:
        return np.full(numbers, np.nan)
    pull = design * weight[:, None]
    meat = np.zeros((numbers, numbers))
    for axis in residual.T:
        sums = np.stack([np.bincount(group, column * axis) for column in pull.T])
        meat += sums @ sums.T / 2
    variance = np.diag(bread @ meat @ bread) * squares / (squares - numbers)
    counted = np.bincount(group, weight)
    free = max(1.0, float(counted.sum() ** 2 / (counted**2).sum()) - numbers)
    return np.asarray(np.sqrt(variance) * float(stdtrit(free, 0.975)) / 2)
