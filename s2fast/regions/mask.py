"""Polygons of interest on a scene's grid: in its CRS, widened; which meet it, and what a window's mask is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import geopandas
import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from rasterio import Affine
from rasterio.features import rasterize

from s2fast.config import Regions
from s2fast.geometry.placement import PixelGrid
from s2fast.model import Raster, Window
from s2fast.raster.windows import grid, with_halo
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import Shapes, areas, load_regions, valid

_ROUND_TRIP = 1e-6
"""Points come back from a scene's CRS as they went but for this, in relation to their size."""

_WIDE_M = 1e6
"""Rows wider than this do not keep their shape on a scene's map."""

_SEGMENTS = 64
"""Vertices along the edges of what is three times as wide as a scene."""

_WINDOW_PX = 1024
"""Side of a window in which pixels are looked for."""


class PlacedRegions:
    """Polygons on the pixel grid of one raster."""

    def __init__(self, polygons: npt.NDArray[np.object_], raster: Raster) -> None:
        self._polygons = polygons
        self._tree = shapely.STRtree(polygons)
        self._raster = raster
        self._masks: dict[Window, npt.NDArray[np.uint8]] = {}

    def meets(self, window: Window, halo_px: int = 0) -> bool:
        """Whether a polygon meets the window or the halo around it."""
        return bool(len(self._near(with_halo(window, halo_px, self._raster.shape))))

    def mask(self, window: Window) -> npt.NDArray[np.bool_]:
        """Rasterise the polygons: (height, width) bool, True where a pixel's centre lies in one.

        Scenes of one tile share their grid, so masks are kept, one bit a pixel.
        """
        packed = self._masks.get(window)
        if packed is None:
            packed = self._masks[window] = np.packbits(self._rasterised(window))
        count = window.height * window.width
        return np.unpackbits(packed, count=count).view(np.bool_).reshape(window.height, window.width)

    def _near(self, window: Window) -> npt.NDArray[np.intp]:
        box = shapely.Polygon(self._raster.outline(window))
        near: npt.NDArray[np.intp] = self._tree.query(box, predicate="intersects")
        return near

    def _rasterised(self, window: Window) -> npt.NDArray[np.uint8]:
        near = self._polygons[self._near(window)]
        if not len(near):
            return np.zeros((window.height, window.width), np.uint8)
        a, b, _, d, e, _ = self._raster.transform
        x, y = self._raster.at(window.col, window.row)
        burnt: npt.NDArray[np.uint8] = rasterize(
            near,
            out_shape=(window.height, window.width),
            transform=Affine(a, b, x, d, e, y),
            default_value=1,
            dtype=np.uint8,
        )
        return burnt


@lru_cache(maxsize=4)
def place_regions(file: RegionFile, settings: Regions, raster: Raster) -> PlacedRegions:
    """Put the polygons on a raster's grid; kept for the next scene of the same tile."""
    polygons, _ = polygons_on(file, settings, raster)
    return PlacedRegions(polygons[shapely.intersects(polygons, shapely.Polygon(raster.outline()))], raster)


def polygons_on(file: RegionFile, settings: Regions, raster: Raster) -> tuple[Shapes, npt.NDArray[np.intp]]:
    """Bring the polygons into a scene's CRS, widened row by row; also the position of the row each is of."""
    place = PixelGrid.of_raster(raster)
    metric = place.metric if settings.buffer_m else raster.crs_wkt
    whole, wide, shapes = _projected(file, settings, raster.crs_wkt, metric)
    if len(wide):
        near = _clipped(wide, raster)
        shapes = np.concatenate([shapes, _widened(near, settings, metric)])
    polygons, shape = areas(shapes)
    polygons = _alongside(polygons, place)
    if not settings.holes:
        polygons = shapely.polygons(shapely.get_exterior_ring(polygons))
    return polygons, np.concatenate([np.flatnonzero(whole), np.flatnonzero(~whole)])[shape]


@lru_cache(maxsize=4)
def _projected(
    file: RegionFile, settings: Regions, crs_wkt: str, metric: str
) -> tuple[npt.NDArray[np.bool_], geopandas.GeoSeries, Shapes]:
    """Bring rows into a scene's CRS; also which these are, and the others, which it cannot show whole, as they are."""
    rows = load_regions(file, settings).shapes
    whole = fits(rows, metric)
    return whole, rows[~whole], _widened(rows[whole].to_crs(crs_wkt), settings, metric)


def _widened(series: geopandas.GeoSeries, settings: Regions, metric: str) -> Shapes:
    """Mend shapes and widen them, in metres on the ground."""
    shapes = valid(series.to_crs(metric).to_numpy(), keep_collapsed=settings.buffer_m > 0)
    if not settings.buffer_m:
        return shapes
    # As many segments as GeoPandas takes, so that masks are those of a script that uses it.
    widened = geopandas.GeoSeries(shapely.buffer(shapes, settings.buffer_m, quad_segs=16), crs=metric)
    return np.asarray(widened.to_crs(series.crs).to_numpy(), object)


