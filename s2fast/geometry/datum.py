"""Which pairs tie scenes to each other, and the offsets of scenes relative to a common datum."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from s2fast.geometry.network import Network, closures, solve
from s2fast.verdicts import is_verified

_SAME_PASS_S = 600.0
"""Scenes of one platform are of the same pass if their times differ by at most this [s]. One orbit takes 100 minutes,
and the rows of tiles of one pass follow each other within seconds."""

OFFSET_COLUMNS = ["offset_x_m", "offset_y_m", "offset_error_m"]


def add_network(scenes: pd.DataFrame, pairs: pd.DataFrame, reference: str = "") -> pd.DataFrame:
    """Solve the networks of a run and add the residuals to the table of pairs.

    Parameters
    ----------
    scenes
        Scenes of the run, indexed by id: ``tile``, ``platform``, ``sensing_time``.
    pairs
        The table of pairs; the column ``network_residual_m`` is added in place.
    reference
        See `offsets`.

    Returns
    -------
    DataFrame
        One row per scene, indexed by id: ``n_verified`` (from all pairs), the columns of `offsets`, and ``closure_m``,
        the median closure error of the triangles that contain the scene and consist of pairs within its tile or with
        the reference.
    """
    verified = is_verified(pairs)
    ends = pd.concat([pairs["query"][verified], pairs["train"][verified]]).value_counts()
    table = pd.DataFrame(index=pd.Index(scenes.index, name="scene_id"))
    table["n_verified"] = ends.reindex(table.index, fill_value=0).astype("int64")
    ties = _ties(scenes, pairs, reference)
    found, pairs["network_residual_m"] = _offsets(scenes, pairs, ties, reference)
    table = table.join(found[OFFSET_COLUMNS]).assign(closure_m=math.nan).join(found[["disagrees", "datum"]])
    for tile in scenes["tile"].unique():
        own = (scenes["tile"] == tile).to_numpy()
        names = table.index[own | (table.index == reference)]
        median = pd.Series(closures(len(names), *_shifts(names, ties)[:3]), names)
        table.loc[own, "closure_m"] = median[table.index[own]]
    return table


def offsets(
    scenes: pd.DataFrame, pairs: pd.DataFrame, reference: str = "", *, plain_only: bool = True
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the offsets of scenes that pairs tie to each other.

    Two scenes are tied by a verified plain shift if they show the same tile, or neighbouring tiles in the same pass, or
    if one of them is the reference. Pairs of neighbouring tiles in different passes are not used: local differences in
    the strip that both show would move whole tiles.

    Parameters
    ----------
    scenes, pairs
        See `add_network`.
    reference
        Id of a scene that is held fixed: offsets are relative to it, and scenes that nothing ties to it have none.
        Empty: offsets are relative to the median of the scenes that ties connect.
    plain_only
        Whether pairs with rotation or scale tie no scenes. Else they do so by the shift at the centre of their ground.

    Returns
    -------
    scenes : DataFrame
        One row per scene, indexed by id: ``offset_x_m``, ``offset_y_m``, ``offset_error_m`` [m], NaN for scenes outside
        the network; ``disagrees``, whether most of its ties are outliers; ``datum``, what the offset is relative to:
        ``median of 36UXA, 36UYA``, or the reference.
    residuals : Series
        Length of each pair's shift minus the difference of the offsets [m]; NaN for pairs that are not used.
    """
    return _offsets(scenes, pairs, _ties(scenes, pairs, reference, plain_only=plain_only), reference)


