"""What is timed: the operations and stages whose time users wait for, single-threaded, on operands made from a seed.

One thread, because a second vCPU of a shared machine is often the same core, and what the neighbours leave of it
changes from call to call. That kernels still run on all threads is a fact of the compiled code (see `compiled`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.calls import CALLS, Call, Sized


def _operation(sized: Sized) -> Callable[[Path, Path], Call]:
    return lambda _archive, _scratch: sized.make(sized.timed)


def _stage(archive: Path, scratch: Path, stages: tuple[str, ...], again: tuple[str, ...]) -> Call:
    """Run the stages before once; each call removes what is named and runs the last stage again.

    Stages are run by the command line, in this process: of all interfaces it is the one that base and head share.
    """
    from s2fast.cli import app

    settings, out = scratch / "settings.toml", scratch / "out"
    settings.write_text("[compute]\nthreads = 1\n[features]\nmax_per_scene = 2000\n")
    job = [str(settings), f"--scenes={archive}", f"--regions={archive / 'regions.geojson'}", f"--out={out}"]

    def run(stage: str) -> None:
        code = app([stage, *job], standalone_mode=False)
        if code:
            raise RuntimeError(f"s2fast {stage} ended with exit code {code}")

    for stage in stages:
        run(stage)

    def call() -> None:
        for name in again:
            place = out / name
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        run(stages[-1])

    return call


def ingest(archive: Path, scratch: Path) -> Call:
    """Read, mask and store the archive's JPEG 2000 files, the run's planning included."""
    return _stage(archive, scratch, ("ingest",), ("store.zarr",))


def match(archive: Path, scratch: Path) -> Call:
    """Match all pairs of the archive."""
    return _stage(archive, scratch, ("ingest", "extract", "match"), ("pairs", "good"))


def report(archive: Path, scratch: Path) -> Call:
    """Write the tables."""
    return _stage(archive, scratch, ("ingest", "extract", "match", "verify", "report"), ("pairs.parquet",))


CASES: dict[str, Callable[[Path, Path], Call]] = {
    **{name: _operation(sized) for name, sized in CALLS.items()},
    "ingest": ingest,
    "match": match,
    "report": report,
}
"""(archive, empty folder to write to) -> what to time."""
