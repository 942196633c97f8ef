"""Where each scene of a tile lies among all others: one offset a scene from the shifts of many pairs."""

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
"""Most rounds of reweighting."""

_HUBER = 1.345
"""Residuals beyond this many standard errors lose weight (95 % efficient where errors are normal)."""

_MEDIAN_LENGTH = 1.1774
"""Median length of a residual whose both parts have standard deviation 1 (Rayleigh)."""

_OUTLYING = 3.0
"""A pair disagrees with the network from this many robust standard deviations on."""


@dataclass(frozen=True, slots=True)
class Network:
    """Offsets of the scenes of one tile."""

    offset: npt.NDArray[np.float64]
    """(n, 2) east and north of the series' median [m]; NaN where no chain of verified pairs leads to most scenes."""
    error: npt.NDArray[np.float64]
    """(n,) standard error of an offset along an axis [m]."""
    residual: npt.NDArray[np.float64]
    """(pairs,) length of shift less difference of offsets [m]; NaN outside the network."""
    closure: npt.NDArray[np.float64]
    """(n,) median, over all triangles a scene is part of, of the length by which three shifts fail to close [m]."""
    disagrees: npt.NDArray[np.bool_]
    """(n,) whether most of a scene's pairs contradict the network."""


def solve(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
) -> Network:  # fmt: skip
    """Adjust the offsets of scenes to the shifts of pairs, by least squares that outliers cannot bend (Huber, 1964).

    Parameters
    ----------
    scenes
        How many scenes there are.
    query, train : (pairs,) intp
        Scenes of the verified pairs.
    shift : (pairs, 2) float64
        Train minus query, east and north [m].
    error : (pairs,) float64
        Standard error along an axis [m], positive.

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
    )
    member = _largest_component(scenes, query, train)
    pairs = np.flatnonzero(member[query])
    if not len(pairs):
        return network
    place = np.cumsum(member) - 1
    design = np.zeros((len(pairs), int(member.sum())))
    design[np.arange(len(pairs)), place[train[pairs]]] = 1
    design[np.arange(len(pairs)), place[query[pairs]]] = -1
    offset, weight = _reweighted(design, shift[pairs], error[pairs])
    residual = shift[pairs] - design @ offset
    normal = np.linalg.pinv(design.T @ (weight[:, None] * design))
    freedom = max(1, 2 * (len(pairs) - len(offset) + 1))
    scale = max(1.0, float((weight[:, None] * residual**2).sum()) / freedom)
    network.offset[member] = offset - np.median(offset, axis=0)
    network.error[member] = np.sqrt(scale * np.diag(normal))
    network.residual[pairs] = np.hypot(*residual.T)
    spread = 1.4826 * float(np.median(np.abs(residual)))
    outlying = network.residual > _OUTLYING * max(spread, float(np.median(error[pairs])))
    for scene in np.flatnonzero(member):
        own = pairs[(query[pairs] == scene) | (train[pairs] == scene)]
        network.disagrees[scene] = np.mean(outlying[own]) > 0.5
    return network


def _largest_component(scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Mark the scenes of the largest set that pairs connect; of equally large ones the first."""
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
        # Errors stated too small for how scenes differ must not make every pair an outlier.
        scale = np.maximum(error, float(np.median(length)) / _MEDIAN_LENGTH)
        weight = np.minimum(1, _HUBER * scale / np.maximum(length, 1e-12)) / scale**2
        if np.abs(offset - before).max() < 1e-6:
            break
    return offset, weight


def closures(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Say by how much triangles of pairs fail to close: (scenes,) median over a scene's triangles [m]."""
    between = np.full((scenes, scenes, 2), math.nan)
    between[query, train] = shift
    between[train, query] = -shift
    median = np.full(scenes, math.nan)
    for scene in range(scenes):
        # Once around: to b, from there to c, and back.
        gap = between[scene, :, None] + between - between[scene, None, :]
        length = np.hypot(gap[..., 0], gap[..., 1])[np.triu_indices(scenes, 1)]
        if np.isfinite(length).any():
            median[scene] = np.nanmedian(length)
    return median


def add_network(scene_ids: Sequence[str], tiles: Sequence[str], pairs: pd.DataFrame) -> pd.DataFrame:
    """Solve every tile's network and write its residuals into the table of pairs.

    Parameters
    ----------
    scene_ids, tiles
        Scenes of the run, and the MGRS tile of each.
    pairs
        The table of pairs; gets the column ``network_residual_m``.

    Returns
    -------
    DataFrame
        One row a scene, by id: ``n_verified`` (all pairs), ``offset_x_m``, ``offset_y_m``, ``offset_error_m``,
        ``closure_m`` and ``disagrees`` (pairs of its tile).
    """
    verified = pairs["verified"].fillna(False).astype(bool)
    # A pair that is also turned or scaled has no one shift to adjust.
    straight = verified & (pairs["model"] == "shift")
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
        rows = pairs[straight & pairs["query"].isin(names) & pairs["train"].isin(names)]
        network = solve(
            len(names),
            names.get_indexer(pd.Index(rows["query"])),
            names.get_indexer(pd.Index(rows["train"])),
            rows[["dx_m", "dy_m"]].to_numpy(),
            rows["shift_error_m"].to_numpy(),
        )
        columns = ["offset_x_m", "offset_y_m", "offset_error_m", "closure_m"]
        table.loc[names, columns] = np.column_stack([network.offset, network.error, network.closure])
        table.loc[names, "disagrees"] = network.disagrees
        pairs.loc[rows.index, "network_residual_m"] = network.residual
    return table
