"""What is left of known offsets after alignment.

    python -m benchmarks align [--size PX] [--dates N] [--data DIR] [--pair DIR] [--arosics PYTHON] [--full FILE]
                               [--models ROUNDS] [--real-models ROUNDS] [--keep DIR] [--json]

Prints one line for a synthetic series and one for the real scenes of DIR. The geotransform of each scene is falsified
by a known random shift, and the scenes are aligned; the real ones are then matched again. Lengths are in pixels of the
scenes. An offset is known relative to the other scenes that pairs connect only, so the truth is relative to the median
of these. --models warps scenes of other series by nothing, a shift, an affinity and a smooth field, and counts the
models that ``auto`` chooses; --real-models does so with real scenes of DIR and of the pair. Then a real pair is aligned
beside AROSICS, if PYTHON is an interpreter of an environment that has it, and a full tile is resampled beside gdalwarp.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from rasterio.transform import Affine

import s2fast
from benchmarks import align_models, align_peers
from benchmarks.datasets import REAL
from benchmarks.harness import emit, option_parser
from s2fast.results import Run
from s2fast.synth import synth

_SIMULATED_MATCHES, _TRIALS = (400, 2000), 100

_WARPED_PX = 2048
"""Side of a warped tile unless --size says otherwise [px]."""

_MOST_PX = 2.0
"""Greatest false shift: along each axis of a synthetic scene; of a real scene its length, so that two of them differ by
less than the search radius of 5 px."""


def main(argv: Sequence[str]) -> int:
    """Run both series and print the results."""
    parser = option_parser("align", __doc__)
    parser.add_argument("--size", type=int, default=2048, help="side of a synthetic tile [px]; 0: skip the series")
    parser.add_argument("--dates", type=int, default=6)
    parser.add_argument("--data", type=Path, default=REAL, help="real scenes")
    parser.add_argument("--most", type=int, default=48, help="number of real scenes; 0: skip them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pair", type=Path, default=REAL.parent / "arosics", help="folder of ref* and tgt*")
    parser.add_argument("--arosics", default="", metavar="PYTHON", help="interpreter of an environment with AROSICS")
    parser.add_argument("--models", type=int, default=0, metavar="ROUNDS", help="number of warped series")
    parser.add_argument("--real-models", type=int, default=0, metavar="ROUNDS", help="number of warped real series")
    parser.add_argument("--datum", choices=("median", "reference"), default="median", help="of the warped series")
    parser.add_argument("--full", type=Path, metavar="FILE", help="full tile to resample beside gdalwarp")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of resampling")
    parser.add_argument("--keep", type=Path, help="folder for archives and runs; default: a temporary one")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        if options.size:
            record = {"benchmark": "align", "series": "synthetic"}
            emit(record | synthetic(folder, options.size, options.dates, options.seed), as_json=options.json)
        if options.models:
            for matches in _SIMULATED_MATCHES:
                for row in align_models.simulated(matches, _TRIALS, options.seed):
                    emit({"benchmark": "align", "series": "simulated matches, auto"} | row, as_json=options.json)
            size, reference = options.size or _WARPED_PX, options.datum == "reference"
            for row in align_models.models(folder, size, options.models, options.seed, reference):
                emit({"benchmark": "align", "series": "warped, auto"} | row, as_json=options.json)
        if options.real_models:
            for row in align_models.real_models(folder, options.data, options.pair, options.real_models, options.seed):
                emit({"benchmark": "align", "series": "real, warped, auto"} | row, as_json=options.json)
        if options.most:
            record = {"benchmark": "align", "series": "real, falsified"}
            if options.data.is_dir():
                record |= falsified(folder, options.data, options.most, options.seed)
            else:
                record["skipped"] = f"{options.data} does not exist"
            emit(record, as_json=options.json)
        folder.mkdir(parents=True, exist_ok=True)
        if options.pair.is_dir():
            for row in align_peers.pair(options.pair, folder, options.arosics):
                emit({"benchmark": "align", "series": "real 10 m pair"} | row, as_json=options.json)
        if options.full:
            for row in align_peers.resampling(options.full, folder, options.rounds):
                emit({"benchmark": "align", "series": "full tile, resampled"} | row, as_json=options.json)
    return 0


def synthetic(folder: Path, size: int, dates: int, seed: int) -> dict[str, Any]:
    """Align a synthetic series whose geotransforms are shifted as well, and compare with its true shifts."""
    truth = json.loads(synth(folder / "synth", size=size, dates=dates, seed=seed).read_text("utf-8"))
    rng, shifts = np.random.default_rng(seed), {}
    for scene in truth["scenes"]:
        way = complex(*rng.uniform(-_MOST_PX, _MOST_PX, 2))
        path = Path(scene["path"])
        pixel_m = _falsify(folder / "synth" / path, folder / "synth_false" / path.with_suffix(".tif"), way)
        shifts[scene["scene_id"]] = np.add(scene["shift_m"], [way.real * pixel_m, way.imag * pixel_m])
    run = s2fast.run(scenes=folder / "synth_false", out=folder / "synth_out")
    table = run.align(folder / "synth_aligned", check=True)
    return (
        compared(table, shifts, truth["pixel_m"])
        | _same_pixels(run, folder / "synth_aligned", table)
        | checked(table, truth["pixel_m"])
    )


def falsified(folder: Path, data: Path, most: int, seed: int) -> dict[str, Any]:
    """Falsify real scenes, align them, and match the aligned scenes again."""
    originals = sorted(data.glob("**/*TCI*.jp2"))[:most]
    rng = np.random.default_rng(seed)
    length, angle = _MOST_PX * np.sqrt(rng.uniform(size=len(originals))), rng.uniform(0, 2 * np.pi, len(originals))
    shifts, pixel_m = {}, 1.0
    for path, way in zip(originals, (length * np.exp(1j * angle)).tolist(), strict=True):
        pixel_m = _falsify(path, folder / "false" / path.relative_to(data).with_suffix(".tif"), way)
        shifts[path.name] = way.real * pixel_m, way.imag * pixel_m
    true = s2fast.run(scenes=data, out=folder / "true_out").scenes().set_index("scene_id")
    run = s2fast.run(scenes=folder / "false", out=folder / "false_out")
    table = run.align(folder / "aligned", form="cog", check=True)
    copies = run.align(folder / "aligned_vrt")
    again = s2fast.run(scenes=folder / "aligned", out=folder / "aligned_out").scenes().set_index("scene_id")
    names = {item.scene.scene_id: f"{item.scene.source.posix.stem}.jp2" for item in run.record.usable}
    # A scene's own offset, as measured without falsification, adds to the false one.
    own = true[["offset_x_m", "offset_y_m"]]
    total = {
        scene_id: own.loc[scene_id].to_numpy(np.float64) + shifts[name]
        for scene_id, name in names.items()
        if scene_id in own.index
    }
    found = table[table["aligned"]].set_index("scene_id")
    left = again.reindex(found.index)[["offset_x_m", "offset_y_m"]].to_numpy(np.float64)
    worse = np.hypot(*left.T) > np.hypot(found["offset_x_m"], found["offset_y_m"])
    within = np.abs(left) <= 2 * found[["offset_error_m"]].to_numpy()
    record = compared(table, total, pixel_m) | checked(table, pixel_m)
    record["again: left px median"] = _px(np.nanmedian(np.hypot(*left.T)), pixel_m)
    record["again: within 2 stated errors %"] = round(100 * float(within[np.isfinite(left)].mean()), 1)
    record["again: worse"] = int(worse.sum())
    same = {
        "vrt": _same_pixels(run, folder / "aligned_vrt", copies),
        "cog": _same_pixels(run, folder / "aligned", table),
    }
    return record | {f"{form}: {name}": value for form, part in same.items() for name, value in part.items()}


def compared(table: pd.DataFrame, shifts: Mapping[str, npt.ArrayLike], pixel_m: float) -> dict[str, Any]:
    """Compare corrections with true shifts.

    Parameters
    ----------
    table
        The result of `Run.align`.
    shifts
        True shift of each scene, east and north [m].
    pixel_m
        Side of a pixel [m].
    """
    known = table[table["scene_id"].isin(list(shifts))]
    shift = np.array([shifts[scene_id] for scene_id in known["scene_id"]], np.float64).reshape(-1, 2)
    aligned = known["aligned"].to_numpy(np.bool_)
    # The datum is the median of the scenes in a network.
    in_network = pd.DataFrame(np.where(known[["offset_x_m"]].notna().to_numpy(), shift, np.nan))
    before = shift - in_network.groupby(known["reference"].to_numpy()).transform("median").to_numpy()
    after = before + known[["add_x_m", "add_y_m"]].to_numpy()
    before, after = before[aligned], after[aligned]
    error = known[["offset_error_m"]].to_numpy()[aligned]
    lengths = [np.hypot(*part.T) for part in (before, after)]
    return {
        "scenes": len(table),
        "aligned": int(table["aligned"].sum()),
        "before px median": _px(np.median(lengths[0]), pixel_m),
        "left px median": _px(np.median(lengths[1]), pixel_m),
        "left px 95 %": _px(np.percentile(lengths[1], 95), pixel_m),
        "left px most": _px(lengths[1].max(), pixel_m),
        "worse than before": int((lengths[1] > lengths[0]).sum()),
        "within 2 stated errors %": round(100 * float((np.abs(after) <= 2 * error).mean()), 1),
    }


def checked(table: pd.DataFrame, pixel_m: float) -> dict[str, Any]:
    """Return what the check found: lengths before and after, and how many scenes it withdrew."""
    compared = table[table["n_windows"] > 0]
    withdrawn = table["reason"].str.startswith(("got worse", "the correction does not fit"))
    if compared.empty:
        return {"check: compared": 0, "check: withdrawn": int(withdrawn.sum())}
    medians = {f"check: {side} px {name}": _px(compared[f"{side}_{name}_m"].median(), pixel_m)
               for side in ("before", "after") for name in ("median", "ce90")}  # fmt: skip
    return {"check: compared": len(compared), **medians, "check: withdrawn": int(withdrawn.sum())}


def _px(length_m: float, pixel_m: float) -> float:
    return round(float(length_m) / pixel_m, 4)


def _falsify(path: Path, to: Path, shift_px: complex) -> float:
    """Write a copy whose geotransform is shifted, x to the east and y to the north; return the pixel size [m]."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path) as source:
        pixel_m = float(source.res[0])
        shift = Affine.translation(shift_px.real * pixel_m, shift_px.imag * pixel_m)
        profile = {**source.profile, "driver": "GTiff", "transform": shift @ source.transform, "photometric": "RGB"}
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "pixel"}
        with rasterio.open(to, "w", **profile) as copy:
            copy.write(source.read())
    return pixel_m


def _same_pixels(run: Run, folder: Path, table: pd.DataFrame) -> dict[str, Any]:
    """Count the aligned scenes whose pixels differ from the source's."""
    source_of = {item.scene.scene_id: item.scene.source.address for item in run.record.usable}
    differ = 0
    for scene_id, name in table.loc[table["aligned"], ["scene_id", "files"]].to_numpy():
        with rasterio.open(source_of[scene_id]) as source, rasterio.open(folder / name) as aligned:
            differ += not np.array_equal(source.read(), aligned.read())
    return {"scenes with changed pixels": differ}
