"""Verified share, error and false verdicts of scenes beside resampled ones of other resolutions.

    python -m benchmarks resolutions [--data DIR] [--scenes N] [--factors F ...] [--tile TILE] [--only ROW ...]
        [--interpolated | --grids | --turned] [--side PX] [--json]

DIR holds ``ukraine`` (scenes of which the true shift is 0), ``arosics`` (two scenes at 10 m), ``lebanon`` and ``paris``
(one scene each). Pixels are averaged over larger ones, and the georeferencing of every resampled scene is moved by a
known amount, which the pairs must find. Of a place with one scene, the second one is the same image with half its
contrast and noise. Scenes of other ground are placed where the first ones lie: none may be verified. Everything is done
with and without coarser levels (``features.coarser``), on the same files. With --interpolated, the scenes are instead
interpolated back onto their own grid, see `benchmarks.interpolated`; with --grids, they are warped into other CRSs and
onto oblong pixels, turned and sheared, see `benchmarks.grids`; --turned has only the last two.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from rasterio.transform import Affine
from rasterio.warp import Resampling, calculate_default_transform, reproject

import s2fast
from benchmarks.grids import grid_rows
from benchmarks.harness import emit, option_parser
from benchmarks.interpolated import Image, interpolated_rows
from s2fast.config import Ingest
from s2fast.model import Window
from s2fast.raster.reader import open_raster
from s2fast.sweeps.quality import TRUE_PX

FACTORS = (1.0, 1.5, 2.0, 3.0, 6.0)
"""Sides of pixels, in those of the files."""

MOST_PX = 1.5
"""Most that georeferencing is moved by, east and north [px of the resampled grid]."""

NOISE = 4.0
"""Standard deviation of the noise of the second image of a place with one scene, whose contrast is halved [DN]."""

PLACES = ("ukraine", "arosics", "lebanon", "paris")
"""Folders of DIR; each shows other ground than the others."""

SEED = 19


@dataclass(frozen=True, slots=True)
class Resampled:
    """A scene that was written."""

    source: int
    """Number of the image that it shows."""
    label: str
    """Its factor; with "z" it lies in the next zone; empty: it shows other ground."""
    factor: float
    """Side of its pixels, in those of the first."""
    moved_m: tuple[float, float]
    """How far its georeferencing is moved, east and north [m]."""
    pixel_m: float
    """Side of its pixels [m]."""


def main(argv: Sequence[str]) -> int:
    """Run every row and print it."""
    parser = option_parser("resolutions", __doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=PLACES, nargs="+", default=PLACES)
    parser.add_argument("--scenes", type=int, default=12, help="number of scenes of ukraine, spread over the dates")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS)
    parser.add_argument("--tile", default="36UYA", help="tile of ukraine: settings were chosen on 36UYA")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--interpolated", action="store_true", help="interpolate the scenes back onto their own grid")
    other.add_argument("--grids", action="store_true", help="warp the scenes into other CRSs and onto oblong pixels")
    other.add_argument("--turned", action="store_true", help="the rows of --grids that are turned or sheared")
    parser.add_argument(
        "--side", type=int, default=0, help="with --grids or --turned: largest side of a scene [px]; 0: all of it"
    )
    options = parser.parse_args(argv)
    for name in options.only:
        if not options.data.exists():
            emit({"benchmark": "resolutions", "row": name, "skipped": f"no {options.data}"}, as_json=options.json)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "scenes"
            folder.mkdir()
            files = sorted((options.data / name).rglob(f"*T{options.tile}*TCI*.jp2" if name == "ukraine" else "*.jp2"))
            at = np.unique(np.linspace(0, len(files) - 1, options.scenes).round().astype(int))
            images = [_read(files[number]) for number in at]
            if len(images) == 1:
                images.append(_noisy(images[0]))
            if options.interpolated or options.grids or options.turned:
                rows = (
                    grid_rows([_cut(image, options.side) for image in images], turned=options.turned)
                    if options.grids or options.turned
                    else (interpolated_rows(images))
                )
                for row in rows:
                    emit({"benchmark": "resolutions", "row": name, **row}, as_json=options.json)
                continue
            written = resampled(images, folder, options.factors, next_zone=name != "arosics")
            if name != "arosics":
                written |= elsewhere(options.data, name, images[0], folder)
            for row in measured(folder, written, Path(scratch), home=name != "arosics"):
                emit({"benchmark": "resolutions", "row": name, **row}, as_json=options.json)
    return 0


def resampled(
    images: Sequence[Image], folder: Path, factors: Sequence[float], *, next_zone: bool
) -> dict[str, Resampled]:
    """Write every scene at every resolution, and at the coarsest in the next zone; return them by scene id."""
    written, random = {}, np.random.default_rng(SEED)
    for number, (grey, transform, crs) in enumerate(images):
        for factor in factors:
            away = random.uniform(-MOST_PX, MOST_PX, 2) * factor * transform.a
            shape = [round(side / factor) for side in grey.shape]
            pixels = cv2.resize(grey, shape[::-1], interpolation=cv2.INTER_AREA)
            scaled = transform @ Affine.scale(grey.shape[1] / shape[1], grey.shape[0] / shape[0])
            name = f"scene{number:02}_x{factor:g}".replace(".", "p")
            _write(folder / f"{name}.tif", pixels, Affine.translation(*away) @ scaled, crs)
            written[name] = Resampled(number, f"{factor:g}", factor, (float(away[0]), float(away[1])), scaled.a)
        if next_zone:
            factor, zone = max(factors), _zone_beside(crs)
            bounds = rasterio.transform.array_bounds(*grey.shape, transform)
            size = grey.shape[1], grey.shape[0]
            there, width, height = calculate_default_transform(
                crs, zone, *size, *bounds, resolution=factor * transform.a
            )
            pixels = np.zeros((height, width), np.uint8)
            reproject(
                grey, pixels, src_transform=transform, src_crs=crs, dst_transform=there, dst_crs=zone,
                resampling=Resampling.average,
            )  # fmt: skip
            name = f"scene{number:02}_x{factor:g}z"
            _write(folder / f"{name}.tif", pixels, there, zone)
            written[name] = Resampled(number, f"{factor:g}z", factor, (0.0, 0.0), there.a)
    return written


def elsewhere(data: Path, home: str, there: Image, folder: Path) -> dict[str, Resampled]:
    """Write a scene of each other place where a scene lies, with its pixels' size; return them by scene id."""
    written = {}
    _, transform, crs = there
    for number, place in enumerate(place for place in PLACES if place != home):
        for path in sorted((data / place).rglob("*.jp2"))[:1]:
            _write(folder / f"{place}.tif", _read(path)[0], transform, crs)
            written[place] = Resampled(-1 - number, "", 1.0, (0.0, 0.0), transform.a)
    return written


