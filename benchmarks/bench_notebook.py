"""Compare s2fast with the notebook's script in alternating processes: equal results first, then seconds and memory.

python -m benchmarks notebook [--scenes DIR --regions FILE] [--first N] [--runs 3] [--buffer-m 600] [--json]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import s2fast
from benchmarks.datasets import ensure_archive
from benchmarks.harness import emit, option_parser, ratio
from benchmarks.notebook_baseline import find_images

ROOT = Path(__file__).parents[1]
SIMILAR_POINTS = 0.5
"""Similarities within this distance count as equal if the backend is not OpenCV [percentage points]."""

STAGES = ("ingest", "extract", "match", "report")


SCENES, PAIRS = 50, 1225
"""Size of the notebook's job, to which `fulltile` extrapolates."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "equal answers: OpenCV's AKAZE": {"features.backend": "opencv"},
    "own AKAZE": {"features.backend": "auto"},
    "own AKAZE, reduced decoding": {"features.backend": "auto", "ingest.decode": "reduced"},
}
"""Settings with which `fulltile` runs s2fast."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Cost of one process."""

    stages: dict[str, float]
    """Seconds of each stage, as reported by the process."""
    wall: float
    """Seconds of the whole process, imports and compilation included."""
    cpu: float
    """CPU seconds of the whole process, all threads: comparable even if the machine is busy."""
    peak_mb: float
    """Largest resident memory [MiB]."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Costs of the script and of every variant of s2fast on one archive."""

    scenes: int
    """Images of the archive."""
    theirs: list[Timing]
    """The script, one entry per round."""
    ours: list[list[Timing]]
    """Every variant, one entry per round."""
    similar_pct: list[float]
    """Every variant's share of similarities within half a point of the script's [%]."""


def main(argv: Sequence[str]) -> int:
    """Run both alternately and print the ratios."""
    parser = option_parser("notebook", __doc__)
    shared = ROOT.parent / "shared" / "data" / "ukraine"
    parser.add_argument("--scenes", type=Path, default=shared)
    parser.add_argument("--regions", type=Path, default=shared / "deforestation_labels.geojson")
    parser.add_argument("--first", type=int, help="only the first N images")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--buffer-m", type=float, default=600.0)
    parser.add_argument("--reduction", type=int, default=1)
    parser.add_argument("--backend", default="opencv", help="AKAZE backend of s2fast; equal results need opencv")
    options = parser.parse_args(argv)
    settings = {
        "ingest.reduction": options.reduction,
        "regions.crs": "EPSG:4326",
        "regions.buffer_m": options.buffer_m,
        "features.backend": options.backend,
    }
    result = compare(options.scenes, options.regions, [settings], options.runs, options.first)
    for side, timings in (("s2fast", result.ours[0]), ("notebook", result.theirs)):
        for timing in timings if options.json else ():
            row = {"benchmark": "notebook", "side": side, "similar_pct": result.similar_pct[0], **asdict(timing)}
            emit(row, as_json=True)
    if not options.json:
        print(f"{result.scenes} images, medians of {options.runs} alternating whole processes")
        print_ratios(result.ours[0], result.theirs, result.similar_pct[0])
    return 0


def compare(
    scenes: Path, regions: Path, variants: Sequence[Mapping[str, Any]], runs: int, first: int | None = None
) -> Comparison:
    """Run the script and every variant of s2fast alternately, each as a whole process, and compare their results.

    Parameters
    ----------
    scenes, regions
        The archive.
    variants
        Settings that differ from configs/notebook.toml; ``ingest.reduction``, ``regions.crs`` and
        ``regions.buffer_m`` are passed to the script too. A variant with ``features.backend`` "opencv" and full
        decoding must give exactly the script's similarities.
    runs
        Rounds.
    first
        Number of images to use, by name; None: all.
    """
    theirs: list[Timing] = []
    ours: list[list[Timing]] = [[] for _ in variants]
    similar = [0.0] * len(variants)
    images = find_images(scenes)[:first]
    with tempfile.TemporaryDirectory() as folder:
        linked = Path(folder) / "scenes"
        linked.mkdir()
        for image in images:
            (linked / image.name).symlink_to(image.resolve())
        common = [f"--scenes={linked}", f"--regions={regions.resolve()}"]
        for number in range(runs):
            out_theirs = Path(folder) / f"notebook{number}"
            theirs.append(_theirs([*common, f"--out={out_theirs}"], variants[0]))
            for index, variant in enumerate(variants):
                out = Path(folder) / f"s2fast{number}-{index}"
                ours[index].append(_ours([*common, f"--out={out}"], variant, out))
                differences = _differences(out, out_theirs)
                exact = variant["features.backend"] == "opencv" and variant.get("ingest.decode", "full") == "full"
                if exact and differences.any():
                    unequal = int((differences > 0).sum())
                    raise SystemExit(f"{unequal} of {len(differences)} similarities differ: nothing was timed")
                similar[index] = float((differences <= SIMILAR_POINTS).mean() * 100)
    return Comparison(len(images), theirs, ours, similar)


