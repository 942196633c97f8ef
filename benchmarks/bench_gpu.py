"""The parts of the default job on a GPU beside all cores of its machine: ``python -m benchmarks gpu``.

    python -m benchmarks gpu [--only search|exhaustive|one-bit|extract|resample|run] [--scenes DIR] [--quick] [--json]

Both sides compute in turn in one process, and their results are compared first: searches must be equal, features nearly
so (see the README of `akaze`). ``predicted`` is the prediction of `benchmarks.static`, `static_akaze` and
`static_one_bit` for this GPU. ``kernels_s`` is the time of the device alone, by torch's profiler, with the kernels that
take most of it. ``run`` is the whole default job on the scenes of a folder, its stages by their own clocks, with one
worker and with four that share the GPU. What it is to answer is in docs/gpu.md. Every record is printed at once, and a
part whose sides do not agree does not stop the others. On an H100 all takes about six minutes with 48 scenes.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.calls import WINDOW, window_scene
from benchmarks.harness import emit, interleaved, option_parser, ratio
from benchmarks.static_code import GPUS, Gpu

Record: TypeAlias = dict[str, Any]

CPU, DEVICE = "cpu", "cuda"

ROWS = (CPU, "numba"), (DEVICE, "torch"), (DEVICE, "triton")
"""Devices and backends that are compared; the first is the base of the ratio."""

ROUNDS = 3

QUICK_PX, QUICK_ROWS = 512, 2_000
"""Side of the tile and keypoints per scene with ``--quick``."""

PLACES = ("cpu", 1), ("auto", 1), ("auto", 4)
"""`compute.device` and number of workers of whole runs."""


class DisagreementError(Exception):
    """The two sides of a comparison do not give the same; one line."""


def this_gpu() -> Gpu | None:
    """Return the published data of the GPU here, or None if its architecture is not in the table."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    return next((gpu for gpu in GPUS if gpu.capability == 10 * major + minor), None)


def kernels_of(call: Callable[[], object]) -> tuple[float, str]:
    """Return the seconds of a call's kernels and copies on the device, and those that take most of them."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        call()
        torch.cuda.synchronize()
    rows = [(row.self_device_time_total / 1e6, row.count, row.key) for row in profiled.key_averages()]
    rows.sort(reverse=True)
    longest = "; ".join(f"{key[:48]} {count} x: {seconds:.5f}" for seconds, count, key in rows[:12] if seconds)
    return sum(seconds for seconds, _, _ in rows), longest


def compared(name: str, sides: Mapping[str, Callable[[], object]], predicted: float | None = None) -> Record:
    """Time the sides in turn; the last is the device's."""
    seconds = interleaved(sides, ROUNDS)
    first, *_, last = seconds
    kernels_s, longest = kernels_of(sides[last])
    found = {f"{side} s": float(np.median(times)) for side, times in seconds.items()}
    return {
        "measure": name,
        **found,
        "times_faster": ratio(seconds[first], seconds[last]),
        "kernels_s": kernels_s,
        **({} if predicted is None else {"predicted_s": predicted, "share_of_bound": predicted / kernels_s}),
        "rounds": ROUNDS,
        "longest": longest,
    }


def search(quick: bool) -> Iterator[Record]:
    """Measure all pairs of 48 drawn scenes of 20,000 keypoints, windowed, each with one trial at a wrong offset."""
    from benchmarks.static_windows import report_windows
    from s2fast_kernels.hamming_window_top2_both import WindowRows
    from s2fast_kernels.window_matches import window_matches
    from s2fast_kernels.window_matches.contract import MatchTest
    from s2fast_kernels.window_matches.triton_gpu import TILING

    scenes, rows = (6, QUICK_ROWS) if quick else (48, 20_000)
    rng = np.random.default_rng(0)
    made = [WindowRows.of(*window_scene(rng, rows), 2 * WINDOW) for _ in range(scenes)]
    pairs = list(itertools.combinations(made, 2))
    away = np.zeros((len(pairs), 2, 2))
    away[:, 1] = 7.3 * WINDOW, -4.1 * WINDOW
    test = MatchTest(0.9, 160, mutual=True)
    sides = {
        f"{backend} on {device}": functools.partial(window_matches, pairs, away, test, backend=backend, device=device)
        for device, backend in ROWS
    }
    wanted, *others = (side() for side in sides.values())
    for got in others:
        for field in ("start", "query_row", "train_row", "distance", "second"):
            if not np.array_equal(getattr(got, field), getattr(wanted, field)):
                raise DisagreementError(f"the backends of window_matches do not agree on {field}: nothing was timed")
    gpu = this_gpu()
    predicted = None if quick or gpu is None else report_windows(gpu, TILING).job_s
    yield compared(f"search: {len(pairs)} pairs of {rows} keypoints, one null each", sides, predicted)


