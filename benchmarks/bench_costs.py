"""Cost of a job: runs measured at several sizes, rates fitted to them, and the predicted cost of large archives.

    python -m benchmarks costs [--archive DIR] [--size 3072] [--json]

Every run is one single-threaded process, measured in CPU seconds. DIR, an archive of full tiles from `s2fast synth`,
adds a run of its first two scenes that is not part of the fit: it tests the extrapolation. The cost of large jobs is
computed, not measured, and labelled so.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from benchmarks.bench_executors import two_against_one
from benchmarks.calls import SIZE_SHARES, WINDOW, WindowScene, window_scene
from benchmarks.cost_model import STAGE_UNITS, Fit, Workload, core_hours, fit, tile_pairs
from benchmarks.datasets import ensure_archive
from benchmarks.harness import emit, option_parser
from benchmarks.meter import MIB, alone, memory_mib
from s2fast.config import load_config
from s2fast.detectors.akaze import extract_bytes
from s2fast.model import Raster
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.report.imagery import thumbnail_of
from s2fast.results import Run
from s2fast.stages.memory import ingest_bytes, match_bytes
from s2fast.stages.pairs import Pair, plan_blocks
from s2fast.work.executors import LocalPool
from s2fast.work.meter import Metered, StageCost
from s2fast.work.thread_limits import limit_threads
from s2fast_kernels.hamming_window_top2_both import WindowRows, hamming_window_top2_both

T = TypeVar("T")

LAND_TILES, DATES = 56_984, 73
"""MGRS tiles with land, and acquisitions of one tile in a year of five-day revisits."""

MACHINES = {"2 cores": 2, "64 cores": 64, "100 machines of 16 cores": 1600}

EXHAUSTIVE = {"matching.mode": "exhaustive", "matching.pairs": "all"}
"""Compare every keypoint with every other, for all pairs: the rate of a comparison is measured on this."""

FULL = Raster((10980, 10980), (1024, 1024), "", (10, 0, 0, 0, -10, 0), luma=True)


@dataclass(frozen=True, slots=True)
class Point:
    """One metered run."""

    name: str
    """Describes size, scenes and settings."""
    units: dict[str, float]
    """Amount of work, by unit; see `benchmarks.cost_model.STAGE_UNITS`."""
    stages: dict[str, StageCost]
    """Costs by stage."""
    stored: dict[str, int]
    """Bytes of the run folder: tiles, tiles without pixels (``output.keep_pixels = false``), features, pairs."""
    input_bytes: int
    """Bytes of the scenes' files."""
    loaded_mib: float
    """Resident memory before the first stage: the libraries [MiB]."""


def main(argv: Sequence[str]) -> int:
    """Measure, fit, compute, print."""
    parser = option_parser("costs", __doc__)
    parser.add_argument("--archive", type=Path, help="full tiles to test the rates on")
    parser.add_argument("--size", type=int, default=3072, help="side of the largest synthetic scene [px]")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        archives = archives_of(Path(folder), options.size)
        points = [alone(metered, *run) for run in runs(Path(folder), archives)]
        checked = None
        if options.archive:
            full = sorted(options.archive.rglob("*_TCI.jp2"))[:2]
            checked = alone(metered, "full tiles", full, archives["tiny"], Path(folder) / "full", {})
        one, two = (lambda: LocalPool(1, 1)), (lambda: LocalPool(2, 1))
        times = two_against_one(archives["middle"], Path(folder), one, two, repeats=1)["ratio"]
    fits = fitted(points)
    rows = [
        *measured_rows(points, checked, fits),
        *fit_rows(fits),
        {"part": "two workers against one, measured", "times": times},
        *computed_rows(jobs(points), points, fits, efficiency=min(1.0, times / 2)),
    ]
    if options.json:
        for row in rows:
            emit({"benchmark": "costs", **row}, as_json=True)
    else:
        print_parts(rows)
    return 0


