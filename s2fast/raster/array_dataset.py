"""`ArrayDataset`: an array that is read in windows, with the part of rasterio's interface that s2fast uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Interleaving, MaskFlags, Resampling
from rasterio.windows import Window as RasterioWindow

from s2fast.errors import SceneError

_COLOURS = {
    ColorInterp.red: ("red", "r", "b04"),
    ColorInterp.green: ("green", "g", "b03"),
    ColorInterp.blue: ("blue", "b", "b02"),
    ColorInterp.alpha: ("alpha", "a"),
}
"""Names of bands by their colour."""

_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)

_RESIZED = ("uint8", "uint16", "int16", "float32", "float64")
"""Types that OpenCV resizes."""

_STRIP_ROWS = 1024
"""Rows that are read at once to shrink a window."""

ReadWindow = Callable[[slice, slice, slice], npt.NDArray[Any]]
"""Reads bands, rows and columns: (bands, rows, cols)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the pixels of an array lie."""

    shape: tuple[int, int, int]
    """Bands, rows, columns."""

    dtype: str
    """Type of the pixels."""

    block: tuple[int, int]
    """Rows and columns that are best read together."""

    crs: CRS
    """Coordinate reference system."""

    transform: Affine
    """Of pixel corners [CRS units]."""

    nodata: float | None = None
    """Value of missing pixels; None: no value is declared."""

    band_names: tuple[str, ...] = ()
    """Names of the bands; empty if they have none."""


class ArrayDataset:
    """An array with bands, rows and columns, as rasterio's ``DatasetReader``; it has no overviews and no masks.

    Parameters
    ----------
    layout
        Where its pixels lie.
    read_window
        Reads a part of it; its errors are SceneErrors.

    Raises
    ------
    SceneError
        It has no bands, rows or columns.
    """

    driver = "array"
    interleaving = Interleaving.band
    files: Sequence[str] = ()
    """Files that it reads, as of a dataset of rasterio."""
    gcps = ((), None)
    rpcs = None

    def __init__(self, layout: Layout, read_window: ReadWindow) -> None:
        self.count, self.height, self.width = layout.shape
        if 0 in layout.shape:
            raise SceneError(f"it has {self.count} bands of {self.height} x {self.width} px: it is empty")
        self.shape = layout.shape[1:]
        self.indexes = tuple(range(1, self.count + 1))
        self.dtypes = (layout.dtype,) * self.count
        self.crs, self.transform = layout.crs, layout.transform
        self.nodatavals = (layout.nodata,) * self.count
        self.block_shapes = [tuple(map(min, layout.block, self.shape))] * self.count
        flags = [MaskFlags.all_valid] if layout.nodata is None else [MaskFlags.nodata]
        self.mask_flag_enums = (flags,) * self.count
        self.colorinterp = _colours(layout)
        self._read_window = read_window

    def __enter__(self) -> ArrayDataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: nothing is held open."""

    def overviews(self, band: int) -> list[int]:
        """Return the factors of the overviews of a band: there are none."""
        del band
        return []

    def tags(self, ns: str = "") -> dict[str, str]:
        """Return the metadata of a namespace: there are none."""
        del ns
        return {}

    def read(
        self,
        bands: Sequence[int] | int,
        window: RasterioWindow | None = None,
        out_shape: tuple[int, ...] | None = None,
        resampling: Resampling = Resampling.nearest,
    ) -> npt.NDArray[Any]:
        """Read bands, the first of which is 1: (bands, rows, cols), or (rows, cols) of a single number."""
        wanted = [bands] if isinstance(bands, int) else list(bands)
        row, col, height, width = (0, 0, self.height, self.width)
        if window is not None:
            row, col, height, width = (
                round(side) for side in (window.row_off, window.col_off, window.height, window.width)
            )
        cols = slice(col, col + width)
        if out_shape is None or out_shape[-2:] == (height, width):
            pixels = self._bands(wanted, slice(row, row + height), cols)
        else:
            pixels = self._shrunk(wanted, (row, height), cols, out_shape[-2:], resampling)
        return pixels[0] if isinstance(bands, int) else pixels

    def read_masks(self, bands: Sequence[int], window: RasterioWindow | None = None) -> npt.NDArray[np.uint8]:
        """Return the masks of bands, 255 where they are valid: (bands, rows, cols)."""
        pixels = self.read(bands, window)
        nodata = self.nodatavals[0]
        return np.where(pixels != nodata, np.uint8(255), np.uint8(0))

    def dataset_mask(self, out_shape: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
        """Return the mask of all bands, 255 where any is valid: (rows, cols)."""
        pixels = self.read(self.indexes, out_shape=None if out_shape is None else (self.count, *out_shape))
        valid = np.ones(pixels.shape[1:], np.bool_)
        if self.nodatavals[0] is not None:
            valid = (pixels != self.nodatavals[0]).any(axis=0)
        return np.where(valid, np.uint8(255), np.uint8(0))

    def _bands(self, bands: Sequence[int], rows: slice, cols: slice) -> npt.NDArray[Any]:
        first, last = min(bands) - 1, max(bands)
        part = self._read_window(slice(first, last), rows, cols)
        wanted = (last - first, rows.stop - rows.start, cols.stop - cols.start)
        if part.shape != wanted or str(part.dtype) != self.dtypes[0]:
            raise SceneError(f"a window of it is {part.shape} {part.dtype}, not {wanted} {self.dtypes[0]}")
        chosen = [band - 1 - first for band in bands]
        return part if chosen == list(range(len(part))) else part[chosen]

    def _shrunk(
        self, bands: Sequence[int], rows: tuple[int, int], cols: slice, shape: tuple[int, ...], kernel: Resampling
    ) -> npt.NDArray[Any]:
        """Read a window in strips, and resize each to its share of the output."""
        (row, height), (out_rows, out_cols) = rows, shape
        out = np.empty((len(bands), out_rows, out_cols), self.dtypes[0])
        step = max(1, out_rows * _STRIP_ROWS // max(height, 1))
        flag = cv2.INTER_NEAREST if kernel is Resampling.nearest else cv2.INTER_AREA
        for top in range(0, out_rows, step):
            bottom = min(out_rows, top + step)
            begin, end = row + top * height // out_rows, row + max(bottom * height // out_rows, 1)
            begin = min(begin, end - 1)
            strip = self._bands(bands, slice(begin, end), cols)
            if strip.dtype.name not in _RESIZED:
                strip = strip.astype(np.float64)
            for band, pixels in zip(out, strip, strict=True):
                band[top:bottom] = cv2.resize(pixels, (out_cols, bottom - top), interpolation=flag)
        return out


def write_geotiff(dataset: ArrayDataset, path: Path) -> None:
    """Write an array as a tiled GeoTIFF, strip by strip, for what only reads files."""
    with rasterio.open(
        path, "w", driver="GTiff", tiled=True, blockxsize=512, blockysize=512, bigtiff="IF_SAFER", compress="deflate",
        count=dataset.count, dtype=dataset.dtypes[0], height=dataset.height, width=dataset.width, crs=dataset.crs,
        transform=dataset.transform, nodata=dataset.nodatavals[0],
    ) as written:  # fmt: skip
        written.colorinterp = dataset.colorinterp
        for row in range(0, dataset.height, _STRIP_ROWS):
            window = RasterioWindow(0, row, dataset.width, min(_STRIP_ROWS, dataset.height - row))
            written.write(dataset.read(dataset.indexes, window), window=window)


def _colours(layout: Layout) -> tuple[ColorInterp, ...]:
    """Return what the bands mean by their names; three bands without names of colours are red, green and blue."""
    bands = layout.shape[0]
    named = [
        next((colour for colour, names in _COLOURS.items() if name.lower() in names), ColorInterp.undefined)
        for name in layout.band_names
    ]
    if len(named) == bands and set(_RGB) <= set(named):
        return tuple(named)
    if bands in (3, 4) and not set(named) & set(_RGB):
        return (*_RGB, *([ColorInterp.undefined] * (bands - 3)))
    return (ColorInterp.gray, *([ColorInterp.undefined] * (bands - 1)))
