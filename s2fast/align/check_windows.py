"""Displacements between the files of scenes in windows spread over the ground that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import reproject, transform
from rasterio.windows import Window

from s2fast.align.phase_correlation import phase_shift
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.raster.dataset import open_dataset

_SIDE_PX = 96
"""Side of a window [px]."""

_MOST_WINDOWS = 8
"""Greatest number of windows of a pair along each axis."""

_MOST_SCATTER_PX = 3.0
"""Greatest distance of a window's displacement from the median of its pair [px]; others are false peaks."""

_MOST_OPEN = 16
"""Greatest number of files that stay open: an open file keeps its decoded blocks in GDAL's cache."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a scene, before and after its correction."""

    before: Source
    """The image as delivered."""
    after: Path | None
    """The corrected file; None for a reference from outside, which is not corrected."""
    error_m: float
    """Stated error of the correction [m]."""


class UnreadableError(SceneError):
    """A file of one of the compared scenes cannot be read."""

    def __init__(self, image: Image, message: str) -> None:
        super().__init__(message)
        self.image = image
        """The scene's image."""


class Files:
    """Opens images, and keeps `_MOST_OPEN` of them open, those last used; to be used in one thread."""

    def __init__(self) -> None:
        self._open: dict[str, rasterio.DatasetReader] = {}

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *error: object) -> None:
        for dataset in self._open.values():
            dataset.close()

    def delivered(self, image: Image) -> rasterio.DatasetReader:
        """Return an image as delivered; raise UnreadableError if it cannot be opened."""
        with _reading(image):
            return self._kept(image.before.address, lambda: open_dataset(image.before))

    def corrected(self, image: Image) -> rasterio.DatasetReader:
        """Return an image as corrected; a reference from outside is not. Raise UnreadableError as `delivered`."""
        path = image.after
        if path is None:
            return self.delivered(image)
        with _reading(image, path):
            if path.suffix == ".vrt":
                # ours, which may read what the run read
                return self._kept(str(path), lambda: rasterio.open(path, driver="VRT"))
            return self._kept(str(path), lambda: open_dataset(Source.local(path)))

    def _kept(self, name: str, opened: Callable[[], rasterio.DatasetReader]) -> rasterio.DatasetReader:
        dataset = self._open.pop(name, None)
        self._open[name] = _placed(opened()) if dataset is None else dataset
        if len(self._open) > _MOST_OPEN:
            self._open.pop(next(iter(self._open))).close()
        return self._open[name]


def _placed(dataset: rasterio.DatasetReader) -> rasterio.DatasetReader:
    """Return a dataset if it is georeferenced, as all scenes of a run were."""
    if dataset.crs is None or dataset.transform.is_degenerate:
        dataset.close()
        raise OSError("it has lost its georeferencing")
    return dataset


@contextmanager
def _reading(image: Image, path: Path | None = None) -> Iterator[None]:
    """Convert errors in reading an image, or its corrected file, to an UnreadableError."""
    try:
        yield
    except (RasterioError, CRSError, OSError) as error:
        if isinstance(error, SceneError):  # which names the file
            raise UnreadableError(image, f"cannot be checked: {error}") from error
        told = " ".join(image.before.redacted(error).split())
        raise UnreadableError(image, f"cannot be checked: {path or image.before}: {told}") from error


