"""Scenes in other CRSs, and on oblong pixels: whether they are matched, and whether stated errors hold.

Each scene but the first is warped by GDAL, with positions to a thousandth of a pixel, or to an eighth, as gdalwarp does
unless told otherwise. How far GDAL really moved it is known from coordinates that were warped along.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, calculate_default_transform

import s2fast
from benchmarks.interpolated import Image

KERNELS = ("nearest", "bilinear", "cubic")

TOLERANCE_PX, USUAL_TOLERANCE_PX = 0.001, 0.125

TURNS_DEG, SHEARS_DEG = (30, 90, 180), (5, 20, 45)

_DEGREE_M = 111_320.0

_EDGE_PX = 4
"""Margin of the source that kernels read beyond."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid onto which scenes are warped."""

    name: str
    """What the row is called."""
    crs: str
    """Its CRS."""
    pixel: tuple[float, float] | None = None
    """Width and height of its pixels [CRS units]; None: GDAL chooses them."""
    tolerance_px: float = TOLERANCE_PX
    """How far positions may be off [px of the source]."""
    steps: tuple[float, float, float, float] | None = None
    """a, b, d and e of its transform [px of the source], which is turned or sheared; None: it is north-up."""


def grids(image: Image) -> list[Grid]:
    """Return the grids for the scenes of one place."""
    grey, transform, crs = image
    side, (rows, cols) = transform.a, grey.shape
    middle = transform @ (cols / 2, rows / 2)
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(*middle)
    cone = f"+proj=lcc +lat_1={lat - 2:.0f} +lat_2={lat + 2:.0f} +lat_0={lat:.0f} +lon_0={lon - 2:.0f} +datum=WGS84"
    next_zone = f"EPSG:{rasterio.CRS.from_user_input(crs).to_epsg() - 1}"
    return [
        Grid("degrees", "EPSG:4326"),
        Grid("degrees, as wide as the scene's", "EPSG:4326", (side / _DEGREE_M,) * 2),
        Grid("Mercator (3857)", "EPSG:3857"),
        Grid("Mercator (3857), GDAL's usual tolerance", "EPSG:3857", tolerance_px=USUAL_TOLERANCE_PX),
        Grid("next zone", next_zone),
        Grid("Lambert", cone),
        Grid("equal area (6933)", "EPSG:6933"),
        Grid("pixels of 1 x 1.5", crs, (side, 1.5 * side)),
        Grid("pixels of 1.5 x 1", crs, (1.5 * side, side)),
        Grid("pixels of 1 x 2", crs, (side, 2 * side)),
        Grid("pixels of 1 x 4", crs, (side, 4 * side)),
        *(Grid(f"turned by {angle}", crs, steps=_turned(angle)) for angle in TURNS_DEG),
        *(Grid(f"sheared by {angle}", crs, steps=_sheared(angle)) for angle in SHEARS_DEG),
        *(Grid(f"sheared by {angle}, pixels of 1 x 1.5", crs, steps=_sheared(angle, 1.5)) for angle in SHEARS_DEG),
    ]


def _turned(angle_deg: float) -> tuple[float, float, float, float]:
    """Return a, b, d and e of a grid turned counter-clockwise on the map [px of the source]."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return tuple(np.round([cos, sin, sin, -cos], 12).tolist())


def _sheared(angle_deg: float, height: float = 1.0) -> tuple[float, float, float, float]:
    """Return a, b, d and e of a grid whose columns lean by an angle from the vertical [px of the source]."""
    return 1.0, height * float(np.tan(np.radians(angle_deg))), 0.0, -height


def grid_rows(images: Sequence[Image], *, turned: bool = False) -> Iterator[dict[str, Any]]:
    """Yield verdicts and errors of the first scene beside the others on each grid, relative to those as they are.

    `turned`: on turned and sheared grids only.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "scenes"
        folder.mkdir()
        for number, image in enumerate(images):
            _write(folder / f"s{number}.tif", *image)
        written, moved_m = {}, {}
        for number, image in enumerate(images[1:], 1):
            wanted_grids = [grid for grid in grids(image) if grid.steps or not turned]
            for (place, grid), kernel in itertools.product(enumerate(wanted_grids), KERNELS):
                name = f"s{number}_{place:02}_{kernel}"
                moved_m[name] = _warped(image, grid, kernel, folder / f"{name}.tif")
                written[name] = number, grid.name
        wanted = Path(scratch) / "pairs.csv"
        names = [*(f"s{number}" for number in range(1, len(images))), *written]
        pd.DataFrame({"query": "s0", "train": names}).to_csv(wanted, index=False)
        settings = {"matching.pairs": "file", "matching.pairs_file": str(wanted)}
        run = s2fast.run(scenes=folder, out=Path(scratch) / "run", overrides=settings)
        pairs = run.pairs().set_index("train")
        plain = pairs.loc[[f"s{number}" for number in range(1, len(images))]]
        side_m = images[0][1].a
        yield {"grid": "as they are", "pairs": len(plain), "verified": int(plain["verified"].sum()),
               "inliers, median": int(plain["n_inliers"].median())}  # fmt: skip
        found = [
            {"grid": grid_name, "n": row.n_inliers, "verified": row.verified, "stated": row.shift_error_m,
             "moved": np.hypot(*moved_m[train]) / side_m,
             "off": _off_m(row, plain.loc[f"s{number}"], moved_m[train])}
            for train, (number, grid_name) in written.items()
            for row in [pairs.loc[train]]
        ]  # fmt: skip
        for grid_name, group in pd.DataFrame(found).groupby("grid", sort=False):
            right = group[group["verified"].astype(bool)]
            yield {
                "grid": grid_name,
                "pairs": len(group),
                "verified": len(right),
                "inliers, median": int(group["n"].median()),
                "warped off px": round(float(group["moved"].max()), 3),
                "error px, median": round(float((right["off"] / side_m).median()), 3),
                "error px, largest": round(float((right["off"] / side_m).max()), 3),
                "of the stated": round(float((right["off"] / right["stated"]).max()), 2),
            }


