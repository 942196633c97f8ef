"""Windowed grey reading with rasterio: one dataset handle, one window at a time, stretched and shrunk on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError

from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.model import Raster, Window
from s2fast.raster.bands import Picture
from s2fast.raster.dataset import block_shape, decoding_threads, gdal_settings, opened, opened_at_level, read_header
from s2fast.raster.openjpeg import CALL_PX, CODE_BLOCK_PX, MARGIN_PX, read_part
from s2fast.raster.stretch import VALUES, auto_stretch, stretch_table
from s2fast.raster.windows import chunk_shape, covering_rectangles, grid, reduced, scaled_up

_AUTO_SIDE_PX = 512
""""auto" looks at the file's coarsest level that has at least this many rows and columns."""


class Reader(Protocol):
    """What ingest needs of a raster; tests hand in readers of their own."""

    @property
    def raster(self) -> Raster:
        """The file's header."""

    @property
    def stretch(self) -> tuple[int, int] | None:
        """The values that become 1 and 255; None for 8-bit files, which are taken as they are."""

    def read(
        self, window: Window, wanted: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read a window of the full-resolution grid, its origin on the reduced grid, and shrink it.

        Parameters
        ----------
        window
            Rows and columns.
        wanted : (height // reduction, width // reduction) bool or None
            Where the answer matters: elsewhere it may be 0, without data. None: everywhere.

        Returns
        -------
        grey : (height // reduction, width // reduction) uint8
            OpenCV's weights, ``0.299 R + 0.587 G + 0.114 B``; one band is taken as it is, indices of a palette are
            looked up. 0 without data.
        has_data : same shape, bool
            False where every band of a pixel read is 0, since Sentinel-2 TCIs declare no nodata value, or is the nodata
            value the file declares, and where the file's mask, alpha band or palette leaves it out. A shrunk pixel has
            data if all it is made of has.
        """


class RasterioReader:
    """A `Reader` of one open rasterio dataset; not to be shared between threads.

    Parameters
    ----------
    dataset
        The file, opened at the level to read.
    source
        What it was opened by.
    raster
        Its header at full resolution.
    settings
        What to make of it.
    picture
        Its bands.
    """

    def __init__(
        self, dataset: rasterio.DatasetReader, source: Source, raster: Raster, settings: Ingest, picture: Picture
    ) -> None:
        self.raster = raster
        self._picture = picture
        self._dataset = dataset
        self._source = source
        self._reduction = settings.reduction
        self._asked = settings.stretch

    @cached_property
    def stretch(self) -> tuple[int, int] | None:
        """The values that become 1 and 255; see `Reader`. Found at the first read."""
        if self.raster.dtype == "uint8" or self._asked == "none":
            return None
        return auto_stretch(self._counts()) if self._asked == "auto" else self._asked

    @cached_property
    def _table(self) -> npt.NDArray[np.uint8] | None:
        return None if self.stretch is None else stretch_table(*self.stretch)

    def read(
        self, window: Window, wanted: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read a window; see `Reader`."""
        read = None if wanted is None else self._read_parts(window, wanted)
        return read or self._shrunk(*self._pixels(self._dataset, reduced(window, self.raster.level)))

    def _read_parts(
        self, window: Window, wanted: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
        """Decode no more of a JPEG 2000 file than is wanted; None if this file cannot be read so."""
        path, bands, picture = self._source.path, self._dataset.count, self._picture
        if self._dataset.driver != "JP2OpenJPEG" or path is None or bands not in (1, 3):
            return None
        if picture.alpha or picture.masks:
            return None
        # Of several tiles GDAL would also read those in which nothing is wanted, and tell of their damage.
        if window.height > self.raster.block[0] or window.width > self.raster.block[1]:
            return None
        grey, has_data = np.zeros(wanted.shape, np.uint8), np.zeros(wanted.shape, np.bool_)
        level, factor = self.raster.level, self._reduction
        padding, price = 2 * MARGIN_PX + CODE_BLOCK_PX, CALL_PX * level
        for part in covering_rectangles(wanted, padding * level // factor, price // factor**2):
            there = scaled_up(part, factor)
            there = replace(there, row=window.row + there.row, col=window.col + there.col)
            values = read_part(path, there, level, bands, decoding_threads())
            if values is None:
                return None
            chosen = values[[band - 1 for band in picture.bands]]
            grey[part.slices], has_data[part.slices] = self._shrunk(*picture.seen(chosen))
        return grey, has_data

    def _shrunk(
        self, pixels: npt.NDArray[Any], has_data: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Make grey of (bands, height, width) at the level read, and shrink it as far as is left to do."""
        if self._table is not None:
            pixels = self._table[pixels]
        left = self._reduction // self.raster.level
        grey, has_data = reduce_mean(_grey(pixels), left), ~reduce_any(~has_data, left)
        if self.raster.masked:
            grey[~has_data] = 0
        return grey, has_data

    def _pixels(
        self, dataset: rasterio.DatasetReader, window: Window
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        try:
            return self._picture.read(dataset, window)
        except RasterioError as error:
            said = self._source.redacted(error.__cause__ or error)
            raise SceneError(
                f"{self._source}: cannot read rows {window.row} to {window.row + window.height} "
                f"({said}): the file is truncated or damaged, or its server failed; get it again"
            ) from (error if self._source.is_local else None)

    def _counts(self) -> npt.NDArray[np.int64]:
        """Count the scene's valid values, all bands together: (65536,) int64.

        The whole scene counts, whichever windows are read, so that no polygon changes a pixel.
        """
        counts = np.zeros(VALUES, np.int64)
        with opened(self._source) as full:
            large = [factor for factor in full.overviews(1) if min(full.shape) // factor >= _AUTO_SIDE_PX]
        with opened(self._source, len(large) - 1 if large and not self._picture.whole_only else None) as level:
            for window in grid(level.shape, chunk_shape(block_shape(level), 1)):
                pixels, has_data = self._pixels(level, window)
                counts += np.bincount(pixels[:, has_data].ravel(), minlength=VALUES)
        return counts


@contextmanager
def open_raster(place: Source | Path | str, settings: Ingest | None = None) -> Iterator[RasterioReader]:
    """Open a raster for reading, in the thread that will read it.

    Parameters
    ----------
    place
        The raster, or what a user names it by; see `s2fast.files.source.Source.of`.
    settings
        Reduction, decoding and stretch; None: the defaults.

    Raises
    ------
    SceneError
        The file cannot be opened, has no CRS, or has pixels that are neither 8-bit nor 16-bit with a stretch, of a
        colour space that is not read, or too few for the reduction.
    """
    source, settings = Source.of(place), settings or Ingest()
    with gdal_settings(), opened(source) as dataset:
        picture = Picture.of(dataset, source.name)
        header = read_header(dataset, source, settings, picture)
        with opened_at_level(source, dataset, header, settings, picture) as (level, raster):
            yield RasterioReader(level, source, raster, settings, picture)


def _grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Make one grey band of (bands, height, width)."""
    if len(pixels) == 1:
        return np.asarray(pixels[0])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(np.moveaxis(pixels, 0, 2)), cv2.COLOR_RGB2GRAY))


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
    # Rows first, since they lie together in memory: much faster than both axes at once.
    of_rows = np.logical_or.reduce(whole.reshape(rows, reduction, -1), axis=1)
    columns = [of_rows[:, column::reduction] for column in range(reduction)]
    return np.asarray(np.logical_or.reduce(columns))
