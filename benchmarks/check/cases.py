"""What is timed: the operations and stages whose time users wait for, single-threaded, on operands made from a seed.

One thread, because a second vCPU of a shared machine is often the same core, and what the neighbours leave of it
changes from call to call. That kernels still run on all threads is a fact of the compiled code (see `compiled`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

Call = Callable[[], object]


def hamming_top2(archive: Path, scratch: Path) -> Call:
    """Search one scene of 16,000 descriptors in another: the heart of matching."""
    del archive, scratch
    from s2fast_kernels.hamming_top2 import hamming_top2 as search
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    rng = np.random.default_rng(0)
    query, train = random_descriptors(rng, 16_000), random_descriptors(rng, 16_000)
    offsets = np.array([0, 10_000, len(train)], np.int64)
    return lambda: search(query, train, offsets, backend="numba")


def hamming_top2_both(archive: Path, scratch: Path) -> Call:
    """Search in both directions, as mutual matches need it."""
    del archive, scratch
    from s2fast_kernels.hamming_top2.cases import random_descriptors
    from s2fast_kernels.hamming_top2_both import hamming_top2_both as search

    rng = np.random.default_rng(1)
    query, train = random_descriptors(rng, 14_000), random_descriptors(rng, 14_000)
    offsets = np.array([0, 9_000, len(train)], np.int64)
    return lambda: search(query, train, offsets, backend="numba")


def hamming_window_top2(archive: Path, scratch: Path) -> Call:
    """Search 100,000 descriptors within a radius that holds 64 candidates."""
    del archive, scratch
    from s2fast_kernels.hamming_top2.cases import random_descriptors
    from s2fast_kernels.hamming_window_top2 import hamming_window_top2 as search

    rng, rows = np.random.default_rng(2), 100_000
    query, train = random_descriptors(rng, rows), random_descriptors(rng, rows)
    positions = rng.uniform(0, np.sqrt(rows), (2, rows, 2))
    return lambda: search(query, positions[0], train, positions[1], float(np.sqrt(64 / np.pi)), backend="numba")


def akaze(archive: Path, scratch: Path) -> Call:
    """Detect and describe on an image of several windows."""
    del archive, scratch
    from s2fast_kernels.akaze import AkazeSettings, akaze_windowed
    from s2fast_kernels.akaze.cases import synthetic_image

    image, settings = synthetic_image((1536, 1536)), AkazeSettings(threshold=0.0003, upright=True)

    def extract() -> object:
        return akaze_windowed(
            lambda rows, columns: image[rows, columns], image.shape,
            settings=settings, core_px=704, threads=1, backend="numba",
        )  # fmt: skip

    return extract


def _stage(archive: Path, scratch: Path, stages: tuple[str, ...], again: tuple[str, ...]) -> Call:
    """Run the stages before once; each call removes what is named and runs the last stage again."""
    from s2fast.config import load_config
    from s2fast.pipeline import Job, run_stages

    config = load_config(overrides={"compute.threads": 1, "features.max_per_scene": 2000})
    out = scratch / "out"

    def run(*names: str) -> None:
        run_stages(Job(config, [archive], archive / "regions.geojson", out), stages=names)

    run(*stages)

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
    "hamming_top2": hamming_top2,
    "hamming_top2_both": hamming_top2_both,
    "hamming_window_top2": hamming_window_top2,
    "akaze": akaze,
    "ingest": ingest,
    "match": match,
    "report": report,
}
"""(archive, empty folder to write to) -> what to time."""
