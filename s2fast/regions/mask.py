"""Transform polygons to a scene's CRS, widen them, test which meet the scene, and rasterise them as masks."""

from __future__ import annotations

import itertools
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
from s2fast.geometry.pixel_grid import PixelGrid, pixel_side
from s2fast.model import Raster, Window
from s2fast.raster.windows import grid, with_halo
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import Shapes, extract_polygons, load_regions, make_valid

_ROUND_TRIP = 1e-6
"""Largest error of points transformed to a scene's CRS and back, relative to their coordinates."""

_WIDE_M = 1e6
"""Rows wider than this are too distorted in a scene's CRS to be transformed as a whole [m]."""

_MOST_TURN_DEG = 180.0
"""Rows wider than this are not transformed as a whole either [deg]."""

_SEGMENTS = 64
"""Vertices per width of the clipped area, which is three times as wide as a scene."""

_WINDOW_PX = 1024
"""Side of the windows in which `covers` rasterises a polygon [px]."""

_FEW_CENTRES = 64
"""Most centres of pixels that `covers` tries one by one."""

_ON_EDGE_PX = 1e-6
"""Distance from a polygon's edge within which rasterisation may decide otherwise than geometry [px]."""


class PlacedRegions:
    """Polygons on the pixel grid of one raster."""

    def __init__(self, polygons: npt.NDArray[np.object_], raster: Raster) -> None:
        self._polygons = polygons
        self._tree = shapely.STRtree(polygons)
        self._raster = raster
        self._masks: dict[Window, npt.NDArray[np.uint8]] = {}

    def meets(self, window: Window, halo_px: int = 0) -> bool:
        """Return whether a polygon meets the window or the halo around it."""
        return bool(len(self._near(with_halo(window, halo_px, self._raster.shape))))

    def mask(self, window: Window) -> npt.NDArray[np.bool_]:
        """Rasterise the polygons: (height, width) bool, True where a pixel's centre lies in one.

        Masks are cached, one bit per pixel, because scenes of one tile share their grid.
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
    """Return the polygons on a raster's grid; cached for further scenes of the same tile."""
    polygons, _ = polygons_on(file, settings, raster)
    return PlacedRegions(polygons[shapely.intersects(polygons, shapely.Polygon(raster.outline()))], raster)


def polygons_on(file: RegionFile, settings: Regions, raster: Raster) -> tuple[Shapes, npt.NDArray[np.intp]]:
    """Return the polygons, widened and in a scene's CRS, and for each the index of its row."""
    pixel_grid = PixelGrid.of_raster(raster)
    metric = pixel_grid.metric if settings.buffer_m else raster.crs_wkt
    whole, wide, shapes = _projected(file, settings, raster.crs_wkt, metric)
    if len(wide):
        near = _clipped(wide, raster)
        shapes = np.concatenate([shapes, _widened(near, settings, metric)])
    polygons, shape = extract_polygons(shapes)
    polygons = _align_longitudes(polygons, pixel_grid)
    if not settings.holes:
        polygons = shapely.polygons(shapely.get_exterior_ring(polygons))
    return polygons, np.concatenate([np.flatnonzero(whole), np.flatnonzero(~whole)])[shape]


@lru_cache(maxsize=4)
def _projected(
    file: RegionFile, settings: Regions, crs_wkt: str, metric: str
) -> tuple[npt.NDArray[np.bool_], geopandas.GeoSeries, Shapes]:
    """Transform the rows that fit into a scene's CRS.

    Returns
    -------
    tuple
        Whether each row fits, shape (rows,), bool; the rows that do not fit, in their own CRS; the shapes of the rows
        that fit, widened, in the scene's CRS.
    """
    rows = load_regions(file, settings).shapes
    whole = fits(rows, metric)
    return whole, rows[~whole], _widened(rows[whole].to_crs(crs_wkt), settings, metric)


def _widened(series: geopandas.GeoSeries, settings: Regions, metric: str) -> Shapes:
    """Repair shapes and widen them by ``regions.buffer_m``, measured on the ground."""
    shapes = make_valid(series.to_crs(metric).to_numpy(), keep_collapsed=settings.buffer_m > 0)
    if not settings.buffer_m:
        return shapes
    # GeoPandas' number of segments, so that masks equal those of a GeoPandas script.
    widened = geopandas.GeoSeries(shapely.buffer(shapes, settings.buffer_m, quad_segs=16), crs=metric)
    return np.asarray(widened.to_crs(series.crs).to_numpy(), object)


def _align_longitudes(polygons: Shapes, pixel_grid: PixelGrid) -> Shapes:
    """Shift longitudes by full turns to match those of a scene near the 180th meridian."""
    if not pixel_grid.full_turn or not len(polygons):
        return polygons
    centres = shapely.get_coordinates(shapely.centroid(polygons))
    points, polygon = shapely.get_coordinates(polygons, return_index=True)
    shift = pixel_grid.unwrapped(centres) - centres
    moved: Shapes = shapely.set_coordinates(polygons.copy(), points + shift[polygon])
    return moved


