"""Adjustment of a tile's network of scenes: one offset per scene, from the shifts of all verified pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_ROUNDS = 50
"""Maximum number of reweighting iterations."""

_HUBER = 1.345
"""Residuals beyond this many standard errors are downweighted (95 % efficiency for normal errors)."""

_MEDIAN_LENGTH = 1.1774
"""Median length of a 2-D residual whose components have standard deviation 1 (Rayleigh distribution)."""

_OUTLYING = 3.0
"""A pair is an outlier of the network if its residual exceeds this many robust standard deviations."""

_MOST_SCENES = 300
"""Maximum number of scenes of which all triangles are computed: 4.5 million."""


@dataclass(frozen=True, slots=True)
class Network:
    """Offsets of the scenes of one tile."""

    offset: npt.NDArray[np.float64]
    """(n, 2) east and north, relative to the median of the series [m]; NaN for scenes outside the largest set that
    verified pairs connect."""
    error: npt.NDArray[np.float64]
    """(n,) standard error of an offset along each axis [m]."""
    residual: npt.NDArray[np.float64]
    """(pairs,) length of the shift minus the difference of offsets [m]; NaN outside the network."""
    closure: npt.NDArray[np.float64]
    """(n,) median closure error of all triangles of pairs that contain the scene [m]."""
    disagrees: npt.NDArray[np.bool_]
    """(n,) True if most of the scene's pairs are outliers of the network."""
    covariance: npt.NDArray[np.float64]
    """(n, n) covariance of the offsets along each axis [m2]; NaN outside the network."""


def solve(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
) -> Network:  # fmt: skip
    """Estimate the offsets of scenes from the shifts of pairs by robust least squares (Huber, 1964).

    Parameters
    ----------
    scenes
        Number of scenes.
    query, train : (pairs,) intp
        Scene numbers of the verified pairs.
    shift : (pairs, 2) float64
        Train minus query, east and north [m].
    error : (pairs,) float64
        Standard error along each axis [m], positive.

    Returns
    -------
    Network
    """
    network = Network(
        np.full((scenes, 2), math.nan),
        np.full(scenes, math.nan),
        np.full(len(query), math.nan),
        closures(scenes, query, train, shift),
        np.zeros(scenes, np.bool_),
        np.full((scenes, scenes), math.nan),
    )
    member = _largest_component(scenes, query, train)
    pairs = np.flatnonzero(member[query])
    if not len(pairs):
        return network
    column = np.cumsum(member) - 1
    design = np.zeros((len(pairs), int(member.sum())))
    design[np.arange(len(pairs)), column[train[pairs]]] = 1
    design[np.arange(len(pairs)), column[query[pairs]]] = -1
    offset, weight = _reweighted(design, shift[pairs], error[pairs])
    residual = shift[pairs] - design @ offset
    normal = np.linalg.pinv(design.T @ (weight[:, None] * design))
    freedom = max(1, 2 * (len(pairs) - len(offset) + 1))
    scale = max(1.0, float((weight[:, None] * residual**2).sum()) / freedom)
    network.offset[member] = offset - np.median(offset, axis=0)
    network.covariance[np.ix_(member, member)] = scale * normal
    network.error[member] = np.sqrt(scale * np.diag(normal))
    network.residual[pairs] = np.hypot(*residual.T)
    spread = 1.4826 * float(np.median(np.abs(residual)))
    outlying = network.residual > _OUTLYING * max(spread, float(np.median(error[pairs])))
    for scene in np.flatnonzero(member):
        own = pairs[(query[pairs] == scene) | (train[pairs] == scene)]
        network.disagrees[scene] = np.mean(outlying[own]) > 0.5
    return network


def _largest_component(scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Find the scenes of the largest connected component, the first of equally large ones: (scenes,) bool."""
    links = coo_array((np.ones(len(query)), (query, train)), shape=(scenes, scenes))
    _, label = connected_components(links, directed=False)
    counts = np.bincount(label, minlength=1)
    return np.asarray((label == counts.argmax()) & (counts.max() > 1))


def _reweighted(
    design: npt.NDArray[np.float64], shift: npt.NDArray[np.float64], error: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Solve by iteratively reweighted least squares: (scenes, 2) offsets and (pairs,) weights [m-2]."""
    weight = 1 / error**2
    offset: npt.NDArray[np.float64] = np.zeros((design.shape[1], 2))
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)[:, None]
        before, offset = offset, np.asarray(np.linalg.lstsq(root * design, root * shift, rcond=None)[0], np.float64)
        length = np.hypot(*(shift - design @ offset).T)
        # If the stated errors are too small, scale them up: not every pair may become an outlier.
        scale = np.maximum(error, float(np.median(length)) / _MEDIAN_LENGTH)
        weight = np.minimum(1, _HUBER * scale / np.maximum(length, 1e-12)) / scale**2
        if np.abs(offset - before).max() < 1e-6:
            break
    return offset, weight