def measured(folder: Path, written: dict[str, Resampled], out: Path, *, home: bool) -> Iterator[dict[str, Any]]:
    """Yield what was verified of each combination of resolutions, with and without levels; `home` see `_judged`."""
    wanted = out / "pairs.csv"
    pairs = [
        (one, other)
        for one, other in itertools.combinations(written, 2)
        if written[one].source != written[other].source and (written[one].label or written[other].label)
    ]
    pd.DataFrame(pairs, columns=["query", "train"]).to_csv(wanted, index=False)
    found = {}
    for levels in (False, True):
        settings = {"matching.pairs": "file", "matching.pairs_file": str(wanted), "features.coarser": levels}
        run = s2fast.run(scenes=folder, out=out / f"run{levels:d}", overrides=settings)
        counts = run.record.history.counts
        found[levels] = _judged(run.pairs(), written, home=home)
        yield {
            "coarser": levels,
            "pairs": len(pairs),
            "wrong places": counts["null_trials"],
            "verified there": counts["null_verified"],
            "unrelated": int(found[levels]["unrelated"].sum()),
            "verified among them": int((found[levels]["unrelated"] & found[levels]["verified"]).sum()),
            "seconds: features": run.record.history.stages["extract"].seconds,
        }
    groups = {levels: table[~table["unrelated"]].groupby("labels") for levels, table in found.items()}
    for labels, group in groups[True]:
        before, after = (_summary(groups[levels].get_group(labels)) for levels in (False, True))
        fine, coarse = str(labels).split(" beside ")
        yield {
            "fine": fine,
            "coarse": coarse,
            "pairs": len(group),
            **{f"without: {name}": value for name, value in before.items()},
            **after,
        }