def _ours(common: list[str], settings: Mapping[str, Any], out: Path) -> Timing:
    overrides = [f"--set={key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", "s2fast.cli", "run", "configs/notebook.toml", *common, *overrides]
    wall, cpu, peak_mb, _ = measure(command)
    stages = {name: stage.seconds for name, stage in s2fast.open_run(out).record.history.stages.items()}
    return Timing(stages, wall, cpu, peak_mb)


def _theirs(common: list[str], settings: Mapping[str, Any]) -> Timing:
    names = {"ingest.reduction": "--reduction", "regions.crs": "--crs", "regions.buffer_m": "--buffer-m"}
    options = [f"{names[key]}={value}" for key, value in settings.items() if key in names]
    wall, cpu, peak_mb, printed = measure([sys.executable, "-m", "benchmarks.notebook_baseline", *common, *options])
    return Timing(json.loads(printed)["seconds"], wall, cpu, peak_mb)


def measure(command: list[str]) -> tuple[float, float, float, str]:
    """Run a process; return its wall and CPU seconds, its peak memory [MiB] and its output."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        if status != 0:
            raise SystemExit(f"failed with {status}: {' '.join(command)}")
        output.seek(0)
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output.read()


def _differences(ours: Path, theirs: Path) -> pd.Series[float]:
    """Return the absolute differences of the similarities of all pairs [percentage points]."""
    run = s2fast.open_run(ours)
    by_name = {item.scene.source.posix.name: item.scene.scene_id for item in run.record.found.scenes}
    wanted = pd.read_csv(theirs / "similarity.csv")
    if len(wanted) != len(run.pairs()):
        raise SystemExit(f"{len(run.pairs())} pairs against the notebook's {len(wanted)}: nothing was timed")
    square = run.similarity()
    got = [square.loc[by_name[a], by_name[b]] for a, b in zip(wanted["image1"], wanted["image2"], strict=True)]
    return (pd.Series(got, dtype=float) - wanted["similarity"]).abs().round(2)


def print_ratios(ours: list[Timing], theirs: list[Timing], similar_pct: float) -> None:
    """Print medians and median ratios of every stage and of the whole process, and the peak memory."""
    print(f"{similar_pct:.1f} % of all similarities within {SIMILAR_POINTS} points of the notebook's")
    whole = {"whole process": "wall", "its CPU": "cpu"}
    for name in (*STAGES, *whole):
        fast, slow = (
            [getattr(timing, whole[name]) if name in whole else timing.stages.get(name, 0.0) for timing in side]
            for side in (ours, theirs)
        )
        times = f"s2fast {statistics.median(fast):8.2f} s   notebook {statistics.median(slow):8.2f} s"
        print(f"  {name:14} {times}   {ratio(slow, fast):7.1f} x")
    fast, slow = ([timing.peak_mb for timing in side] for side in (ours, theirs))
    print(
        f"  {'peak memory':14} s2fast {statistics.median(fast):6.0f} MiB   notebook {statistics.median(slow):6.0f} MiB"
    )


def fulltile(argv: Sequence[str]) -> int:
    """Compare masked full 10980 px tiles and extrapolate to 50 scenes: ``python -m benchmarks fulltile``.

    --archive keeps the synthetic archive between calls; it is generated if absent. --regions replaces the archive's
    polygons and must lie on the archive's ground.
    """
    parser = option_parser("fulltile", fulltile.__doc__)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--regions", type=Path)
    parser.add_argument("--size", type=int, default=10980)
    parser.add_argument("--dates", type=int, default=3)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        archive = ensure_archive(options.archive or Path(scratch) / "archive", size=options.size, dates=options.dates)
        regions = options.regions or archive / "regions.geojson"
        settings = [{"ingest.reduction": 2, "regions.crs": "EPSG:4326", **variant} for variant in VARIANTS.values()]
        result = compare(archive, regions, settings, options.runs)
    for name, ours, similar_pct in zip(VARIANTS, result.ours, result.similar_pct, strict=True):
        rounds = zip(result.theirs, ours, strict=True)
        times = [extrapolated(slow, result.scenes) / extrapolated(fast, result.scenes) for slow, fast in rounds]
        if options.json:
            rows = {"s2fast": [asdict(timing) for timing in ours], "notebook": [asdict(t) for t in result.theirs]}
            record = {"benchmark": "fulltile", "variant": name, **rows, "similar_pct": similar_pct}
            emit({**record, "ratio_50": times}, as_json=True)
            continue
        print(name)
        print_ratios(ours, result.theirs, similar_pct)
        print(f"  {SCENES} scenes, {PAIRS} pairs, computed from these rates: {statistics.median(times):.1f} x")
    return 0


def extrapolated(timing: Timing, scenes: int) -> float:
    """Return the seconds of the stages for the notebook's job, at the rates per scene and per pair measured here."""
    pairs = scenes * (scenes - 1) // 2
    per_scene_s = (timing.stages["ingest"] + timing.stages["extract"]) / scenes
    return per_scene_s * SCENES + timing.stages["match"] / pairs * PAIRS
