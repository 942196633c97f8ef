"""Pixel grids of scenes on the ground: pixels to CRS units and metres."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj

from s2fast.errors import SceneError
from s2fast.files.crs_definitions import CURE, is_definition, is_horizontal
from s2fast.model import Raster, TileInfo, transformed

LEAST_OBLONG = 1.1
"""Ratio of a pixel's sides on the ground from which the scene is searched on square ones."""

_MOST_ENLARGED = 1.25
"""Most that the longer side of an oblong pixel is divided by: interpolation leaves a lattice, see
`s2fast.image.interpolated`. With 1.5, shifts on pixels of 1 x 4 were off by 2.9 times the stated error."""

_MOST_STRETCH = 0.005
"""Greatest relative scale error of a CRS accepted as metric: UTM stays within 0.2 % all over a Sentinel-2 tile."""

_MOST_TURN_DEG = 2.0
"""Greatest angle between the y axis and true north of a CRS accepted as metric [deg]."""

_MOST_TURN_MERCATOR_DEG = 10.0
"""The same of a transverse Mercator projection, whose grid north is what users call north: UTM stays within 8."""

_LEAST_PX_M = 1e-6
"""Smallest pixel [m]: 64-bit numbers tell positions on Earth apart by some nanometres."""

LONLAT = "EPSG:4326"
"""Longitude and latitude, in this order."""

_GEOD = pyproj.Geod(ellps="WGS84")

_MOST_LONGITUDE = 540.0
"""Greatest valid longitude: scenes across the 180th meridian may continue beyond 180 [deg]."""


@lru_cache(maxsize=256)
def _defines_map(crs: str) -> bool:
    """Return whether PROJ knows a definition, and it is that of a horizontal CRS."""
    try:
        return is_horizontal(pyproj.CRS(crs))
    except pyproj.exceptions.CRSError:
        return False


