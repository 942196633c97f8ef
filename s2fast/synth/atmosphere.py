"""Convert ground reflectance to pixel values: blur, haze, clouds, shadows, noise and the edge of the swath."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from .noise import compiled, compiled_for, fractal_noise, hashed, ramp, unit, value_noise
from .plan import PIXEL_M

NO_DATA, CLEAR, SHADOW, CLOUD = 0, 1, 2, 3
"""Pixel classes of the sky mask."""

NO_CLOUDS = 9.0
"""A threshold that cloud noise never reaches."""

# The ground segment maps reflectance 0 to 0.3558 onto 1 to 255.
_DN_PER_REFLECTANCE = 254.0 / 0.3558
_PATH = (0.022, 0.034, 0.058)  # light scattered on a clear day (red, green, blue) [reflectance]
_HAZE = (0.30, 0.33, 0.37)  # colour of thick haze
_SIDE_WEIGHT = 0.13  # weight of a neighbour in the blur: about 0.2 of the contrast remains at the Nyquist frequency
_NOISE_DN = 0.7
_SWATH_SLOPE = 0.25  # metres east per metre north: inclination of the ground track at 50 degrees north
_SWATH_STEP_M = 240.0  # height of the steps in the swath's edge


class Sky(NamedTuple):
    """State of the atmosphere and the swath in one overpass; a named tuple, because compiled code can read it."""

    haze: float
    """Optical depth in excess of a clear day's."""
    threshold: float
    """Cloud noise above this value is cloud."""
    shadow_x: float
    """Eastward offset of a cloud's shadow [m]."""
    shadow_y: float
    """Northward offset of a cloud's shadow [m]."""
    swath_x: float
    """Easting of the swath's edge at northing `swath_y` [m]; everything west of it was imaged."""
    swath_y: float
    """Northing at which the swath's edge has easting `swath_x` [m]."""
    salt: int
    """Seed of this overpass's clouds and noise."""


_SKY = types.NamedTuple([types.float64] * 6 + [types.int64], Sky)


def threshold_for(share: float) -> float:
    """Return the cloud noise threshold that gives about this cloud cover.

    The noise is approximately normal with mean 0 and standard deviation 0.223; a logistic function approximates its
    quantiles. ``truth.json`` records the actual cloud cover.

    Examples
    --------
    >>> threshold_for(0.5)
    0.0
    """
    if share <= 0.0:
        return NO_CLOUDS
    return 0.223 * math.log((1.0 - share) / share) / 1.702


@compiled
def cloud_noise(x: float, y: float, salt: int) -> float:
    """Compute the cloud density at a position: the sum of large-scale noise and small billows, 0 on average."""
    broad = fractal_noise(x / 4500.0, y / 4500.0, 2, salt + 51)
    px, py, height, total = x / 1500.0, y / 1500.0, 0.5, 0.0
    for octave in range(5):
        # The absolute value of the noise has sharp creases at zero, which outline round billows.
        total += height * (abs(value_noise(px, py, salt + 61 + octave)) - 0.378)
        px, py = 2.1 * (0.7986 * px - 0.6018 * py), 2.1 * (0.6018 * px + 0.7986 * py)
        height *= 0.56
    return 0.6 * broad + total


@compiled_for((types.float32[:, :, ::1], types.float64, types.float64, _SKY))
def observe(
    ground: NDArray[np.float32],
    left: float,
    top: float,
    sky: Sky,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Simulate the sensor's image of a window.

    Parameters
    ----------
    ground
        Reflectance with a margin of one pixel on each side, shape (rows + 2, cols + 2, 3), float32.
    left, top
        Map position of the centre of the first pixel inside the margin [m].
    sky
        State of the atmosphere and the swath.

    Returns
    -------
    tuple
        The image, shape (3, rows, cols), uint8: 0 in all bands outside the swath, 1 to 255 elsewhere; the class of each
        pixel, shape (rows, cols), uint8.
    """
    rows, cols = ground.shape[0] - 2, ground.shape[1] - 2
    image = np.zeros((3, rows, cols), np.uint8)
    classes = np.zeros((rows, cols), np.uint8)
    weights = (_SIDE_WEIGHT, 1.0 - 2.0 * _SIDE_WEIGHT, _SIDE_WEIGHT)
    for row in range(rows):
        y = top - PIXEL_M * row
        swath_end = sky.swath_x + _SWATH_SLOPE * (math.floor(y / _SWATH_STEP_M) * _SWATH_STEP_M - sky.swath_y)
        for col in range(cols):
            x = left + PIXEL_M * col
            if x > swath_end:
                continue
            cloud, shadow, veil = 0.0, 0.0, sky.haze
            if sky.haze > 0.0:
                veil *= 1.0 + 0.5 * value_noise(x / 8000.0, y / 8000.0, sky.salt + 41)
            if sky.threshold < NO_CLOUDS:
                depth = cloud_noise(x, y, sky.salt) - sky.threshold
                cloud = ramp(depth, 0.0, 0.10)
                shadow = ramp(cloud_noise(x - sky.shadow_x, y - sky.shadow_y, sky.salt) - sky.threshold, 0.0, 0.08)
                veil += 0.35 * ramp(depth, -0.12, 0.08)
            classes[row, col] = CLOUD if cloud > 0.5 else SHADOW if shadow > 0.5 else CLEAR
            through = math.exp(-1.6 * veil)
            top_of_cloud = 0.30 + 0.5 * cloud + 0.12 * value_noise(x / 160.0, y / 160.0, sky.salt + 42)
            for band in range(3):
                blurred = 0.0
                for i in range(3):
                    for j in range(3):
                        blurred += weights[i] * weights[j] * ground[row + i, col + j, band]
                lit = blurred * (1.0 - 0.62 * shadow)
                seen = _PATH[band] + through * lit + (1.0 - through) * 0.5 * _HAZE[band]
                seen = (1.0 - cloud) * seen + cloud * top_of_cloud
                value = 1.0 + seen * _DN_PER_REFLECTANCE
                h = hashed(math.floor(x), math.floor(y), sky.salt + 43 + band)
                # The sum of two uniform draws has a triangular distribution, which approximates sensor noise.
                value += _NOISE_DN * 2.45 * (unit(h) + unit(hashed(h, 1, sky.salt)) - 1.0)
                image[band, row, col] = np.uint8(min(255.0, max(1.0, value + 0.5)))
    return image, classes