def displacements(
    image: Image, other: Image, files: Files
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Return how far a scene lies from another in the windows that correlate and agree, before and after.

    Parameters
    ----------
    image
        The scene.
    other
        Another one; its corrected file is compared with both.
    files
        Opens them.

    Returns
    -------
    tuple
        (n, 2) and (m, 2) float64, position in the scene minus position in the other, east and north [m]; the size of
        the other's pixels [m].

    Raises
    ------
    UnreadableError
        A file of either cannot be read.
    """
    fixed, sides = files.corrected(other), [files.delivered(image), files.corrected(image)]
    grid = PixelGrid(fixed.crs.to_wkt(), tuple(fixed.transform)[:6], fixed.shape)
    found: tuple[list[Any], list[Any]] = [], []
    for window in _windows(fixed, sides[1]):
        with _reading(other, other.after):
            still = _with_gaps(fixed.read(1, window=window), fixed)
        for shifts, side, path in zip(found, sides, (None, image.after), strict=True):
            with _reading(image, path):
                pixels = _with_gaps(_on_grid(side, fixed, window), side)
            shift = phase_shift(pixels, still)
            if shift is not None:
                shifts.append(grid.px_m @ shift)
    before, after = (_agreeing(np.array(shifts, np.float64).reshape(-1, 2), grid.pixel_m) for shifts in found)
    return before, after, grid.pixel_m


def _agreeing(shifts: npt.NDArray[np.float64], px_m: float) -> npt.NDArray[np.float64]:
    """Return those of (n, 2) displacements that lie near the median of all [m]; none unless they are most of them."""
    if not len(shifts):
        return shifts
    near = np.hypot(*(shifts - np.median(shifts, axis=0)).T) < _MOST_SCATTER_PX * px_m
    return np.asarray(shifts[near & (near.mean() > 0.5)])


def _on_grid(dataset: rasterio.DatasetReader, fixed: rasterio.DatasetReader, window: Window) -> npt.NDArray[Any]:
    """Resample the first band of a dataset onto a window of another's grid; nothing else is read.

    Within a window, GDAL's lines bend by some hundredths of a pixel at most, before and after alike.
    """
    pixels = np.zeros((_SIDE_PX, _SIDE_PX), dataset.dtypes[0])
    empty = 0 if dataset.nodata is None else dataset.nodata
    reproject(
        rasterio.band(dataset, 1), pixels, dst_crs=fixed.crs, dst_transform=fixed.window_transform(window),
        src_nodata=empty, dst_nodata=empty, resampling=Resampling.cubic,
    )  # fmt: skip
    return pixels


def _windows(fixed: rasterio.DatasetReader, other: rasterio.DatasetReader) -> Iterator[Window]:
    """Yield windows spread evenly over the ground that both show, on the grid of the first; either may be turned."""
    xy = np.asarray(other.transform @ _outline(other.shape))
    if other.crs != fixed.crs:
        xy = np.array(transform(other.crs, fixed.crs, *xy))
    # The edges of aligned grids are whole numbers but for rounding.
    at = np.round(np.asarray(~fixed.transform @ xy[:, np.isfinite(xy).all(axis=0)]), 6)
    (left, top), (right, bottom) = np.ceil(at.min(axis=1)).astype(int), np.floor(at.max(axis=1)).astype(int)
    for row in _starts(max(top, 0), min(bottom, fixed.height)):
        for col in _starts(max(left, 0), min(right, fixed.width)):
            yield Window(col, row, _SIDE_PX, _SIDE_PX)


def _outline(shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return points along the edges of a grid: (2, n) x, y [px]."""
    step, one = np.linspace(0, 1, 22), np.ones(22)
    x, y = (np.concatenate(sides) for sides in ([step, step, 0 * one, one], [0 * one, one, step, step]))
    return np.stack([x * shape[1], y * shape[0]])


def _starts(low: int, high: int) -> list[int]:
    """Return where windows begin that lie within a range, evenly and without overlap.

    Examples
    --------
    >>> _starts(10, 220), _starts(0, 90)
    ([10, 124], [])
    """
    count = min(_MOST_WINDOWS, max(high - low, 0) // _SIDE_PX)
    return [int(start) for start in np.linspace(low, max(high - _SIDE_PX, low), count)]


def _with_gaps(pixels: npt.NDArray[Any], dataset: rasterio.DatasetReader) -> npt.NDArray[np.float64]:
    """Return pixels as float64; NaN where there is no data."""
    values: npt.NDArray[np.float64] = pixels.astype(np.float64)
    values[pixels == (0 if dataset.nodata is None else dataset.nodata)] = np.nan
    return values
