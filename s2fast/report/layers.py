"""GIS layers: links between the scenes of pairs, displacement vectors, misregistration of scenes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely

from s2fast.geometry.antimeridian import joined, split, wrapped
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.report.shown_matches import ShownMatches

_DRAWN_SHARE = 0.04
"""Drawn length of the median displacement, as a share of a scene's width."""

_APART_M = 0.006
"""Least distance of vectors on a map at any scale [m], roughly."""

_SCALES = 12
"""Scales at which more vectors appear, each twice the one before."""

_RING_SHARE = 0.3
"""Radius of the ring on which scenes of one footprint are arranged, as a share of the footprint's width."""


def scene_points(scenes: geopandas.GeoDataFrame) -> geopandas.GeoSeries:
    """Return a distinct point per scene: its centre or, where scenes share a footprint, a point on a ring around it.

    Parameters
    ----------
    scenes
        The run's scenes, in its order, in longitude and latitude, or in pixels.
    """
    footprints = [joined(footprint) for footprint in scenes.geometry]
    centres = np.array([footprint.centroid.coords[0] for footprint in footprints]).reshape(-1, 2)
    sides = np.array([np.subtract(footprint.bounds[2:], footprint.bounds[:2]) for footprint in footprints])
    # The centres of one tile's footprints are equal after rounding.
    keys = [tuple(np.round(centre, 3)) for centre in centres]
    count, seen = Counter(keys), Counter[tuple[float, ...]]()
    points = centres.copy()
    for row, key in enumerate(keys):
        if count[key] > 1:
            angle = 2 * np.pi * seen[key] / count[key]
            # Clockwise, starting at the top.
            points[row] += _RING_SHARE * sides[row] * (np.sin(angle), np.cos(angle))
        seen[key] += 1
    return geopandas.GeoSeries(shapely.points(points if scenes.crs is None else wrapped(points)), crs=scenes.crs)