@dataclass(frozen=True)
class PixelGrid:
    """A scene's pixel grid on the ground; the only code that converts CRS units to metres."""

    crs_wkt: str
    """Coordinate reference system, as WKT; empty: the scene has none, and what is said to be in metres is in pixels."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a ... f of the full-resolution grid, at pixel corners [CRS units]."""
    shape: tuple[int, int]
    """Rows, columns at full resolution."""

    def __post_init__(self) -> None:
        """Raise SceneError for a CRS that names a file or a server, or is none: a foreign folder may hold any text."""
        if self.crs_wkt and not is_definition(self.crs_wkt):
            raise SceneError(f"the CRS {self.crs_wkt[:80]!r} names a file or a server: {CURE}")
        if self.crs_wkt and not _defines_map(self.crs_wkt):
            raise SceneError(f"{self.crs_wkt[:80]!r} is no CRS of a map: make the run, index or file that has it again")

    @classmethod
    def of_raster(cls, raster: Raster) -> PixelGrid:
        """Create the grid from a raster's header."""
        return cls(raster.crs_wkt, raster.transform, raster.shape)

    @classmethod
    def of_tile(cls, tile: TileInfo) -> PixelGrid:
        """Create the grid from the stored metadata of a tile."""
        return cls(tile.crs, tile.transform, tile.full_shape)

    @cached_property
    def metric(self) -> str:
        """A CRS whose units are metres on the ground here, x to the east and y to the north, as WKT.

        It is the scene's own CRS if that qualifies, as UTM does, else the UTM zone of the scene's centre. Nominal
        metres do not suffice: a unit of EPSG:3857 is 0.83 m at 34 degrees, and Krovak's grid is turned by 7.5 degrees
        in Prague. It is empty if the scene has no CRS.
        """
        if not self.crs_wkt:
            return ""
        steps = self._steps_m
        scale = np.linalg.svd(steps, compute_uv=False) if np.isfinite(steps).all() else np.zeros(2)
        turned = np.degrees(np.arctan2(-steps[0, 1], steps[1, 1]))
        if (np.abs(scale - 1) < _MOST_STRETCH).all() and np.linalg.det(steps) > 0 and abs(turned) < self._most_turn_deg:
            return self.crs_wkt
        lon, lat = self.lonlat
        zone = int((lon + 180) // 6) % 60 + 1
        return str(pyproj.CRS.from_epsg((32600 if lat >= 0 else 32700) + zone).to_wkt())

    @property
    def _most_turn_deg(self) -> float:
        crs = pyproj.CRS(self.crs_wkt)
        crs = crs.sub_crs_list[0] if crs.is_compound else crs
        operation = (crs.source_crs or crs if crs.is_bound else crs).coordinate_operation
        mercator = operation is not None and operation.method_name == "Transverse Mercator"
        return _MOST_TURN_MERCATOR_DEG if mercator else _MOST_TURN_DEG

    @cached_property
    def _steps_m(self) -> npt.NDArray[np.float64]:
        """East and north components of one CRS unit on the ground, at the centre: (2, 2) [m], columns for x and y."""
        step = pixel_side(self.transform)
        ends = to_ground(self.middle, self.transform) + step / 2 * np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])
        lonlat = reprojected(ends, self.crs_wkt, LONLAT)
        azimuth, _, length = _GEOD.inv(*lonlat[:2].T, *lonlat[2:].T)
        directions = np.stack([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))])
        return np.asarray(directions * length / step)

    @cached_property
    def lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the centre [deg]; inf if the projection does not cover it."""
        lon, lat = reprojected(to_ground(self.middle, self.transform), self.crs_wkt, LONLAT)[0]
        return float(lon), float(lat)

    @property
    def on_earth(self) -> bool:
        """Whether the centre is a valid position on Earth, and its pixels are large enough to be told apart there."""
        try:
            lon, lat = self.lonlat
            if not (abs(lon) <= _MOST_LONGITUDE and abs(lat) <= 90):
                return False
            least = np.linalg.svd(self.px_m, compute_uv=False)[-1]
        except (pyproj.exceptions.ProjError, np.linalg.LinAlgError):  # a CRS of another planet; no finite pixels
            return False
        return bool(_LEAST_PX_M <= least < np.inf)

    @cached_property
    def full_turn(self) -> float:
        """Full turn around the Earth in x [CRS units]; 0 if x is not a longitude."""
        if not self.crs_wkt:
            return 0.0
        crs = pyproj.CRS(self.crs_wkt)
        return round(2 * np.pi / crs.axis_info[0].unit_conversion_factor, 9) if crs.is_geographic else 0.0

    def unwrapped(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return (n, 2) points in the scene's CRS, longitudes shifted by full turns to be nearest the scene's centre.

        The scene may cross the 180th meridian.
        """
        if not self.full_turn:
            return points
        away = points[:, 0] - to_ground(self.middle, self.transform)[0, 0]
        return np.column_stack([points[:, 0] - self.full_turn * np.rint(away / self.full_turn), points[:, 1]])

    def on_map(self, xy: npt.NDArray[Any], crs_wkt: str | None = None) -> npt.NDArray[np.float64]:
        """Convert pixel positions x, y, pixel centres at integers [full-resolution px], to a CRS: (n, 2) float64.

        If `crs_wkt` is None, convert to `metric` [m].
        """
        target = self.metric if crs_wkt is None else crs_wkt
        return reprojected(to_ground(xy, self.transform), self.crs_wkt, target)

    def from_map(self, points: npt.NDArray[np.float64], crs_wkt: str) -> npt.NDArray[np.float64]:
        """Invert `on_map`: (n, 2) x and y, pixel centres at integers [full-resolution px]."""
        return to_pixels(self.unwrapped(reprojected(points, crs_wkt, self.crs_wkt)), self.transform)

    @cached_property
    def px_m(self) -> npt.NDArray[np.float64]:
        """Size of one full-resolution pixel on the map, at the centre: (2, 2) [m], columns for steps in x and y."""
        ends = self.on_map(self.middle + np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]]))
        return np.column_stack([ends[1] - ends[0], ends[3] - ends[2]])

    @cached_property
    def pixel_m(self) -> float:
        """Side of a square pixel of the area of a full-resolution pixel [m]."""
        return float(np.sqrt(abs(np.linalg.det(self.px_m))))

    @cached_property
    def square_px(self) -> tuple[float, float]:
        """Pixels in x and y that make a square on the ground; (1, 1) unless the pixels are oblong, as in degrees.

        Squares have the area of a pixel, or more if it is over 1.56 times longer than wide. Numbers are rounded, so
        that scenes of one pixel size have the same at neighbouring latitudes.
        """
        width, height = np.linalg.norm(self.px_m, axis=0)
        if not max(width, height) > LEAST_OBLONG * min(width, height):
            return 1.0, 1.0
        side = max(math.sqrt(width * height), max(width, height) / _MOST_ENLARGED)
        return round(float(side / width), 2), round(float(side / height), 2)

    @property
    def turn_deg(self) -> float:
        """Angle of the rows to the east of the map, counter-clockwise [deg]."""
        east, north = self.px_m[:, 0]
        return math.degrees(math.atan2(north, east))

    @property
    def square_m(self) -> float:
        """Side of the square pixels on which the scene is searched [m]."""
        return self.pixel_m * math.sqrt(math.prod(self.square_px))

    @cached_property
    def area_m2(self) -> float:
        """Ground area of the whole raster [m2]."""
        return float(abs(np.linalg.det(self.px_m))) * self.shape[0] * self.shape[1]

    @property
    def middle(self) -> npt.NDArray[np.float64]:
        """Middle of the raster: (1, 2) x, y, pixel centres at integers [full-resolution px]."""
        return np.array([[self.shape[1] / 2 - 0.5, self.shape[0] / 2 - 0.5]])

    @cached_property
    def box(self) -> npt.NDArray[np.float64]:
        """Bounding box of the raster's corners on its own map: (2, 2) minimum and maximum [m]."""
        return self.box_on(self.metric)

    def box_on(self, crs_wkt: str) -> npt.NDArray[np.float64]:
        """Return `box` in another CRS."""
        right, bottom = self.shape[1] - 0.5, self.shape[0] - 0.5
        corners = np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])
        on_map = self.on_map(corners, crs_wkt)
        return np.stack([on_map.min(axis=0), on_map.max(axis=0)])


