"""Windowed grey reading with rasterio: one header check, one dataset handle, one window at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from s2fast.errors import SceneError
from s2fast.model import Raster, Window


class Reader(Protocol):
    """What ingest needs of a raster; tests hand in readers of their own."""

    @property
    def raster(self) -> Raster:
        """The file's header."""

    def read(self, window: Window) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read a window at full resolution.

        Returns
        -------
        grey : (height, width) uint8
            OpenCV's weights, ``0.299 R + 0.587 G + 0.114 B``; one band is taken as it is.
        has_data : (height, width) bool
            False where every band is 0: Sentinel-2 TCIs declare no nodata value.
        """


class RasterioReader:
    """A `Reader` of one open rasterio dataset; not to be shared between threads."""

    def __init__(self, dataset: rasterio.DatasetReader, path: Path) -> None:
        self._dataset = dataset
        self._path = path
        self.raster = _header(dataset, path)

    def read(self, window: Window) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read a window; see `Reader`."""
        bands = [1, 2, 3] if self._dataset.count >= 3 else [1]
        region = RasterioWindow(window.col, window.row, window.width, window.height)
        try:
            pixels: npt.NDArray[np.uint8] = self._dataset.read(bands, window=region)
        except RasterioError as error:
            raise SceneError(
                f"{self._path}: cannot read rows {window.row} to {window.row + window.height}: the file is truncated "
                "or damaged; download it again"
            ) from error
        if len(bands) == 1:
            return pixels[0], pixels[0] != 0
        has_data = (pixels[0] | pixels[1] | pixels[2]) != 0
        return cv2.cvtColor(np.ascontiguousarray(np.moveaxis(pixels, 0, 2)), cv2.COLOR_RGB2GRAY), has_data


@contextmanager
def open_raster(path: Path) -> Iterator[RasterioReader]:
    """Open a raster for reading.

    Raises
    ------
    SceneError
        The file cannot be opened, has no CRS or is not 8-bit.
    """
    options = {
        "GDAL_NUM_THREADS": os.environ.get("GDAL_NUM_THREADS", "ALL_CPUS"),
        # Sidecar files of a TCI hold nothing we read; looking for them is slow on network disks.
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    }
    with rasterio.Env(**options):
        try:
            dataset = rasterio.open(path)
        except RasterioError as error:
            raise SceneError(f"{path}: cannot be opened as a raster ({error})") from error
        with dataset:
            yield RasterioReader(dataset, path)


def _header(dataset: rasterio.DatasetReader, path: Path) -> Raster:
    # A JP2 without a CRS comes back with a nameless local one.
    if dataset.crs is None or not (dataset.crs.is_projected or dataset.crs.is_geographic):
        raise SceneError(f"{path}: has no CRS; assign one, for example with gdal_edit.py -a_srs")
    if dataset.dtypes[0] != "uint8":
        raise SceneError(f"{path}: pixels are {dataset.dtypes[0]}, 8-bit are wanted; use the TCI or stretch to 8 bit")
    block_rows, block_cols = dataset.block_shapes[0]
    return Raster(
        shape=(dataset.height, dataset.width),
        block=(int(block_rows), int(block_cols)),
        crs_wkt=dataset.crs.to_wkt(),
        transform=tuple(dataset.transform)[:6],
    )


def reduce_mean(grey: npt.NDArray[np.uint8], reduction: int) -> npt.NDArray[np.uint8]:
    """Shrink by an integer factor, each pixel the rounded mean of reduction x reduction.

    For factor 2 this is what ``cv2.resize`` gives with its default interpolation. Rows and columns left over at the
    far edge are dropped.
    """
    if reduction == 1:
        return grey
    rows, cols = grey.shape[0] // reduction, grey.shape[1] // reduction
    whole = grey[: rows * reduction, : cols * reduction]
    if not whole.size:
        return np.zeros((rows, cols), np.uint8)
    shrunk: npt.NDArray[np.uint8] = cv2.resize(whole, (cols, rows), interpolation=cv2.INTER_AREA)
    return shrunk


def reduce_any(mask: npt.NDArray[np.bool_], reduction: int) -> npt.NDArray[np.bool_]:
    """Shrink a mask by an integer factor: True where any of reduction x reduction is."""
    if reduction == 1:
        return mask
    rows, cols = mask.shape[0] // reduction, mask.shape[1] // reduction
    whole = mask[: rows * reduction, : cols * reduction]
    return np.asarray(whole.reshape(rows, reduction, cols, reduction).any(axis=(1, 3)))
