"""Tables of pairs and of scenes, and the similarity matrix."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import geopandas
import numpy as np
import pandas as pd
import pyproj

from s2fast.errors import RunFolderError
from s2fast.files.legible import counted
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.antimeridian import footprint
from s2fast.geometry.placement import overlap_pct
from s2fast.geometry.scene_verdict import SceneVerdict, correction_text, scene_verdicts
from s2fast.masks.kinds import BY_NAME, NOT_JUDGED, described

_Table = TypeVar("_Table", pd.DataFrame, geopandas.GeoDataFrame)

_PAIR_COLUMNS: dict[str, Any] = {
    "n_query": "int64",
    "n_train": "int64",
    "n_good": "int64",
    "similarity_pct": "float64",
    "n_inliers": "Int64",
    "dx_m": "float64",
    "dy_m": "float64",
    "dx_px": "float64",
    "dy_px": "float64",
    "shift_error_m": "float64",
    "verified": "boolean",
    "overlap_pct": "float64",
    "verdict": "str",
    "network_residual_m": "float64",
    "n_witnesses": "Int64",
    "model": "str",
    "rotation_deg": "float64",
    "rotation_error_deg": "float64",
    "scale": "float64",
    "scale_error": "float64",
    "shear": "float64",
    "rival_dx_m": "float64",
    "rival_dy_m": "float64",
    "searched_m": "float64",
    "looks": "Int64",
}
"""Columns of pairs.parquet after those that identify the scenes, in this order. Matching and verification fill all but
``network_residual_m``, which `add_network` fills. Add new columns at the end."""


def pair_table(
    record: RunRecord, folder: RunFolder, keys: pd.DataFrame
) -> tuple[pd.DataFrame, list[str], dict[str, int]]:
    """Join the verdicts of all pairs with the tiles and times of their scenes.

    Parameters
    ----------
    record, folder
        The run.
    keys
        See `s2fast.report.findings.Findings.of`.

    Returns
    -------
    pairs : DataFrame
        One row per pair, in the run's order.
    blocks : list of str
        Name of the block of `RunFolder.verified` that holds each pair.
    nulls : dict
        Sums of ``null_trials`` and ``null_verified``.
    """
    found = folder.verified.rows().reindex(columns=["key", "block", *_PAIR_COLUMNS, "null_trials", "null_verified"])
    rows = keys.merge(found.drop_duplicates("key"), on="key", how="left", validate="one_to_one")
    check_results(int(rows["n_good"].isna().sum()), folder)
    scenes = {item.scene.scene_id: item.scene for item in record.usable}
    table = pd.DataFrame({"query": rows["query"], "train": rows["train"]})
    for side in ("query", "train"):
        table[f"{side}_tile"] = [scenes[name].tile for name in rows[side]]
        times = [scenes[name].sensing_time or pd.NaT for name in rows[side]]
        table[f"{side}_time"] = pd.Series(times, table.index, dtype="datetime64[us, UTC]")
    table = table[["query", "train", "query_tile", "train_tile", "query_time", "train_time"]]
    table = table.join(rows[list(_PAIR_COLUMNS)].astype(_PAIR_COLUMNS))
    nulls = {name: int(rows[name].sum()) for name in ("null_trials", "null_verified")}
    return table, rows["block"].tolist(), nulls


def check_results(missing: int, folder: RunFolder) -> None:
    """Raise RunFolderError if results of pairs are missing."""
    if missing:
        pairs = counted(missing, "pair")
        raise RunFolderError(f"{folder} has no results for {pairs} under these settings: run verify first")


def without_metres(table: _Table, *, in_pixels: bool) -> _Table:
    """Return a table to write: that of a run in pixels has no values in its columns of metres."""
    metres = [name for name in map(str, table) if name.endswith("_m")] if in_pixels else []
    return table.assign(**dict.fromkeys(metres, math.nan))


def similarity_matrix(record: RunRecord, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return similarities as a square table: queries as rows, trains as columns, NaN where not computed."""
    names = pd.Index([item.scene.scene_id for item in record.usable])
    square = np.full((len(names), len(names)), np.nan)
    square[names.get_indexer(pd.Index(pairs["query"])), names.get_indexer(pd.Index(pairs["train"]))] = pairs[
        "similarity_pct"
    ]
    return pd.DataFrame(square, index=names, columns=names)


def clouds_by(record: RunRecord, folder: RunFolder, item: SceneInput) -> str:
    """Return what the clouds of a scene were found by; see `s2fast.masks.kinds.described`."""
    scene_id = item.scene.scene_id
    painted = record.regions is not None and record.config.regions.mode == "zero"
    settings = record.config.ingest.model_copy(update={"mask": "none"}) if painted else record.config.ingest
    tile = folder.tile(scene_id)
    found = described(settings, tile.mask, folder.clouds_judged(scene_id), tile.not_by_brightness)
    return f"{found} ({BY_NAME[tile.mask_unused].label} not used)" if tile.mask_unused else found


def scene_table(record: RunRecord, folder: RunFolder, network: pd.DataFrame) -> geopandas.GeoDataFrame:
    """Return one row per scene, with its footprint in longitude and latitude and its offset in the network of shifts.

    Those of a run in pixels have no CRS, and offsets are in pixels, up and to the right: see `without_metres`.

    Parameters
    ----------
    record, folder
        The run.
    network
        One row per scene, by id, see `s2fast.geometry.datum.add_network`.
    """
    rows, footprints = [], []
    for item in record.usable:
        scene = item.scene
        placement = folder.placement(scene.scene_id)
        mask = clouds_by(record, folder, item)
        rows.append(
            {
                "scene_id": scene.scene_id,
                "platform": scene.platform,
                "sensing_time": scene.sensing_time,
                "tile": scene.tile,
                "source": scene.source.name,
                "crs": pyproj.CRS(item.raster.crs_wkt).to_string() if item.raster.crs_wkt else "",
                "rows": item.raster.shape[0],
                "cols": item.raster.shape[1],
                "windows_read": folder.tile(scene.scene_id).windows_read,
                "n_keypoints": folder.keypoints(scene.scene_id),
                "clear_pct": math.nan if mask.startswith(NOT_JUDGED) else overlap_pct(placement, placement),
                "cloud_cover_pct": math.nan if scene.cloud_cover_pct is None else scene.cloud_cover_pct,
                **network.loc[scene.scene_id].to_dict(),
                "mask": mask,
            }
        )
        footprints.append(footprint(placement))
    table = geopandas.GeoDataFrame(rows, geometry=footprints, crs=None if record.in_pixels else "EPSG:4326")
    table["verdict"] = pd.Series(scene_verdicts(table, record.reference), table.index, dtype="str")
    offsets = zip(table["offset_x_m"], table["offset_y_m"], strict=True)
    table["correction"] = pd.Series(
        [correction_text(*offset, in_pixels=record.in_pixels) for offset in offsets], table.index, dtype="str"
    )
    table.loc[table["verdict"] == SceneVerdict.REFERENCE, "correction"] = "held fixed"
    if record.in_pixels:
        # Right and down, as in the pairs: rows are counted downwards.
        for column, offset, sign in (
            ("x", "offset_x_m", 1.0),
            ("y", "offset_y_m", -1.0),
            ("error", "offset_error_m", 1.0),
        ):
            table[f"offset_{column}_px"] = sign * table[offset]
    return table
