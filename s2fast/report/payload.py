"""Data of the report page as one JSON value: scenes, pairs and a sample of each pair's matches, all by column."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from typing import Any

import geopandas
import numpy as np
import pandas as pd

from s2fast.geometry.antimeridian import joined
from s2fast.geometry.nulls import null_summary
from s2fast.report.findings import Findings
from s2fast.report.inlier_statistics import STATISTICS
from s2fast.report.ordering import similarity_order
from s2fast.report.shown_matches import ShownMatches
from s2fast.report.thumbnails import Thumbnails

_PAIR_COLUMNS = (
    "n_good", "similarity_pct", "n_inliers", "dx_m", "dy_m", "dx_px", "dy_px", "shift_error_m", "verified",
    "overlap_pct", "verdict", "network_residual_m", "n_witnesses", "model", "rotation_deg", "rotation_error_deg",
    "scale", "scale_error", "shear", "rival_dx_m", "rival_dy_m", "searched_m", *STATISTICS,
)  # fmt: skip

_SCENE_COLUMNS = (
    "scene_id", "tile", "platform", "rows", "cols", "n_keypoints", "clear_pct", "n_verified", "offset_x_m",
    "offset_y_m", "offset_error_m", "disagrees", "verdict", "correction", "datum",
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
    return {
        "summary": _summary(found),
        "scenes": _scenes(scenes, shown),
        "similarity_order": similarity_order(square).tolist(),
        "pairs": {"query": numbers[0].tolist(), "train": numbers[1].tolist(), **columns(pairs, _PAIR_COLUMNS)},
        "matches": _matches(found.matches, len(pairs)),
        "problems": _problems(found, shown),
    }


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
        "stages": [
            {"name": name, **stage.model_dump(), "ran": stage.ran}
            for name, stage in history.stages.items()
            if name != "report"
        ],
        "machine": history.machine,
        "version": history.versions.get("s2fast", ""),
        "written": history.updated,
        "places": record.asked.places,
        "regions": str(record.regions) if record.regions and record.config.regions.mode != "none" else None,
        "config": record.config.model_dump(mode="json"),
    }


def _scenes(scenes: geopandas.GeoDataFrame, shown: Mapping[str, Thumbnails]) -> list[dict[str, Any]]:
    # Continuous longitudes put all scenes on one map, also across the 180th meridian.
    first = joined(scenes.geometry.iloc[0]).centroid.x
    outlines = [joined(footprint, first) for footprint in scenes.geometry]
    pictures = [shown[scene_id] for scene_id in scenes["scene_id"]]
    held = {
        **columns(scenes, _SCENE_COLUMNS),
        "time": [None if pd.isna(time) else time.isoformat() for time in scenes["sensing_time"]],
        "footprint": [[[round(value, 5) for value in point] for point in line.exterior.coords] for line in outlines],
        "colour": [picture.scene for picture in pictures],
        "grey": [picture.tile for picture in pictures],
        "in_colour": [picture.in_colour for picture in pictures],
    }
    return [dict(zip(held, row, strict=True)) for row in zip(*held.values(), strict=True)]


def _matches(shown: ShownMatches, pairs: int) -> list[str | None]:
    """Pack the matches that the page shows, in the order of the pairs; None for pairs without matches.

    A pair's matches are base64 of little-endian columns, which data.js decodes: dx, dy float32 [m]; positions in the
    query and the train uint16, see `KeypointPositions.share`; distance uint16 [bits]; kind uint8.
    """
    matches, positions = shown.page, shown.positions
    shift = positions.displacements(matches).shift.astype("<f4")
    query = positions.share(matches.query, matches.query_row)
    train = positions.share(matches.train, matches.train_row)
    held = [*shift.T, *query.T, *train.T, matches.distance.astype("<u2"), matches.kind]
    held = [np.ascontiguousarray(column) for column in held]
    ends = np.bincount(matches.pair, minlength=pairs).cumsum().tolist()
    packed: list[str | None] = []
    for start, end in itertools.pairwise([0, *ends]):
        data = b"".join([column[start:end].tobytes() for column in held])
        packed.append(base64.b64encode(data).decode() if data else None)
    return packed


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
