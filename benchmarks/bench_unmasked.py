"""Compare a default run on whole unmasked scenes with OpenCV alone: ``python -m benchmarks unmasked``.

OpenCV reads the same files and detects AKAZE's keypoints, one scene after the other, and matches nothing; s2fast also
stores, matches, verifies and reports. Every run is a new process; the sides alternate, ratios are of medians.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench_notebook import measure
from benchmarks.datasets import ensure_archive
from benchmarks.harness import emit, environment, option_parser, ratio

_OPENCV = """
import sys
import cv2
for path in sys.argv[1:]:
    cv2.AKAZE_create().detectAndCompute(cv2.imread(path, cv2.IMREAD_GRAYSCALE), None)
"""


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = option_parser("unmasked", __doc__)
    parser.add_argument("--archive", type=Path, help="kept between calls; generated if absent")
    parser.add_argument("--size", type=int, default=10980, help="side of a generated scene [px]")
    parser.add_argument("--runs", type=int, default=1, help="runs of either side")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        archive = options.archive or Path(scratch) / "archive"
        ensure_archive(archive, size=options.size, dates=2, tiles=["36UYA"])
        (settings := Path(scratch) / "default.toml").touch()
        scenes = [str(path) for path in sorted(archive.rglob("*_TCI.jp2"))]
        ours, theirs = [], []
        for number in range(options.runs):
            run = ["run", str(settings), "--scenes", str(archive), "--out", f"{scratch}/out-{number}"]
            ours.append(measure([sys.executable, "-m", "s2fast.cli", *run])[:3])
            theirs.append(measure([sys.executable, "-c", _OPENCV, *scenes])[:3])
    record: dict[str, object] = {"benchmark": "unmasked", "machine": environment()["machine"], "scenes": len(scenes)}
    for what, fast, slow in zip(
        ("wall_s", "cpu_s", "peak_mib"), list(zip(*ours, strict=True)), list(zip(*theirs, strict=True)), strict=True
    ):
        record |= {f"s2fast {what}": statistics.median(fast), f"opencv {what}": statistics.median(slow)}
        record[f"times less {what}"] = ratio(slow, fast)
    emit(record, as_json=options.json)
    return 0