def _offsets(
    scenes: pd.DataFrame, pairs: pd.DataFrame, ties: pd.DataFrame, reference: str
) -> tuple[pd.DataFrame, pd.Series]:
    """Return what `offsets` does, given the pairs that tie scenes."""
    table = pd.DataFrame(math.nan, scenes.index, OFFSET_COLUMNS).assign(disagrees=False, datum="")
    residuals = pd.Series(math.nan, pairs.index)
    component = _components(scenes.index, ties)
    main = _main_components(scenes, component, reference)
    for number in np.unique(main[main >= 0]):
        names = scenes.index[component == number]
        used = main[component == number] == number
        network = solve(len(names), *_shifts(names, ties))
        own = _relative(network, used, names.get_indexer(pd.Index([reference]))[0] if reference else -1)
        tiles = ", ".join(filter(None, sorted(scenes.loc[names[used], "tile"].unique())))
        table.loc[names[used], OFFSET_COLUMNS] = own[used]
        table.loc[names[used], "disagrees"] = network.disagrees[used]
        table.loc[names[used], "datum"] = reference or (f"median of {tiles}" if tiles else "median")
        rows = ties.index[ties["query"].isin(names)]
        residuals[rows] = network.residual
    return table, residuals


def _ties(scenes: pd.DataFrame, pairs: pd.DataFrame, reference: str, *, plain_only: bool = True) -> pd.DataFrame:
    """Return the pairs that tie scenes; one with rotation or scale has no single shift to adjust."""
    straight = is_verified(pairs) & ((pairs["model"] == "shift") | (not plain_only))
    one, other = (scenes.loc[pairs[side]] for side in ("query", "train"))
    apart = (pd.DatetimeIndex(one["sensing_time"]) - pd.DatetimeIndex(other["sensing_time"])).total_seconds()
    platform = one["platform"].to_numpy()
    same_pass = (platform == other["platform"].to_numpy()) & (platform != "") & (np.abs(apart) <= _SAME_PASS_S)
    same_tile = one["tile"].to_numpy() == other["tile"].to_numpy()
    fixed = (pairs["query"] == reference) | (pairs["train"] == reference)
    ties: pd.DataFrame = pairs[straight & (same_tile | same_pass | fixed)]
    return ties


def _shifts(
    names: pd.Index[str], ties: pd.DataFrame
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the ties between the named scenes as arguments of `s2fast.geometry.network.solve`."""
    rows = ties[ties["query"].isin(names) & ties["train"].isin(names)]
    return (
        names.get_indexer(pd.Index(rows["query"])),
        names.get_indexer(pd.Index(rows["train"])),
        rows[["dx_m", "dy_m"]].to_numpy(),
        rows["shift_error_m"].to_numpy(),
    )


def _components(names: pd.Index[str], ties: pd.DataFrame) -> npt.NDArray[np.int32]:
    """Return the number of the connected component of each scene."""
    query, train, *_ = _shifts(names, ties)
    links = coo_array((np.ones(len(query)), (query, train)), shape=(len(names), len(names)))
    return np.asarray(connected_components(links, directed=False)[1])


def _main_components(scenes: pd.DataFrame, component: npt.NDArray[np.int32], reference: str) -> npt.NDArray[np.int32]:
    """Return the component of which each scene's tile is part, -1 if there is none: (scenes,) int32.

    It is the reference's or, without one, that of most of the tile's scenes, the first of equally large ones.
    """
    main = np.full(len(scenes), -1, np.int32)
    size = np.bincount(component)
    if reference:
        fixed = component[scenes.index.get_loc(reference)]
        main[:] = fixed if size[fixed] > 1 else -1
        return main
    for tile in scenes["tile"].unique():
        own = (scenes["tile"] == tile).to_numpy()
        largest = np.bincount(component[own]).argmax()
        main[own] = largest if size[largest] > 1 else -1
    return main


def _relative(network: Network, used: npt.NDArray[np.bool_], fixed: int) -> npt.NDArray[np.float64]:
    """Return offsets and errors relative to a scene or, if its number is -1, to the median of the used: (n, 3) [m]."""
    if fixed < 0:
        offset = network.offset - np.median(network.offset[used], axis=0)
        return np.column_stack([offset, network.error])
    variance = np.diag(network.covariance)
    # The errors of two offsets depend on each other: their sum is constant.
    between = variance + variance[fixed] - 2 * network.covariance[fixed]
    return np.column_stack([network.offset - network.offset[fixed], np.sqrt(np.maximum(between, 0))])
