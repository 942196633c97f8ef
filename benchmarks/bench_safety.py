"""CPU time of the checks of files, limits and names from strangers, as a share of a run's.

    python -m benchmarks safety [--data DIR] [--archive DIR] [--size PX] [--json]

DIR of --data holds ``ukraine``, 48 scenes with polygons; DIR of --archive holds whole tiles; two are generated if it is
absent. Each job runs twice in one process, so that imports and compilation do not make the share smaller. Within the
second run every call of the functions in `CHECKS` is timed by the CPU clock of its thread; reading this clock is
counted as a part of them.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.datasets import REAL, ensure_archive
from benchmarks.harness import emit, option_parser
from benchmarks.meter import alone
from s2fast.config import load_config
from s2fast.files.legible import counted

CHECKS: Mapping[str, Sequence[str]] = {
    "rasters, side files, virtual rasters": (
        "s2fast.raster.allowed:drivers",
        "s2fast.raster.allowed:check_opened",
        "s2fast.raster.allowed:explanation",
        "s2fast.raster.dataset:block_bytes",
        "s2fast.files.trusted:within",
        "s2fast.files.redirects:is_private",
        "s2fast.archive.links:linked",
        "s2fast.files.crs_definitions:is_definition",
    ),
    "polygons": (
        "s2fast.regions.formats:_format",
        "s2fast.regions.drivers:_register",
        "s2fast.regions.file:_check_zip",
        "s2fast.regions.rows:_check_number",
        "s2fast.files.wkb:is_nested_deeply",
        "s2fast.regions.repeated:problem_of_shapefile",
        "s2fast.regions.repeated:problem_of_geodatabase",
        "s2fast.regions.repeated:problem_of_topology",
        "s2fast.regions.repeated:problem_of_database",
    ),
    "tables": ("s2fast.files.parquet:check_size",),
    "paths in the run folder": (
        "s2fast.files.local_storage:_Paths._check_name",
        "s2fast.files.local_storage:_Paths._is_plain",
    ),
    "names": (
        "s2fast.files.legible:identifier",
        "s2fast.files.legible:legible",
        "s2fast.files.legible:legible_lines",
        "s2fast.files.legible:legible_json",
        "s2fast.files.legible:cell",
        "s2fast.page.assembly:_legible",
        "s2fast.report.rounding:with_texts",
    ),
}
"""The functions that a tool for one's own files would not need: ``module:name`` or ``module:class.name``, by what they
check."""

T = TypeVar("T")


class Spent:
    """CPU time within functions, by group; calls within others that are counted are not counted again."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """Number of calls."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """CPU time of their threads [s]."""
        self._inside = threading.local()
        self._lock = threading.Lock()

    def timed(self, group: str, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function that does the same and is counted."""

        @wraps(function)
        def call(*arguments: Any, **options: Any) -> T:
            if getattr(self._inside, "counted", False):
                return function(*arguments, **options)
            start = time.thread_time()
            self._inside.counted = True
            try:
                return function(*arguments, **options)
            finally:
                self._inside.counted = False
                with self._lock:
                    self.calls[group] += 1
                    self.seconds[group] += time.thread_time() - start

        return call


def main(argv: Sequence[str]) -> int:
    """Measure both jobs and print one row per group of checks."""
    parser = option_parser("safety", __doc__)
    parser.add_argument("--data", type=Path, default=REAL.parent)
    parser.add_argument("--archive", type=Path, help="two whole tiles, kept between calls; generated if absent")
    parser.add_argument("--size", type=int, default=10980, help="side of a generated scene [px]; 0: no tiles")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        real = options.data / "ukraine"
        if real.exists():
            regions = real / "deforestation_labels.geojson"
            _print(alone(measured, [real], regions, Path(scratch) / "real"), "48 scenes", options.json)
        else:
            emit({"benchmark": "safety", "job": "48 scenes", "skipped": f"no {real}"}, as_json=options.json)
        if options.size:
            archive = options.archive or Path(scratch) / "archive"
            ensure_archive(archive, size=options.size, dates=2, tiles=["36UYA"])
            rows = alone(measured, [archive], None, Path(scratch) / "tiles")
            tiles = counted(len(list(archive.rglob("*_TCI.jp2"))), "whole tile")
            _print(rows, tiles, options.json)
    return 0


def _print(rows: Sequence[Mapping[str, Any]], job: str, as_json: bool) -> None:
    for row in rows:
        emit({"benchmark": "safety", "job": job, **row}, as_json=as_json)


def measured(scenes: Sequence[Path], regions: Path | None, out: Path) -> list[dict[str, Any]]:
    """Run a job twice, and return a row for each group of checks of the second run, and one of them all.

    Parameters
    ----------
    scenes, regions
        Inputs.
    out
        New run folder; that of the first run is created beside it.
    """
    from s2fast.pipeline import run_stages
    from s2fast.planning import Job
    from s2fast.regions import rows as polygons

    config, spent = load_config(), Spent()
    run_stages(Job(config, scenes, regions, out.with_name(f"{out.name}-warm")))
    polygons._kept.clear()  # a new process reads them
    count_checks(spent)
    start = time.process_time()
    run_stages(Job(config, scenes, regions, out))
    total = time.process_time() - start
    rows = [
        {"checks": group, "calls": spent.calls[group], "CPU s": seconds, "% of the run": 100 * seconds / total}
        for group, seconds in ((group, spent.seconds[group]) for group in CHECKS)
    ]
    seconds = sum(spent.seconds.values())
    whole = {"checks": "all", "calls": spent.calls.total(), "CPU s": seconds, "% of the run": 100 * seconds / total}
    return [*rows, {**whole, "CPU s of the run": total}]


def count_checks(spent: Spent) -> None:
    """Replace the functions of `CHECKS`, wherever a loaded module has imported them; to be called through `alone`."""
    for group, places in CHECKS.items():
        for place in places:
            module, _, name = place.partition(":")
            owner: Any = importlib.import_module(module)
            kind, _, name = name.rpartition(".")
            owner = getattr(owner, kind) if kind else owner
            plain = getattr(owner, name)
            loaded = [found for key, found in list(sys.modules.items()) if key.partition(".")[0] == "s2fast"]
            for found in (owner, *loaded):
                for key in [key for key, value in vars(found).items() if value is plain]:
                    setattr(found, key, spent.timed(group, plain))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