def pair_links(pairs: pd.DataFrame, scenes: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Return every pair as a line between its scenes' points, the short way around the Earth.

    The columns are those of pairs.parquet.
    """
    row_of = pd.Series(range(len(scenes)), scenes["scene_id"])
    points = shapely.get_coordinates(scene_points(scenes))
    ends = np.stack([points[row_of[pairs[side]]] for side in ("query", "train")], axis=1)
    if scenes.crs is None:
        return geopandas.GeoDataFrame(pairs, geometry=shapely.linestrings(ends))
    ends[..., 0] = np.unwrap(ends[..., 0], period=360)
    return geopandas.GeoDataFrame(pairs, geometry=[split(line) for line in shapely.linestrings(ends)], crs=scenes.crs)


def misregistration(scenes: geopandas.GeoDataFrame, crs: str) -> geopandas.GeoDataFrame:
    """Return every scene's offset relative to its series, at the scene's point; NaN if the scene has none.

    Parameters
    ----------
    scenes
        The run's scenes, in longitude and latitude.
    crs
        CRS of the layer, see `map_crs`.
    """
    wanted = [
        "scene_id",
        "tile",
        "sensing_time",
        "n_verified",
        "offset_x_m",
        "offset_y_m",
        "offset_error_m",
        "disagrees",
    ]
    points = scenes.reindex(columns=wanted)
    for name in ("offset_x_m", "offset_y_m", "offset_error_m"):
        points[name] = points[name].astype("float64")
    footprints = (scenes.geometry.to_crs(crs) if crs else scenes.geometry).bounds
    width = float((footprints["maxx"] - footprints["minx"]).median())
    points["exaggeration"] = exaggeration(np.hypot(points["offset_x_m"], points["offset_y_m"]).to_numpy(), width)
    placed = geopandas.GeoDataFrame(points, geometry=scene_points(scenes).to_numpy(), crs=scenes.crs)
    return placed.to_crs(crs) if crs else placed


def map_crs(grids: Sequence[PixelGrid]) -> str:
    """Return the CRS of layers in metres: the most frequent metric CRS of the scenes; empty if they have none."""
    maps = Counter(grid.metric for grid in grids)
    if "" in maps:
        return ""
    return str(pyproj.CRS(maps.most_common(1)[0][0]).to_string())


def displacements(shown: ShownMatches, pairs: pd.DataFrame, crs: str) -> geopandas.GeoDataFrame:
    """Return the inliers of all verified pairs as lines from the query's position to the train's.

    Returns
    -------
    GeoDataFrame
        The matches `ShownMatches.map`, in the order of the pairs, in `crs`, see `map_crs`. ``of_inliers`` is the pair's
        total number of inliers. ``dx_m`` and ``dy_m`` are metres east and north on the query's metric map.
        ``exaggeration`` is the factor by which to lengthen the lines to make them visible on a map of a whole scene,
        and ``shown_to`` the smallest scale, as its denominator, at which a line is drawn: see `shown_to`.
    """
    matches, positions = shown.map, shown.positions
    found = positions.displacements(matches)
    shift = found.shift
    length_m = np.hypot(*shift.T)
    table = pd.DataFrame(
        {
            "query": pairs["query"].to_numpy()[matches.pair],
            "train": pairs["train"].to_numpy()[matches.pair],
            "distance": matches.distance,
            "dx_m": shift[:, 0],
            "dy_m": shift[:, 1],
            "length_m": length_m,
            "of_inliers": shown.inliers[matches.pair],
            "exaggeration": exaggeration(length_m, _width(positions.grids[matches.query[0]]) if len(matches) else 1.0),
        }
    )
    ends = [positions.on_map(points, matches.query, crs) for points in (found.start, found.end)]
    table["shown_to"] = shown_to(ends[0])
    return geopandas.GeoDataFrame(table, geometry=shapely.linestrings(np.stack(ends, axis=1)), crs=crs or None)


def shown_to(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the smallest scales at which vectors are drawn, so that those on a map lie far enough apart to be read.

    Of each cell of a square grid one point is drawn at the scale at which the cell's side is `_APART_M` on the map;
    the cells of each scale are halved at the next. Points are taken in a random order, the same in every run.

    Parameters
    ----------
    points : (n, 2) float64
        Where the vectors begin [m].

    Returns
    -------
    (n,) float64
        Denominators of scales.

    Examples
    --------
    >>> float(shown_to(np.array([[0.0, 0.0], [1.0, 0.0], [900.0, 900.0]])).max() / 900 * _APART_M)
    1.0
    """
    if not len(points):
        return np.zeros(0)
    away = points - points.min(axis=0)
    largest = max(float(away.max()), 1.0)
    side = largest / 2 ** np.arange(_SCALES)
    turn = np.random.default_rng(0).permutation(len(points)).argsort()
    # In this order the points of a cell, of any size, follow each other.
    place = _quadrants((away // side[-1]).astype(np.uint32))
    order = np.argsort(place, kind="stable")
    place, turn = place[order], turn[order]
    found = np.full(len(points), side[-1] / 2)
    for scale in reversed(range(_SCALES)):
        starts = np.flatnonzero(np.diff(place >> 2 * (_SCALES - 1 - scale), prepend=np.uint64(2**63)))
        first = np.repeat(np.minimum.reduceat(turn, starts), np.diff(starts, append=len(points))) == turn
        found[order[first]] = side[scale]
    return np.asarray(found / _APART_M)


def _quadrants(cells: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """Return the bits of (n, 2) columns and rows by turns, the highest first: two bits for the quarter of each square.

    Examples
    --------
    >>> _quadrants(np.array([[0b10, 0b01], [0b11, 0b00]], np.uint32)).tolist() == [0b1001, 0b1010]
    True
    """
    spread = cells.astype(np.uint64)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        spread = (spread | spread << np.uint64(shift)) & np.uint64(mask)
    return np.asarray(spread[:, 0] << np.uint64(1) | spread[:, 1])


def exaggeration(lengths_m: npt.NDArray[np.float64], width_m: float) -> float:
    """Return the factor by which to lengthen vectors: 1, 2 or 5 times a power of ten, at least 1.

    Examples
    --------
    >>> exaggeration(np.array([4.0, 5.0, 6.0]), 109_800), exaggeration(np.array([np.nan]), 109_800)
    (500.0, 1.0)
    """
    known = lengths_m[np.isfinite(lengths_m) & (lengths_m > 0)]
    if not known.size:
        return 1.0
    wanted = max(1.0, _DRAWN_SHARE * width_m / float(np.median(known)))
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(max(step for step in (1, 2, 5) if step * power <= wanted) * power)


def _width(grid: PixelGrid) -> float:
    return float(np.hypot(*grid.px_m[:, 0])) * grid.shape[1]
