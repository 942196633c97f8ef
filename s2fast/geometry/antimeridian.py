"""Shapes in longitude and latitude that cross the 180th meridian (antimeridian) or contain a pole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from s2fast.geometry.pixel_grid import LONLAT, PixelGrid, reprojected, to_pixels

_EDGE_POINTS = 32
"""Vertices per edge of the outline of a scene that contains a pole."""


def footprint(grid: PixelGrid) -> shapely.Polygon | shapely.MultiPolygon:
    """Return the outline of a scene in longitude and latitude, in two parts where it crosses the 180th meridian.

    That of a scene without a CRS is in its pixels, see `s2fast.model.PIXEL_TRANSFORM`. Of a scene that reaches beyond
    its projection, such as a full disk, it is the convex hull of what the projection covers.
    """
    rows, cols = grid.shape
    corners = np.array([(0, 0), (cols, 0), (cols, rows), (0, rows)], np.float64) - 0.5
    if not grid.crs_wkt:
        return shapely.Polygon(grid.on_map(corners))
    if not np.isfinite(grid.on_map(corners, LONLAT)).all():
        return split(_covered(grid))
    pole = _pole(grid)
    if pole:
        share = np.linspace(0, 1, _EDGE_POINTS, endpoint=False)[:, None]
        corners = np.vstack(
            [a + share * (b - a) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)] + [corners[:1]]
        )
    ring = grid.on_map(corners, LONLAT)
    if not grid.full_turn:
        ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    if pole:
        # The outline goes once around the pole. Close it along the pole, which is a line in longitude and latitude.
        ring = np.vstack([ring, [ring[-1, 0], pole], [ring[0, 0], pole]])
    return split(shapely.Polygon(ring))


def _covered(grid: PixelGrid) -> shapely.Geometry:
    """Return the convex hull of those points of a scene that its projection covers; it may cross the 180th meridian."""
    share = np.linspace(0, 1, _EDGE_POINTS)
    lattice = np.stack(np.meshgrid(share, share), axis=-1).reshape(-1, 2) * grid.shape[::-1] - 0.5
    points = grid.on_map(lattice, LONLAT)
    points = points[np.isfinite(points).all(axis=1)]
    middle = points[len(points) // 2, 0] if len(points) else 0.0
    points[:, 0] -= 360 * np.rint((points[:, 0] - middle) / 360)
    hull = shapely.MultiPoint(points).convex_hull
    return hull if hull.geom_type == "Polygon" else shapely.Polygon()


def _pole(grid: PixelGrid) -> float:
    """Return the latitude of the pole inside a scene; 0 if there is none or x is a longitude."""
    if grid.full_turn:
        return 0.0
    poles = np.array([[0.0, 90.0], [0.0, -90.0]])
    with np.errstate(invalid="ignore"):
        at = to_pixels(reprojected(poles, LONLAT, grid.crs_wkt), grid.transform) + 0.5
    shown = ((at > 0) & (at < grid.shape[::-1])).all(axis=1)
    return float(poles[shown, 1].sum())


def split(shape: shapely.Geometry) -> shapely.Geometry:
    """Cut a shape at the 180th meridian as RFC 7946 requires, with all longitudes between -180 and 180 degrees.

    Examples
    --------
    >>> split(shapely.LineString([(179, 0), (182, 3)])).wkt
    'MULTILINESTRING ((179 0, 180 1), (-180 1, -178 3))'
    """
    west, _, east, _ = shape.bounds
    if shape.is_empty or (west >= -180 and east <= 180):
        return shape
    if not shape.is_valid:  # the outline of a grid that is bent beyond use
        shape = shapely.make_valid(shape)
    turns = 360 * np.arange(np.floor((west + 180) / 360), np.floor((east + 180) / 360) + 1)
    cut = [
        shapely.affinity.translate(shape.intersection(shapely.box(turn - 180, -90, turn + 180, 90)), -turn)
        for turn in turns
    ]
    parts = shapely.get_parts(cut)
    # A shape that only touches the meridian leaves parts of a lower dimension: drop them.
    return shapely.union_all(parts[shapely.get_dimensions(parts) == shapely.get_dimensions(shape)])


def joined(footprint: shapely.Geometry, near_deg: float | None = None) -> shapely.Polygon:
    """Undo `split` for the outline of a scene; its longitudes may then exceed 180 degrees.

    Parameters
    ----------
    footprint
        In longitude and latitude.
    near_deg
        Shift the outline by whole turns to within 180 degrees of this longitude; None: no shift.
    """
    parts = shapely.get_parts(footprint)
    if len(parts) > 1:
        parts = shapely.transform(parts, lambda lonlat: lonlat + np.where(lonlat[:, :1] < 0, (360, 0), 0))
        # Scenes have straight edges: a gap between the parts can only come from rounding.
        footprint = shapely.convex_hull(shapely.multipolygons(parts))
    turn = 0.0 if near_deg is None else 360 * np.rint((near_deg - footprint.centroid.x) / 360)
    return shapely.affinity.translate(footprint, turn) if turn else footprint


def wrapped(lonlat: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (n, 2) points with longitudes between -180 and 180 degrees."""
    turn = np.where(np.abs(lonlat[:, 0]) > 180, 360 * np.rint(lonlat[:, 0] / 360), 0)
    return np.column_stack([lonlat[:, 0] - turn, lonlat[:, 1]])
