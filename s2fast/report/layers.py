"""GIS layers: links between the scenes of pairs, displacement vectors, misregistration of scenes."""

from __future__ import annotations

from collections import Counter

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely

from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.antimeridian import joined, split, wrapped
from s2fast.geometry.placement import reprojected
from s2fast.report.displacements import FeaturePositions, inliers, pairs_with_matches

LINES_PER_PAIR = 200
"""Maximum number of vectors per pair: enough for a map; the run folder has all of them."""

_DRAWN_SHARE = 0.04
"""Drawn length of the median displacement, as a share of a scene's width."""

_RING_SHARE = 0.3
"""Radius of the ring on which scenes of one footprint are arranged, as a share of the footprint's width."""

_COLUMNS = ("query", "train", "distance", "dx_m", "dy_m", "length_m", "of_inliers", "exaggeration")


def scene_points(scenes: geopandas.GeoDataFrame) -> geopandas.GeoSeries:
    """Return a distinct point per scene: its centre or, where scenes share a footprint, a point on a ring around it.

    Parameters
    ----------
    scenes
        The run's scenes, in its order, in longitude and latitude.
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
    return geopandas.GeoSeries(shapely.points(wrapped(points)), crs=scenes.crs)


def pair_links(pairs: pd.DataFrame, scenes: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Return every pair as a line between its scenes' points, the short way around the Earth.

    The columns are those of pairs.parquet.
    """
    row_of = pd.Series(range(len(scenes)), scenes["scene_id"])
    points = shapely.get_coordinates(scene_points(scenes))
    ends = np.stack([points[row_of[pairs[side]]] for side in ("query", "train")], axis=1)
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
    footprints = scenes.geometry.to_crs(crs).bounds
    width = float((footprints["maxx"] - footprints["minx"]).median())
    points["exaggeration"] = exaggeration(np.hypot(points["offset_x_m"], points["offset_y_m"]).to_numpy(), width)
    placed = geopandas.GeoDataFrame(points, geometry=scene_points(scenes).to_numpy(), crs=scenes.crs)
    return placed.to_crs(crs)


def map_crs(positions: FeaturePositions, scenes: geopandas.GeoDataFrame) -> str:
    """Return the CRS of layers in metres: the most frequent metric CRS of the scenes."""
    maps = Counter(positions.grid(scene_id).metric for scene_id in scenes["scene_id"])
    return str(pyproj.CRS(maps.most_common(1)[0][0]).to_string())


def displacements(
    folder: RunFolder, positions: FeaturePositions, pairs: pd.DataFrame, crs: str
) -> geopandas.GeoDataFrame:
    """Return the inliers of all verified pairs as lines from the query's position to the train's.

    Returns
    -------
    GeoDataFrame
        At most `LINES_PER_PAIR` lines per pair, sampled evenly over the ground, in `crs`, see `map_crs`.
        ``of_inliers`` is the pair's total number of inliers. ``dx_m`` and ``dy_m`` are metres east and north on the
        query's metric map. ``exaggeration`` is the factor by which to lengthen the lines to make them visible on a
        map of a whole scene.
    """
    verified = pairs[pairs["verified"].fillna(False).astype(bool)]
    wanted = dict.fromkeys(zip(verified["query"], verified["train"], strict=True))
    found = {
        (query, train): _vectors(positions, query, train, matches[inliers(matches)], crs)
        for query, train, matches in pairs_with_matches(folder)
        if (query, train) in wanted
    }
    # The order of the blocks is arbitrary: restore the order of the pairs.
    ordered = [found[pair] for pair in wanted if pair in found]
    table = pd.concat([table for table, _ in ordered], ignore_index=True) if ordered else _nothing()
    lines = np.concatenate([np.zeros((0, 2, 2)), *(ends for _, ends in ordered)])
    width = _width(positions, verified["query"].iloc[0]) if len(verified) else 1.0
    table["exaggeration"] = exaggeration(table["length_m"].to_numpy(), width)
    return geopandas.GeoDataFrame(table[list(_COLUMNS)], geometry=shapely.linestrings(lines), crs=crs)


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


def _vectors(
    positions: FeaturePositions, query: str, train: str, matches: pd.DataFrame, target: str
) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    rows = matches.iloc[_spread(positions.on_map(query, matches["query_row"].to_numpy(), positions.grid(query).metric))]
    found = positions.displacements(query, train, rows)
    shift = found.shift
    table = pd.DataFrame(
        {
            "query": query,
            "train": train,
            "distance": rows["distance"].to_numpy(),
            "dx_m": shift[:, 0],
            "dy_m": shift[:, 1],
            "length_m": np.hypot(*shift.T),
            "of_inliers": len(matches),
        }
    )
    metric = positions.grid(query).metric
    ends = [reprojected(points, metric, target) for points in (found.start, found.end)]
    return table, np.stack(ends, axis=1)


def _spread(points: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Select at most `LINES_PER_PAIR` points: the first of each cell of a square grid, then the second, and so on."""
    if len(points) <= LINES_PER_PAIR:
        return np.arange(len(points))
    low = points.min(axis=0)
    side = max(np.ptp(points, axis=0).max() / np.sqrt(LINES_PER_PAIR), np.finfo(float).tiny)
    rank = pd.DataFrame((points - low) // side).groupby([0, 1]).cumcount()
    return np.sort(np.argsort(rank.to_numpy(), kind="stable")[:LINES_PER_PAIR])


def _nothing() -> pd.DataFrame:
    kinds = dict.fromkeys(("dx_m", "dy_m", "length_m"), "float64")
    return pd.DataFrame({name: [] for name in _COLUMNS[:-1]}).astype(
        {"query": str, "train": str, "distance": "int64", "of_inliers": "int64", **kinds}
    )


def _width(positions: FeaturePositions, scene_id: str) -> float:
    grid = positions.grid(scene_id)
    return float(np.hypot(*grid.px_m[:, 0])) * grid.shape[1]