def _alongside(polygons: Shapes, place: PixelGrid) -> Shapes:
    """Count the longitudes of polygons as a scene does that lies around the 180th meridian."""
    if not place.full_turn or not len(polygons):
        return polygons
    centres = shapely.get_coordinates(shapely.centroid(polygons))
    points, polygon = shapely.get_coordinates(polygons, return_index=True)
    moved: Shapes = shapely.set_coordinates(polygons.copy(), points + (place.unwrapped(centres) - centres)[polygon])
    return moved


def fits(series: geopandas.GeoSeries, crs_wkt: str) -> npt.NDArray[np.bool_]:
    """Whether each row fits on the map of another CRS: is not too wide, and comes back from there as it went."""
    points, row = shapely.get_coordinates(series.array, return_index=True)
    crs = pyproj.CRS(crs_wkt)
    there = pyproj.Transformer.from_crs(series.crs, crs, always_xy=True)
    placed = np.column_stack(there.transform(*points.T))
    with np.errstate(invalid="ignore"):
        away = np.abs(np.column_stack(there.transform(*placed.T, direction="INVERSE")) - points)
        if series.crs.is_geographic:
            away[:, 0] = np.minimum(away[:, 0] % 360, -away[:, 0] % 360)
        came = (away <= _ROUND_TRIP * np.maximum(np.abs(points), 1)).all(axis=1)
        starts = np.searchsorted(row, range(len(series)))
        width = np.maximum.reduceat(placed, starts) - np.minimum.reduceat(placed, starts)
    unit_m = crs.axis_info[0].unit_conversion_factor if crs.is_projected else 0
    fit: npt.NDArray[np.bool_] = np.logical_and.reduceat(came, starts) & (width.max(axis=1) * unit_m <= _WIDE_M)
    return fit


def _clipped(series: geopandas.GeoSeries, raster: Raster) -> geopandas.GeoSeries:
    """Bring into a raster's CRS what lies near the raster, with vertices along straight edges."""
    near = shapely.affinity.scale(shapely.Polygon(raster.outline()), 3, 3).bounds
    back = pyproj.Transformer.from_crs(raster.crs_wkt, series.crs, always_xy=True)
    west, south, east, north = back.transform_bounds(*near, errcheck=True)
    turns = [0]
    if series.crs.is_geographic:
        east, turns = east + 360 * (west > east), [-360, 0, 360]
    boxes = shapely.multipolygons([shapely.box(west + turn, south, east + turn, north) for turn in turns])
    clipped = shapely.segmentize(shapely.intersection(series.array, boxes), (east - west) / _SEGMENTS)
    return geopandas.GeoSeries(clipped, series.index, series.crs).to_crs(raster.crs_wkt)


def meets(polygons: Shapes, raster: Raster) -> npt.NDArray[np.bool_]:
    """Whether polygons have ground in common with a raster; a corner is none."""
    outline = shapely.Polygon(raster.outline())
    near: npt.NDArray[np.bool_] = shapely.intersects(polygons, outline)
    near[near] = ~shapely.touches(polygons[near], outline)
    return near


def covers(polygons: Shapes, raster: Raster) -> npt.NDArray[np.bool_]:
    """Whether a pixel of a raster has its centre in each polygon."""
    inner = shapely.point_on_surface(shapely.intersection(polygons, shapely.Polygon(raster.outline())))
    centres = np.floor(_pixels(np.column_stack([shapely.get_x(inner), shapely.get_y(inner)]), raster)) + 0.5
    covered: npt.NDArray[np.bool_] = shapely.contains_xy(polygons, *raster.at(*centres.T))
    for row in np.flatnonzero(~covered):
        # Thin, or between two centres: the pixels themselves tell.
        placed = PlacedRegions(polygons[row : row + 1], raster)
        covered[row] = any(placed.mask(window).any() for window in _around(polygons[row], raster))
    return covered


def _pixels(points: npt.NDArray[np.float64], raster: Raster) -> npt.NDArray[np.float64]:
    """Bring (n, 2) points from a raster's CRS to its columns and rows, in pixel edges."""
    a, b, c, d, e, f = raster.transform
    return np.asarray(np.linalg.solve([[a, b], [d, e]], (points - [c, f]).T).T, np.float64)


def _around(polygon: shapely.Polygon, raster: Raster) -> Iterator[Window]:
    """Cut the pixels whose centres lie within a polygon's bounds into windows."""
    corners = _pixels(shapely.get_coordinates(shapely.box(*polygon.bounds)), raster) - 0.5
    left, top = map(int, np.maximum(np.ceil(corners.min(axis=0)), 0))
    right, bottom = map(int, np.minimum(np.floor(corners.max(axis=0)) + 1, raster.shape[::-1]))
    for part in grid((bottom - top, right - left), (_WINDOW_PX, _WINDOW_PX)):
        yield replace(part, row=part.row + top, col=part.col + left)
