"""The ground's materials and their reflectance on each day of the year."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

CROPS = 7
"""Number of crops, which are the palette's first rows."""

MEADOW, BROADLEAF, CONIFER, WATER, TRACK, ROAD, ROOF, GARDEN, CLEARING, SCRUB = range(CROPS, CROPS + 10)

# Surface reflectance (red, green, blue) through the year: (day of year, colour), linear in between.
_SOIL = (0.112, 0.090, 0.066)
_MOIST_SOIL = (0.072, 0.060, 0.046)
_GREEN = (0.041, 0.064, 0.034)
_LUSH = (0.058, 0.090, 0.043)
_SPROUTING = (0.055, 0.066, 0.038)
_BLOOM = (0.078, 0.092, 0.033)
_STRAW = (0.245, 0.198, 0.130)
_STUBBLE = (0.200, 0.168, 0.118)
_YEAR: tuple[tuple[tuple[int, tuple[float, float, float]], ...], ...] = (
    # winter wheat
    ((1, _MOIST_SOIL), (95, _GREEN), (150, _LUSH), (180, _STRAW), (205, _STUBBLE), (265, _SOIL), (310, _GREEN)),
    # winter rape: yellow flowers in May
    ((1, _GREEN), (110, _LUSH), (130, (0.13, 0.14, 0.035)), (150, _LUSH), (185, _STRAW), (255, _SOIL), (290, _GREEN)),
    # maize
    ((1, _MOIST_SOIL), (105, _SOIL), (140, _SOIL), (165, _SPROUTING), (185, _GREEN), (250, _LUSH), (275, _STUBBLE)),
    # sunflower
    ((1, _MOIST_SOIL), (100, _SOIL), (140, _SOIL), (170, _GREEN), (200, _BLOOM), (250, (0.105, 0.092, 0.062))),
    # fallow and fodder grass
    ((1, (0.085, 0.075, 0.05)), (110, (0.05, 0.075, 0.035)), (210, (0.085, 0.09, 0.05)), (280, (0.08, 0.075, 0.045))),
    # sugar beet
    ((1, _MOIST_SOIL), (100, _SOIL), (130, _SOIL), (170, (0.04, 0.075, 0.03)), (265, _LUSH), (285, _MOIST_SOIL)),
    # ploughed
    ((1, _MOIST_SOIL), (100, (0.150, 0.122, 0.090)), (240, (0.175, 0.143, 0.106)), (310, _MOIST_SOIL)),
    # meadow
    ((1, (0.08, 0.07, 0.045)), (115, (0.045, 0.075, 0.032)), (200, (0.058, 0.078, 0.036)), (290, (0.075, 0.07, 0.042))),
    # broadleaf forest
    ((1, (0.046, 0.042, 0.034)), (105, (0.044, 0.042, 0.032)), (135, (0.024, 0.046, 0.018)),
     (255, (0.022, 0.037, 0.017)), (285, (0.058, 0.046, 0.022)), (310, (0.046, 0.042, 0.034))),
    ((1, (0.016, 0.024, 0.014)), (180, (0.017, 0.028, 0.014))),  # conifers
    ((1, (0.014, 0.022, 0.022)), (200, (0.020, 0.034, 0.026))),  # water
    ((1, (0.120, 0.104, 0.080)), (190, (0.165, 0.142, 0.106))),  # earth track
    ((1, (0.105, 0.102, 0.098)), (180, (0.125, 0.122, 0.114))),  # asphalt and its verge
    ((1, (0.240, 0.215, 0.195)), (180, (0.270, 0.235, 0.205))),  # roof, concrete
    ((1, (0.070, 0.062, 0.046)), (120, (0.045, 0.062, 0.032)), (270, (0.055, 0.060, 0.036))),  # garden
    ((1, (0.100, 0.086, 0.062)), (150, (0.118, 0.104, 0.070)), (240, (0.128, 0.108, 0.074))),  # fresh clearing
    ((1, (0.075, 0.064, 0.044)), (140, (0.060, 0.078, 0.036)), (280, (0.080, 0.072, 0.042))),  # scrub on an old one
)  # fmt: skip

_SNOW = (0.56, 0.57, 0.58)
# Share of each material that full snow cover hides; low for forest canopies and water.
_SNOW_HOLDS = (0.80, 0.72, 0.66, 0.70, 0.78, 0.82, 0.62, 0.85, 0.16, 0.06, 0.60, 0.55, 0.20, 0.75, 0.62, 0.85, 0.65)


def palette(day: date, snow_cover: float) -> NDArray[np.float64]:
    """Return the surface reflectance of every material on one day.

    Parameters
    ----------
    day
        The date; only the day of the year matters.
    snow_cover
        Share of the open ground covered by snow, 0 to 1.

    Returns
    -------
    ndarray, shape (17, 3), float64
        Red, green, blue [reflectance, 0 to 1]; first the crops, then the materials named in this module.

    Examples
    --------
    >>> summer = palette(date(2018, 8, 10), snow_cover=0.0)
    >>> bool(summer[CONIFER, 1] < summer[MEADOW, 1])
    True
    """
    day_of_year = day.timetuple().tm_yday
    colours = np.empty((len(_YEAR), 3))
    for material, keys in enumerate(_YEAR):
        days = [when for when, _ in keys]
        for band in range(3):
            values = [colour[band] for _, colour in keys]
            colours[material, band] = np.interp(day_of_year, days, values, period=366)
    hidden = snow_cover * np.array(_SNOW_HOLDS)[:, None]
    return colours * (1 - hidden) + np.array(_SNOW) * hidden
