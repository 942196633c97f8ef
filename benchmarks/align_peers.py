"""Alignment beside other tools: AROSICS on a real pair, judged by phase correlation, and gdalwarp on a full tile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import from_bounds

from benchmarks.meter import alone, forget_peak, memory_mib

_SIDE_PX = 96
"""Side of the windows in which phase correlation judges [px]."""

_UPSAMPLING = 50
"""Positions per pixel that are tried around a correlation's peak."""

_LEAST_CORRELATION, _MOST_PX, _MOST_VALUE = 0.4, 5.0, 3500
"""Windows count if their images correlate, have no cloud, and the peak is near."""

_AROSICS = """
import sys, warnings
warnings.filterwarnings("ignore")
from arosics import COREG, COREG_LOCAL
kind, reference, target, out = sys.argv[1:]
options = dict(path_out=out, fmt_out="GTIFF", q=True, nodata=(0, 0), max_shift=10, CPUs=2)
if kind == "global":
    tool = COREG(reference, target, ws=(256, 256), **options)
    tool.calculate_spatial_shifts()
else:
    tool = COREG_LOCAL(reference, target, grid_res=100, progress=False, **options)
    tool.CoRegPoints_table
tool.correct_shifts()
"""
"""Runs AROSICS in an environment of its own, with the settings of its examples."""


def pair(data: Path, folder: Path, arosics: str) -> Iterator[dict[str, Any]]:
    """Align the target of a real pair with its reference; yield what each tool leaves, its seconds and memory.

    Parameters
    ----------
    data
        Folder with one file ``ref*`` and one file ``tgt*``.
    folder
        Folder for results.
    arosics
        The Python interpreter of an environment with AROSICS; empty: without it.
    """
    (reference,), (target,) = data.glob("ref*"), data.glob("tgt*")
    yield {"tool": "none", **left(reference, target)}
    s2fast = [sys.executable, "-m", "s2fast.cli"]
    (folder / "empty.toml").write_text("")
    run = measured(
        [*s2fast, "run", folder / "empty.toml", "--scenes", target, "--reference", reference, "--out",
         folder / "pair_out", "--set", "ingest.stretch=auto"]
    )  # fmt: skip
    for model in ("shift", "auto"):
        aligned = folder / f"pair_aligned_{model}"
        written = measured([*s2fast, "align", folder / "pair_out", "--to", aligned, "--model", model])
        whole = Cost(run.seconds + written.seconds, run.cpu_s + written.cpu_s, max(run.mib, written.mib))
        chosen = pd.read_csv(aligned / "alignment.csv")[["model", "held_out_shift_m", "held_out_m"]].iloc[0].dropna()
        found = left(reference, next(aligned.glob("*.vrt"))) | {str(name): value for name, value in chosen.items()}
        yield {"tool": f"s2fast, --model {model}", **found, **whole.row()}
    for kind in ("global", "local"):
        if not arosics:
            yield {"tool": f"AROSICS {kind}", "skipped": "--arosics names no interpreter"}
            continue
        out = folder / f"arosics_{kind}.tif"
        cost = measured([arosics, "-c", _AROSICS, kind, reference, target, out])
        yield {"tool": f"AROSICS {kind}", **left(reference, out), **cost.row()}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a tool costs."""

    seconds: float
    """Wall time [s]."""
    cpu_s: float
    """Time of all cores [s]."""
    mib: float
    """Peak of resident memory [MiB]."""

    def row(self) -> dict[str, float]:
        """Return the values to print."""
        return {"seconds": round(self.seconds, 1), "CPU seconds": round(self.cpu_s, 1), "MB": round(self.mib)}


def measured(command: Sequence[str | Path]) -> Cost:
    """Run a command; return what it costs."""
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    told = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command[0], stderr=told.decode()[-2000:])
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def left(reference: Path, aligned: Path) -> dict[str, Any]:
    """Judge what is left between two images, independently of the tools: correlation in windows [px].

    The scatter is what the best of all single shifts would leave.
    """
    shifts = np.array(list(_window_shifts(*_on_common_grid(reference, aligned))))
    length, median = np.hypot(*shifts.T), np.median(shifts, axis=0)
    return {
        "windows": len(shifts),
        "left px median": round(float(np.median(length)), 3),
        "left px CE90": round(float(np.quantile(length, 0.9)), 3),
        "left px RMSE": round(float(np.sqrt((length**2).mean())), 3),
        "scatter px median": round(float(np.median(np.hypot(*(shifts - median).T))), 3),
        "median dx, dy px": [round(float(value), 3) for value in median[::-1]],
    }


def _on_common_grid(reference: Path, aligned: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Read the ground that both show, on the reference's grid; the reference's pixels are not resampled."""
    with rasterio.open(reference) as one, rasterio.open(aligned) as other:
        low, high = np.maximum(one.bounds[:2], other.bounds[:2]), np.minimum(one.bounds[2:], other.bounds[2:])
        window = from_bounds(*low, *high, one.transform).round_offsets(op="ceil").round_lengths(op="floor")
        with WarpedVRT(
            other, crs=one.crs, transform=one.window_transform(window), width=window.width, height=window.height,
            resampling=Resampling.cubic, src_nodata=0, nodata=0,
        ) as warped:  # fmt: skip
            return one.read(1, window=window).astype(np.float64), warped.read(1).astype(np.float64)


