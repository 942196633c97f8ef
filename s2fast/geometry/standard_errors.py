"""Cluster-robust standard errors of a weighted fit; residuals are correlated within squares of the ground.

References
----------
Liang, Zeger: Longitudinal data analysis using generalized linear models. Biometrika 73, 1986 (cluster-robust sandwich
estimator). Student: The probable error of a mean. Biometrika 6, 1908.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

SQUARE_PX = 64.0
"""Side of the squares; the residuals of matches within one square are correlated [px of the coarser grid]."""


def standard_errors(
    at: npt.NDArray[np.float64],
    design: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    residual: npt.NDArray[np.float64],
    bread: npt.NDArray[np.float64],
    square_px: float = SQUARE_PX,
) -> npt.NDArray[np.float64]:
    """Estimate the standard errors of a fit from the scatter between squares (sandwich estimator).

    Parameters
    ----------
    at : (k, 2) float64
        Positions [px of the coarser grid].
    design : (k, p) float64
        Design matrix: coefficients of the p fitted parameters.
    weight : (k,) float64
        Weight of each match in the fit.
    residual : (k, 2) float64
        Displacements minus fitted values, along either axis.
    bread : (p, p) float64
        Inverse of the negative derivative of the sums of ``design * weight * residual`` by the parameters.

    square_px
        Side of the squares [px of the coarser grid].

    Returns
    -------
    (p,) float64
        Half the half-width of the 95 % confidence interval, by Student's distribution with the effective number of
        squares, in units of the parameters and the same for both axes; NaN if there are too few squares.
    """
    square = np.floor(at / square_px).astype(np.int64)
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
