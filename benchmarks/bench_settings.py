"""What settings of exhaustive matching are worth on real scenes whose true displacement is known.

    python -m benchmarks settings --scenes DIR [--json]

Scenes are not prepared and pairs not verified; `python -m benchmarks quality` is about those. DIR holds scenes of which
those of one tile lie on one grid, so the true displacement of their matches is 0; pairs of different tiles stand for
unrelated ground. Every row is one configuration over whole scenes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import s2fast
from benchmarks.harness import emit
from benchmarks.quality import MATCHABLE, TRUE_PX
from s2fast.results import Run

BASE: Mapping[str, Any] = {
    "regions.mode": "none",
    "features.threshold": 0.001,
    "features.upright": False,
    "features.max_per_scene": 0,
    "features.cell_px": 0,
    "features.upsample": 1,
    "ingest.clouds": False,
    "ingest.contrast": "none",
    "verification.enabled": False,
    "matching.mode": "exhaustive",
    "matching.max_distance_bits": 512,
    "matching.ratio": 0.8,
    "matching.mutual": False,
}
"""The notebook's detector and rule, on whole scenes."""

SETTINGS: Sequence[Mapping[str, Any]] = (
    {},
    {"matching.mutual": True},
    {"matching.ratio": 0.9},
    {"matching.ratio": 0.9, "matching.mutual": True},
    {"features.upright": True},
    {"features.upright": True, "matching.mutual": True},
    {"features.upright": True, "matching.mutual": True, "matching.ratio": 0.85},
    {"features.upright": True, "matching.mutual": True, "matching.ratio": 0.9},
    {"features.upright": True, "matching.mutual": True, "matching.ratio": 0.85, "features.threshold": 0.0003},
    {
        "features.upright": True,
        "matching.mutual": True,
        "matching.ratio": 0.85,
        "features.threshold": 0.0003,
        "features.max_per_scene": 5000,
        "features.cell_px": 64,
    },
)


@dataclass(frozen=True, slots=True)
class Worth:
    """What one configuration gave over all pairs."""

    settings: dict[str, Any]
    """What differs from `BASE`."""
    good: int
    """Good matches of same-tile pairs."""
    true: int
    """Those within 2 px of the known displacement."""
    precision_pct: float
    """Their share [%]."""
    matchable_pct: float
    """Same-tile pairs with at least six true matches [%]."""
    auc: float
    """How well similarity tells same-tile pairs from pairs of different tiles: 0.5 is chance, 1 is perfect."""
    seconds: float
    """Whole run [s]."""


def main(argv: Sequence[str]) -> int:
    """Run every configuration and print its worth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=Path("../shared/data/ukraine"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as out:
        for settings in SETTINGS:
            start = time.perf_counter()
            run = s2fast.run(scenes=options.scenes, out=out, overrides={**BASE, **settings})
            row = worth(run, dict(settings), time.perf_counter() - start)
            if options.json:
                emit({"benchmark": "settings", **asdict(row)}, as_json=True)
                continue
            named = ", ".join(f"{key.partition('.')[2]} {value}" for key, value in settings.items())
            print(
                f"{row.good:8} good {row.true:7} true {row.precision_pct:5.1f} % precision "
                f"{row.matchable_pct:5.1f} % matchable {row.auc:.3f} AUC {row.seconds:6.1f} s  {named or 'base'}",
                flush=True,
            )
    return 0


def worth(run: Run, settings: dict[str, Any], seconds: float) -> Worth:
    """Hold a run's matches against the known displacement."""
    pairs = run.pairs()
    same = pairs["query_tile"] == pairs["train_tile"]
    xy = {scene_id: run.features(scene_id).xy for scene_id in run.scene_ids}
    good = true = matchable = 0
    for names, rows in pd.concat(run.folder.verified.match_tables()).groupby(["query", "train"], observed=True):
        query, train = map(str, names)
        if query.rpartition("_")[2] == train.rpartition("_")[2]:
            shift = xy[train][rows["train_row"]] - xy[query][rows["query_row"]]
            hits = int((np.hypot(*shift.T) <= TRUE_PX).sum())
            good, true, matchable = good + len(rows), true + hits, matchable + (hits >= MATCHABLE)
    return Worth(
        settings=settings,
        good=good,
        true=true,
        precision_pct=round(100 * true / max(good, 1), 1),
        matchable_pct=round(100 * matchable / max(int(same.sum()), 1), 1),
        auc=round(area_under_curve(pairs[same]["similarity_pct"], pairs[~same]["similarity_pct"]), 3),
        seconds=round(seconds, 1),
    )


def area_under_curve(positive: pd.Series[float], negative: pd.Series[float]) -> float:
    """Chance that a positive scores above a negative; ties count half."""
    ranks = pd.concat([positive, negative]).rank()
    count = len(positive), len(negative)
    return float((ranks.iloc[: count[0]].sum() - count[0] * (count[0] + 1) / 2) / (count[0] * count[1]))
