"""A finished sweep made by hand: two settings, six cases, three scenes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s2fast.report.thumbnails import data_url
from s2fast.sweeps.comparison import Earlier
from s2fast.sweeps.grid import SweepFile
from s2fast.sweeps.kept_pairs import _packed, kept_file
from s2fast.sweeps.page_data import Finished
from tests.archives import textured


def row(number: int, contrast: str, threshold: float, verified: int, seconds: float) -> dict[str, Any]:
    return {
        "case": f"case{number}", "status": "ok", "reason": "", "label": f"contrast {contrast}, threshold {threshold}",
        "set.ingest.contrast": contrast, "set.features.threshold": threshold,
        "config": json.dumps({"ingest": {"contrast": contrast}, "features": {"threshold": threshold}}),
        "seconds": seconds, "cpu_s": 1.7 * seconds, "peak_mb": 500.0 + 40 * number, "counts.keypoints": 10_000 * number,
        "counts.scenes": 3, "counts.pairs": 45, "environment.machine": "processor", "environment.cores": 2,
        "version": "0.1", "found.good_matches": 1000 * number,
        "found.verified_pairs": verified, "found.pairs_with_ground": 45, "found.verified_pct": 100 * verified / 45,
        "found.null_trials": 45, "found.null_verified": 0, "found.null_pct": 0.0, "found.null_low_pct": 0.0,
        "found.null_high_pct": 7.87, "found.stated_error_m": 2.0 - number / 10, "found.closure_m": 3.0,
        "found.closure_95_m": 9.0, "found.triples": 10 * number, "found.agreeing_pct": 50.0 + number,
    }  # fmt: skip


GRID_ROWS = [
    row(number + 1, contrast, threshold, 5 * (number % 3) + base, 5.0 + number * 2)
    for number, ((contrast, base), threshold) in enumerate(
        itertools.product((("none", 10), ("clahe", 31)), (0.001, 0.0003, 0.0001))
    )
]
"""Contrast finds 21 pairs more, each lower threshold 5."""


def finished_sweep(folder: Path) -> Finished:
    """Return the sweep with its pairs: b and c are verified by the last four cases, a and c by the last three."""
    path = folder / "test.jsonl"
    pictures = [data_url(textured(np.random.default_rng(seed), (64, 64))) for seed in range(3)]
    scenes = pd.DataFrame({"scene_id": ["a", "b", "c"], "rows": 64, "cols": 64, "picture": pictures})
    ends = np.array([[3.0, 4.0], [50.0, 60.0]], np.float32)
    lines = _packed(ends, (64, 64), ends, (64, 64))
    for number, case in enumerate(GRID_ROWS):
        verified = [True, number >= 3, number >= 2]
        table = pd.DataFrame(
            {
                "query": ["a", "a", "b"], "train": ["b", "c", "c"], "verified": verified,
                "verdict": ["verified" if each else "not verified" for each in verified], "n_good": 30, "n_inliers": 12,
                "dx_m": 1.5, "dy_m": -2.5, "shift_error_m": 0.4, "lines": [lines if each else b"" for each in verified],
            }
        )  # fmt: skip
        kept_file(path, case["case"]).parent.mkdir(exist_ok=True)
        table.to_parquet(kept_file(path, case["case"]))
    scenes.to_parquet(kept_file(path, "").with_name("scenes.parquet"))
    earlier = [{**each, "seconds": 2 * each["seconds"]} for each in GRID_ROWS]
    sweep = SweepFile.model_validate({"name": "test", "plot": [{}, {"cost": "peak_mb"}]})
    return Finished(sweep, GRID_ROWS, path, [Earlier("commit before", earlier), Earlier("the same", GRID_ROWS)])
