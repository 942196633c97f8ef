"""Where scenes lie: CRS units to metres, keypoints on one map, how much clear ground two scenes share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyproj
from rasterio.transform import Affine

from s2fast.image.prepare import cell_px
from s2fast.model import Raster, TileInfo

WINDOW_PX = 5.0
"""How far the same ground may lie in two scenes unless told [px of the coarser grid]: Sentinel-2's absolute error is
below two pixels of 10 m."""

AUTO_FACTORS = (1, 3, 9, 27)
"""Radii that "auto" tries [`WINDOW_PX`]."""

MOST_AWAY = 0.3
"""Largest radius that "auto" tries, as a share of a scene's side: farther off too little ground is left."""

_MOST_STRETCH = 0.005
"""A map's unit that differs more from a metre is none: UTM stays within 0.2 % all over a Sentinel-2 tile."""

_MOST_TURN_DEG = 10.0
"""A map turned more against true north does not have its y axis to the north [deg]: UTM stays within 8."""

LONLAT = "EPSG:4326"
"""Longitude and latitude, in this order."""

_GEOD = pyproj.Geod(ellps="WGS84")

_MOST_LONGITUDE = 540.0
"""Scenes across the 180th meridian may count longitudes on; nothing counts further [deg]."""

SEARCHED_RADII = 2.0
"""Matches are sought within this many radii: a true shift just outside the radius must not pass for one inside."""


