"""Data of the report page as one JSON value: scenes, pairs and a sample of each pair's matches, all by column."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj

from s2fast.geometry.antimeridian import joined
from s2fast.geometry.nulls import null_summary
from s2fast.report.findings import Findings
from s2fast.report.inlier_statistics import STATISTICS
from s2fast.report.ordering import similarity_order
from s2fast.report.shown_matches import fit_the_page
from s2fast.report.sidecars import packed_matches
from s2fast.report.thumbnails import Thumbnails
from s2fast.verdicts import Verdict, is_verified

_PAIR_COLUMNS = (
    "n_good", "similarity_pct", "n_inliers", "dx_m", "dy_m", "dx_px", "dy_px", "shift_error_m", "verified",
    "overlap_pct", "verdict", "network_residual_m", "n_witnesses", "model", "rotation_deg", "rotation_error_deg",
    "scale", "scale_error", "shear", "rival_dx_m", "rival_dy_m", "searched_m", "looks", *STATISTICS,
)  # fmt: skip

_SCENE_COLUMNS = (
    "scene_id", "tile", "platform", "rows", "cols", "n_keypoints", "clear_pct", "n_verified", "offset_x_m",
    "offset_y_m", "offset_error_m", "disagrees", "verdict", "correction", "datum", "mask",
)  # fmt: skip

_CLEAR_SIDE = 24
"""Most cells per side of the page's map of a scene's clear ground."""

_ADVICE = {
    Verdict.PRIOR_SUSPECT: (
        ", so the georeferencing may be off by more than matching.radius_m allows. Set matching.radius_m above that "
        "shift and run again"
    ),
    Verdict.AMBIGUOUS: ". The view of the pair gives both shifts",
    Verdict.NOT_ENOUGH_GROUND: ". Use larger regions (regions.buffer_m) or clearer scenes",
}
"""What to do about inconclusive verdicts, to be read after their meaning."""

_SECOND_LOOK = (
    "nothing was found within five pixels of the expected position, and these pairs were verified in a second look "
    "within verification.second_look_px: the georeferencing of a scene is off by more than usual. The view of a pair "
    "says where it was found"
)
"""Meaning of pairs that a second look has verified."""


def payload(
    found: Findings, shown: Mapping[str, Thumbnails], beside: Mapping[str, Mapping[int, str]]
) -> dict[str, Any]:
    """Return the data of the page.

    Parameters
    ----------
    found
        The finished run.
    shown
        Thumbnails by scene id.
    beside
        Names of the files beside the page, without ending: ``pairs`` by the number of the first pair of each, see
        `s2fast.report.sidecars.pair_files`, ``scenes`` by scene, see `scene_files`, and ``alignment``, see
        `alignment_file`.

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
        "verdicts": {verdict.value: verdict.meaning for verdict in Verdict},
        "scenes": _scenes(found, shown),
        "similarity_order": similarity_order(square).tolist(),
        "pairs": {"query": numbers[0].tolist(), "train": numbers[1].tolist(), **packed_columns(pairs, _PAIR_COLUMNS)},
        "matches": packed_matches(found.matches, len(pairs)) if fit_the_page(len(pairs)) else None,
        "profiles": found.matches.accuracy.profiles() if fit_the_page(len(pairs)) else None,
        "beside": {name: list(map(list, files.items())) for name, files in beside.items()},
        "accuracy": found.matches.accuracy.summary(),
        "problems": _problems(found, shown),
    }


