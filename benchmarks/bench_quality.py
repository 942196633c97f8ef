"""Rate of correct verdicts, error of shifts, and rate of false verifications.

    python -m benchmarks quality [--data DIR] [--only ROW ...] [--json]

DIR holds ``ukraine`` (scenes of two tiles that share a strip, with such good georeferencing that the true shift of
every pair is 0), ``arosics``, ``paris`` and ``lebanon`` (other sites). Without it only the synthetic row is run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from rasterio.windows import Window

import s2fast
from benchmarks.colours import colour_row
from benchmarks.harness import emit, option_parser
from s2fast.config import Ingest
from s2fast.raster.reader import open_raster
from s2fast.sweeps.data import load_truth
from s2fast.sweeps.quality import TRUE_PX
from s2fast.synth import synth
from s2fast.synth.plan import PIXEL_M
from s2fast.verdicts import is_verified

CONFIGS = Path(__file__).parents[1] / "configs"

HOME = ("36UXA", "36UYA")
"""Tiles of the scenes in ``ukraine``."""

TUNING_TILE = "36UYA"
"""The tile on which the settings were chosen; other scenes are the test set."""


PROFILES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "default": ("default.toml", {}),
    "fast": ("fast.toml", {}),
    "no prior": (
        "default.toml",
        {"matching.mode": "exhaustive", "verification.prior": "none", "matching.max_distance_bits": 120},
    ),
    # The scenes are already reduced, and painted polygons would dominate the result.
    "notebook": ("notebook.toml", {"regions.mode": "none", "ingest.reduction": 1, "features.backend": "auto"}),
}
"""By name: a file of `configs/`, and overrides."""

COLOURS: Mapping[str, Mapping[str, Any]] = {"colours": {}, "colours, opencv grey": {"ingest.grey": "opencv"}}
"""Overrides of the rows of scenes in colour."""

NULLS = 2
"""Wrong offsets tried per pair in the row "unrelated"."""

SYNTH_PX, SYNTH_DATES = 1536, 8


def main(argv: Sequence[str]) -> int:
    """Run every row and print it."""
    rows = [*PROFILES, *COLOURS, "unrelated", "arosics", "synthetic"]
    parser = option_parser("quality", __doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=rows, nargs="+", default=rows)
    options = parser.parse_args(argv)
    for name in options.only:
        with tempfile.TemporaryDirectory() as scratch:
            if name == "synthetic":
                row = synthetic_row(Path(scratch))
            elif not options.data.exists():
                row = {"skipped": f"{options.data} does not exist"}
            elif name == "unrelated":
                row = unrelated_row(options.data, Path(scratch))
            elif name in COLOURS:
                row = colour_row(options.data, COLOURS[name], Path(scratch))
            elif name == "arosics":
                row = arosics_row(options.data / "arosics", Path(scratch))
            else:
                row = real_row(options.data / "ukraine", PROFILES[name], Path(scratch))
        emit({"benchmark": "quality", "row": name, **row}, as_json=options.json)
    return 0


def real_row(scenes: Path, profile: tuple[str, Mapping[str, Any]], out: Path) -> dict[str, Any]:
    """Compare the results of a profile with the true shift of 0."""
    run = s2fast.run(CONFIGS / profile[0], scenes=scenes, out=out / "run", overrides=profile[1])
    pairs = run.pairs()
    same = pairs["query_tile"] == pairs["train_tile"]
    tuning = same & (pairs["query_tile"] == TUNING_TILE)
    groups = {"same tile": same, TUNING_TILE: tuning, "other tile": same & ~tuning, "strip": ~same}
    stages = run.record.history.stages
    return against_zero(pairs, groups) | {
        "wrong places": run.record.history.counts["null_trials"],
        "verified there": run.record.history.counts["null_verified"],
        "seconds: features": stages["extract"].seconds,
        "seconds: pairs": round(stages["match"].seconds + stages["verify"].seconds, 2),
    }


def against_zero(pairs: pd.DataFrame, groups: Mapping[str, pd.Series[bool]]) -> dict[str, Any]:
    """Compare the verdicts of groups of pairs with the true shift of 0; wrong ones are counted over all pairs."""
    verified = is_verified(pairs)
    off = pd.Series(np.hypot(pairs["dx_px"].to_numpy(), pairs["dy_px"].to_numpy()))
    right = verified & (off <= TRUE_PX)
    row: dict[str, Any] = {}
    for name, group in groups.items():
        errors = off[right & group]
        row |= {
            f"{name}: pairs": int(group.sum()),
            f"{name}: right %": round(100 * float(right[group].mean()), 1),
            f"{name}: error px, median": round(float(errors.median()), 3) if len(errors) else None,
            f"{name}: error px, p95": round(float(errors.quantile(0.95)), 3) if len(errors) else None,
        }
    return row | {"wrong": int((verified & ~right).sum())}


def unrelated_row(data: Path, out: Path) -> dict[str, Any]:
    """Count false verifications by the default: pairs at wrong offsets and pairs of different sites."""
    others = [path for name in ("arosics", "paris", "lebanon") for path in sorted((data / name).rglob("*.jp2"))]
    folders = [data / "ukraine", *others]
    settings = {"ingest.stretch": "auto", "verification.nulls": NULLS}
    run = s2fast.run(CONFIGS / "default.toml", scenes=folders, out=out / "run", overrides=settings)
    home = {item.scene.scene_id for item in run.record.usable if item.scene.tile in HOME}
    pairs = run.pairs()
    # The two scenes of arosics show the same site.
    foreign = pairs["query"].isin(home) != pairs["train"].isin(home)
    return {
        "trials at wrong places": run.record.history.counts["null_trials"],
        "verified there": run.record.history.counts["null_verified"],
        "pairs of unrelated places": int(foreign.sum()),
        "verified among them": int(pairs["verified"][foreign].sum()),
    }


def arosics_row(scenes: Path, out: Path) -> dict[str, Any]:
    """Compare the shift of two real 10 m scenes with the result of phase correlation."""
    files = sorted(scenes.rglob("*.jp2"))
    run = s2fast.run(scenes=files, out=out / "run", overrides={"ingest.stretch": "auto"})
    pair = run.pairs().iloc[0]
    query, train = (Path(item.scene.source.name) for item in run.record.usable)
    shifts = np.array(list(correlated(query, train)))
    x, y = np.median(shifts, axis=0)
    return {
        "verdict": pair["verdict"],
        "shift px": [round(float(pair["dx_px"]), 3), round(float(pair["dy_px"]), 3)],
        "stated error px": round(float(pair["shift_error_m"]) / 10, 3),
        "phase correlation px": [round(float(x), 3), round(float(y), 3)],
        "windows": len(shifts),
        "apart px": round(float(np.hypot(pair["dx_px"] - x, pair["dy_px"] - y)), 3),
    }


def correlated(query: Path, train: Path, side: int = 256) -> Iterator[tuple[float, float]]:
    """Yield the shift of square windows of the common ground by phase correlation [px, right and down].

    Windows with missing data, and those whose peak is weak or more than 5 px away, are skipped.
    """
    settings = Ingest(stretch="auto")
    with open_raster(query, settings) as one, open_raster(train, settings) as two:
        a, b = one.raster.transform, two.raster.transform
        right, down = round((a[2] - b[2]) / a[0]), round((a[5] - b[5]) / a[4])
        with rasterio.open(query) as first, rasterio.open(train) as second:
            for row in range(0, first.height - side, side // 2):
                for column in range(0, first.width - side, side // 2):
                    here = first.read(1, window=Window(column, row, side, side))
                    there = second.read(1, window=Window(column + right, row + down, side, side))
                    if there.shape != here.shape or not (here.all() and there.all()):
                        continue
                    (x, y), response = _phase(here, there)
                    if response > _RESPONSE and np.hypot(x, y) < _FARTHEST_PX:
                        yield x, y


_RESPONSE = 0.1
_FARTHEST_PX = 5.0


def _phase(here: npt.NDArray[Any], there: npt.NDArray[Any]) -> tuple[tuple[float, float], float]:
    window = cv2.createHanningWindow(here.shape[::-1], cv2.CV_32F)
    (x, y), response = cv2.phaseCorrelate(here.astype(np.float32), there.astype(np.float32), window)
    return (x, y), response


def synthetic_row(out: Path) -> dict[str, Any]:
    """Compare shifts and their stated errors with known sub-pixel shifts."""
    synth(out / "archive", size=SYNTH_PX, dates=SYNTH_DATES)
    run = s2fast.run(scenes=out / "archive", out=out / "run")
    truth = load_truth(out / "archive" / "truth.json")
    pairs = run.pairs()
    rows = pairs[is_verified(pairs)]
    wanted = np.array([truth.shift_m(query, train) for query, train in zip(rows["query"], rows["train"], strict=True)])
    off = np.abs(rows[["dx_m", "dy_m"]].to_numpy() - wanted)
    in_errors = off / rows[["shift_error_m"]].to_numpy()
    return {
        "pairs": len(pairs),
        "verified": len(rows),
        "wrong": int((np.hypot(*off.T) > TRUE_PX * PIXEL_M).sum()),
        "error px, median": round(float(np.median(np.hypot(*off.T))) / PIXEL_M, 4),
        "within 1 stated error %": round(100 * float((in_errors <= 1).mean()), 1),
        "within 2 stated errors %": round(100 * float((in_errors <= 2).mean()), 1),
    }