def to_ground(xy: npt.NDArray[Any], transform: tuple[float, ...] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert (n, 2) pixel positions x and y, centres at integers, to CRS units.

    The affine refers to pixel corners; (6, n) have one for each position.

    Examples
    --------
    >>> to_ground(np.array([[0.0, 0.0]]), (10, 0, 500, 0, -10, 900)).tolist()
    [[505.0, 895.0]]
    """
    return np.column_stack(transformed(transform, *(xy.astype(np.float64).T + 0.5)))


def to_pixels(ground: npt.NDArray[np.float64], transform: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Invert `to_ground`: (n, 2) x and y, pixel centres at integers."""
    a, b, c, d, e, f = transform
    return np.linalg.solve(np.array([[a, b], [d, e]]), (ground - (c, f)).T).T - 0.5


def pixel_side(transform: tuple[float, ...]) -> float:
    """Return the side of a square pixel of the area of a raster's pixels [CRS units].

    Examples
    --------
    >>> pixel_side((10, 0, 500, 0, -10, 900)), pixel_side((0, 10, 500, 10, 0, 900))  # north-up, and turned
    (10.0, 10.0)
    """
    a, b, _, d, e, _ = transform
    return math.sqrt(abs(a * e - b * d))


def reprojected(points: npt.NDArray[np.float64], source: str, target: str) -> npt.NDArray[np.float64]:
    """Reproject (n, 2) points from one CRS to another, both as WKT; inf outside the target's domain."""
    transformer = _transformer(source, target)
    return points if transformer is None else np.column_stack(transformer.transform(*points.T))


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> pyproj.Transformer | None:
    """Return a cached Transformer, or None if the CRSs are equal."""
    if source == target or pyproj.CRS(source) == pyproj.CRS(target):
        return None
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
