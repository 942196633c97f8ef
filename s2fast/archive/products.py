"""Select among several products of one acquisition: leave out those that newer ones replace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError

from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.geometry.pixel_grid import reprojected, to_ground, to_pixels
from s2fast.model import Scene
from s2fast.raster.dataset import gdal_settings, open_dataset

_SIDE_PX = 512
"""Approximate side of the previews on which products are compared: most files have an overview of about this size."""

_SLIVER = 0.01
"""Maximum share of its ground that only the replaced product may show: reprocessing moves the swath's edge."""

_UNOFFICIAL = 9999
"""The baseline of products that users generated themselves."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A raster at coarse resolution."""

    pixels: npt.NDArray[Any]
    """(bands, rows, cols), the file's type."""

    has_data: npt.NDArray[np.bool_]
    """(rows, cols), False where all bands are 0 or the file declares missing data."""

    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f of this grid, at pixel corners [CRS units]."""

    crs_wkt: str
    """Coordinate reference system."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A product that is left out."""

    scene: Scene
    """The scene that is left out."""

    by: Scene
    """The scene that is used instead."""

    reason: str
    """Why `by` replaces `scene`, as a predicate of `by`."""

    def __str__(self) -> str:
        return f"{self.scene.source}: not used; {self.by.source} {self.reason}"


def used_products(
    scenes: Iterable[Scene], look: Callable[[Source], Preview | None]
) -> tuple[list[Scene], list[Replaced]]:
    """Split scenes into those to use and those that other products of the same acquisition replace.

    A product is replaced by newer products of the same level that together show all its ground, and by a product with
    the same pixels. Complementary products, such as halves of a tile, and incomparable ones, such as other levels, are
    used.

    Parameters
    ----------
    scenes
        All scenes found. Those without an acquisition in their name are all used.
    look
        Function that returns a preview of a raster, or None if it cannot be read; called only for acquisitions with
        several products.
    """
    acquisitions: dict[tuple[Any, ...], list[Scene]] = {}
    for scene in scenes:
        named = scene.sensing_time and (scene.tile or scene.platform)  # others may have a date, and be any part of it
        key = (scene.tile, scene.sensing_time, scene.asset) if named else (scene.source,)
        acquisitions.setdefault(key, []).append(scene)
    used, replaced = [], []
    for products in acquisitions.values():
        kept: list[tuple[Scene, Preview | None]] = []
        for scene in sorted(sorted(products, key=lambda scene: scene.source.name), key=_rank, reverse=True):
            seen = look(scene.source) if len(products) > 1 else None
            replacement = seen and _replacement(scene, seen, kept)
            if replacement:
                replaced.append(replacement)
            else:
                kept.append((scene, seen))
        used += [scene for scene, _ in kept]
    return used, replaced


def preview(source: Source) -> Preview | None:
    """Read a raster at coarse resolution; return None if it cannot be read."""
    try:
        with gdal_settings(), open_dataset(source) as dataset:
            factor = max(1, max(dataset.shape) // _SIDE_PX)
            rows, cols = (-(-side // factor) for side in dataset.shape)
            bands = [1, 2, 3] if dataset.count >= 3 else [1]
            pixels = dataset.read(bands, out_shape=(len(bands), rows, cols))
            has_data = pixels.any(axis=0) & (dataset.dataset_mask(out_shape=(rows, cols)) != 0)
            scaled = dataset.transform @ dataset.transform.scale(dataset.width / cols, dataset.height / rows)
            return Preview(pixels, has_data, tuple(scaled)[:6], dataset.crs.to_wkt() if dataset.crs else "")
    except (SceneError, RasterioError):
        return None


def _rank(scene: Scene) -> tuple[int, str]:
    return (0 if scene.baseline == _UNOFFICIAL else scene.baseline, scene.product_time)


def _replacement(scene: Scene, seen: Preview, kept: Sequence[tuple[Scene, Preview | None]]) -> Replaced | None:
    for by, other in kept:
        if other and _is_copy(seen, other):
            return Replaced(scene, by, "shows the same pixels")
    newer = [
        (by, other)
        for by, other in kept
        if other and by.level == scene.level and any(_rank(scene)) and _rank(by) > _rank(scene)
    ]
    if not newer or _unshared_fraction(seen, [other for _, other in newer]) > _SLIVER:
        return None
    by = newer[0][0]
    if _rank(by)[0] == _rank(scene)[0]:
        reason = "shows the same ground and was made later"
    elif scene.baseline == _UNOFFICIAL:
        reason = "shows the same ground and has an official processing baseline"
    else:
        reason = "shows the same ground and has a newer processing baseline"
    return Replaced(scene, by, reason)


def _is_copy(seen: Preview, other: Preview) -> bool:
    same_grid = (seen.transform, seen.crs_wkt) == (other.transform, other.crs_wkt)
    return same_grid and np.array_equal(seen.pixels, other.pixels)


def _unshared_fraction(seen: Preview, others: Iterable[Preview]) -> float:
    """Return the fraction of a product's ground that none of the others shows, 0 to 1."""
    rows, cols = np.nonzero(seen.has_data)
    if not len(rows):
        return 0.0
    points = to_ground(np.column_stack([cols, rows]), seen.transform)
    alone = np.ones(len(rows), np.bool_)
    for other in others:
        ground = reprojected(points, seen.crs_wkt, other.crs_wkt) if seen.crs_wkt and other.crs_wkt else points
        at = to_pixels(ground, other.transform)
        col, row = np.rint(np.where(np.isfinite(at), at, -1)).astype(np.int64).T
        height, width = other.has_data.shape
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        alone[inside] &= ~other.has_data[row[inside], col[inside]]
    return float(alone.mean())
