"""How far an image is displaced from another, by phase correlation.

References
----------
Kuglin, Hines: The phase correlation image alignment method (1975). Guizar-Sicairos, Thurman, Fienup: Efficient subpixel
image registration algorithms. Optics Letters 33 (2008).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

_LEAST_VALID = 0.9
"""Least share of a window's pixels that both images show."""

MOST_PX = 24
"""Greatest displacement that is found [px]."""

_LEAST_PEAK = 8.0
"""Least height of a correlation's peak [standard deviations of the correlation]."""

_LOW_PASS = 0.2
"""Width of the Gaussian that weights frequencies [cycles per pixel]: higher ones are mostly noise."""

_STEPS_PX, _TRIED = (0.2, 0.02, 0.002), 8
"""A peak is refined in these steps [px], with so many positions on either side."""


def phase_shift(moved: npt.NDArray[np.float64], still: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return how far right and down `moved` shows what `still` shows [px], by phase correlation; None if unclear.

    Parameters
    ----------
    moved, still
        (side, side) float64, NaN where there is no data: it is replaced by the mean.
    """
    valid = np.isfinite(moved) & np.isfinite(still)
    if valid.mean() < _LEAST_VALID:
        return None
    side, taper = len(still), _taper(len(still))
    a, b = (np.fft.rfft2(np.where(valid, image - image[valid].mean(), 0) * taper) for image in (moved, still))
    product = a * b.conj()
    product *= _low_pass(side) / np.maximum(np.abs(product), np.finfo(np.float64).tiny)
    surface = np.fft.irfft2(product, (side, side))
    at = np.fft.fftfreq(side, 1 / side)
    near = np.where(np.maximum.outer(np.abs(at), np.abs(at)) <= MOST_PX, surface, -np.inf)
    row, col = np.unravel_index(near.argmax(), near.shape)
    if not surface[row, col] > _LEAST_PEAK * surface.std():
        return None
    best = np.array([at[row], at[col]])
    product[:, 1 : (side + 1) // 2] *= 2  # stand for their conjugates as well
    for step in _STEPS_PX:
        fine = step * np.arange(-_TRIED, _TRIED + 1)
        rows, cols = (
            np.exp(2j * np.pi * np.outer(centre + fine, frequencies))
            for centre, frequencies in zip(best, (np.fft.fftfreq(side), np.fft.rfftfreq(side)), strict=True)
        )
        # einsum, unlike @, does not start threads, which cost more than they save on matrices as small as these
        height = np.einsum("ij,kj->ik", np.einsum("ij,jk->ik", rows, product), cols).real
        best += fine[list(np.unravel_index(height.argmax(), height.shape))]
    return best[::-1]


@cache
def _taper(side: int) -> npt.NDArray[np.float64]:
    return np.outer(np.hanning(side), np.hanning(side))


@cache
def _low_pass(side: int) -> npt.NDArray[np.float64]:
    """Return the weights of the frequencies that `numpy.fft.rfft2` returns."""
    square = np.add.outer(np.fft.fftfreq(side) ** 2, np.fft.rfftfreq(side) ** 2)
    return np.asarray(np.exp(-square / (2 * _LOW_PASS**2)))
