"""Tables with geometry: scenes, the links between them, displacement vectors, misregistration."""

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
from s2fast.report.displacements import Ground, inliers, pairs_with_matches

LINES_PER_PAIR = 200
"""Most vectors of one pair: `matches/` holds all of them, a map needs no more."""

_DRAWN_SHARE = 0.04
"""How long the median displacement is drawn, as a share of a scene's width."""

_RING_SHARE = 0.3
"""Radius of the ring on which scenes of one footprint are set apart, as a share of its width."""

_COLUMNS = ("query", "train", "distance", "dx_m", "dy_m", "length_m", "of_inliers", "exaggeration")


def scene_points(scenes: geopandas.GeoDataFrame) -> geopandas.GeoSeries:
    """Give every scene a point of its own: its centre, or a place on a ring around it where several share a footprint.

    Parameters
    ----------
    scenes
        The run's scenes, in its order, in longitude and latitude.
    """
    footprints = [joined(footprint) for footprint in scenes.geometry]
    centres = np.array([footprint.centroid.coords[0] for footprint in footprints]).reshape(-1, 2)
    sides = np.array([np.subtract(footprint.bounds[2:], footprint.bounds[:2]) for footprint in footprints])
    # Footprints of one tile differ by less than this.
    keys = [tuple(np.round(centre, 3)) for centre in centres]
    count, seen = Counter(keys), Counter[tuple[float, ...]]()
    points = centres.copy()
    for place, key in enumerate(keys):
        if count[key] > 1:
            angle = 2 * np.pi * seen[key] / count[key]
            # From the top, clockwise, as a clock.
            points[place] += _RING_SHARE * sides[place] * (np.sin(angle), np.cos(angle))
        seen[key] += 1
    return geopandas.GeoSeries(shapely.points(wrapped(points)), crs=scenes.crs)


def pair_links(pairs: pd.DataFrame, scenes: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Draw every pair as a line between its scenes' points, the short way around the Earth.

    The columns are those of pairs.parquet.
    """
    place = pd.Series(range(len(scenes)), scenes["scene_id"])
    points = shapely.get_coordinates(scene_points(scenes))
    ends = np.stack([points[place[pairs[side]]] for side in ("query", "train")], axis=1)
    ends[..., 0] = np.unwrap(ends[..., 0], period=360)
    return geopandas.GeoDataFrame(pairs, geometry=[split(line) for line in shapely.linestrings(ends)], crs=scenes.crs)


def misregistration(scenes: geopandas.GeoDataFrame, crs: str) -> geopandas.GeoDataFrame:
    """Set every scene's offset against its series at the scene's point; empty where no pair of it is verified.

    Parameters
    ----------
    scenes
        The run's scenes, in longitude and latitude.
    crs
        What to draw in, see `map_crs`.
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


def map_crs(ground: Ground, scenes: geopandas.GeoDataFrame) -> str:
    """Choose the CRS of what is drawn in metres: the metric map of most scenes."""
    maps = Counter(ground.grid(scene_id).metric for scene_id in scenes["scene_id"])
    return str(pyproj.CRS(maps.most_common(1)[0][0]).to_string())


def displacements(folder: RunFolder, ground: Ground, pairs: pd.DataFrame, crs: str) -> geopandas.GeoDataFrame:
    """Draw the inliers of every verified pair as lines from where the query shows a feature to where the train does.

    Returns
    -------
    GeoDataFrame
        At most `LINES_PER_PAIR` lines a pair, taken evenly over the ground; `of_inliers` says of how many. In `crs`,
        see `map_crs`; ``dx_m`` and ``dy_m`` are metres east and north on the query's metric map. ``exaggeration`` is
        what to stretch the lines by to see them at the scale of a scene.
    """
    verified = pairs[pairs["verified"].fillna(False).astype(bool)]
    wanted = dict.fromkeys(zip(verified["query"], verified["train"], strict=True))
    found = {
        (query, train): _vectors(ground, query, train, matches[inliers(matches)], crs)
        for query, train, matches in pairs_with_matches(folder)
        if (query, train) in wanted
    }
    # The blocks the matches are read from come in no order that means anything.
    ordered = [found[pair] for pair in wanted if pair in found]
    table = pd.concat([table for table, _ in ordered], ignore_index=True) if ordered else _nothing()
    lines = np.concatenate([np.zeros((0, 2, 2)), *(ends for _, ends in ordered)])
    width = _width(ground, verified["query"].iloc[0]) if len(verified) else 1.0
    table["exaggeration"] = exaggeration(table["length_m"].to_numpy(), width)
    return geopandas.GeoDataFrame(table[list(_COLUMNS)], geometry=shapely.linestrings(lines), crs=crs)


def exaggeration(lengths_m: npt.NDArray[np.float64], width_m: float) -> float:
    """Choose by what to stretch vectors: 1, 2 or 5 times a power of ten, never less than 1.

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
    ground: Ground, query: str, train: str, matches: pd.DataFrame, target: str
) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    rows = matches.iloc[_spread(ground.positions(query, matches["query_row"].to_numpy(), ground.grid(query).metric))]
    found = ground.displacements(query, train, rows)
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
    metric = ground.grid(query).metric
    ends = [reprojected(points, metric, target) for points in (found.start, found.end)]
    return table, np.stack(ends, axis=1)


def _spread(points: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Choose at most `LINES_PER_PAIR` points: the first of each cell of a square grid, then the second, and so on."""
    if len(points) <= LINES_PER_PAIR:
        return np.arange(len(points))
    low = points.min(axis=0)
    side = max(np.ptp(points, axis=0).max() / np.sqrt(LINES_PER_PAIR), np.finfo(float).tiny)
    turn = pd.DataFrame((points - low) // side).groupby([0, 1]).cumcount()
    return np.sort(np.argsort(turn.to_numpy(), kind="stable")[:LINES_PER_PAIR])


def _nothing() -> pd.DataFrame:
    kinds = dict.fromkeys(("dx_m", "dy_m", "length_m"), "float64")
    return pd.DataFrame({name: [] for name in _COLUMNS[:-1]}).astype(
        {"query": str, "train": str, "distance": "int64", "of_inliers": "int64", **kinds}
    )


def _width(ground: Ground, scene_id: str) -> float:
    grid = ground.grid(scene_id)
    return float(np.hypot(*grid.px_m[:, 0])) * grid.shape[1]
