"""A run whose pairs have been judged, as verification would, from what is known of the archive: nothing has moved."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

import s2fast
from s2fast.folder.checksums import checksum
from s2fast.folder.pair_blocks import parquet
from s2fast.folder.record import NullRecord, load_record
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.nulls import NullRate, null_warning
from s2fast.geometry.scene_verdict import correction_text, scene_verdicts
from s2fast.report import gis, page
from s2fast.report.displacements import KeypointPositions
from s2fast.report.findings import Findings, Summary
from s2fast.report.ground import ground_layers
from s2fast.report.match_columns import MatchColumns
from s2fast.report.outputs import FILES, page_files
from s2fast.report.shown_matches import ShownMatches
from s2fast.report.sidecars import FOLDER
from s2fast.work.executors import open_workplace
from tests.archives import PIXEL_M, UTM36, Archive

SIMILARITIES = [80.0, 60.0, 50.0, 49.99, 20.0, 0.0]
"""Of the six pairs of the tests' archive, in its order."""


VERDICTS = ["verified", "not verified", "prior suspect", "ambiguous", "not enough ground", "no common ground"]
"""Every verdict there is; six, as the archive's pairs."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Two run folders over the same archive."""

    plain: Path
    """As the stages wrote it, not verified."""
    out: Path
    """With inliers, shifts and verdicts."""


def judge(archive: Archive, folder: Path) -> Judged:
    """Run the archive, copy the run, and judge the copy."""
    plain, out = folder / "plain", folder / "judged"
    unverified = {"matching.mode": "exhaustive", "matching.mutual": False, "verification.enabled": False}
    s2fast.run(scenes=archive.scenes, regions=archive.regions, out=plain, overrides=unverified)
    shutil.copytree(plain, out)
    run = RunFolder(out)
    scene_ids = s2fast.open_run(out).scene_ids
    ground = KeypointPositions(run, scene_ids)
    number_of = {name: number for number, name in enumerate(scene_ids)}
    for block in set(run.verified.rows()["block"]):
        rows, table = run.verified.read([block])
        near = np.hypot(*ground.displacements(MatchColumns.of_table(table, number_of)).shift.T) < 2 * PIXEL_M
        inlier = table.column_names.index("inlier")
        replace_block(run, block, rows, table.set_column(inlier, "inlier", pa.array(near)))
    pairs, scenes = _tables(run)
    run.write("pairs.parquet", parquet(pa.Table.from_pandas(pairs, preserve_index=False)))
    sink = io.BytesIO()
    scenes.to_parquet(sink)
    run.write("scenes.parquet", sink.getvalue())
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    write_page(out, run, pairs, scenes)
    record = load_record(run)
    assert record is not None
    ground = ground_layers(record, run, scenes, clear_maps(run, scenes), UTM36)
    for name, data in gis.layer_files(pairs, scenes, shown_matches(run, pairs), ground).items():
        run.write(name, data)
    record.history.tables = {name: checksum(run.read(name)) for name in FILES}
    record.save(run)
    return Judged(plain, out)


def replace_block(run: RunFolder, block: str, rows: pa.Table, matches: pa.Table) -> None:
    """Replace what a verified block of pairs holds."""
    for folder in ("verified", "matches"):
        run.remove(f"{folder}/{block}.parquet")
    run.verified.write(rows["key"].to_pylist(), rows, matches)


def write_page(
    to: Path, run: RunFolder, pairs: pd.DataFrame, scenes: geopandas.GeoDataFrame, null: NullRate | None = None
) -> Path:
    """Write the page of tables, as if trials had had this outcome, and the files beside it; return its path."""
    record = load_record(run)
    assert record is not None
    history = record.history
    summary = Summary(history.counts, history.null_rate, history.warnings)
    if null is not None:
        warning = null_warning(null, len(pairs), int(pairs["verified"].sum()))
        summary = Summary(history.counts, NullRecord.of(null), [warning] if warning else [])
    with open_workplace() as workplace:
        shown, clear = shown_matches(run, pairs), clear_maps(run, scenes)
        found = Findings(record, run, workplace, pairs, scenes, b"", summary, shown, clear)
        for name, data in page_files(found):
            (to / name).parent.mkdir(exist_ok=True)
            (to / name).write_bytes(data)
    return to / page.NAME


