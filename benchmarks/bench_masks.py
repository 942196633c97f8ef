"""Masks: what they change in the verdicts on real scenes, and CPU time and memory of those of one full tile.

    python -m benchmarks masks [--data DIR] [--only ROWS ...] [--side PX] [--json]

Verdicts: the scenes in DIR/``ukraine``, whose true shift is 0, are matched without a mask ("none"), with the brightness
rule ("bright"), and with masks drawn by hand for the three cloudiest dates and the two with snow, brightness for all
others ("drawn", see `benchmarks.drawn_clouds`). Pairs with one of these dates have columns of their own.

Costs: every kind of raster mask is written with clouds over a third of its ground, as products store it (UDM2 on the
grid of its scene), and is read by windows of 1024 pixels of 10 m, widened by 50 m, as ingestion does. The peer reads
the same values by GDAL's warping to the nearest pixel, without widening.
"""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

import s2fast
from benchmarks.bench_quality import against_zero
from benchmarks.drawn_clouds import with_masks
from benchmarks.harness import emit, option_parser
from s2fast.config import Ingest
from s2fast.files.source import Source
from s2fast.masks.lookup import FoundMask
from s2fast.masks.read import open_mask
from s2fast.model import Raster, Window
from s2fast.raster.windows import grid

CRS = "EPSG:32636"
CORNER = (600_000.0, 5_600_040.0)
BLOCK = 1024

STORED: Mapping[str, tuple[str, float, int, int, str]] = {
    "SCL": ("scl", 20.0, 1, 9, CRS),
    "Fmask": ("fmask", 30.0, 1, 2, CRS),
    "QA_PIXEL": ("qa_pixel", 30.0, 1, 8, CRS),
    "QA_PIXEL, next zone": ("qa_pixel", 30.0, 1, 8, "EPSG:32635"),
    "UDM2": ("udm2", 10.0, 8, 1, CRS),
    "MSK_CLDPRB": ("probability", 20.0, 1, 90, CRS),
    "MSK_CLASSI": ("classes", 60.0, 3, 1, CRS),
}
"""By name: kind, side of a pixel [m], number of bands, value of clouds, CRS."""

CLEAR = {"SCL": 4}
"""Value of clear ground where it is not 0."""


MASKS = {"none": "none", "bright": "bright", "drawn": "auto"}
"""Rows of verdicts, and ``ingest.mask`` of each."""

ROWS = ("verdicts", "costs")


def main(argv: Sequence[str]) -> int:
    """Print what masks change in verdicts, and what reading every kind of mask took."""
    parser = option_parser("masks", __doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=ROWS, nargs="+", default=ROWS)
    parser.add_argument("--side", type=int, default=10980, help="side of the tile [px]")
    options = parser.parse_args(argv)
    rows = {"verdicts": lambda: _verdicts(options.data / "ukraine"), "costs": lambda: _costs(options.side)}
    for name in options.only:
        for row in rows[name]():
            emit({"benchmark": "masks", **row}, as_json=options.json)
    return 0


def _verdicts(scenes: Path) -> Iterator[dict[str, Any]]:
    """Yield the verdicts with each source of masks against the truth."""
    if not scenes.exists():
        yield {"row": "verdicts", "skipped": f"no {scenes}"}
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "scenes"
        folder.mkdir()
        dates = with_masks(scenes, folder)
        for name, mask in MASKS.items():
            # In one run folder, the drawn masks compute only the scenes that have one again.
            run = s2fast.run(scenes=folder, out=Path(scratch) / "run", overrides={"ingest.mask": mask})
            pairs = run.pairs()
            same = pairs["query_tile"] == pairs["train_tile"]
            with_date = pairs["query"].str.contains("|".join(dates)) | pairs["train"].str.contains("|".join(dates))
            groups = {"same tile": same, "strip": ~same, "drawn dates": same & with_date}
            yield {
                "mask": name,
                **against_zero(pairs, groups),
                "wrong places": run.record.history.counts["null_trials"],
                "verified there": run.record.history.counts["null_verified"],
            }


def _costs(side: int) -> Iterator[dict[str, Any]]:
    """Yield CPU time and memory of reading every kind of mask of one tile."""
    transform = (10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1])
    raster = Raster((side,) * 2, (BLOCK,) * 2, rasterio.CRS.from_string(CRS).to_wkt(), transform)
    with tempfile.TemporaryDirectory() as scratch:
        for name, (kind, pixel_m, bands, value, crs) in STORED.items():
            path = Path(scratch) / "mask.tif"
            _write(path, side, pixel_m, bands, value, crs, CLEAR.get(name, 0))
            found = FoundMask(kind, Source.local(path), "")
            for flagged in _parts(found, raster):
                del flagged  # GDAL is loaded, and the file is in the page cache
                break
            start = time.process_time()
            share = _share(_parts(found, raster))
            middle = time.process_time()
            _warped(path, raster)
            cpu_s, plain_s = middle - start, time.process_time() - middle
            tracemalloc.start()
            _share(_parts(found, raster))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            yield {
                "mask": name,
                "pixel m": pixel_m,
                "masked %": round(100 * share, 1),
                "CPU s": round(cpu_s, 2),
                "CPU s, GDAL alone": round(plain_s, 2),
                "peak of arrays MiB": round(peak / 2**20, 1),
            }


def _write(path: Path, side: int, pixel_m: float, bands: int, value: int, crs: str, clear: int) -> None:
    """Write clouds of many sizes over a third of the tile's ground."""
    count = int(side * 10 / pixel_m)
    small = cv2.GaussianBlur(np.random.default_rng(0).standard_normal((400, 400)).astype(np.float32), (0, 0), 4)
    dark = (small > np.quantile(small, 2 / 3)).astype(np.uint8) * np.uint8(value - clear) + np.uint8(clear)
    clouds = cv2.resize(dark, (count, count), interpolation=cv2.INTER_NEAREST)
    west, north = CORNER
    if crs != CRS:
        (west,), (north,) = rasterio.warp.transform(CRS, crs, [west], [north])
    transform = Affine(pixel_m, 0, west, 0, -pixel_m, north)
    options = {"driver": "GTiff", "tiled": True, "compress": "deflate", "width": count, "height": count}
    with rasterio.open(path, "w", count=bands, dtype="uint8", crs=crs, transform=transform, **options) as file:
        for band in range(bands):
            file.write(clouds, band + 1)


def _parts(found: FoundMask, raster: Raster) -> Iterator[npt.NDArray[np.bool_]]:
    with open_mask(found, raster, Ingest()) as mask:
        for window in grid(raster.shape, raster.block):
            yield mask.part(window)


def _share(parts: Iterator[npt.NDArray[np.bool_]]) -> float:
    counts = [(int(np.count_nonzero(part)), part.size) for part in parts]
    return sum(masked for masked, _ in counts) / sum(size for _, size in counts)


def _warped(path: Path, raster: Raster) -> None:
    """Read the mask on the tile's grid with GDAL alone."""
    height, width = raster.shape
    with (
        rasterio.open(path) as file,
        WarpedVRT(
            file, crs=raster.crs_wkt, transform=Affine(*raster.transform), height=height, width=width,
            resampling=Resampling.nearest,
        ) as warped,
    ):  # fmt: skip
        for window in grid(raster.shape, raster.block):
            warped.read(window=_rasterio(window))


def _rasterio(window: Window) -> RasterioWindow:
    return RasterioWindow(window.col, window.row, window.width, window.height)
