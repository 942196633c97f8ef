"""Which acquisitions an archive holds: tiles and their grids, dates and their weather, the ground segment's names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import PurePosixPath

import numpy as np
from rasterio import Affine

from s2fast.errors import ConfigError

PIXEL_M = 10.0
"""Width of a pixel at every archive size [m]."""

FULL_SIZE = 10980
"""Rows and columns of a real 10 m tile [px]."""

EPSG = 32636
"""UTM zone 36 north, where the ground lies."""

ANCHOR = (600_000, 5_600_040)
"""Upper left corner of 36UXA, which archives of every size share [m]."""

MAX_SHIFT_M = 7.5
"""Largest geolocation error in either direction [m]."""

_COLUMNS = "STUVWXYZ"  # 100 km squares of zone 36 from easting 100 km
_ROWS = "UVABCDEFG"  # 100 km squares of band U from northing 5,300 km
_GRID_M = 60  # tile corners snap outwards to the 60 m grid that all bands share


@dataclass(frozen=True, slots=True)
class Tile:
    """One MGRS tile, or its upper left part where an archive is smaller than full size."""

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
        """Pixel corner to map position."""
        return Affine(PIXEL_M, 0.0, self.left, 0.0, -PIXEL_M, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top [m]."""
        side = self.size * PIXEL_M
        return self.left, self.top - side, self.left + side, self.top


def tiles_of(names: Sequence[str], size: int) -> list[Tile]:
    """Lay out tiles of any size in the geometry of the full ones.

    Pixels stay 10 m. A smaller tile keeps the upper left corner's share of the way from 36UXA, so that neighbours share
    the same 9 % of their width at every size.

    Examples
    --------
    >>> [(tile.left, tile.top) for tile in tiles_of(["36UXA", "36UYA"], 10980)]
    [(600000, 5600040), (699960, 5600040)]
    >>> tiles_of(["36UYA"], 1024)[0].left
    609320
    """
    if size < 256:
        raise ConfigError(
            f"synth: size is {size} px, wanted at least 256: smaller tiles hold too few features to match"
        )
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"synth: tiles are {', '.join(names) or 'none'}, wanted one or more different tiles")
    tiles = []
    for name in names:
        parts = re.fullmatch(rf"36U([{_COLUMNS}])([{_ROWS}])", name)
        if parts is None:
            raise ConfigError(
                f"synth: unknown tile {name!r}, wanted 36U and two letters, {_COLUMNS[0]} to {_COLUMNS[-1]} and one of "
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
    """One overpass: every tile of it shares the weather, the swath and the geolocation error, as in reality."""

    index: int
    """Place in the archive's order of dates."""
    day: date
    """Day of sensing."""
    label: str
    """The condition in a word or two."""
    shift_x: float
    """How far east of the truth the image lies [m]: ground at E is seen at E + shift_x."""
    shift_y: float
    """How far north of the truth the image lies [m]."""
    haze: float
    """Optical depth of haze beyond a clear day's."""
    cloud: float
    """Wanted share of the sky under clouds, 0 to 1; the truth holds the measured one."""
    snow: float
    """Share of open ground under snow, 0 to 1."""
    swath: float
    """Where the swath ends: share of the archive's width that was seen, from the west; 1 or more: all."""

    @property
    def orbit(self) -> int:
        """Absolute orbit of Sentinel-2A over these tiles: 143 orbits in 10 days, 6210 on 2016-08-30."""
        return 6210 + 143 * ((self.day - _FIRST_DAY).days // 10)

    @property
    def baseline(self) -> str:
        """Processing baseline in force on the day."""
        return next(name for since, name in _BASELINES if self.day >= since)

    def scene_id(self, tile: str) -> str:
        """Name a scene as s2fast does: ``S2A_20160830T083602_T36UYA``."""
        return f"S2A_{self.day:%Y%m%d}T{_SENSING}_T{tile}"

    def image_path(self, tile: str) -> PurePosixPath:
        """Where the scene's true-colour image lies inside an archive, from the SAFE folder down."""
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

# Ten-day repeat cycles after the first day, and what the overpass met: label, haze, cloud, snow, swath. The first two
# are a pair of clear dates; every kind of trouble has had its turn after eight, and then the years go on.
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
    """List an archive's overpasses in the order of their dates.

    The first one has no shift; the others lie up to 7.5 m (0.75 px) off in each direction.
    """
    if count < 1:
        raise ConfigError(f"synth: dates is {count}, wanted at least 1")
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