def _window_shifts(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Iterator[tuple[float, float]]:
    """Yield the shift of each window that can be judged, down and right [px]."""
    taper = np.outer(np.hanning(_SIDE_PX), np.hanning(_SIDE_PX))
    for row in range(0, one.shape[0] - _SIDE_PX, _SIDE_PX):
        for col in range(0, one.shape[1] - _SIDE_PX, _SIDE_PX):
            parts = [image[row : row + _SIDE_PX, col : col + _SIDE_PX] for image in (one, other)]
            if any((part <= 0).any() or part.max() > _MOST_VALUE for part in parts):
                continue
            a, b = ((part - part.mean()) / (part.std() + 1e-6) * taper for part in parts)
            if (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()) > _LEAST_CORRELATION:
                shift = correlation_shift(a, b)
                if np.hypot(*shift) < _MOST_PX:
                    yield shift


def correlation_shift(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return by how much to move `b`, down and right, to fit `a` [px]: the peak of the upsampled cross-correlation.

    References
    ----------
    Guizar-Sicairos, Thurman, Fienup: Efficient subpixel image registration algorithms. Optics Letters 33 (2008).
    """
    product = np.fft.fft2(a) * np.fft.fft2(b).conj()
    peak = np.unravel_index(np.abs(np.fft.ifft2(product)).argmax(), a.shape)
    centre = [at - side if at > side // 2 else at for at, side in zip(peak, a.shape, strict=True)]
    fine = np.arange(-_UPSAMPLING, _UPSAMPLING + 1) / _UPSAMPLING
    rows, cols = (
        np.exp(2j * np.pi * np.outer(at + fine, np.fft.fftfreq(side))) for at, side in zip(centre, a.shape, strict=True)
    )
    best = np.unravel_index(np.abs(rows @ product @ cols.T).argmax(), (len(fine), len(fine)))
    return float(centre[0] + fine[best[0]]), float(centre[1] + fine[best[1]])


def resampling(source: Path, folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Resample a full tile with s2fast and with gdalwarp by turns; yield the seconds and memory of each.

    Both read the file, move it by (12.3, -4.7) m, and write its grid with the cubic kernel, compressed without loss.
    """
    if shutil.which("gdalwarp") is None:
        yield {"tool": "gdalwarp", "skipped": "it is not installed"}
        return
    moved = folder / "moved.vrt"
    offset = 12.3, -4.7
    with rasterio.open(source) as dataset:
        rasterio.shutil.copy(dataset, moved, driver="VRT")
        transform, crs, bounds = dataset.transform, dataset.crs, dataset.bounds
        side = str(dataset.res[0])
    with rasterio.open(moved, "r+") as dataset:
        dataset.transform = Affine.translation(-offset[0], -offset[1]) @ transform
    ours, theirs = folder / "s2fast.tif", folder / "gdalwarp.tif"
    command = [
        "gdalwarp", "-q", "-r", "cubic", "-multi", "-wo", "NUM_THREADS=ALL_CPUS", "-wo", "UNIFIED_SRC_NODATA=YES",
        "-srcnodata", "0", "-dstnodata", "0", "-t_srs", crs.to_wkt(), "-te", *map(str, bounds), "-tr", side, side,
        "-co", "TILED=YES", "-co", "BLOCKXSIZE=512", "-co", "BLOCKYSIZE=512", "-co", "COMPRESS=DEFLATE",
        "-co", "PREDICTOR=2", "-co", "NUM_THREADS=ALL_CPUS", moved, theirs,
    ]  # fmt: skip
    found: dict[str, list[Cost]] = {"s2fast": [], "gdalwarp": []}
    for number in range(rounds):
        for tool in ("s2fast", "gdalwarp") if number % 2 == 0 else ("gdalwarp", "s2fast"):
            (ours if tool == "s2fast" else theirs).unlink(missing_ok=True)
            found[tool].append(alone(_resample, source, offset, ours) if tool == "s2fast" else measured(command))
    with rasterio.open(ours) as one, rasterio.open(theirs) as other:
        differ = max(int(np.abs(one.read(band).astype(np.int16) - other.read(band)).max()) for band in one.indexes)
    for tool, costs in found.items():
        middle = Cost(*np.median([[cost.seconds, cost.cpu_s, cost.mib] for cost in costs], axis=0).tolist())
        yield {"tool": tool, "rounds": rounds, **middle.row()}
    pairs = list(zip(found["s2fast"], found["gdalwarp"], strict=True))
    yield {
        "tool": "s2fast to gdalwarp",
        "seconds, ratio": round(float(np.median([one.seconds / other.seconds for one, other in pairs])), 2),
        "CPU seconds, ratio": round(float(np.median([one.cpu_s / other.cpu_s for one, other in pairs])), 2),
        "largest difference": differ,
    }


def _resample(source: Path, offset_m: tuple[float, float], path: Path) -> Cost:
    from s2fast.align.output import Form, Kernel, Target, grid_of, write
    from s2fast.files.source import Source
    from s2fast.raster.dataset import gdal_settings

    forget_peak()
    start, cpu_start = time.perf_counter(), time.process_time()
    with gdal_settings():
        raster = Source.local(source)
        write(raster, offset_m, Target(Form.RESAMPLED, Kernel.CUBIC, grid_of(raster), is_mask=False, tags={}), path)
    return Cost(time.perf_counter() - start, time.process_time() - cpu_start, memory_mib("VmHWM"))
