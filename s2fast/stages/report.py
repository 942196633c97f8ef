"""The report stage: tables of pairs and scenes, the similarity matrix, the page and the layers that show them."""

from __future__ import annotations

import io
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyproj

from s2fast.errors import DamageError, RunFolderError
from s2fast.folder.content_key import content_key
from s2fast.folder.pair_blocks import parquet
from s2fast.folder.record import NullRecord, RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.antimeridian import footprint
from s2fast.geometry.network import add_network
from s2fast.geometry.nulls import NullRate, null_warning
from s2fast.geometry.placement import overlap_pct
from s2fast.report import gis, page
from s2fast.report.payload import payload
from s2fast.report.thumbnails import thumbnails
from s2fast.stages import extract, verify
from s2fast.stages.pairs import place, selection
from s2fast.stages.result import StageResult
from s2fast.work.executors import Workplace
from s2fast.work.progress import Progress

TABLES = ("pairs.parquet", "pairs.csv", "similarity.csv", "scenes.parquet", page.NAME, *gis.NAMES)
"""Files this stage writes."""

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
}
"""Columns of pairs.parquet after those of the scenes, in its order: matching and verification fill all but
``network_residual_m``, which `add_network` fills. New columns come last."""


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, strict: bool = False
) -> StageResult:
    """Write the tables, unless they are there for these very results."""
    del strict
    key = tables_key(record)
    if record.tables_key == key and _are_whole(record, folder):
        with progress.stage("report", 0, len(TABLES)):
            return StageResult(kept=len(TABLES))
    # Whoever reads now, or after we are killed, must not take a mixture of old and new for a finished run.
    record.tables_key = ""
    record.save(folder)
    with progress.stage("report", len(TABLES), 0) as bar:
        pairs, nulls = pair_table(record, folder)
        scenes = [item.scene for item in record.usable]
        _note(record, folder, pairs, nulls)
        series = add_network([scene.scene_id for scene in scenes], [scene.tile for scene in scenes], pairs)
        written = {
            "pairs.parquet": folder.write("pairs.parquet", parquet(pa.Table.from_pandas(pairs, preserve_index=False)))
        }
        bar.advance()
        written["pairs.csv"] = folder.write("pairs.csv", pairs.to_csv(index=False).encode())
        bar.advance()
        square = similarity_matrix(record, pairs)
        written["similarity.csv"] = folder.write("similarity.csv", square.to_csv(float_format="%.2f").encode())
        bar.advance()
        written["scenes.parquet"] = write_scenes(record, folder, series)
        bar.advance()
        scenes = geopandas.read_parquet(io.BytesIO(folder.read("scenes.parquet")))
        shown = thumbnails(record.usable, folder, workplace)
        written[page.NAME] = folder.write(page.NAME, page.page(payload(record, folder, pairs, scenes, shown)).encode())
        bar.advance()
        written |= gis.write_layers(folder, pairs, scenes)
        for _ in gis.NAMES:
            bar.advance()
    record.tables_key, record.tables = key, written
    return StageResult(done=len(TABLES))


def _are_whole(record: RunRecord, folder: RunFolder) -> bool:
    """Return whether all tables are there as they were written."""
    try:
        for name in TABLES:
            folder.read_checked(name, record.tables.get(name), name)
    except DamageError:
        return False
    return True


def _note(record: RunRecord, folder: RunFolder, pairs: pd.DataFrame, nulls: dict[str, int]) -> None:
    """Write what the tables add up to into the record."""
    verified = int(pairs["verified"].sum())
    record.counts = {
        "scenes": len(record.usable),
        "pairs": len(pairs),
        "keypoints": sum(int(folder.feature_attributes(item.scene.scene_id)["count"]) for item in record.usable),
        "good_matches": int(pairs["n_good"].sum()),
        "verified": verified,
        **nulls,
    }
    record.null_rate, record.warnings = None, []
    if nulls["null_trials"]:
        null = NullRate(trials=nulls["null_trials"], verified=nulls["null_verified"])
        record.null_rate = NullRecord.of(null)
        record.warnings = [text for text in (null_warning(null, len(pairs), verified),) if text]