def columns(table: pd.DataFrame, names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the columns with at least one value, as lists of JSON values."""
    return {name: _values(table[name]) for name in names if name in table and table[name].notna().any()}


def packed_columns(table: pd.DataFrame, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the columns with at least one value, packed for data.js: a page of 400 scenes has 79,800 pairs.

    Numbers, and booleans as 0 and 1, are base64 of float32, NaN where missing; texts are their ``names`` and base64 of
    uint8 ``codes``, 255 where missing.
    """
    held: dict[str, dict[str, Any]] = {}
    for name in names:
        if name not in table or not table[name].notna().any():
            continue
        column = table[name]
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            values = column.to_numpy(np.float64, na_value=np.nan).astype("<f4")
            held[name] = {"numbers": base64.b64encode(values.tobytes()).decode()}
        else:
            codes, kinds = pd.factorize(column)
            codes = np.where(codes < 0, 255, codes).astype(np.uint8)
            held[name] = {"names": list(kinds), "codes": base64.b64encode(codes.tobytes()).decode()}
    return held


def _values(column: pd.Series) -> list[Any]:
    plain = column.astype(object).where(column.notna(), None).tolist()
    return [round(value, 4) if isinstance(value, float) else value for value in plain]


def _summary(found: Findings) -> dict[str, Any]:
    record, history, pairs, scenes = found.record, found.record.history, found.pairs, found.scenes
    null = found.summary.null_rate
    return {
        "scenes": len(scenes),
        "pairs": len(pairs),
        "verified": int(is_verified(pairs).sum()) if pairs["verified"].notna().any() else None,
        "keypoints": int(scenes["n_keypoints"].sum()),
        "good_matches": int(pairs["n_good"].sum()),
        "null_trials": null_summary(null.null) if null else None,
        "nulls": {"trials": null.null.trials, "verified": null.null.verified} if null else None,
        "stages": [
            {"name": name, **stage.model_dump(), "ran": stage.ran}
            for name, stage in history.stages.items()
            if name != "report"
        ],
        "machine": history.machine,
        "version": history.versions.get("s2fast", ""),
        "written": history.updated,
        "in_pixels": record.in_pixels,
        "places": record.asked.places,
        "regions": str(record.regions) if record.uses_regions else None,
        "config": record.config.model_dump(mode="json"),
    }


def _scenes(found: Findings, shown: Mapping[str, Thumbnails]) -> list[dict[str, Any]]:
    scenes, grids = found.scenes, found.matches.positions.grids
    maps = list(dict.fromkeys(grid.crs_wkt for grid in grids))
    pictures = [shown[scene_id] for scene_id in scenes["scene_id"]]
    held = {
        **columns(scenes, _SCENE_COLUMNS),
        "orbit": [_orbit(source) for source in scenes["source"]],
        "time": [None if pd.isna(time) else time.isoformat() for time in scenes["sensing_time"]],
        "footprint": footprints(scenes),
        "map": [maps.index(grid.crs_wkt) for grid in grids],
        "transform": [list(grid.transform) for grid in grids],
        "metres_per_unit": [_metres_per_unit(grid.crs_wkt) for grid in grids],
        "clear": [_clear(found.clear[scene_id]) for scene_id in scenes["scene_id"]],
        "colour": [picture.scene for picture in pictures],
        "grey": [picture.tile if found.record.uses_regions else None for picture in pictures],
        "in_colour": [picture.in_colour for picture in pictures],
    }
    return [dict(zip(held, row, strict=True)) for row in zip(*held.values(), strict=True)]


def footprints(scenes: geopandas.GeoDataFrame) -> list[list[list[float]]]:
    """Return each scene's outline as points of longitude and latitude [degrees].

    Longitudes are continuous, so that all scenes are on one map, also across the 180th meridian.
    """
    first = None if scenes.crs is None else joined(scenes.geometry.iloc[0]).centroid.x
    outlines = [joined(footprint, first) for footprint in scenes.geometry]
    return [[[round(value, 5) for value in point] for point in line.exterior.coords] for line in outlines]


@cache
def _metres_per_unit(crs_wkt: str) -> float | None:
    """Return the length of a map's unit [m]; None if it is an angle, 1 if it is a pixel."""
    if not crs_wkt:
        return 1.0
    crs = pyproj.CRS(crs_wkt)
    return crs.axis_info[0].unit_conversion_factor if crs.is_projected else None


def _clear(share: npt.NDArray[np.uint8]) -> list[str]:
    """Return a map of clear ground with at most `_CLEAR_SIDE` cells per side: digits, 0 to 9, one text for each row."""
    if not share.size:
        return []
    step = -(-max(share.shape) // _CLEAR_SIDE)
    rows, columns = (np.arange(0, side, step) for side in share.shape)
    sums = np.add.reduceat(np.add.reduceat(share.astype(np.float64), rows, axis=0), columns, axis=1)
    cells = np.outer(*(np.diff([*starts, side]) for starts, side in zip((rows, columns), share.shape, strict=True)))
    digits = np.ceil(sums / cells * 9 / 100).astype(int)
    return ["".join(map(str, row)) for row in digits.tolist()]


def _orbit(source: str) -> str | None:
    """Return the relative orbit that a product's name tells, as R021."""
    found = re.search(r"_(R\d{3})_", source)
    return found[1] if found else None


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
    rows += [{"subject": "reliability", "text": warning} for warning in found.summary.warnings]
    rows += [{"subject": "warning", "text": text} for text in history.noticed]
    if "looks" in pairs and (count := int(((pairs["looks"] == 2) & is_verified(pairs)).sum())):
        rows.append({"subject": f"second look, {count} {'pair' if count == 1 else 'pairs'}", "text": _SECOND_LOOK})
    for verdict, advice in _ADVICE.items():
        if count := int((pairs["verdict"] == verdict).sum()):
            subject = f"{verdict}, {count} {'pair' if count == 1 else 'pairs'}"
            rows.append({"subject": subject, "text": verdict.meaning + advice})
    return rows
