"""The report stage: tables of pairs and scenes, the similarity matrix, the page and the layers that show them."""

from __future__ import annotations

import io

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyproj
import shapely

from s2fast import extract, match
from s2fast.errors import RunFolderError
from s2fast.executors import Workplace
from s2fast.progress import Progress
from s2fast.record import RunRecord
from s2fast.report import gis, page
from s2fast.report.payload import payload
from s2fast.report.thumbnails import thumbnails
from s2fast.sources import gdal_name
from s2fast.stage import StageResult
from s2fast.store import RunFolder, content_key

TABLES = ("pairs.parquet", "pairs.csv", "similarity.csv", "scenes.parquet", page.NAME, *gis.NAMES)
"""Files this stage writes."""

_VERIFICATION_COLUMNS = {
    "n_inliers": "Int64",
    "dx_m": "float64",
    "dy_m": "float64",
    "dx_px": "float64",
    "dy_px": "float64",
    "shift_error_m": "float64",
    "verified": "boolean",
    "overlap_pct": "float64",
}
"""Columns that verification fills; empty until it has run."""


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, strict: bool = False
) -> StageResult:
    """Write the tables, unless they are there for these very results."""
    del strict
    key = tables_key(record)
    if record.tables_key == key and set(TABLES) <= set(folder.names()):
        with progress.stage("report", 0, len(TABLES)):
            return StageResult(kept=len(TABLES))
    # Whoever reads now, or after we are killed, must not take a mixture of old and new for a finished run.
    record.tables_key = ""
    record.save(folder)
    with progress.stage("report", len(TABLES), 0) as bar:
        pairs = pair_table(record, folder)
        folder.write_table("pairs.parquet", pa.Table.from_pandas(pairs, preserve_index=False))
        bar.advance()
        folder.write("pairs.csv", pairs.to_csv(index=False).encode())
        bar.advance()
        folder.write("similarity.csv", similarity_matrix(record, pairs).to_csv(float_format="%.2f").encode())
        bar.advance()
        write_scenes(record, folder)
        bar.advance()
        scenes = geopandas.read_parquet(io.BytesIO(folder.read("scenes.parquet")))
        shown = thumbnails(scenes["scene_id"].tolist(), folder, workplace)
        folder.write(page.NAME, page.page(payload(record, folder, pairs, scenes, shown)).encode())
        bar.advance()
        gis.write_layers(folder, pairs, scenes)
        for _ in gis.NAMES:
            bar.advance()
    record.counts = {
        "scenes": len(record.usable),
        "pairs": len(pairs),
        "keypoints": sum(int(folder.feature_attributes(item.scene.scene_id)["count"]) for item in record.usable),
        "good_matches": int(pairs["n_good"].sum()),
    }
    record.tables_key = key
    return StageResult(done=len(TABLES))


def tables_key(record: RunRecord) -> str:
    """Content key of the tables: all that the pairs' results and the list of scenes depend on."""
    config = record.config
    return content_key("tables", page.looks(), extract.wanted_keys(record), match.key("", "", config))


def pair_table(record: RunRecord, folder: RunFolder) -> pd.DataFrame:
    """Join the blocks' rows with what the scenes say: one row a pair, in the run's order."""
    order = pd.DataFrame(
        [{"query": p.query, "train": p.train, "key": p.key} for p in match.wanted_pairs(record, folder)]
    )
    if order.empty:
        order = pd.DataFrame({"query": [], "train": [], "key": []}, dtype=str)
    found = folder.pair_parts().reindex(columns=["key", "n_query", "n_train", "n_good", "similarity_pct"])
    rows = order.merge(found.drop_duplicates("key"), on="key", how="left", validate="one_to_one")
    missing = int(rows["n_good"].isna().sum())
    if missing:
        raise RunFolderError(f"{folder} has no result of {missing} pairs under these settings: run match first")
    scenes = {item.scene.scene_id: item.scene for item in record.scenes}
    table = pd.DataFrame({"query": rows["query"], "train": rows["train"]})
    for side in ("query", "train"):
        table[f"{side}_tile"] = [scenes[name].tile for name in rows[side]]
        times = [scenes[name].sensing_time or pd.NaT for name in rows[side]]
        table[f"{side}_time"] = pd.Series(times, table.index, dtype="datetime64[us, UTC]")
    table = table[["query", "train", "query_tile", "train_tile", "query_time", "train_time"]]
    for name in ("n_query", "n_train", "n_good"):
        table[name] = rows[name].astype("int64")
    table["similarity_pct"] = rows["similarity_pct"].astype("float64")
    for name, dtype in _VERIFICATION_COLUMNS.items():
        table[name] = pd.Series([None] * len(table), dtype=dtype)
    return table


def similarity_matrix(record: RunRecord, pairs: pd.DataFrame) -> pd.DataFrame:
    """Lay similarities out as a square, query down, train across; what was not computed is blank."""
    names = pd.Index([item.scene.scene_id for item in record.usable])
    square = np.full((len(names), len(names)), np.nan)
    square[names.get_indexer(pd.Index(pairs["query"])), names.get_indexer(pd.Index(pairs["train"]))] = pairs[
        "similarity_pct"
    ]
    return pd.DataFrame(square, index=names, columns=names)


def write_scenes(record: RunRecord, folder: RunFolder) -> None:
    """Write scenes.parquet: one row a scene, the raster's footprint in longitude and latitude."""
    rows, footprints = [], []
    for item in record.usable:
        scene = item.scene
        features = folder.feature_attributes(scene.scene_id)
        tile = folder.tile_attributes(scene.scene_id)
        rows.append(
            {
                "scene_id": scene.scene_id,
                "platform": scene.platform,
                "sensing_time": scene.sensing_time,
                "tile": scene.tile,
                "source": gdal_name(scene.path),
                "crs": pyproj.CRS(item.raster.crs_wkt).to_string(),
                "rows": item.raster.shape[0],
                "cols": item.raster.shape[1],
                "windows_read": tile["windows_read"],
                "n_keypoints": features["count"],
            }
        )
        to_lonlat = pyproj.Transformer.from_crs(item.raster.crs_wkt, "EPSG:4326", always_xy=True)
        footprints.append(shapely.Polygon([to_lonlat.transform(x, y) for x, y in item.raster.outline()]))
    frame = geopandas.GeoDataFrame(rows, geometry=footprints, crs="EPSG:4326")
    sink = io.BytesIO()
    frame.to_parquet(sink)
    folder.write("scenes.parquet", sink.getvalue())
