"""From reflectance on the ground to numbers in the file: blur, haze, clouds, shadows, noise, the swath's end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ground import PIXEL_M
from .noise import compiled, fractal_noise, hashed, ramp, unit, value_noise

NO_DATA, CLEAR, SHADOW, CLOUD = 0, 1, 2, 3
"""Classes of a pixel in the sky mask."""

# The ground segment maps reflectance 0 to 0.3558 onto 1 to 255.
_DN_PER_REFLECTANCE = 254.0 / 0.3558
_PATH = (0.022, 0.034, 0.058)  # light scattered on a clear day (red, green, blue) [reflectance]
_HAZE = (0.30, 0.33, 0.37)  # the colour thick haze tends to
_SIDE_WEIGHT = 0.13  # of a pixel's neighbour in the blur: about 0.2 of the contrast is left at the Nyquist frequency
_NOISE_DN = 0.7
_CLOUD_HEIGHT_M = 1300.0
_SWATH_SLOPE = 0.25  # metres east for a metre north: the ground track's inclination at 50 degrees north
_SWATH_STEP_M = 240.0  # the detectors' lines end in steps


@dataclass(frozen=True, slots=True)
class Sky:
    """What lies between ground and sensor during one overpass."""

    haze: float
    """Optical depth beyond a clear day's."""
    threshold: float
    """Cloud noise above this is cloud; 9 for none."""
    shadow_x: float
    """How far east of a cloud its shadow falls [m]."""
    shadow_y: float
    """How far north of a cloud its shadow falls [m]."""
    swath_x: float
    """Easting of the swath's end at northing `swath_y` [m]; all west of it was seen."""
    swath_y: float
    """Northing the swath's end is given for [m]."""
    salt: int
    """Seed of this overpass's clouds and noise."""


def threshold_for(share: float) -> float:
    """Cloud noise level above which about a share of the sky lies.

    The noise is near a normal distribution with mean 0 and standard deviation 0.27.
    """
    if share <= 0.0:
        return 9.0
    # Logistic approximation of the normal quantile; the truth records what came of it.
    return 0.27 * math.log((1.0 - share) / share) / 1.702


@compiled
def _cloud_noise(x: float, y: float, salt: int) -> float:
    bulge = 350.0 * value_noise(x / 900.0, y / 900.0, salt + 51)
    return fractal_noise((x + bulge) / 5200.0, (y - bulge) / 5200.0, 6, salt + 61)


@compiled
def observe(
    ground: NDArray[np.float32],
    left: float,
    top: float,
    haze: float,
    threshold: float,
    shadow_x: float,
    shadow_y: float,
    swath_x: float,
    swath_y: float,
    salt: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image a window as the sensor would.

    Parameters
    ----------
    ground
        Reflectance with one pixel of margin all around, shape (rows + 2, cols + 2, 3), float32.
    left, top
        Map position of the centre of the first pixel inside the margin [m].
    haze, threshold, shadow_x, shadow_y, swath_x, swath_y, salt
        As in `Sky`.

    Returns
    -------
    tuple
        The image, shape (3, rows, cols), uint8: 0 in all bands where nothing was seen, 1 to 255 elsewhere; the class
        of each pixel, shape (rows, cols), uint8.
    """
    rows, cols = ground.shape[0] - 2, ground.shape[1] - 2
    image = np.zeros((3, rows, cols), np.uint8)
    classes = np.zeros((rows, cols), np.uint8)
    weights = (_SIDE_WEIGHT, 1.0 - 2.0 * _SIDE_WEIGHT, _SIDE_WEIGHT)
    for row in range(rows):
        y = top - PIXEL_M * row
        swath_end = swath_x + _SWATH_SLOPE * (math.floor(y / _SWATH_STEP_M) * _SWATH_STEP_M - swath_y)
        for col in range(cols):
            x = left + PIXEL_M * col
            if x > swath_end:
                continue
            cloud, shadow, veil = 0.0, 0.0, haze
            if haze > 0.0:
                veil *= 1.0 + 0.5 * value_noise(x / 8000.0, y / 8000.0, salt + 41)
            if threshold < 5.0:
                depth = _cloud_noise(x, y, salt) - threshold
                cloud = ramp(depth, 0.0, 0.10)
                shadow = ramp(_cloud_noise(x - shadow_x, y - shadow_y, salt) - threshold, 0.0, 0.08)
                veil += 0.35 * ramp(depth, -0.12, 0.08)
            classes[row, col] = CLOUD if cloud > 0.5 else SHADOW if shadow > 0.5 else CLEAR
            through = math.exp(-1.6 * veil)
            top_of_cloud = 0.42 + 0.5 * cloud + 0.12 * value_noise(x / 160.0, y / 160.0, salt + 42)
            for band in range(3):
                blurred = 0.0
                for i in range(3):
                    for j in range(3):
                        blurred += weights[i] * weights[j] * ground[row + i, col + j, band]
                lit = blurred * (1.0 - 0.62 * shadow)
                seen = _PATH[band] + through * lit + (1.0 - through) * 0.5 * _HAZE[band]
                seen = (1.0 - cloud) * seen + cloud * top_of_cloud
                value = 1.0 + seen * _DN_PER_REFLECTANCE
                h = hashed(math.floor(x), math.floor(y), salt + 43 + band)
                # Two uniform draws: a triangular distribution, near enough to the sensor's noise.
                value += _NOISE_DN * 2.45 * (unit(h) + unit(hashed(h, 1, salt)) - 1.0)
                image[band, row, col] = np.uint8(min(255.0, max(1.0, value + 0.5)))
    return image, classes
