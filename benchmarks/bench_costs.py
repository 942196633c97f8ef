"""What a job costs: measured runs at several sizes, rates fitted to them, and what large archives would take.

    python -m benchmarks costs [--archive DIR] [--size 3072] [--json]

Every run is one single-threaded process and every figure of it CPU seconds. DIR, an archive of full tiles from `s2fast
synth`, adds a run of its first two scenes that is not fitted: it shows how far the rates carry. What large jobs would
take is computed, not measured, and says so.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.bench_executors import two_against_one
from benchmarks.cost_model import STAGE_UNITS, Fit, Job, core_hours, fit, tile_pairs
from benchmarks.harness import emit
from benchmarks.metered import MIB, Point, metered
from benchmarks.window_rate import windowed_rates
from s2fast.detectors.akaze import extract_bytes
from s2fast.model import Raster
from s2fast.stages.memory import ingest_bytes, match_bytes
from s2fast.stages.pairs import Pair, plan_blocks
from s2fast.work.executors import LocalPool

LAND_TILES, DATES = 56_984, 73
"""MGRS tiles with land, and acquisitions of one tile in a year of five-day revisits."""

MACHINES = {"2 cores": 2, "64 cores": 64, "100 machines of 16 cores": 1600}

FULL = Raster((10980, 10980), (1024, 1024), "", (10, 0, 0, 0, -10, 0))


def main(argv: Sequence[str]) -> int:
    """Measure, fit, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="full tiles to check the rates on")
    parser.add_argument("--size", type=int, default=3072, help="side of the largest synthetic scene [px]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        archives = made(Path(folder), options.size)
        points = [metered(*run) for run in runs(Path(folder), archives)]
        checked = None
        if options.archive:
            full = sorted(options.archive.rglob("*_TCI.jp2"))[:2]
            checked = metered("full tiles", full, archives["tiny"], Path(folder) / "full", {})
        alone, both = (lambda: LocalPool(1, 1)), (lambda: LocalPool(2, 1))
        times = two_against_one(archives["middle"], Path(folder), alone, both, repeats=1)["ratio"]
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
    """Print a table for every part, a row a line."""
    for part, group in itertools.groupby(rows, key=lambda row: row["part"]):
        table = pd.DataFrame([{key: value for key, value in row.items() if key != "part"} for row in group])
        if "job" in table:
            table = table.set_index(["job", "matching"]).T.reset_index()
        print(f"\n{part}\n{table.to_string(index=False, na_rep='', float_format=lambda value: f'{value:.4g}')}")


def made(folder: Path, size: int) -> dict[str, Path]:
    """Make the synthetic archives, in processes of their own: what that takes in memory is not inherited."""
    wanted = {"tiny": (256, 2), "many": (512, 20), "small": (size // 3, 3), "middle": (2 * size // 3, 2)}
    wanted["large"] = (size, 2)
    for name, (side, dates) in wanted.items():
        command = [sys.executable, "-m", "s2fast.cli", "synth", str(folder / name)]
        subprocess.run([*command, f"--size={side}", f"--dates={dates}"], check=True, capture_output=True, text=True)
    return {name: folder / name for name in wanted}


def runs(folder: Path, archives: Mapping[str, Path]) -> Iterator[tuple[str, list[Path], Path, Path, dict[str, Any]]]:
    """Say what to meter, as `metered` takes it: sizes, numbers of scenes and of keypoints, each on its own."""
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


def fitted(points: Sequence[Point]) -> dict[str, Fit]:
    """Fit the rates of every stage, and of a windowed search."""
    fits = {
        stage: fit(units, [point.units for point in points], [point.stages[stage].cpu_s for point in points])
        for stage, units in STAGE_UNITS.items()
        if stage in points[0].stages
    }
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        searches = worker.submit(windowed_rates).result()
    seconds = [cpu_s for _, cpu_s in searches]
    fits["windowed search"] = fit(STAGE_UNITS["windowed search"], [units for units, _ in searches], seconds)
    return fits


def measured_rows(points: Sequence[Point], checked: Point | None, fits: Mapping[str, Fit]) -> Iterator[dict[str, Any]]:
    """Tell every run: what it worked on, what its stages took, and what the rates say."""
    every = [*points, checked] if checked else points
    for point in every:
        yield {"part": "measured runs", "run": point.name, **point.units}
    for point in every:
        for stage, cost in point.stages.items():
            fitted = fits[stage].cost(point.units)
            error_pct = 100 * (fitted / cost.cpu_s - 1)
            told = {"run": point.name, "stage": stage, **asdict(cost), "fitted_cpu_s": fitted, "error_pct": error_pct}
            part = "the rates on full tiles, not fitted" if point is checked else "measured, and as fitted"
            yield {"part": part, **told}
    if checked:
        for stage, predicted in stage_bytes(keypoints=5000).items():
            peak_mib = checked.stages[stage].peak_mib
            row = {"stage": stage, "peak_mib": peak_mib, "predicted_mib": predicted / MIB}
            yield {"part": "memory of full tiles beside its prediction", **row}


def fit_rows(fits: Mapping[str, Fit]) -> Iterator[dict[str, Any]]:
    """Tell the rates [CPU seconds a unit] and how far the worst run is from them."""
    for stage, found in fits.items():
        worst = max(found.residuals_pct, key=abs)
        yield {"part": "rates [CPU s a unit]", "stage": stage, **found.rates, "worst_residual_pct": worst}


def stage_bytes(keypoints: int) -> dict[str, int]:
    """Predict the peaks of the stages on whole tiles, one thread, blocks of one pair of scenes at least."""
    return {
        "ingest": ingest_bytes(FULL, 1, masked=False, auto_stretch=False),
        "extract": extract_bytes(FULL.shape, 1),
        "match": match_bytes(keypoints, 16),
    }


def jobs(points: Sequence[Point]) -> list[Job]:
    """Say which jobs to compute, with as many good matches a keypoint as the largest scenes measured have."""
    units = max((point.units for point in points), key=lambda units: units["Mpx"] / units["scenes"])
    share = units["1e3 good matches"] / units["pairs"] / (units["1e3 keypoints"] / units["scenes"])
    good = round(5000 * share)
    of_tile, of_notebook = blocks(DATES), blocks(50)
    year = tile_pairs(1, DATES)
    return [
        Job("the notebook's job: 50 scenes", 50, 1225, of_notebook, good=good),
        Job("a tile for a year", DATES, year, of_tile, good=good),
        Job("a country of 50 tiles", 50 * DATES, 50 * year, 50 * of_tile, good=good),
        Job("all land", LAND_TILES * DATES, LAND_TILES * year, LAND_TILES * of_tile, good=good),
    ]


def blocks(scenes: int) -> int:
    """Count the blocks that all pairs of so many scenes are cut into."""
    names = [str(number) for number in range(scenes)]
    pairs = [Pair(query, train, "") for query, train in itertools.combinations(names, 2)]
    return len(plan_blocks(pairs, dict.fromkeys(names, 5000), 2048 * MIB))


def computed_rows(
    wanted: Sequence[Job], points: Sequence[Point], fits: Mapping[str, Fit], efficiency: float
) -> Iterator[dict[str, Any]]:
    """Compute what whole jobs would take."""
    totals = {unit: sum(point.units[unit] for point in points) for unit in points[0].units}
    tiles = sum(point.stored["tiles"] for point in points) / totals["Mpx"]
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
                "stored_gb": (units["Mpx"] * tiles + units["1e3 keypoints"] * features + pairs.cost(units)) / 1e9,
                "stored_gb, tiles": units["Mpx"] * tiles / 1e9,
                "stored_gb, pairs": pairs.cost(units) / 1e9,
                "peak_mib a worker": loaded + max(stage_bytes(job.keypoints).values()) / MIB,
            }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