@dataclass(frozen=True)
class PixelGrid:
    """A scene's pixel grid on the ground; the one place where CRS units become metres."""

    crs_wkt: str
    """Coordinate reference system, as WKT."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a ... f of the full-resolution grid, at pixel corners [CRS units]."""
    shape: tuple[int, int]
    """Rows, columns at full resolution."""

    @classmethod
    def of_raster(cls, raster: Raster) -> PixelGrid:
        """Make it from a raster's header."""
        return cls(raster.crs_wkt, raster.transform, raster.shape)

    @classmethod
    def of_tile(cls, tile: TileInfo) -> PixelGrid:
        """Make it from what is stored beside a tile."""
        return cls(tile.crs, tile.transform, tile.full_shape)

    @cached_property
    def metric(self) -> str:
        """A CRS whose units are metres on the ground here, x to the east and y to the north, as WKT.

        The scene's own if it is such a CRS, as UTM is, else the UTM zone of the scene's centre: not all that is called
        a metre is one. A unit of EPSG:3857 is 0.83 m at 34 degrees.
        """
        steps = self._steps_m
        scale = np.linalg.svd(steps, compute_uv=False) if np.isfinite(steps).all() else np.zeros(2)
        turned = np.degrees(np.arctan2(-steps[0, 1], steps[1, 1]))
        if (np.abs(scale - 1) < _MOST_STRETCH).all() and np.linalg.det(steps) > 0 and abs(turned) < _MOST_TURN_DEG:
            return self.crs_wkt
        lon, lat = self.lonlat
        zone = int((lon + 180) // 6) % 60 + 1
        return str(pyproj.CRS.from_epsg((32600 if lat >= 0 else 32700) + zone).to_wkt())

    @cached_property
    def _steps_m(self) -> npt.NDArray[np.float64]:
        """Ground east and north of a step of one CRS unit, at the centre: (2, 2) [m], columns for x and y."""
        a, b, _, d, e, _ = self.transform
        step = float(np.sqrt(abs(a * e - b * d)))
        ends = to_ground(self.middle, self.transform) + step / 2 * np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])
        lonlat = reprojected(ends, self.crs_wkt, LONLAT)
        azimuth, _, length = _GEOD.inv(*lonlat[:2].T, *lonlat[2:].T)
        directions = np.stack([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))])
        return np.asarray(directions * length / step)

    @cached_property
    def lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the centre [deg]; inf where it has no place on Earth."""
        lon, lat = reprojected(to_ground(self.middle, self.transform), self.crs_wkt, LONLAT)[0]
        return float(lon), float(lat)

    @property
    def on_earth(self) -> bool:
        """Whether the centre has a place on Earth."""
        try:
            lon, lat = self.lonlat
        except pyproj.exceptions.ProjError:  # of another planet
            return False
        return abs(lon) <= _MOST_LONGITUDE and abs(lat) <= 90

    @cached_property
    def turn(self) -> float:
        """Once around the Earth in x [CRS units], 0 where x is no longitude."""
        crs = pyproj.CRS(self.crs_wkt)
        return round(2 * np.pi / crs.axis_info[0].unit_conversion_factor, 9) if crs.is_geographic else 0.0

    def alongside(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Count longitudes of (n, 2) points in the scene's CRS as the scene does, which may lie around 180 degrees."""
        if not self.turn:
            return points
        away = points[:, 0] - to_ground(self.middle, self.transform)[0, 0]
        return np.column_stack([points[:, 0] - self.turn * np.rint(away / self.turn), points[:, 1]])

    def on_map(self, xy: npt.NDArray[Any], crs_wkt: str | None = None) -> npt.NDArray[np.float64]:
        """Map positions x, y, pixel centres at integers [full-resolution px], to a CRS: (n, 2) float64.

        None: to `metric` [m].
        """
        target = self.metric if crs_wkt is None else crs_wkt
        return reprojected(to_ground(xy, self.transform), self.crs_wkt, target)

    def from_map(self, points: npt.NDArray[np.float64], crs_wkt: str) -> npt.NDArray[np.float64]:
        """Undo `on_map`: (n, 2) x and y, pixel centres at integers [full-resolution px]."""
        return to_pixels(self.alongside(reprojected(points, crs_wkt, self.crs_wkt)), self.transform)

    @cached_property
    def px_m(self) -> npt.NDArray[np.float64]:
        """What a step of one full-resolution pixel is on the map, at the centre: (2, 2) [m], columns for x and y."""
        ends = self.on_map(self.middle + np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]]))
        return np.column_stack([ends[1] - ends[0], ends[3] - ends[2]])

    @cached_property
    def area_m2(self) -> float:
        """Ground the scene's whole raster covers [m2]."""
        return float(abs(np.linalg.det(self.px_m))) * self.shape[0] * self.shape[1]

    @property
    def middle(self) -> npt.NDArray[np.float64]:
        """Middle of the raster: (1, 2) x, y, pixel centres at integers [full-resolution px]."""
        return np.array([[self.shape[1] / 2 - 0.5, self.shape[0] / 2 - 0.5]])

    @cached_property
    def box(self) -> npt.NDArray[np.float64]:
        """Least and greatest position of the raster's corners on its own map: (2, 2) [m]."""
        return self.box_on(self.metric)

    def box_on(self, crs_wkt: str) -> npt.NDArray[np.float64]:
        """`box` on another map."""
        right, bottom = self.shape[1] - 0.5, self.shape[0] - 0.5
        corners = np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])
        on_map = self.on_map(corners, crs_wkt)
        return np.stack([on_map.min(axis=0), on_map.max(axis=0)])