def tables_key(record: RunRecord) -> str:
    """Content key of the tables: all that the pairs' results and the list of scenes depend on."""
    config = record.config
    chosen = selection(config.matching)
    return content_key("tables", page.looks(), extract.wanted_keys(record), verify.key("", "", config), chosen)


def pair_table(record: RunRecord, folder: RunFolder) -> tuple[pd.DataFrame, dict[str, int]]:
    """Join the blocks' rows with what the scenes say: one row a pair, in the run's order; and sum up the null runs."""
    order = pd.DataFrame([{"query": p.query, "train": p.train, "key": p.key} for p in verify.run_pairs(record, folder)])
    if order.empty:
        order = pd.DataFrame({"query": [], "train": [], "key": []}, dtype=str)
    found = folder.verified.rows().reindex(columns=["key", *_PAIR_COLUMNS, "null_trials", "null_verified"])
    rows = order.merge(found.drop_duplicates("key"), on="key", how="left", validate="one_to_one")
    missing = int(rows["n_good"].isna().sum())
    if missing:
        raise RunFolderError(f"{folder} has no result of {missing} pairs under these settings: run verify first")
    scenes = {item.scene.scene_id: item.scene for item in record.scenes}
    table = pd.DataFrame({"query": rows["query"], "train": rows["train"]})
    for side in ("query", "train"):
        table[f"{side}_tile"] = [scenes[name].tile for name in rows[side]]
        times = [scenes[name].sensing_time or pd.NaT for name in rows[side]]
        table[f"{side}_time"] = pd.Series(times, table.index, dtype="datetime64[us, UTC]")
    table = table[["query", "train", "query_tile", "train_tile", "query_time", "train_time"]]
    table = table.join(rows[list(_PAIR_COLUMNS)].astype(_PAIR_COLUMNS))
    return table, {name: int(rows[name].sum()) for name in ("null_trials", "null_verified")}


def similarity_matrix(record: RunRecord, pairs: pd.DataFrame) -> pd.DataFrame:
    """Lay similarities out as a square, query down, train across; what was not computed is blank."""
    names = pd.Index([item.scene.scene_id for item in record.usable])
    square = np.full((len(names), len(names)), np.nan)
    square[names.get_indexer(pd.Index(pairs["query"])), names.get_indexer(pd.Index(pairs["train"]))] = pairs[
        "similarity_pct"
    ]
    return pd.DataFrame(square, index=names, columns=names)


def write_scenes(record: RunRecord, folder: RunFolder, series: pd.DataFrame) -> int:
    """Write scenes.parquet: one row a scene, its footprint in longitude and latitude, its place in the series.

    Returns its checksum.
    """
    rows, footprints = [], []
    for item in record.usable:
        scene = item.scene
        features = folder.feature_attributes(scene.scene_id)
        tile = folder.tile_attributes(scene.scene_id)
        ground = place(folder, scene.scene_id)
        rows.append(
            {
                "scene_id": scene.scene_id,
                "platform": scene.platform,
                "sensing_time": scene.sensing_time,
                "tile": scene.tile,
                "source": scene.source.name,
                "crs": pyproj.CRS(item.raster.crs_wkt).to_string(),
                "rows": item.raster.shape[0],
                "cols": item.raster.shape[1],
                "windows_read": tile["windows_read"],
                "n_keypoints": features["count"],
                "clear_pct": overlap_pct(ground, ground),
                **series.loc[scene.scene_id].to_dict(),
            }
        )
        footprints.append(footprint(ground))
    frame = geopandas.GeoDataFrame(rows, geometry=footprints, crs="EPSG:4326")
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return folder.write("scenes.parquet", sink.getvalue())
