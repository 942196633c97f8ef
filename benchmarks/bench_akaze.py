"""Compare `akaze` with OpenCV: parity first, then wall time, user CPU time and peak memory, interleaved in one run.

Every timed call runs in its own process with a fresh allocator; its image is in memory and its code was warmed up on a
smaller image. A second call in the same process times OpenCV on a warm allocator. Rounds alternate between the sides,
so that a busy machine slows both; ratios are of medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.akaze_passes import passes
from benchmarks.harness import emit, option_parser
from benchmarks.meter import MIB, alone, forget_peak, memory_mib
from s2fast_kernels.akaze.cases import Image, real_images, synthetic_image

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

SIDES = ("opencv", "numba")


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    name: str
    """What is measured."""
    size_px: int
    """Side of the image [px]."""
    budget: int | None = None
    """Limit of our keypoints; OpenCV detects and describes all it finds."""
    mask: str | None = None
    """``"zero"``: both get an image that is black outside the regions; ``"keep"``: ours gets the regions as mask."""
    wanted: float = 0.0
    """Target ratio of OpenCV's wall time to ours."""


CASES = (
    Case("full tile, all keypoints", 10980, wanted=8),
    Case("full tile, 50,000 keypoints", 10980, budget=50_000, wanted=12),
    Case("5490 px, all keypoints", 5490),
    Case("5490 px, regions, zero", 5490, mask="zero", wanted=10),
    Case("5490 px, regions, keep", 5490, mask="keep", wanted=10),
)


