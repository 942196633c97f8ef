"""Run every stage of a job in a fresh single-threaded process and take down what it cost and what it worked on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from s2fast.config import load_config
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import STAGES, plan
from s2fast.work.executors import InProcess, Workplace
from s2fast.work.progress import Progress

MIB = 1 << 20

EXHAUSTIVE = {"matching.mode": "exhaustive", "matching.pairs": "all"}
"""Every pair, every keypoint with every other: what the rate of a comparison is measured on."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage took."""

    cpu_s: float
    """CPU seconds, all threads [s]."""
    wall_s: float
    """Wall time [s]."""
    peak_mib: float
    """Peak resident memory above what was resident when it began [MiB]."""


@dataclass(frozen=True, slots=True)
class Point:
    """One metered run."""

    name: str
    """Size, scenes and settings, in words."""
    units: dict[str, float]
    """What was worked on, by unit; see `benchmarks.cost_model.STAGE_UNITS`."""
    stages: dict[str, StageCost]
    """By stage."""
    stored: dict[str, int]
    """Bytes of the run folder: tiles, features, pairs."""
    input_bytes: int
    """Bytes of the scenes' files."""
    loaded_mib: float
    """Resident memory before the first stage: the libraries [MiB]."""


def metered(name: str, scenes: Sequence[Path], warm: Path, out: Path, settings: Mapping[str, Any]) -> Point:
    """Run a job in a process of its own.

    Parameters
    ----------
    name
        What to call the point.
    scenes
        Folders or files.
    warm
        A tiny archive that is run first, so that nothing is loaded or compiled on the clock.
    out
        Run folder, new; the tiny archive's goes beside it.
    settings
        Overrides of the defaults.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        return worker.submit(_metered, name, scenes, warm, out, settings).result()


def _metered(name: str, scenes: Sequence[Path], warm: Path, out: Path, settings: Mapping[str, Any]) -> Point:
    # Full tiles are not enlarged for the detector, so smaller scenes that stand for them must not be either.
    plain = {"compute.threads": 1, "compute.budget_mb": 8192, "features.upsample": 1}
    overrides = {**plain, **EXHAUSTIVE, **settings}
    _stages([warm], out.with_name(f"{out.name}-warm"), overrides)
    loaded_mib = _memory_mib("VmRSS")
    record, costs = _stages(scenes, out, overrides)
    folder = RunFolder(out)
    counts = [int(folder.feature_attributes(item.scene.scene_id)["count"]) for item in record.usable]
    read = [
        folder.tile_attributes(item.scene.scene_id)["windows_read"] * item.raster.block[0] * item.raster.block[1]
        for item in record.usable
    ]
    whole = [item.raster.shape[0] * item.raster.shape[1] for item in record.usable]
    pairs = folder.matched.rows()
    units = {
        "scenes": len(whole),
        "Mpx": sum(map(min, read, whole)) / 1e6,
        "1e3 keypoints": sum(counts) / 1e3,
        "blocks": len(folder.names("pairs")),
        "pairs": len(pairs),
        "1e9 comparisons": float((pairs["n_query"] * pairs["n_train"]).sum()) / 1e9,
        "1e3 good matches": float(pairs["n_good"].sum()) / 1e3,
    }
    return Point(
        name,
        units,
        costs,
        {
            "tiles": _size(out, "store.zarr/scenes/*/grey", "store.zarr/scenes/*/valid"),
            "features": _size(out, "store.zarr/scenes/*/features"),
            "pairs": _size(out, "pairs", "matches", "pairs.parquet", "pairs.csv"),
        },
        sum(Path(item.scene.source.name).stat().st_size for item in record.usable),
        loaded_mib,
    )


def _stages(scenes: Sequence[Path], out: Path, overrides: Mapping[str, Any]) -> tuple[RunRecord, dict[str, StageCost]]:
    """Run all stages in this process and meter each."""
    record = plan(load_config(overrides=overrides), scenes, None, strict=True)
    folder = RunFolder(out)
    record.save(folder)
    folder.create()
    costs = {}
    for name, stage in STAGES.items():
        # The peak starts again from what is resident now.
        Path("/proc/self/clear_refs").write_text("5")
        resident = _memory_mib("VmRSS")
        cpu, wall = time.process_time(), time.perf_counter()
        stage(record, folder, Workplace(InProcess(), 1, 1), Progress())
        costs[name] = StageCost(time.process_time() - cpu, time.perf_counter() - wall, _memory_mib("VmHWM") - resident)
    return record, costs


def _memory_mib(name: str) -> float:
    """Read a line of this process's memory account [MiB]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def _size(out: Path, *patterns: str) -> int:
    """Bytes of all files under the paths that fit."""
    total = 0
    for pattern in patterns:
        for path in out.glob(pattern):
            parts = (
                [path] if path.is_file() else [Path(root, file) for root, _, files in os.walk(path) for file in files]
            )
            total += sum(part.stat().st_size for part in parts)
    return total