def fits(series: geopandas.GeoSeries, crs_wkt: str) -> npt.NDArray[np.bool_]:
    """Return whether each row can be transformed to another CRS: it is not too wide, and its points round-trip."""
    points, row = shapely.get_coordinates(series.array, return_index=True)
    crs = pyproj.CRS(crs_wkt)
    transformer = pyproj.Transformer.from_crs(series.crs, crs, always_xy=True)
    projected = np.column_stack(transformer.transform(*points.T))
    with np.errstate(invalid="ignore"):
        error = np.abs(np.column_stack(transformer.transform(*projected.T, direction="INVERSE")) - points)
        if series.crs.is_geographic:
            error[:, 0] = np.minimum(error[:, 0] % 360, -error[:, 0] % 360)
        round_trips = (error <= _ROUND_TRIP * np.maximum(np.abs(points), 1)).all(axis=1)
        starts = np.searchsorted(row, range(len(series)))
        width = np.maximum.reduceat(projected, starts) - np.minimum.reduceat(projected, starts)
    unit_m = crs.axis_info[0].unit_conversion_factor if crs.is_projected else 0
    fit: npt.NDArray[np.bool_] = np.logical_and.reduceat(round_trips, starts) & (width.max(axis=1) * unit_m <= _WIDE_M)
    if series.crs.is_geographic:
        # The ends of a band around the Earth are one place on the map.
        west, _, east, _ = shapely.bounds(series.array).T
        fit &= np.radians(_MOST_TURN_DEG) >= (east - west) * series.crs.axis_info[0].unit_conversion_factor
    return fit


def _clipped(series: geopandas.GeoSeries, raster: Raster) -> geopandas.GeoSeries:
    """Clip shapes to the surroundings of a raster, add vertices along straight edges, and transform to its CRS."""
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
    """Return whether each polygon overlaps a raster; touching its edge or a corner does not count."""
    outline = shapely.Polygon(raster.outline())
    near: npt.NDArray[np.bool_] = shapely.intersects(polygons, outline)
    near[near] = ~shapely.touches(polygons[near], outline)
    return near


def covers(polygons: Shapes, raster: Raster) -> npt.NDArray[np.bool_]:
    """Return whether each polygon contains the centre of a pixel of a raster."""
    first, last = _centres_around(polygons, raster)
    counts = np.maximum(last - first + 1, 0)
    few = counts.prod(axis=1) <= _FEW_CENTRES
    covered, undecided = np.zeros(len(polygons), np.bool_), ~few
    covered[few], undecided[few] = _covered_by_few(polygons[few], first[few], counts[few], raster)
    rest = np.flatnonzero(undecided)
    inner = shapely.point_on_surface(shapely.intersection(polygons[rest], shapely.Polygon(raster.outline())))
    centres = np.floor(_pixels(np.column_stack([shapely.get_x(inner), shapely.get_y(inner)]), raster)) + 0.5
    covered[rest] = shapely.contains_xy(polygons[rest], *raster.at(*centres.T))
    for row in rest[~covered[rest]]:
        # The polygon is thin, or touches a centre: the way it is rasterised decides.
        placed = PlacedRegions(polygons[row : row + 1], raster)
        covered[row] = any(placed.mask(window).any() for window in _windows(first[row], last[row]))
    return covered


def _covered_by_few(
    polygons: Shapes, first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], raster: Raster
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return whether polygons contain one of the centres within their bounds, and whether only their edge meets one.

    Parameters
    ----------
    polygons
        (n,) polygons.
    first, counts
        (n, 2) the first column and row of the centres within each polygon's bounds, and how many there are of both.
    raster
        The raster.
    """
    totals = counts.prod(axis=1)
    owner = np.repeat(np.arange(len(polygons)), totals)
    place = np.arange(len(owner)) - np.repeat(totals.cumsum() - totals, totals)
    row, col = np.divmod(place, counts[owner, 0])
    x, y = raster.at(first[owner, 0] + col + 0.5, first[owner, 1] + row + 0.5)
    inside = shapely.contains_xy(polygons[owner], x, y)
    met = shapely.dwithin(polygons[owner], shapely.points(x, y), _ON_EDGE_PX * pixel_side(raster.transform))
    covered, touched = (np.bincount(owner[where], minlength=len(polygons)) > 0 for where in (inside, met))
    return covered, touched & ~covered


def _pixels(points: npt.NDArray[np.float64], raster: Raster) -> npt.NDArray[np.float64]:
    """Convert (n, 2) points from a raster's CRS to columns and rows; integers are pixel edges."""
    a, b, c, d, e, f = raster.transform
    return np.asarray(np.linalg.solve([[a, b], [d, e]], (points - [c, f]).T).T, np.float64)


def _centres_around(polygons: Shapes, raster: Raster) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first and the last column and row of the pixels whose centres lie within each polygon's bounds.

    Both are (n, 2); where there is no such pixel, a first is behind its last.
    """
    left, bottom, right, top = shapely.bounds(polygons).T
    corners = [_pixels(np.column_stack(corner), raster) for corner in itertools.product((left, right), (bottom, top))]
    low = np.maximum(np.ceil(np.min(corners, axis=0) - 0.5), 0)
    high = np.minimum(np.floor(np.max(corners, axis=0) - 0.5), np.array(raster.shape[::-1]) - 1)
    return low.astype(np.int64), high.astype(np.int64)


def _windows(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> Iterator[Window]:
    """Yield windows that together hold the pixels between the first and the last column and row."""
    (left, top), (width, height) = first.tolist(), np.maximum(last - first + 1, 0).tolist()
    for part in grid((height, width), (_WINDOW_PX, _WINDOW_PX)):
        yield replace(part, row=part.row + top, col=part.col + left)