def print_parts(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one table per part."""
    for part, group in itertools.groupby(rows, key=lambda row: row["part"]):
        table = pd.DataFrame([{key: value for key, value in row.items() if key != "part"} for row in group])
        if "job" in table:
            table = table.set_index(["job", "matching"]).T.reset_index()
        print(f"\n{part}\n{table.to_string(index=False, na_rep='', float_format=lambda value: f'{value:.4g}')}")


def archives_of(folder: Path, size: int) -> dict[str, Path]:
    """Make the synthetic archives."""
    wanted = {"tiny": (256, 2), "many": (512, 20), "small": (size // 3, 3), "middle": (2 * size // 3, 2)}
    wanted["large"] = (size, 2)
    return {name: ensure_archive(folder / name, size=side, dates=dates) for name, (side, dates) in wanted.items()}


def runs(folder: Path, archives: Mapping[str, Path]) -> Iterator[tuple[str, list[Path], Path, Path, dict[str, Any]]]:
    """Yield the arguments of `metered` for each run; image size, scenes and keypoints vary independently."""
    few = sorted(archives["many"].rglob("*_TCI.jp2"))[:12]
    plans: dict[str, tuple[list[Path], dict[str, Any]]] = {
        "many small scenes": ([archives["many"]], {}),
        "few small scenes": (few, {}),
        "small": ([archives["small"]], {}),
        "middle": ([archives["middle"]], {}),
        "large": ([archives["large"]], {}),
        "middle, 20,000 keypoints": ([archives["middle"]], {"features.max_per_scene": 20_000}),
        "large, 40,000 keypoints": ([archives["large"]], {"features.max_per_scene": 40_000}),
        "many small scenes, 1,000 keypoints": ([archives["many"]], {"features.max_per_scene": 1_000}),
    }
    for number, (name, (scenes, settings)) in enumerate(plans.items()):
        yield name, scenes, archives["tiny"], folder / f"run{number}", settings


def metered(name: str, scenes: Sequence[Path], warm: Path, out: Path, settings: Mapping[str, Any]) -> Point:
    """Run a job on one thread of this process and meter its stages; to be called through `alone`.

    Parameters
    ----------
    name
        Name of the point.
    scenes
        Folders or files.
    warm
        A tiny archive that is run first, so that loading and compilation are not measured.
    out
        New run folder; that of the tiny archive is created beside it.
    settings
        Overrides of the defaults.
    """
    # Full tiles are not enlarged for the detector, so the smaller scenes that represent them must not be either.
    plain = {"compute.threads": 1, "compute.budget_mb": 8192, "features.upsample": 1}
    config = load_config(overrides={**plain, **EXHAUSTIVE, **settings})
    run_stages(Job(config, [warm], None, out.with_name(f"{out.name}-warm"), strict=True))
    loaded_mib, meter = memory_mib("VmRSS"), Metered()
    job = Job(config, scenes, None, out, strict=True)
    # Each stage has its own rate: a whole run saves reading tiles and matches again.
    for stages in (("ingest",), ("extract", "match"), ("verify", "report")):
        usable = run_stages(job, stages=stages, progress=meter).usable
    run = Run(out)
    shapes = run.scenes().set_index("scene_id")
    blocks = [shapes["windows_read"][str(item)] * item.raster.block[0] * item.raster.block[1] for item in usable]
    whole = [item.raster.shape[0] * item.raster.shape[1] for item in usable]
    pairs = run.pairs()
    units = {
        "scenes": len(whole),
        "Mpx": sum(map(min, blocks, whole)) / 1e6,
        "1e3 keypoints": run.record.history.counts["keypoints"] / 1e3,
        "blocks": len(run.folder.names("pairs")),
        "pairs": len(pairs),
        "1e9 comparisons": float((pairs["n_query"] * pairs["n_train"]).sum()) / 1e9,
        "1e3 good matches": float(pairs["n_good"].sum()) / 1e3,
    }
    stored = {
        "tiles": ("store.zarr/scenes/*/grey", "store.zarr/scenes/*/valid"),
        "features": ("store.zarr/scenes/*/features",),
        "pairs": ("pairs", "matches", "pairs.parquet", "pairs.csv"),
    }
    bytes_stored = {
        kind: sum(_size(path) for p in patterns for path in out.glob(p)) for kind, patterns in stored.items()
    }
    for scene_id in run.scene_ids:
        run.folder.drop_pixels(scene_id, thumbnail_of(run.folder.grey(scene_id)))
    without = ("thumbnail", "valid")
    bytes_stored["tiles without pixels"] = sum(
        _size(path) for part in without for path in out.glob(f"store.zarr/scenes/*/{part}")
    )
    return Point(
        name,
        units,
        meter.stages,
        bytes_stored,
        sum(Path(item.scene.source.name).stat().st_size for item in usable),
        loaded_mib,
    )


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return sum(file.stat().st_size for file in files)


def windowed_rates() -> dict[str, list[tuple[dict[str, float], float]]]:
    """Time searches in both directions and the preparation of their rows on one thread; to be called through `alone`.

    Returns
    -------
    dict
        "windowed search" and "window preparation": units and CPU seconds of one call, for several sizes and densities.
    """
    limit_threads(1)
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[dict[str, float], float]]] = {"windowed search": [], "window preparation": []}
    same_size = float(np.square(SIZE_SHARES).sum())
    hamming_window_top2_both(*_prepared([window_scene(rng, 100) for _ in range(2)]))
    for rows, candidates in ((100, 20), (5_000, 5), (5_000, 20), (5_000, 80), (50_000, 5), (50_000, 80)):
        # The density that gives this many rows of one size within the radius, except near the border.
        density = candidates / (np.pi * WINDOW**2 * same_size)
        scenes = [window_scene(rng, rows, density) for _ in range(2)]
        prepared, preparing = _cpu_s(_prepared, scenes)
        _, searching = _cpu_s(hamming_window_top2_both, *prepared)
        units = {"searches": 1.0, "1e3 rows": 2 * rows / 1e3, "1e6 candidates": rows * candidates / 1e6}
        found["windowed search"].append((units, searching))
        found["window preparation"].append(({"scenes": 2.0, "1e3 keypoints": 2 * rows / 1e3}, preparing))
    return found


def _prepared(scenes: Sequence[WindowScene]) -> list[WindowRows]:
    return [WindowRows.of(*scene, WINDOW) for scene in scenes]


def _cpu_s(call: Callable[..., T], *arguments: object) -> tuple[T, float]:
    """Call five times; return the last result and the median of the CPU seconds [s]."""
    times = []
    for _ in range(5):
        start = time.process_time()
        result = call(*arguments)
        times.append(time.process_time() - start)
    return result, float(np.median(times))


def fitted(points: Sequence[Point]) -> dict[str, Fit]:
    """Fit the rates of every stage, of a windowed search and of the preparation of its rows."""
    fits = {
        stage: fit(units, [point.units for point in points], [point.stages[stage].cpu_s for point in points])
        for stage, units in STAGE_UNITS.items()
        if stage in points[0].stages
    }
    for name, calls in alone(windowed_rates).items():
        fits[name] = fit(STAGE_UNITS[name], [units for units, _ in calls], [cpu_s for _, cpu_s in calls])
    return fits


def measured_rows(points: Sequence[Point], checked: Point | None, fits: Mapping[str, Fit]) -> Iterator[dict[str, Any]]:
    """Yield rows for every run: its amount of work, the measured cost of its stages, and the cost from the rates."""
    every = [*points, checked] if checked else points
    for point in every:
        yield {"part": "measured runs", "run": point.name, **point.units}
    for point in every:
        for stage, cost in point.stages.items():
            fitted = fits[stage].cost(point.units)
            error_pct = 100 * (fitted / cost.cpu_s - 1)
            row = {"run": point.name, "stage": stage, **asdict(cost), "fitted_cpu_s": fitted, "error_pct": error_pct}
            part = "the rates on full tiles, not fitted" if point is checked else "measured, and as fitted"
            yield {"part": part, **row}
    if checked:
        for stage, predicted in stage_bytes(keypoints=5000).items():
            row = {"stage": stage, "peak_mib": checked.stages[stage].above_mb, "predicted_mib": predicted / MIB}
            yield {"part": "memory of full tiles beside its prediction", **row}


def fit_rows(fits: Mapping[str, Fit]) -> Iterator[dict[str, Any]]:
    """Yield the rates [CPU seconds per unit] and the largest deviation of a run from them."""
    for stage, found in fits.items():
        worst = max(found.residuals_pct, key=abs)
        yield {"part": "rates [CPU s a unit]", "stage": stage, **found.rates, "worst_residual_pct": worst}


def stage_bytes(keypoints: int) -> dict[str, int]:
    """Predict the peak memory of the stages on whole tiles, on one thread, with blocks of at least one pair."""
    return {
        "ingest": ingest_bytes(FULL, 1, masked=False, auto_stretch=False),
        "extract": extract_bytes(FULL.shape, 1),
        "match": match_bytes(keypoints, 16),
    }


def jobs(points: Sequence[Point]) -> list[Workload]:
    """Return the jobs to compute, with the ratio of good matches to keypoints of the largest measured scenes."""
    units = max((point.units for point in points), key=lambda units: units["Mpx"] / units["scenes"])
    share = units["1e3 good matches"] / units["pairs"] / (units["1e3 keypoints"] / units["scenes"])
    good = round(5000 * share)
    of_tile, of_notebook = blocks(DATES), blocks(50)
    year = tile_pairs(1, DATES)
    return [
        Workload("the notebook's job: 50 scenes", 50, 1225, of_notebook, good=good),
        Workload("a tile for a year", DATES, year, of_tile, good=good),
        Workload("a country of 50 tiles", 50 * DATES, 50 * year, 50 * of_tile, good=good),
        Workload("all land", LAND_TILES * DATES, LAND_TILES * year, LAND_TILES * of_tile, good=good),
    ]


def blocks(scenes: int) -> int:
    """Count the blocks into which all pairs of this many scenes are divided."""
    names = [str(number) for number in range(scenes)]
    pairs = [Pair(query, train, "") for query, train in itertools.combinations(names, 2)]
    return len(plan_blocks(pairs, dict.fromkeys(names, 5000), 2048 * MIB))


def computed_rows(
    wanted: Sequence[Workload], points: Sequence[Point], fits: Mapping[str, Fit], efficiency: float
) -> Iterator[dict[str, Any]]:
    """Yield the predicted cost of whole jobs."""
    totals = {unit: sum(point.units[unit] for point in points) for unit in points[0].units}
    tiles = sum(point.stored["tiles"] for point in points) / totals["Mpx"]
    # Of the scenes of the largest side: a thumbnail's size does not grow with the scene.
    largest = max(points, key=lambda point: point.units["Mpx"] / point.units["scenes"])
    without_pixels = largest.stored["tiles without pixels"] / largest.units["scenes"]
    features = sum(point.stored["features"] for point in points) / totals["1e3 keypoints"]
    read = sum(point.input_bytes for point in points) / totals["Mpx"]
    pairs = fit(
        ["pairs", "1e3 good matches"],
        [point.units for point in points],
        [float(point.stored["pairs"]) for point in points],
    )
    loaded = max(point.loaded_mib for point in points)
    for job in wanted:
        units = job.units()
        for windowed in (False, True):
            hours = core_hours(job, fits, windowed=windowed)
            total = sum(hours.values())
            besides = units["1e3 keypoints"] * features + pairs.cost(units)
            yield {
                "part": "computed from these rates, not measured",
                "job": job.name,
                "matching": "windowed" if windowed else "exhaustive",
                "scenes": job.scenes,
                "pairs": job.pairs,
                "core_hours": total,
                **{f"core_hours, {stage}": value for stage, value in hours.items()},
                **{f"wall_hours, {name}": total / cores / efficiency for name, cores in MACHINES.items()},
                "read_gb": units["Mpx"] * read / 1e9,
                "stored_gb": (units["Mpx"] * tiles + besides) / 1e9,
                "stored_gb, without pixels": (job.scenes * without_pixels + besides) / 1e9,
                "stored_gb, tiles": units["Mpx"] * tiles / 1e9,
                "stored_gb, pairs": pairs.cost(units) / 1e9,
                "peak_mib a worker": loaded + max(stage_bytes(job.keypoints).values()) / MIB,
            }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