def _judged(pairs: pd.DataFrame, written: dict[str, Resampled], *, home: bool) -> pd.DataFrame:
    """Return combination, verdict and error of every pair [px of the coarser grid].

    The true shift of the files is 0 if `home`; else it is that of the pair of two files as they are.
    """
    both = [(written[one], written[other]) for one, other in zip(pairs["query"], pairs["train"], strict=True)]
    sides = [sorted(pair, key=lambda side: (side.factor, side.label)) for pair in both]
    moved = np.array([np.subtract(train.moved_m, query.moved_m) for query, train in both])
    shift = pairs[["dx_m", "dy_m"]].to_numpy(float) - moved
    if not home:
        own = next(row for row, pair in enumerate(both) if all(side.factor == 1 for side in pair))
        turned = [1 if query.source == both[own][0].source else -1 for query, _ in both]
        shift -= np.outer(turned, shift[own])
    return pd.DataFrame(
        {
            "labels": [f"{fine.label} beside {coarse.label}" for fine, coarse in sides],
            "unrelated": [not (fine.label and coarse.label) for fine, coarse in sides],
            "verified": pairs["verified"].to_numpy(bool),
            "off": np.hypot(*shift.T) / [max(side.pixel_m for side in pair) for pair in both],
        }
    )


def _summary(group: pd.DataFrame) -> dict[str, Any]:
    verified = group[group["verified"]]
    right = verified["off"][verified["off"] <= TRUE_PX]
    return {
        "right %": round(100 * len(right) / len(group), 1),
        "wrong": len(verified) - len(right),
        "error px, median": round(float(right.median()), 3) if len(right) else None,
        "error px, p95": round(float(right.quantile(0.95)), 3) if len(right) else None,
    }


def _read(path: Path) -> Image:
    """Return grey pixels, transform and CRS of a scene."""
    with open_raster(path, Ingest(stretch="auto", grey="opencv")) as reader:
        raster = reader.raster
        grey, _ = reader.read(Window(0, 0, *raster.shape))
        return grey, Affine(*raster.transform), raster.crs_wkt


def _cut(image: Image, side: int) -> Image:
    """Return the upper left part of an image, or all of it if `side` is 0."""
    grey, transform, crs = image
    return (grey[:side, :side].copy() if side else grey), transform, crs


def _noisy(image: Image) -> Image:
    """Return an image with half its contrast, and noise of its own."""
    grey, transform, crs = image
    noise = np.random.default_rng(SEED).normal(0, NOISE, grey.shape)
    changed = np.clip(np.rint(64 + grey / 2 + noise), 1, 255).astype(np.uint8)
    return np.where(grey > 0, changed, np.uint8(0)), transform, crs


def _zone_beside(crs: str) -> str:
    """Return the code of the UTM zone west of a zone."""
    return f"EPSG:{rasterio.CRS.from_wkt(crs).to_epsg() - 1}"


def _write(path: Path, pixels: npt.NDArray[np.uint8], transform: Affine, crs: str) -> None:
    height, width = pixels.shape
    options = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", transform=transform, crs=crs, **options) as file:
        file.write(pixels, 1)