def _off_m(found: Any, plain: Any, moved_m: tuple[float, float]) -> float:
    """Return how far a shift is off along the axis along which it is farther off [m]."""
    off = np.array([found.dx_m - plain.dx_m, found.dy_m - plain.dy_m]) - moved_m
    return float(np.abs(off).max())


def _warped(image: Image, grid: Grid, kernel: str, path: Path) -> tuple[float, float]:
    """Write an image on a grid; return how far its ground was moved in the mean, east and north [m]."""
    grey, transform, crs = image
    rows, cols = grey.shape
    size = {} if grid.pixel is None else {"resolution": grid.pixel}
    bounds = rasterio.transform.array_bounds(rows, cols, transform)
    if grid.steps is None:
        there, width, height = calculate_default_transform(crs, grid.crs, cols, rows, *bounds, **size)
        shape = int(height), int(width)
    else:
        there, shape = _around(image, grid.steps)
    _write(path, _warp([grey], image, grid, kernel, there, shape)[0], there, grid.crs)
    y, x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    at = _warp([x, y], image, grid, kernel, there, shape)
    centres = there @ (np.arange(shape[1]) + 0.5, np.arange(shape[0])[:, None] + 0.5)
    points = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True).transform(*np.broadcast_arrays(*centres))
    exact = np.stack(~transform @ points) - 0.5
    inside = ((exact > _EDGE_PX) & (exact < np.array([cols, rows])[:, None, None] - 1 - _EDGE_PX)).all(axis=0)
    right, down = (at - exact)[:, inside].mean(axis=1)
    # Ground that was read from too far right lies too far left.
    return -float(right) * transform.a, -float(down) * transform.e


def _around(image: Image, steps: tuple[float, float, float, float]) -> tuple[Affine, tuple[int, int]]:
    """Return the transform of a grid with given steps that just covers an image, and its rows and columns."""
    grey, transform, _ = image
    rows, cols = grey.shape
    a, b, d, e = steps
    linear = Affine(a * transform.a, b * transform.a, 0, d * transform.a, e * transform.a, 0)
    corners = [transform @ corner for corner in ((0, 0), (cols, 0), (cols, rows), (0, rows))]
    on_grid = np.array([~linear @ corner for corner in corners])
    low, high = on_grid.min(axis=0), on_grid.max(axis=0)
    width, height = np.ceil(high - low).astype(int)
    return Affine.translation(*(linear @ tuple(low))) @ linear, (int(height), int(width))


def _warp(
    bands: Sequence[npt.NDArray[Any]], image: Image, grid: Grid, kernel: str, there: Affine, shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Return bands on a grid; `rasterio.warp.reproject` takes no tolerance before version 1.5."""
    _, transform, crs = image
    with MemoryFile() as memory:
        options = {"driver": "GTiff", "height": bands[0].shape[0], "width": bands[0].shape[1], "count": len(bands)}
        with memory.open(dtype=bands[0].dtype, crs=crs, transform=transform, **options) as file:
            file.write(np.stack(bands))
        with memory.open() as source, WarpedVRT(
            source, crs=grid.crs, transform=there, height=shape[0], width=shape[1],
            resampling=Resampling[kernel], tolerance=grid.tolerance_px,
        ) as warped:  # fmt: skip
            return np.asarray(warped.read())


def _write(path: Path, pixels: npt.NDArray[np.uint8], transform: Affine, crs: str) -> None:
    height, width = pixels.shape
    options = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", transform=transform, crs=crs, **options) as file:
        file.write(pixels, 1)