def closures(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Compute the closure errors of triangles of pairs: (scenes,) median over each scene's triangles [m]."""
    between = _between(scenes, query, train, shift)
    median = np.full(scenes, math.nan)
    for scene in range(scenes):
        # Sum of the shifts around the triangle: scene to b, b to c, c to scene.
        gap = between[scene, :, None] + between - between[scene, None, :]
        length = np.hypot(gap[..., 0], gap[..., 1])[np.triu_indices(scenes, 1)]
        if np.isfinite(length).any():
            median[scene] = np.nanmedian(length)
    return median


def triangle_gaps(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Compute the closure error of every triangle of pairs: (triangles,) [m], each triangle once.

    Of many scenes, `_MOST_SCENES` evenly spaced ones are used: triangles grow with the cube of the scenes.
    """
    used = np.unique(np.linspace(0, scenes - 1, min(scenes, _MOST_SCENES)).astype(np.intp))
    between = _between(scenes, query, train, shift)[np.ix_(used, used)]
    found = [np.empty(0)]
    for scene in range(len(used) - 2):
        others = between[scene + 1 :, scene + 1 :]
        own = between[scene, scene + 1 :]
        gap = (own[:, None] + others - own[None])[np.triu_indices(len(own), 1)]
        length = np.hypot(gap[:, 0], gap[:, 1])
        found.append(length[np.isfinite(length)])
    return np.concatenate(found)


def _between(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the shifts as (scenes, scenes, 2), from row to column; NaN without a pair."""
    between = np.full((scenes, scenes, 2), math.nan)
    between[query, train] = shift
    between[train, query] = -shift
    return between


def add_network(scene_ids: Sequence[str], tiles: Sequence[str], pairs: pd.DataFrame) -> pd.DataFrame:
    """Solve the network of every tile and add the residuals to the table of pairs.

    Parameters
    ----------
    scene_ids, tiles
        Scenes of the run, and the MGRS tile of each.
    pairs
        The table of pairs; the column ``network_residual_m`` is added in place.

    Returns
    -------
    DataFrame
        One row per scene, indexed by id: ``n_verified`` (from all pairs), ``offset_x_m``, ``offset_y_m``,
        ``offset_error_m``, ``closure_m`` and ``disagrees`` (from the pairs within its tile).
    """
    verified = pairs["verified"].fillna(False).astype(bool)
    ends = pd.concat([pairs["query"][verified], pairs["train"][verified]]).value_counts()
    table = pd.DataFrame(index=pd.Index(scene_ids, name="scene_id"))
    table["n_verified"] = ends.reindex(table.index, fill_value=0).astype("int64")
    for name in ("offset_x_m", "offset_y_m", "offset_error_m", "closure_m"):
        table[name] = math.nan
    table["disagrees"] = False
    pairs["network_residual_m"] = math.nan
    of_tile = pd.Series(tiles, index=table.index)
    for tile in of_tile.unique():
        names = table.index[of_tile == tile]
        network, rows = tile_network(names, pairs)
        columns = ["offset_x_m", "offset_y_m", "offset_error_m", "closure_m"]
        table.loc[names, columns] = np.column_stack([network.offset, network.error, network.closure])
        table.loc[names, "disagrees"] = network.disagrees
        pairs.loc[rows, "network_residual_m"] = network.residual
    return table


def tile_network(names: pd.Index[str], pairs: pd.DataFrame) -> tuple[Network, pd.Index[int]]:
    """Solve the network of one tile.

    Parameters
    ----------
    names
        Ids of the tile's scenes.
    pairs
        The table of pairs.

    Returns
    -------
    network : Network
    rows : Index
        The pairs of the network, as labels of `pairs`.
    """
    # A pair with rotation or scale has no single shift to adjust.
    straight = pairs["verified"].fillna(False).astype(bool) & (pairs["model"] == "shift")
    rows = pairs[straight & pairs["query"].isin(names) & pairs["train"].isin(names)]
    network = solve(
        len(names),
        names.get_indexer(pd.Index(rows["query"])),
        names.get_indexer(pd.Index(rows["train"])),
        rows[["dx_m", "dy_m"]].to_numpy(),
        rows["shift_error_m"].to_numpy(),
    )
    return network, rows.index