def tile(side_px: int) -> npt.NDArray[np.uint8]:
    """Return a synthetic tile with a black corner, from repeated ground."""
    from s2fast_kernels.akaze.cases import synthetic_image

    part = np.maximum(synthetic_image((side_px // 4, side_px // 4)), 1)
    found = np.tile(part, (4, 4))
    found[: side_px // 8, : side_px // 5] = 0
    return found


def extract(quick: bool) -> Iterator[Record]:
    """Measure a whole tile: its preparation, AKAZE, and both as the stage extracts a scene."""
    from benchmarks.static_akaze import analysed, predicted, variants
    from s2fast.config import load_config
    from s2fast.detectors import selected_backend
    from s2fast.image.scenes import selected_preparation
    from s2fast.stages.extract import extract_scene
    from s2fast_kernels.akaze import AkazeSettings, akaze_windowed

    side = QUICK_PX if quick else 10980
    grey = tile(side)
    size = {"features.upsample": 1} if quick else {}
    configs = {device: load_config(overrides={"compute.device": device} | size) for device in (CPU, DEVICE)}

    def prepare(device: str) -> None:
        found = selected_preparation(device).load()(grey.copy(), None, configs[device], 1)
        found.filled()
        found.flat()

    yield compared(f"preparation of {side} px", {d: functools.partial(prepare, d) for d in configs})
    gpu = this_gpu()
    bound = None
    if gpu is not None and not quick:
        bound = predicted(gpu, {variant.name: analysed(variant, gpu) for variant in variants()})["predicted s"]

    def detect(device: str, backend: str) -> object:
        return akaze_windowed(
            lambda rows, columns: grey[rows, columns], grey.shape, settings=AkazeSettings(threshold=1e-3, upright=True),
            backend=backend, device=device,
        )  # fmt: skip

    backends = {f"{backend} on {device}": (device, backend) for device, backend in ROWS}
    yield compared(f"AKAZE of {side} px", {n: functools.partial(detect, *a) for n, a in backends.items()}, bound)

    def whole(device: str) -> Any:
        row = selected_backend(configs[device]).name
        return extract_scene(grey.copy(), lambda r, c: np.ones((r.stop - r.start, c.stop - c.start), bool),
                             configs[device], row)  # fmt: skip

    counts = {device: len(whole(device).features) for device in configs}
    found = compared(f"scene of {side} px", {d: functools.partial(whole, d) for d in configs})
    yield found | {"keypoints": str(counts)}


def exhaustive(quick: bool) -> Iterator[Record]:
    """Measure every row of one scene against every row of four others, and the products alone."""
    from benchmarks.static import report_cuda
    from s2fast_kernels.hamming_top2 import hamming_top2
    from s2fast_kernels.hamming_top2.cases import random_descriptors
    from s2fast_kernels.hamming_top2.triton_gpu import TILINGS

    rows = QUICK_ROWS if quick else 80_000
    rng = np.random.default_rng(1)
    query, train = random_descriptors(rng, rows), random_descriptors(rng, rows)
    offsets = np.arange(5) * rows // 4
    sides = {
        f"{backend} on {device}": functools.partial(hamming_top2, query, train, offsets, backend=backend, device=device)
        for device, backend in ROWS
    }
    wanted, *others = (side() for side in sides.values())
    for got in others:
        for field in ("index", "best", "second"):
            if not np.array_equal(getattr(got, field), getattr(wanted, field)):
                raise DisagreementError(f"the backends of hamming_top2 do not agree on {field}: nothing was timed")
    gpu = this_gpu()
    predicted = None
    if gpu is not None and not quick:
        predicted = rows**2 / 1e9 / (report_cuda(gpu, TILINGS[gpu.capability]).rate_apart or 1)
    yield compared(f"exhaustive: {rows} x {rows}", sides, predicted)


def one_bit(quick: bool) -> Iterator[Record]:
    """Measure the sketch of the search on one-bit products: its keys against the definition, then its rate."""
    from benchmarks import one_bit as sketch
    from benchmarks.static_one_bit import has_one_bit, report_one_bit
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    gpu = this_gpu()
    if gpu is None or not has_one_bit(gpu):
        return
    rng = np.random.default_rng(2)
    query, train = random_descriptors(rng, 512), random_descriptors(rng, 4096)
    train[1000:1100] = train[:100]
    small = sketch.Search.of(gpu.capability, query, train)
    small.launch()
    best, second = small.keys()
    distance = np.bitwise_count(query[:, None] ^ train[None]).sum(axis=2)
    keys = np.sort(distance.astype(np.int64) << 32 | np.arange(len(train)), axis=1)
    if not (np.array_equal(best, keys[:, 0]) and np.array_equal(second >> 32, keys[:, 1] >> 32)):
        raise DisagreementError(f"the one-bit sketch is wrong: {best[:4]} is not {keys[:4, 0]}: nothing was timed")
    rows = 8192 if quick else 135_168
    large = sketch.Search.of(gpu.capability, random_descriptors(rng, rows), random_descriptors(rng, rows))
    timed, report = sketch.seconds(large), report_one_bit(gpu)
    yield {
        "measure": f"one-bit sketch: {rows} x {rows}",
        "kernels_s": timed,
        "rate_1e9_per_s": rows**2 / timed / 1e9,
        "predicted_1e9_per_s": f"{report.rate_apart:.0f} to {report.rate_overlapped:.0f}",
    }


def resample(quick: bool) -> Iterator[Record]:
    """Measure what `s2fast align` does with a tile moved by a part of a pixel: GDAL's resampling, and torch's."""
    import rasterio
    from rasterio.transform import from_origin

    from s2fast.align.resampling import RESAMPLERS, Resampling
    from s2fast_kernels.backends import resolve

    side = QUICK_PX if quick else 10980
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "uint8", "crs": "EPSG:32636",
               "tiled": True, "nodata": 0}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.tif"
        with rasterio.open(source, "w", transform=from_origin(600003.7, 5600021.9, 10, 10), **profile) as dataset:
            dataset.write(tile(side), 1)

        def write(backend: str, device: str) -> Path:
            path = Path(folder) / f"{backend}.tif"
            row = resolve(RESAMPLERS, backend, device).load()
            with (
                rasterio.open(source) as read,
                rasterio.open(path, "w", transform=from_origin(600000, 5600040, 10, 10), **profile) as written,
            ):
                row(read, written, Resampling([1], "bilinear"))
            return path

        sides = {"rasterio on cpu": ("rasterio", CPU), f"torch on {DEVICE}": ("torch", DEVICE)}
        wanted, got = (rasterio.open(write(*side)).read(1).astype(np.int16) for side in sides.values())
        if np.abs(wanted - got).max() > 1:
            raise DisagreementError("GDAL's and torch's resampling differ by more than a grey level: nothing was timed")
        yield compared(f"bilinear resampling of {side} px", {n: functools.partial(write, *s) for n, s in sides.items()})


def job(scenes: Path, quick: bool) -> Iterator[Record]:
    """Measure the default job on a folder of scenes."""
    import s2fast
    from s2fast.config import load_config
    from s2fast.pipeline import run_stages
    from s2fast.planning import Job

    tables: dict[str, pd.DataFrame] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn, (device, workers) in itertools.product(range(1 if quick else 2), PLACES):
            out = Path(folder) / f"{device}{workers}{turn}"
            overrides: dict[str, Any] = {"compute.device": device, "features.max_per_scene": 20_000}
            if quick:
                overrides |= {"features.max_per_scene": 500, "features.upsample": 1}
            done = run_stages(Job(load_config(overrides=overrides), [scenes], None, out), workers=workers)
            yield (
                {"measure": f"run of {len(done.usable)} scenes", "device": device, "workers": workers, "turn": turn}
                | {f"{n} s": round(s.seconds, 3) for n, s in done.history.stages.items()}
                | {f"{n} by": s.ran for n, s in done.history.stages.items()}
            )
            if device not in tables:
                tables[device] = s2fast.open_run(out).pairs().set_index(["query", "train"])
                if len(tables) > 1:
                    yield difference(*tables.values())


def difference(wanted: pd.DataFrame, got: pd.DataFrame) -> Record:
    """Return how the pairs of a run differ from those of the CPU's."""
    both = got["verified"] & wanted["verified"]
    moved = (got[["dx_px", "dy_px"]] - wanted[["dx_px", "dy_px"]])[both].abs()
    return {
        "measure": "run: difference",
        "verdicts that differ": int((got["verdict"] != wanted["verdict"]).sum()),
        "most_px": float(moved.max().max()),
        "verified": int(got["verified"].sum()),
        "verified on the CPU": int(wanted["verified"].sum()),
    }


PARTS: dict[str, Callable[[bool], Iterator[Record]]] = {
    "search": search,
    "exhaustive": exhaustive,
    "one-bit": one_bit,
    "extract": extract,
    "resample": resample,
}
"""Measurements without data."""


def main(argv: list[str]) -> int:
    """Measure and print."""
    import torch

    parser = option_parser("gpu", __doc__)
    parser.add_argument("--only", action="append", choices=[*PARTS, "run"], help="only this measurement; repeatable")
    parser.add_argument("--scenes", type=Path, help="a folder of scenes for the whole job")
    parser.add_argument("--quick", action="store_true", help="small sizes, as a test")
    options = parser.parse_args(argv)
    if "run" in (options.only or ()) and options.scenes is None:
        parser.error("the whole job needs --scenes DIR")
    if not torch.cuda.is_available():
        print("there is no GPU that torch can use: nothing was measured")
        return 2
    chosen = options.only or [*PARTS, *(["run"] if options.scenes else [])]
    common = {"benchmark": "gpu", "gpu": torch.cuda.get_device_name()}
    agreed = True
    for name in chosen:
        found = job(options.scenes, options.quick) if name == "run" else PARTS[name](options.quick)
        try:
            for record in found:
                emit(common | record, as_json=options.json)
        except DisagreementError as error:
            print(f"{name}: {error}")
            agreed = False
    return 0 if agreed else 1
