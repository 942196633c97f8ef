"""Full 10980 px tiles, masked, beside the notebook's script: seconds a stage, memory, and what 50 scenes would take.

    python -m benchmarks fulltile [--archive DIR] [--size 10980] [--dates 3] [--regions FILE] [--runs 1]
        [--json]

DIR keeps the synthetic archive between calls; it is made if absent. FILE replaces the archive's own polygons, whose
ground must be the archive's. Answers are compared first: with OpenCV's AKAZE they must be equal.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bench_notebook import Timing, compare, print_ratios
from benchmarks.datasets import made
from benchmarks.harness import emit

SCENES, PAIRS = 50, 1225
"""The notebook's own job, which the extrapolation is for."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the recipe with s2fast."""

    name: str
    settings: dict[str, str | int]


VARIANTS = (
    Variant("equal answers: OpenCV's AKAZE", {"features.backend": "opencv"}),
    Variant("own AKAZE", {"features.backend": "auto"}),
    Variant("own AKAZE, reduced decoding", {"features.backend": "auto", "ingest.decode": "reduced"}),
)


def main(argv: Sequence[str]) -> int:
    """Make the archive if need be, run every variant beside the script, print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--regions", type=Path)
    parser.add_argument("--size", type=int, default=10980)
    parser.add_argument("--dates", type=int, default=3)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        archive = made(options.archive or Path(scratch) / "archive", size=options.size, dates=options.dates)
        regions = options.regions or archive / "regions.geojson"
        settings = [{"ingest.reduction": 2, "regions.crs": "EPSG:4326", **variant.settings} for variant in VARIANTS]
        result = compare(archive, regions, settings, options.runs)
    for variant, ours, similar_pct in zip(VARIANTS, result.ours, result.similar_pct, strict=True):
        rounds = zip(result.theirs, ours, strict=True)
        times = [extrapolated(slow, result.scenes) / extrapolated(fast, result.scenes) for slow, fast in rounds]
        if options.json:
            rows = {"s2fast": [asdict(timing) for timing in ours], "notebook": [asdict(t) for t in result.theirs]}
            told = {"benchmark": "fulltile", "variant": variant.name, **rows, "similar_pct": similar_pct}
            emit({**told, "ratio_50": times}, as_json=True)
            continue
        print(variant.name)
        print_ratios(ours, result.theirs, similar_pct)
        print(f"  {SCENES} scenes, {PAIRS} pairs, computed from these rates: {statistics.median(times):.1f} x")
    return 0


def extrapolated(timing: Timing, scenes: int) -> float:
    """Seconds the stages would take for the notebook's own job, at the rates a scene and a pair measured here."""
    pairs = scenes * (scenes - 1) // 2
    a_scene = (timing.stages["ingest"] + timing.stages["extract"]) / scenes
    return a_scene * SCENES + timing.stages["match"] / pairs * PAIRS
