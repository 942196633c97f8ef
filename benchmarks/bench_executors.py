"""Overhead of dispatching a unit of work, and speed-up by a second worker.

    python -m benchmarks executors [--json] [--units 500] [--size 1024] [--repeats 3] [--scenes DIR [--processes 2]]

The first part runs units that do nothing through each executor: the time is the overhead. The second part runs all
stages on six synthetic scenes with one and with two single-threaded workers alternately, each time into an empty
folder; both must give identical bytes. Workers start before the timing; their start-up time is reported separately.

``--scenes DIR`` runs the default job on these scenes instead, alternately in this process, with all cores, and in
several processes that share them, whose start is timed too.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import emit, interleaved, option_parser, ratio
from s2fast.config import load_config
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import STAGES, run_stages
from s2fast.planning import Job, plan
from s2fast.synth import synth
from s2fast.work.executors import DaskCluster, LocalPool, Workplace, open_workplace
from s2fast.work.progress import Progress
from s2fast.work.units import run_units

SETTINGS = {"compute.threads": 1}

FILES_WITH_TIMES = ("run.json", "run.log", "report.html")
"""Files of a run folder that contain times, so that they differ between two equal runs."""


def main(argv: list[str]) -> int:
    """Measure both parts and print them."""
    parser = option_parser("executors", __doc__)
    parser.add_argument("--units", type=int, default=500, help="units that do nothing")
    parser.add_argument("--size", type=int, default=1024, help="side of a synthetic scene [px]")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scenes", type=Path, help="folder of scenes for the default job")
    parser.add_argument("--processes", type=int, default=2, help="with --scenes: number of processes")
    options = parser.parse_args(argv)
    if options.scenes:
        with tempfile.TemporaryDirectory() as folder:
            record = several_against_one(options.scenes, Path(folder), options.processes, options.repeats)
            emit({"bench": "default job", **record}, as_json=options.json)
        return 0
    with dask_cluster(1) as one, dask_cluster(2) as two:
        for name, opened in executors(two).items():
            with opened() as workplace:
                emit(
                    {"bench": "overhead", "executor": name, **overhead(workplace, options.units)}, as_json=options.json
                )
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "archive"
            synth(archive, size=options.size, dates=3)
            jobs: dict[str, tuple[Callable[[], Workplace], Callable[[], Workplace]]] = {
                "local pool": (lambda: LocalPool(1, 1), lambda: LocalPool(2, 1)),
                "dask": (lambda: DaskCluster(one, 1), lambda: DaskCluster(two, 1)),
            }
            for name, (alone, both) in jobs.items():
                record = two_against_one(archive, Path(folder), alone, both, options.repeats)
                emit({"bench": "two workers", "executor": name, **record}, as_json=options.json)
    return 0


def executors(scheduler: str) -> dict[str, Callable[[], Any]]:
    """Map the name of each executor to a function that opens it."""
    return {
        "in process": lambda: open_workplace(1, threads=1),
        "local pool": lambda: open_workplace(2, threads=1),
        "dask": lambda: open_workplace(scheduler=scheduler, threads=1),
    }


@contextmanager
def dask_cluster(workers: int) -> Iterator[str]:
    """Start a scheduler with single-threaded worker processes."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


def nothing(unit: int) -> int:
    """Do nothing."""
    return unit


def overhead(workplace: Workplace, units: int) -> dict[str, float]:
    """Return the time per unit that does nothing [ms], after a round that starts the workers."""
    list(run_units(workplace, nothing, range(4 * workplace.slots)))
    start = time.perf_counter()
    done = sorted(unit for unit, _ in run_units(workplace, nothing, range(units)))
    seconds = time.perf_counter() - start
    if done != list(range(units)):
        raise AssertionError("units were lost or done twice")
    return {"ms_per_unit": 1000 * seconds / units}


def two_against_one(
    archive: Path, folder: Path, alone: Callable[[], Workplace], both: Callable[[], Workplace], repeats: int
) -> dict[str, float]:
    """Run all stages with one and with two workers, alternately."""
    outs = {"one": folder / "one", "two": folder / "two"}
    with closing(alone()) as one, closing(both()) as two:
        start = time.perf_counter()
        # The first units import the libraries.
        list(run_units(two, import_all, range(4)))
        start_s = time.perf_counter() - start
        jobs = {"one": partial(run_job, archive, outs["one"], one), "two": partial(run_job, archive, outs["two"], two)}
        return {"start_s": start_s, **compared(jobs, outs, repeats)}


def several_against_one(scenes: Path, folder: Path, several: int, repeats: int) -> dict[str, float]:
    """Run the default job in one process and in several, alternately."""
    outs = {"one": folder / "one", "several": folder / "several"}
    workers = {"one": 1, "several": several}
    jobs = {name: partial(run_default, scenes, out, workers[name]) for name, out in outs.items()}
    return {"processes": several, **compared(jobs, outs, repeats)}


def compared(jobs: Mapping[str, Callable[[], None]], outs: Mapping[str, Path], repeats: int) -> dict[str, float]:
    """Run two jobs alternately; return their median times [s], and how many times faster the second is.

    Raises
    ------
    AssertionError
        Their run folders differ.
    """
    seconds = interleaved(jobs, repeats)
    one, other = jobs
    if content(outs[one]) != content(outs[other]):
        raise AssertionError(f"{one} and {other} gave different bytes")
    medians = {f"{name}_s": float(np.median(seconds[name])) for name in jobs}
    return {**medians, "ratio": ratio(seconds[one], seconds[other])}


def run_default(scenes: Path, out: Path, workers: int) -> None:
    """Run every stage on the scenes with the default settings."""
    shutil.rmtree(out, ignore_errors=True)
    run_stages(Job(load_config(), [scenes], None, out), workers=workers)


def import_all(unit: int) -> None:
    """Import all modules that the stages use."""
    del unit
    importlib.import_module("s2fast.pipeline")


def run_job(archive: Path, out: Path, workplace: Workplace) -> None:
    """Run every stage on the archive."""
    shutil.rmtree(out, ignore_errors=True)
    record = plan(Job(load_config(overrides=SETTINGS), [archive], archive / "regions.geojson", "", strict=True))
    folder = RunFolder(out)
    record.save(folder)
    folder.create()
    for stage in STAGES.values():
        stage(record, folder, workplace, Progress())


def content(out: Path) -> dict[str, bytes]:
    """Return the contents of all files of a run folder except those that contain times."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name not in FILES_WITH_TIMES)
    return {str(path.relative_to(out)): path.read_bytes() for path in files}
