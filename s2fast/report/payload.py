"""Data of the report page as one JSON value: scenes, pairs by column, a sample of each pair's matches."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.antimeridian import joined
from s2fast.geometry.nulls import null_summary
from s2fast.report.displacements import FeaturePositions, inliers, pairs_with_matches
from s2fast.report.findings import Findings
from s2fast.report.ordering import similarity_order
from s2fast.report.thumbnails import Thumbnails

MOST_MATCHES = 150
"""Maximum number of matches per pair in the page."""

_MATCHES_BYTES = 8_000_000
"""Size limit of the matches of all pairs together."""

_BYTES_PER_MATCH = 19

_PAIR_COLUMNS = (
    "n_good", "similarity_pct", "n_inliers", "dx_m", "dy_m", "dx_px", "dy_px", "shift_error_m", "verified",
    "overlap_pct", "verdict", "network_residual_m", "n_witnesses", "model", "rotation_deg", "rotation_error_deg",
    "scale", "scale_error", "shear", "rival_dx_m", "rival_dy_m", "searched_m",
)  # fmt: skip

_SCENE_COLUMNS = (
    "scene_id", "tile", "platform", "rows", "cols", "n_keypoints", "clear_pct", "n_verified", "offset_x_m",
    "offset_y_m", "offset_error_m", "disagrees",
)  # fmt: skip

_MEANING = {
    "prior suspect": (
        "the matches indicate a shift beyond the search radius, so the georeferencing may be off by more than "
        "matching.radius_m allows. Set matching.radius_m above that shift and run again"
    ),
    "ambiguous": (
        "two shifts explain the matches about equally well, as on ground with a repeating pattern. The view of the "
        "pair gives both shifts"
    ),
    "not enough ground": (
        "too few matches are on ground that is neither painted, filled nor missing. Use larger regions "
        "(regions.buffer_m) or clearer scenes"
    ),
}
"""Meaning of inconclusive verdicts, and what to do about them."""

UNKNOWN, OUTLIER, INLIER = 2, 0, 1
"""Codes of the kinds of matches in the page's data."""


def payload(found: Findings, shown: Mapping[str, Thumbnails]) -> dict[str, Any]:
    """Return the data of the page.

    Parameters
    ----------
    found
        The finished run.
    shown
        Thumbnails by scene id.

    Returns
    -------
    dict
        JSON values only; NaN and missing values are None.
    """
    pairs, scenes = found.pairs, found.scenes
    number_of = {scene_id: number for number, scene_id in enumerate(scenes["scene_id"])}
    numbers = pairs["query"].map(number_of), pairs["train"].map(number_of)
    square = np.full((len(scenes), len(scenes)), np.nan)
    square[numbers] = pairs["similarity_pct"]
    most = matches_per_pair(len(pairs))
    return {
        "summary": _summary(found),
        "scenes": _scenes(scenes, shown),
        "similarity_order": similarity_order(square).tolist(),
        "pairs": {"query": numbers[0].tolist(), "train": numbers[1].tolist(), **columns(pairs, _PAIR_COLUMNS)},
        "matches": _matches(found.folder, pairs, most),
        "most_matches": most,
        "problems": _problems(found, shown),
    }