def clear_maps(run: RunFolder, scenes: geopandas.GeoDataFrame) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the maps of the scenes' clear ground."""
    return {scene_id: run.clear(scene_id) for scene_id in scenes["scene_id"]}


def shown_matches(run: RunFolder, pairs: pd.DataFrame) -> ShownMatches:
    """Return the matches that the outputs show."""
    rows = run.verified.rows().set_index(["query", "train"])
    blocks = rows["block"].loc[list(zip(pairs["query"], pairs["train"], strict=True))].tolist()
    return ShownMatches.of(run, pairs, blocks, s2fast.open_run(run.address).scene_ids)


def every_verdict(judged: Judged) -> pd.DataFrame:
    """Return the judged run's pairs with another verdict each; the first is turned and scaled."""
    pairs = pd.read_parquet(judged.out / "pairs.parquet")
    pairs["verdict"] = VERDICTS
    pairs["verified"] = pd.array([name == "verified" for name in VERDICTS], "boolean")
    with_shift = pairs["verdict"].isin(["verified", "prior suspect", "ambiguous"])
    pairs["dx_m"] = np.where(pairs["verdict"] == "prior suspect", 300.0, 3.0)
    pairs["dy_m"] = -4.0
    found = ["dx_m", "dy_m", "dx_px", "dy_px", "shift_error_m", "network_residual_m"]
    pairs.loc[~with_shift, found] = np.nan
    pairs["n_witnesses"] = pd.array([41, 12, 15, 22, 1, 0], "Int64")
    pairs["model"] = ["similarity", "", "shift", "shift", "", ""]
    pairs["searched_m"] = 50.0
    turned = {"rotation_deg": -1.25, "rotation_error_deg": 0.02, "scale": 1.0125, "scale_error": 0.0004}
    for name, value in turned.items():
        pairs.loc[0, name] = value
    pairs.loc[VERDICTS.index("ambiguous"), ["rival_dx_m", "rival_dy_m"]] = [33.0, 26.0]
    return pairs


def _tables(run: RunFolder) -> tuple[pd.DataFrame, geopandas.GeoDataFrame]:
    pairs = pd.read_parquet(io.BytesIO(run.read("pairs.parquet")))
    counts = [
        int(run.verified.matches(query, train)["inlier"].sum()) for query, train in pairs[["query", "train"]].to_numpy()
    ]
    verified = np.array(counts) >= 8
    pairs["similarity_pct"] = SIMILARITIES
    pairs["n_inliers"] = pd.array(counts, "Int64")
    for name, value in (("dx_m", 3.0), ("dy_m", -4.0), ("dx_px", 0.3), ("dy_px", 0.4), ("shift_error_m", 0.5)):
        pairs[name] = np.where(verified, value, np.nan)
    pairs["verified"] = pd.array(verified, "boolean")
    pairs["overlap_pct"] = 90.0
    pairs["verdict"] = np.where(verified, "verified", "not verified")
    pairs["network_residual_m"] = np.where(verified, 1.0, np.nan)
    scenes = geopandas.read_parquet(io.BytesIO(run.read("scenes.parquet")))
    scenes["clear_pct"] = 70.0
    scenes["n_verified"] = 2
    scenes["offset_x_m"] = [5.0, -5.0, 2.0, np.nan]
    scenes["offset_y_m"] = [1.0, -1.0, 0.0, np.nan]
    scenes["offset_error_m"] = 0.5
    scenes["disagrees"] = [False, True, False, False]
    scenes["datum"] = np.where(scenes["offset_x_m"].isna(), "", "median of 36UXA, 36UYA")
    scenes["verdict"] = scene_verdicts(scenes)
    scenes["correction"] = [correction_text(*at) for at in scenes[["offset_x_m", "offset_y_m"]].to_numpy()]
    return pairs, scenes
