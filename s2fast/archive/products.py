"""Several products of one acquisition: which of them show ground that no newer one shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError

from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.geometry.placement import reprojected, to_ground, to_pixels
from s2fast.model import Scene
from s2fast.raster.dataset import gdal_settings, open_dataset

_SIDE_PX = 512
"""Products are compared on about so many rows and columns: files have a coarser level near it, which is read fast."""

_SLIVER = 0.01
"""Share of its ground that a product may show alone and yet be replaced: reprocessing moves the swath's edge."""

_UNOFFICIAL = 9999
"""The baseline of products that their user made."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A coarse look at a raster."""

    pixels: npt.NDArray[Any]
    """(bands, rows, cols), the file's type."""

    has_data: npt.NDArray[np.bool_]
    """(rows, cols), False where all bands are 0 or the file says that there is no data."""

    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f of this grid, at pixel corners [CRS units]."""

    crs_wkt: str
    """Coordinate reference system."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A product that is not used."""

    scene: Scene
    """What is left out."""

    by: Scene
    """What is used instead."""

    reason: str
    """What tells the two apart."""

    def __str__(self) -> str:
        return f"{self.scene.source}: not used; {self.by.source} {self.reason}"


def used_products(
    scenes: Iterable[Scene], show: Callable[[Source], Shown | None]
) -> tuple[list[Scene], list[Replaced]]:
    """Leave out what other products of the same acquisition replace.

    A product is replaced by newer ones, of the same level, that show all its ground; and by one that shows the same
    pixels. What complements the others, or cannot be compared with them, stays: halves of a tile, other levels.

    Parameters
    ----------
    scenes
        All that were found. Those whose name tells no acquisition all stay.
    show
        Gives a look at a raster, None if it cannot be read. Asked only where an acquisition has several products.
    """
    acquisitions: dict[tuple[Any, ...], list[Scene]] = {}
    for scene in scenes:
        key = (scene.tile, scene.sensing_time, scene.asset) if scene.sensing_time else (scene.source,)
        acquisitions.setdefault(key, []).append(scene)
    used, replaced = [], []
    for products in acquisitions.values():
        kept: list[tuple[Scene, Shown | None]] = []
        for scene in sorted(sorted(products, key=lambda scene: scene.source.name), key=_rank, reverse=True):
            look = show(scene.source) if len(products) > 1 else None
            found = look and _replacement(scene, look, kept)
            if found:
                replaced.append(found)
            else:
                kept.append((scene, look))
        used += [scene for scene, _ in kept]
    return used, replaced


def shown(source: Source) -> Shown | None:
    """Take a coarse look at a raster; None if it cannot be read."""
    try:
        with gdal_settings(), open_dataset(source) as dataset:
            factor = max(1, max(dataset.shape) // _SIDE_PX)
            rows, cols = (-(-side // factor) for side in dataset.shape)
            bands = [1, 2, 3] if dataset.count >= 3 else [1]
            pixels = dataset.read(bands, out_shape=(len(bands), rows, cols))
            has_data = pixels.any(axis=0) & (dataset.dataset_mask(out_shape=(rows, cols)) != 0)
            scaled = dataset.transform * dataset.transform.scale(dataset.width / cols, dataset.height / rows)
            return Shown(pixels, has_data, tuple(scaled)[:6], dataset.crs.to_wkt() if dataset.crs else "")
    except (SceneError, RasterioError):
        return None


def _rank(scene: Scene) -> tuple[int, str]:
    return (0 if scene.baseline == _UNOFFICIAL else scene.baseline, scene.product_time)


def _replacement(scene: Scene, look: Shown, kept: Sequence[tuple[Scene, Shown | None]]) -> Replaced | None:
    for by, other in kept:
        if other and _is_copy(look, other):
            return Replaced(scene, by, "shows the same pixels")
    newer = [
        (by, other)
        for by, other in kept
        if other and by.level == scene.level and any(_rank(scene)) and _rank(by) > _rank(scene)
    ]
    if not newer or _share_alone(look, [other for _, other in newer]) > _SLIVER:
        return None
    by = newer[0][0]
    if _rank(by)[0] == _rank(scene)[0]:
        reason = "shows the same ground and was made later"
    elif scene.baseline == _UNOFFICIAL:
        reason = "shows the same ground and is of an official processing baseline"
    else:
        reason = "shows the same ground and is of a newer processing baseline"
    return Replaced(scene, by, reason)


def _is_copy(look: Shown, other: Shown) -> bool:
    same_grid = (look.transform, look.crs_wkt) == (other.transform, other.crs_wkt)
    return same_grid and np.array_equal(look.pixels, other.pixels)


def _share_alone(look: Shown, others: Iterable[Shown]) -> float:
    """Return the share of a product's ground that none of the others shows, 0 to 1."""
    rows, cols = np.nonzero(look.has_data)
    if not len(rows):
        return 0.0
    points = to_ground(np.column_stack([cols, rows]), look.transform)
    alone = np.ones(len(rows), np.bool_)
    for other in others:
        there = reprojected(points, look.crs_wkt, other.crs_wkt) if look.crs_wkt and other.crs_wkt else points
        at = to_pixels(there, other.transform)
        col, row = np.rint(np.where(np.isfinite(at), at, -1)).astype(np.int64).T
        height, width = other.has_data.shape
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        alone[inside] &= ~other.has_data[row[inside], col[inside]]
    return float(alone.mean())
