"""The whole job beside the notebook's script: whole processes in turn, equal answers first, then seconds and memory.

python -m benchmarks notebook [--scenes DIR --regions FILE] [--first N] [--runs 3] [--buffer-m 600] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import s2fast
from benchmarks.harness import emit
from benchmarks.notebook_baseline import find_images

ROOT = Path(__file__).parents[1]
SIMILAR_POINTS = 0.5
"""Similarities this near count as the same where the backend is not OpenCV's [percentage points]."""

STAGES = ("ingest", "extract", "match", "report")


@dataclass(frozen=True, slots=True)
class Timing:
    """One process."""

    stages: dict[str, float]
    """Seconds of each stage, as the process tells them."""
    wall: float
    """Seconds of the whole process, imports and compilation included."""
    peak_mb: float
    """Largest resident memory [MiB]."""


def main(argv: Sequence[str]) -> int:
    """Run both in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = ROOT.parent / "shared" / "data" / "ukraine"
    parser.add_argument("--scenes", type=Path, default=shared)
    parser.add_argument("--regions", type=Path, default=shared / "deforestation_labels.geojson")
    parser.add_argument("--first", type=int, help="only the first N images")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--buffer-m", type=float, default=600.0)
    parser.add_argument("--reduction", type=int, default=1)
    parser.add_argument("--backend", default="opencv", help="AKAZE backend of s2fast; equal answers need opencv")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes"
        scenes.mkdir()
        for image in find_images(options.scenes)[: options.first]:
            (scenes / image.name).symlink_to(image.resolve())
        common = [f"--scenes={scenes}", f"--regions={options.regions.resolve()}"]
        ours, theirs = [], []
        for number in range(options.runs):
            out = Path(folder) / f"s2fast{number}"
            settings = {
                "ingest.reduction": options.reduction,
                "regions.crs": "EPSG:4326",
                "regions.buffer_m": options.buffer_m,
                "features.backend": options.backend,
            }
            ours.append(_ours([*common, f"--out={out}"], settings, out))
            out_theirs = Path(folder) / f"notebook{number}"
            theirs.append(_theirs([*common, f"--out={out_theirs}"], options.buffer_m, options.reduction))
            differences = _differences(out, out_theirs)
            if options.backend == "opencv" and differences.any():
                raise SystemExit(
                    f"{(differences > 0).sum()} of {len(differences)} similarities differ: nothing to time"
                )
    within = float((differences <= SIMILAR_POINTS).mean() * 100)
    _print(ours, theirs, within, as_json=options.json)
    return 0


def _ours(common: list[str], settings: dict[str, Any], out: Path) -> Timing:
    overrides = [f"--set={key}={value}" for key, value in settings.items()]
    wall, peak_mb, _ = _measure(
        [sys.executable, "-m", "s2fast.cli", "run", "configs/notebook.toml", *common, *overrides]
    )
    return Timing({name: stage.seconds for name, stage in s2fast.open_run(out).record.stages.items()}, wall, peak_mb)


def _theirs(common: list[str], buffer_m: float, reduction: int) -> Timing:
    options = ["--crs=EPSG:4326", f"--buffer-m={buffer_m}", f"--reduction={reduction}"]
    wall, peak_mb, told = _measure([sys.executable, "-m", "benchmarks.notebook_baseline", *common, *options])
    return Timing(json.loads(told)["seconds"], wall, peak_mb)


def _measure(command: list[str]) -> tuple[float, float, str]:
    """Run a process; its wall seconds, its own peak memory [MiB], what it printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command, cwd=ROOT, stdout=told, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        if status != 0:
            raise SystemExit(f"failed with {status}: {' '.join(command)}")
        told.seek(0)
        return wall, usage.ru_maxrss / 1024, told.read()


def _differences(ours: Path, theirs: Path) -> pd.Series[float]:
    """How far the similarities of all pairs lie apart [percentage points]."""
    run = s2fast.open_run(ours)
    by_name = {item.scene.path.name: item.scene.scene_id for item in run.record.scenes}
    wanted = pd.read_csv(theirs / "similarity.csv")
    if len(wanted) != len(run.pairs()):
        raise SystemExit(f"{len(run.pairs())} pairs against the notebook's {len(wanted)}: nothing to time")
    square = run.similarity()
    got = [square.loc[by_name[a], by_name[b]] for a, b in zip(wanted["image1"], wanted["image2"], strict=True)]
    return (pd.Series(got, dtype=float) - wanted["similarity"]).abs().round(2)


def _print(ours: list[Timing], theirs: list[Timing], within: float, *, as_json: bool) -> None:
    rows = []
    for name in (*STAGES, "whole process"):
        seconds = [
            [t.wall if name == "whole process" else t.stages.get(name, 0.0) for t in side] for side in (ours, theirs)
        ]
        ratios = [b / a for a, b in zip(*seconds, strict=True)]
        rows.append((name, *(statistics.median(side) for side in seconds), statistics.median(ratios)))
    peaks = [statistics.median(timing.peak_mb for timing in side) for side in (ours, theirs)]
    if as_json:
        for side, timings in (("s2fast", ours), ("notebook", theirs)):
            for timing in timings:
                emit(
                    {"benchmark": "notebook", "side": side, "within_half_point_pct": within, **asdict(timing)},
                    as_json=True,
                )
        return
    print(f"medians of {len(ours)} whole processes in turn")
    print(f"{within:.1f} % of all similarities within {SIMILAR_POINTS} points of the notebook's")
    for name, fast, slow, ratio in rows:
        print(f"{name:14} s2fast {fast:8.2f} s   notebook {slow:8.2f} s   {ratio:7.1f} x")
    print(f"{'peak memory':14} s2fast {peaks[0]:8.0f} MiB notebook {peaks[1]:8.0f} MiB")
