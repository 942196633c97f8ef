"""The plan of an archive: tiles and their grids, dates and their weather, and the names of the files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import PurePosixPath

import numpy as np
from rasterio import Affine

from s2fast.errors import ConfigError, option

PIXEL_M = 10.0
"""Pixel size, at every archive size [m]."""

FULL_SIZE = 10980
"""Rows and columns of a real 10 m tile [px]."""

EPSG = 32636
"""CRS of the archive: UTM zone 36 north."""

ANCHOR = (600_000, 5_600_040)
"""Upper left corner of 36UXA, fixed for archives of every size [m]."""

MAX_SHIFT_M = 7.5
"""Largest geolocation error in either direction [m]."""

_COLUMNS = "STUVWXYZ"  # 100 km squares of zone 36 from easting 100 km
_ROWS = "UVABCDEFG"  # 100 km squares of band U from northing 5,300 km
_GRID_M = 60  # tile corners snap outwards to the 60 m grid that all bands share


@dataclass(frozen=True, slots=True)
class Tile:
    """One MGRS tile, scaled down if the archive is smaller than full size; see `tiles_of`."""

    name: str
    """For example ``36UXA``."""
    left: int
    """Map easting of the left edge [m]."""
    top: int
    """Map northing of the upper edge [m]."""
    size: int
    """Rows and columns [px]."""

    @property
    def transform(self) -> Affine:
        """Transform from pixel corners to map positions."""
        return Affine(PIXEL_M, 0.0, self.left, 0.0, -PIXEL_M, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top [m]."""
        side = self.size * PIXEL_M
        return self.left, self.top - side, self.left + side, self.top


def tiles_of(names: Sequence[str], size: int) -> list[Tile]:
    """Return tiles of any size in the relative layout of full-size tiles.

    Pixels are always 10 m. Distances between the tiles' upper left corners are scaled with their size, so that
    neighbours overlap by 9 % of their width at every size.

    Examples
    --------
    >>> [(tile.left, tile.top) for tile in tiles_of(["36UXA", "36UYA"], 10980)]
    [(600000, 5600040), (699960, 5600040)]
    >>> tiles_of(["36UYA"], 1024)[0].left
    609320
    """
    if size < 256:
        raise ConfigError(
            f"synth: {option('size')} is {size} px, must be at least 256: smaller tiles have too few features to match"
        )
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"synth: {option('tiles')}: {', '.join(names) or 'none'}: name one or more different tiles")
    tiles = []
    for name in names:
        parts = re.fullmatch(rf"36U([{_COLUMNS}])([{_ROWS}])", name)
        if parts is None:
            raise ConfigError(
                f"synth: unknown tile {name!r}: write 36U and two letters, {_COLUMNS[0]} to {_COLUMNS[-1]} and one of "
                f"{_ROWS}, such as 36UXA"
            )
        easting = 100_000 * (1 + _COLUMNS.index(parts[1]))
        northing = 100_000 * (54 + _ROWS.index(parts[2]))
        corner = (easting // _GRID_M * _GRID_M, -(-northing // _GRID_M) * _GRID_M)
        left, top = (
            start + int(PIXEL_M) * round((full - start) / PIXEL_M * size / FULL_SIZE)
            for start, full in zip(ANCHOR, corner, strict=True)
        )
        tiles.append(Tile(name, left, top, size))
    return tiles


@dataclass(frozen=True, slots=True)
class Acquisition:
    """One overpass; as in reality, all its tiles share the weather, the swath and the geolocation error."""

    index: int
    """Position in the archive's order of dates, from 0."""
    day: date
    """Day of sensing."""
    label: str
    """Short description of the conditions."""
    shift_x: float
    """Geolocation error to the east [m]: ground at E is seen at E + shift_x."""
    shift_y: float
    """Geolocation error to the north [m]."""
    haze: float
    """Optical depth of haze in excess of a clear day's."""
    cloud: float
    """Intended cloud cover, 0 to 1; ``truth.json`` records the actual one."""
    snow: float
    """Share of open ground covered by snow, 0 to 1."""
    swath: float
    """Share of the archive's width inside the swath, from the west; 1 or more: all."""

    @property
    def orbit(self) -> int:
        """Absolute orbit number of Sentinel-2A: 6210 on 2016-08-30, plus 143 orbits in 10 days."""
        return 6210 + 143 * ((self.day - _FIRST_DAY).days // 10)

    @property
    def baseline(self) -> str:
        """Processing baseline on that day."""
        return next(name for since, name in _BASELINES if self.day >= since)

    def scene_id(self, tile: str) -> str:
        """Return s2fast's id of a tile's scene, such as ``S2A_20160830T083602_T36UYA``."""
        return f"S2A_{self.day:%Y%m%d}T{_SENSING}_T{tile}"

    def image_path(self, tile: str) -> PurePosixPath:
        """Return the path of a tile's true-colour image inside the archive, starting with the SAFE folder."""
        sensed, made = f"{self.day:%Y%m%d}T{_SENSING}", f"{self.day:%Y%m%d}T{_MADE}"
        safe = f"S2A_MSIL1C_{sensed}_N{self.baseline}_R021_T{tile}_{made}.SAFE"
        granule = f"L1C_T{tile}_A{self.orbit:06d}_{made}"
        return PurePosixPath(safe, "GRANULE", granule, "IMG_DATA", f"T{tile}_{sensed}_TCI.jp2")


_FIRST_DAY = date(2016, 8, 30)
_SENSING, _MADE = "083602", "084438"
_BASELINES = (
    (date(2018, 11, 6), "0207"),
    (date(2017, 11, 1), "0206"),
    (date(2017, 5, 1), "0205"),
    (date.min, "0204"),
)

# For each overpass: ten-day repeat cycles after the first day, label, haze, cloud, snow, swath. The first two are
# clear. After all eight the list repeats in later years.
_WEATHER = (
    (0, "clear", 0.00, 0.00, 0.0, 9.0),
    (35, "clear", 0.05, 0.00, 0.0, 9.0),
    (36, "broken clouds, swath edge", 0.08, 0.22, 0.0, 0.72),
    (54, "snow", 0.02, 0.00, 0.8, 9.0),
    (60, "clear", 0.05, 0.00, 0.0, 9.0),
    (71, "haze", 0.28, 0.03, 0.0, 9.0),
    (75, "swath edge", 0.02, 0.00, 0.0, 0.62),
    (101, "heavy clouds", 0.12, 0.65, 0.0, 9.0),
)
_CYCLES_PER_ROUND = 110


def acquisitions_of(count: int, seed: int) -> list[Acquisition]:
    """Return an archive's overpasses in order of date.

    The first has no geolocation error; that of the others is up to 7.5 m (0.75 px) along each axis.
    """
    if count < 1:
        raise ConfigError(f"synth: {option('dates')} is {count}, must be at least 1")
    acquisitions = []
    for index in range(count):
        turn, kind = divmod(index, len(_WEATHER))
        cycles, label, haze, cloud, snow, swath = _WEATHER[kind]
        day = _FIRST_DAY + timedelta(days=10 * (cycles + turn * _CYCLES_PER_ROUND))
        shift = (
            np.random.default_rng((seed, index)).uniform(-MAX_SHIFT_M, MAX_SHIFT_M, 2).round(2) if index else (0.0, 0.0)
        )
        acquisitions.append(Acquisition(index, day, label, float(shift[0]), float(shift[1]), haze, cloud, snow, swath))
    return acquisitions