@dataclass(frozen=True)
class Placement(PixelGrid):
    """A scene's pixel grid on the ground, and what of it is clear."""

    reduction: int
    """Full-resolution pixels a side of one of the tile's."""
    clear: npt.NDArray[np.uint8]
    """Share of clear pixels in square cells [%], see `s2fast.image.prepare.clear_cells`."""

    @classmethod
    def of(cls, tile: TileInfo, clear: npt.NDArray[np.uint8]) -> Placement:
        """Make it from what is stored beside a tile, and the map of clear ground."""
        return cls(tile.crs, tile.transform, tile.full_shape, tile.reduction, clear)

    @cached_property
    def grid_m(self) -> float:
        """Side of a pixel of the tile [m]."""
        return float(np.sqrt(abs(np.linalg.det(self.px_m)))) * self.reduction

    @cached_property
    def clear_m2(self) -> float:
        """Clear ground [m2]."""
        cells = float(self.clear.sum(dtype=np.int64)) / 100
        return cells * self.cell**2 * self.area_m2 / (self.shape[0] * self.shape[1])

    @cached_property
    def clear_ground(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """Cells that are not all covered: (k,) share of clear pixels [%], and (k, 2) centres in the scene's own CRS."""
        rows, columns = np.nonzero(self.clear)
        centres = (np.column_stack([columns, rows]) + 0.5) * self.cell - 0.5
        return self.clear[rows, columns], self.on_map(centres, self.crs_wkt)

    @cached_property
    def cell(self) -> int:
        """Side of a cell of `clear` [full-resolution px]."""
        return cell_px((self.shape[0] // self.reduction, self.shape[1] // self.reduction)) * self.reduction


def radii_m(query: Placement, train: Placement, wanted_m: float | Literal["auto"]) -> list[float]:
    """Return how far apart the same ground may lie [m], in the order to try.

    One radius, what was asked for or five pixels of the coarser grid; for "auto" that and three times as far each, up
    to `MOST_AWAY` of the smaller scene.
    """
    least = WINDOW_PX * max(query.grid_m, train.grid_m)
    if wanted_m != "auto":
        return [wanted_m or least]
    most = max(least, MOST_AWAY * float(np.sqrt(min(query.area_m2, train.area_m2))))
    return [least * factor for factor in AUTO_FACTORS if least * factor <= most]


def common_centre(query: Placement, train: Placement) -> npt.NDArray[np.float64]:
    """Return the middle of the ground that both rasters cover, of the query's where they share none: (2,) [m]."""
    one = query.box
    other = train.box if train.metric == query.metric else train.box_on(query.metric)
    low, high = np.maximum(one[0], other[0]), np.minimum(one[1], other[1])
    if not (low < high).all():
        return np.asarray(query.on_map(query.middle)[0])
    return np.asarray((low + high) / 2)


def overlap_pct(query: Placement, train: Placement) -> float:
    """Clear ground that both scenes show, as a share of the smaller scene's raster [%].

    The ground is compared cell by cell, 128 along the scene's longer side.
    """
    share, centres = query.clear_ground
    in_train = train.alongside(reprojected(centres, query.crs_wkt, train.crs_wkt))
    column, row = ~Affine(*train.transform) * tuple(in_train.T)
    row, column = np.floor(row / train.cell), np.floor(column / train.cell)
    # Comparisons are false for what has no place in the other scene's CRS.
    inside = (row >= 0) & (row < train.clear.shape[0]) & (column >= 0) & (column < train.clear.shape[1])
    both = np.minimum(share[inside], train.clear[row[inside].astype(np.intp), column[inside].astype(np.intp)])
    cell_m2 = query.area_m2 * query.cell**2 / (query.shape[0] * query.shape[1])
    return round(min(100.0, float(both.sum(dtype=np.int64)) * cell_m2 / min(query.area_m2, train.area_m2)), 2)


def to_ground(xy: npt.NDArray[Any], transform: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Map (n, 2) x and y, pixel centres at integers, to east and north: the affine counts from pixel corners.

    Examples
    --------
    >>> to_ground(np.array([[0.0, 0.0]]), (10, 0, 500, 0, -10, 900)).tolist()
    [[505.0, 895.0]]
    """
    a, b, c, d, e, f = transform
    x, y = xy.astype(np.float64).T + 0.5
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])


def to_pixels(ground: npt.NDArray[np.float64], transform: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Undo `to_ground`: (n, 2) x and y, pixel centres at integers."""
    a, b, c, d, e, f = transform
    return np.linalg.solve(np.array([[a, b], [d, e]]), (ground - (c, f)).T).T - 0.5


def reprojected(points: npt.NDArray[np.float64], source: str, target: str) -> npt.NDArray[np.float64]:
    """Bring (n, 2) points from one CRS into another, both as WKT; inf where they have no place in it."""
    transformer = _transformer(source, target)
    return points if transformer is None else np.column_stack(transformer.transform(*points.T))


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> pyproj.Transformer | None:
    """Make what brings points from one CRS into another; None if they are the same."""
    if source == target or pyproj.CRS(source) == pyproj.CRS(target):
        return None
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
