"""Reading of whole scenes as grey: the luma that a file stores against the weighted bands, CPU and wall seconds.

    python -m benchmarks reading [--scene FILE] [--size 10980] [--runs 4] [--json]

FILE is a JPEG 2000 file with a colour transform; without it, a synthetic scene is generated and kept in the cache
folder. Every run reads all windows as ingest does, several ahead, and keeps none. The values are compared first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.check.command import default_cache
from benchmarks.datasets import DataSpec, open_dataset
from benchmarks.harness import emit, option_parser, ratio
from s2fast.config import Ingest
from s2fast.files.source import Source
from s2fast.raster.dataset import decoding_threads
from s2fast.raster.prefetch import Pixels, reading_ahead
from s2fast.raster.reader import open_raster
from s2fast.raster.windows import chunk_shape, grid

LEVELS: dict[str, dict[str, Any]] = {
    "full resolution": {"reduction": 1},
    "half, averaged": {"reduction": 2},
    "half, decoded": {"reduction": 2, "decode": "reduced"},
}
"""Settings by name."""

GREYS = ("luma", "opencv")

MOST_APART = 16.0
"""Maximum mean difference of the two greys [DN]: a lossless file has weights of its own, 1, 2 and 1 quarters."""


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = option_parser("reading", __doc__)
    parser.add_argument("--scene", type=Path, help="JPEG 2000 file to read")
    parser.add_argument("--size", type=int, default=10980, help="side of the synthetic scene [px]")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder for the synthetic scene")
    options = parser.parse_args(argv)
    spec = DataSpec(kind="synth", size=options.size, tiles=["36UYA"], dates=1)
    scene = options.scene or Path(open_dataset(spec, options.cache).scenes[0])
    for row in rows(scene, options.runs):
        emit({"benchmark": "reading", **row}, as_json=options.json)
    return 0


def rows(scene: Path, runs: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every level: medians of both greys, read alternately, and the median ratio of paired runs."""
    for level, settings in LEVELS.items():
        wanted = {grey: Ingest.model_validate({**settings, "grey": grey}) for grey in GREYS}
        difference = apart(scene, *wanted.values())
        cpu_s: dict[str, list[float]] = {grey: [] for grey in GREYS}
        wall_s: dict[str, list[float]] = {grey: [] for grey in GREYS}
        for number in range(runs):
            # A B, then B A: other load on the machine affects both.
            for grey in GREYS[:: -1 if number % 2 else 1]:
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in windows(scene, wanted[grey]):
                    pass
                cpu_s[grey].append(time.process_time() - cpu)
                wall_s[grey].append(time.perf_counter() - wall)
        yield {
            "level": level,
            "threads": decoding_threads(),
            **{f"{grey} cpu_s": float(np.median(cpu_s[grey])) for grey in GREYS},
            **{f"{grey} wall_s": float(np.median(wall_s[grey])) for grey in GREYS},
            "times less cpu": ratio(cpu_s["opencv"], cpu_s["luma"]),
            "times faster": ratio(wall_s["opencv"], wall_s["luma"]),
            "mean difference": difference,
        }


def windows(scene: Path, settings: Ingest) -> Iterator[Pixels]:
    """Yield the grey and the data mask of all windows of a scene, as ingest reads it."""
    with reading_ahead(open_raster(Source.local(scene), settings)) as ahead:
        raster = ahead.reader.raster
        requests = ((window, None) for window in grid(raster.shape, chunk_shape(raster.block, settings.reduction)))
        for _, pixels in ahead.windows(requests):
            yield pixels


def apart(scene: Path, one: Ingest, other: Ingest) -> float:
    """Return the mean difference of two greys [DN]; raise SystemExit if they are not of the same image."""
    total, pixels = 0.0, 0
    for (grey, _), (wanted, _) in zip(windows(scene, one), windows(scene, other), strict=True):
        total += float(np.abs(_signed(grey) - _signed(wanted)).sum())
        pixels += grey.size
    if total / pixels > MOST_APART:
        raise SystemExit(f"the greys differ by {total / pixels:.2f} on average: nothing was timed")
    return total / pixels


def _signed(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    return grey.astype(np.int16)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