def matches_per_pair(pairs: int) -> int:
    """Return the maximum number of matches per pair in the page.

    Examples
    --------
    >>> matches_per_pair(1225), matches_per_pair(19_900)
    (150, 21)
    """
    return min(MOST_MATCHES, _MATCHES_BYTES // (_BYTES_PER_MATCH * max(pairs, 1)))


def columns(table: pd.DataFrame, names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the columns with at least one value, as lists of JSON values."""
    return {name: _values(table[name]) for name in names if name in table and table[name].notna().any()}


def _values(column: pd.Series) -> list[Any]:
    plain = column.astype(object).where(column.notna(), None).tolist()
    return [round(value, 4) if isinstance(value, float) else value for value in plain]


def _summary(found: Findings) -> dict[str, Any]:
    record, history, pairs, scenes = found.record, found.record.history, found.pairs, found.scenes
    null = found.summary.null_rate
    return {
        "scenes": len(scenes),
        "pairs": len(pairs),
        "verified": int(pairs["verified"].sum()) if pairs["verified"].notna().any() else None,
        "keypoints": int(scenes["n_keypoints"].sum()),
        "good_matches": int(pairs["n_good"].sum()),
        "null_trials": null_summary(null.null) if null else None,
        "stages": [{"name": name, **stage.model_dump()} for name, stage in history.stages.items() if name != "report"],
        "machine": history.machine,
        "version": history.versions.get("s2fast", ""),
        "written": history.updated,
        "places": record.asked.places,
        "regions": str(record.regions) if record.regions and record.config.regions.mode != "none" else None,
        "config": record.config.model_dump(mode="json"),
    }


def _scenes(scenes: geopandas.GeoDataFrame, shown: Mapping[str, Thumbnails]) -> list[dict[str, Any]]:
    held = columns(scenes, _SCENE_COLUMNS)
    rows = [dict(zip(held, values, strict=True)) for values in zip(*held.values(), strict=True)]
    # Continuous longitudes put all scenes on one map, also across the 180th meridian.
    first = joined(scenes.geometry.iloc[0]).centroid.x
    outlines = [joined(footprint, first) for footprint in scenes.geometry]
    for row, time, outline in zip(rows, scenes["sensing_time"], outlines, strict=True):
        pictures = shown[row["scene_id"]]
        row["time"] = None if pd.isna(time) else time.isoformat()
        row["footprint"] = [[round(value, 5) for value in point] for point in outline.exterior.coords]
        row |= {"colour": pictures.scene, "grey": pictures.tile, "in_colour": pictures.in_colour}
    return rows


def _matches(folder: RunFolder, pairs: pd.DataFrame, most: int) -> list[str | None]:
    """Pack a sample of each pair's matches, in the order of the pairs; None for pairs without stored matches."""
    row_of = {names: number for number, names in enumerate(zip(pairs["query"], pairs["train"], strict=True))}
    packed: list[str | None] = [None] * len(pairs)
    positions = FeaturePositions(folder)
    for query, train, matches in pairs_with_matches(folder):
        # Blocks may contain stale pairs of scenes that are no longer in the run.
        if (query, train) in row_of:
            packed[row_of[query, train]] = _packed(positions, query, train, sampled(matches, most))
    return packed


def sampled(matches: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most `most` matches, the nearest descriptors of each kind, inliers first.

    At most two thirds are inliers if there are enough outliers.
    """
    ranked = matches.assign(outlier=~inliers(matches)).sort_values(["outlier", "distance"], kind="stable")
    n_inliers = int((~ranked["outlier"]).sum())
    n_outliers = len(ranked) - n_inliers
    first = min(n_inliers, max(2 * most // 3, most - n_outliers))
    return pd.concat([ranked[:first], ranked[n_inliers : n_inliers + most - first]])


def _packed(positions: FeaturePositions, query: str, train: str, matches: pd.DataFrame) -> str:
    """Encode matches as base64 of little-endian columns; data.js decodes them.

    Columns: dx, dy float32 [m]; query x, y and train x, y uint16, where 65535 is the scene's far edge; distance uint16
    [bits]; kind uint8.
    """
    known = matches["inlier"].notna().to_numpy()
    kind = np.where(known, np.where(inliers(matches), INLIER, OUTLIER), UNKNOWN).astype(np.uint8)
    parts = [
        *positions.displacements(query, train, matches).shift.astype("<f4").T,
        *_share(positions, query, matches["query_row"].to_numpy()).T,
        *_share(positions, train, matches["train_row"].to_numpy()).T,
        matches["distance"].to_numpy("<u2"),
        kind,
    ]
    return base64.b64encode(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).decode()


def _share(positions: FeaturePositions, scene_id: str, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
    """Return positions as shares of the scene's width and height: (n, 2) uint16."""
    height, width = positions.grid(scene_id).shape
    share = (positions.pixels(scene_id)[rows] + 0.5) / (width, height)
    counts: npt.NDArray[np.uint16] = np.clip(np.rint(share * 65535), 0, 65535).astype("<u2")
    return counts


def _problems(found: Findings, shown: Mapping[str, Thumbnails]) -> list[dict[str, str]]:
    pairs, history = found.pairs, found.record.history
    rows = [{"subject": name, "text": f"skipped: {problem}"} for name, problem in history.problems.items()]
    for name, products in found.record.found.superseded.items():
        rows.append({"subject": name, "text": f"skipped: {'; '.join(products)}"})
    for name, pictures in shown.items():
        if not pictures.in_colour:
            rows.append({"subject": name, "text": "its file cannot be read; the stored tile is shown, in grey"})
    if not pairs["verified"].notna().any():
        rows.append({"subject": "verification", "text": "has not run: run verify, then report"})
    rows += [{"subject": "verification", "text": warning} for warning in found.summary.warnings]
    rows += [{"subject": "warning", "text": text} for text in history.noticed]
    for verdict, meaning in _MEANING.items():
        if count := int((pairs["verdict"] == verdict).sum()):
            rows.append({"subject": f"{verdict}, {count} {'pair' if count == 1 else 'pairs'}", "text": meaning})
    return rows