def mosaic(size_px: int) -> Image:
    """Fill a square with a real 10 m image and its mirror images, or with synthetic ground if there is no real image.

    Mirrored seams contain exact ties, so parity is measured on other images.
    """
    if SHARED.is_dir():
        tile = next(image for name, image in real_images(SHARED) if name.startswith("arosics/ref"))
    else:
        tile = synthetic_image((2400, 3200))
    rows, columns = (-(-size_px // side) for side in tile.shape)
    lines = [
        np.concatenate([tile[:: 1 - 2 * (i % 2), :: 1 - 2 * (j % 2)] for j in range(columns)], axis=1)[:, :size_px]
        for i in range(rows)
    ]
    return np.ascontiguousarray(np.concatenate(lines)[:size_px])


def regions(size_px: int) -> npt.NDArray[np.bool_]:
    """Return the mask of the regions: the real polygons of one tile if available, else small random rectangles."""
    mask = np.zeros((size_px, size_px), np.uint8)
    path = SHARED / "ukraine" / "deforestation_labels.geojson"
    scene = next(iter(sorted((SHARED / "ukraine").glob("*T36UXA*/**/*_TCI.jp2"))), None) if path.is_file() else None
    if scene is None:
        rng = np.random.default_rng(0)
        for y, x in rng.integers(0, size_px, (size_px // 3, 2)):
            mask[y : y + 12, x : x + 9] = 1
        return mask.astype(bool)
    import geopandas
    import rasterio
    from rasterio.features import rasterize

    with rasterio.open(scene) as tile:
        polygons = geopandas.read_file(path).to_crs(tile.crs)
        transform = tile.transform @ tile.transform.scale(tile.width / size_px, tile.height / size_px)
    return np.asarray(rasterize(polygons.geometry, out=mask, transform=transform)).astype(bool)


def once(case: Case, side: str) -> dict[str, float]:
    """Time one side on one case; to be called through `alone`."""
    image = mosaic(case.size_px)
    mask = None if case.mask is None else regions(case.size_px)
    if case.mask == "zero" and mask is not None:
        image[~mask] = 0
    call = _opencv if side == "opencv" else _ours
    call(synthetic_image((400, 400)), case, None)
    resident_gb = forget_peak() * MIB / 1e9
    seconds, user, count = _timed(call, image, case, mask)
    result = {"wall_s": seconds, "user_s": user, "keypoints": count, "before_gb": resident_gb}
    result["peak_gb"] = memory_mib("VmHWM") * MIB / 1e9
    if side == "opencv":
        result["warm_wall_s"], result["warm_user_s"], _ = _timed(call, image, case, mask)
    return result


def _timed(call: Any, image: Image, case: Case, mask: npt.NDArray[np.bool_] | None) -> tuple[float, float, int]:
    start, used = time.perf_counter(), os.times().user
    count = call(image, case, mask)
    return time.perf_counter() - start, os.times().user - used, count


def _opencv(image: Image, _case: Case, _mask: npt.NDArray[np.bool_] | None) -> int:
    import cv2

    # As in the notebook, the mask is painted into the image and not passed to OpenCV.
    return len(cv2.AKAZE.create().detectAndCompute(image, None)[0])


def _ours(image: Image, case: Case, mask: npt.NDArray[np.bool_] | None) -> int:
    from s2fast_kernels.akaze import akaze_windowed
    from s2fast_kernels.features import Budget

    budget = None if case.budget is None else Budget(case.budget)
    valid = mask if case.mask == "keep" else None
    features = akaze_windowed(
        lambda rows, columns: image[rows, columns], image.shape, valid=valid, budget=budget, backend="numba"
    )
    return len(features)


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Run both sides alternately, each in a fresh process, and return medians."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            runs[side].append(alone(once, case, side))
    median = {side: {key: statistics.median(run[key] for run in own) for key in own[0]} for side, own in runs.items()}
    opencv, ours = median["opencv"], median["numba"]
    return {
        "benchmark": "akaze",
        **asdict(case),
        "rounds": rounds,
        **{f"{side}_{key}": round(value, 3) for side, own in median.items() for key, value in own.items()},
        "wall_ratio": round(opencv["wall_s"] / ours["wall_s"], 2),
        "wall_ratio_opencv_warm": round(opencv["warm_wall_s"] / ours["wall_s"], 2),
        "user_ratio": round(opencv["user_s"] / ours["user_s"], 2),
    }


def check_parity() -> list[dict[str, Any]]:
    """Compare with OpenCV, image by image; raise if the parity guaranteed by the project fails."""
    from s2fast_kernels.akaze import akaze
    from s2fast_kernels.akaze.parity import parity

    images = list(real_images(SHARED)) if SHARED.is_dir() else [("synthetic", synthetic_image((1024, 1024)))]
    rows = []
    for name, image in images:
        result = parity(akaze(image, backend="opencv"), akaze(image, backend="numba"))
        if not result.holds:
            raise SystemExit(f"parity does not hold on {name}: {result}; nothing was timed")
        rows.append(
            {"benchmark": "akaze_parity", "image": name, "shape": image.shape, "keypoints": result.wanted,
             "found": result.found, "mean_bits": result.mean_bits, "identical_rows": result.identical_rows}
        )  # fmt: skip
    return rows


def stages() -> dict[str, Any]:
    """Return the CPU seconds of each step of the compiled backend on a full tile, summed over its threads."""
    from s2fast_kernels.akaze import candidates, contrast_factor, numba_cpu, numba_detect, numba_scale_space, octaves

    image = mosaic(CASES[0].size_px)
    _ours(synthetic_image((400, 400)), CASES[0], None)
    seconds: dict[str, float] = {}

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            result = real(*arguments, **options)
            seconds[name] = seconds.get(name, 0.0) + time.thread_time() - start
            return result

        setattr(owner, name, watched)

    for name in ("load", "base_blur", "smooth", "diffuse", "halve"):
        watch(numba_scale_space, name)
    for owner, name in (
        (numba_detect, "gradient"), (numba_detect, "detect"), (numba_cpu, "describe"), (candidates, "same_level"),
        (candidates, "kill_weaker"), (candidates.Candidates, "unique"), (octaves.WindowedRun, "_all_descriptors"),
    ):  # fmt: skip
        watch(owner, name)
    used = os.times().user
    contrast_factor(lambda rows, columns: image[rows, columns], image.shape)
    seconds["contrast_factor"] = os.times().user - used
    used = os.times().user
    _ours(image, CASES[0], None)
    total = os.times().user - used
    shown = sorted(seconds.items(), key=lambda item: -item[1])
    return {"benchmark": "akaze_stages", "user_s": round(total, 2), **{key: round(value, 2) for key, value in shown}}


def start_seconds() -> dict[str, Any]:
    """Time a process that detects keypoints on a small image with cached compiled code, and the import alone."""
    use = "import numpy, s2fast_kernels.akaze as a; a.akaze(numpy.zeros((128, 128), numpy.uint8) + 7); "
    image = "from s2fast_kernels.akaze.cases import synthetic_image as s; a.akaze(s((160, 160)))"
    rows: dict[str, list[float]] = {"import_s": [], "first_use_s": []}
    for _ in range(5):
        for key, code in (("import_s", "import s2fast_kernels.akaze"), ("first_use_s", use + image)):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            rows[key].append(time.perf_counter() - start)
    return {"benchmark": "akaze_start", **{key: round(statistics.median(own), 3) for key, own in rows.items()}}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the module."""
    parser = option_parser("akaze", __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes per side and case (default: 3)")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--stages", action="store_true", help="only measure the CPU time of each step on a full tile")
    parser.add_argument("--passes", action="store_true", help="only measure what the passes over memory cost")
    options = parser.parse_args(argv)
    for row in rows(options):
        emit(row, as_json=options.json)
    return 0


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the requested measurements, short ones first."""
    if options.stages:
        yield stages()
        return
    if options.passes:
        yield from passes()
        return
    yield from check_parity()
    yield start_seconds()
    yield from (measure(case, options.rounds) for case in CASES if options.only in case.name)
