"""Read windows as grey images with rasterio, stretched to 8 bits and reduced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from s2fast.files.ranges import byte_ranges
from s2fast.files.source import Source
from s2fast.files.web import refusal
from s2fast.model import Raster, Window
from s2fast.raster.bands import Picture
from s2fast.raster.codestream import Codestream, Parts
from s2fast.raster.dataset import block_shape, decoding_threads, gdal_settings, open_dataset, open_level, read_header
from s2fast.raster.luma import LumaTiles, UndecodedError, luma_tiles
from s2fast.raster.openjpeg import CALL_PX, CODE_BLOCK_PX, MARGIN_PX, read_part
from s2fast.raster.stretch import auto_stretch, bins, histogram, stretch_table, stretched
from s2fast.raster.windows import chunk_shape, covering_rectangles, grid, reduced, scaled_up

_AUTO_SIDE_PX = 512
""""auto" counts values on the coarsest overview with at least this many rows and columns."""


class Reader(Protocol):
    """The interface of a raster that ingest uses; tests implement it with fake readers."""

    @property
    def raster(self) -> Raster:
        """The file's header."""

    @property
    def stretch(self) -> tuple[float, float] | None:
        """The values that become 1 and 255; None for 8-bit files, which are not stretched."""

    @property
    def stretches(self) -> Sequence[tuple[float, float]]:
        """`stretch` of each file of several bands, or of the only file; empty for 8-bit files."""

    @property
    def colour(self) -> bool:
        """Whether grey is computed from the red, green and blue bands of one file, or its first three."""

    @property
    def at_once(self) -> int:
        """Number of windows to read at once, in other threads; 1: only the thread that opened the file may read."""

    def read(
        self, window: Window, wanted: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read a window of the full-resolution grid and reduce it.

        Parameters
        ----------
        window
            Rows and columns; the origin is a multiple of the reduction.
        wanted : (height // reduction, width // reduction) bool or None
            True for the pixels that are used; others may be returned as 0, without data. None: all are used.

        Returns
        -------
        grey : (height // reduction, width // reduction) uint8
            The file's luma if `Raster.luma`; else RGB with OpenCV's weights, ``0.299 R + 0.587 G + 0.114 B``, after
            applying a palette; a single band is returned unchanged. 0 where there is no data.
        has_data : same shape, bool
            False where all bands of a pixel are 0 (Sentinel-2 TCIs declare no nodata value) or equal the declared
            nodata value, and where the file's mask, alpha band or palette excludes the pixel. Luma of 0 counts as all
            bands 0: it is 0 wherever they are, and else only where they nearly are (lossless: ``R + 2 G + B < 4``). A
            reduced pixel has data if all pixels in it have data.
        """


class RasterioReader:
    """A `Reader` of one open rasterio dataset.

    Parameters
    ----------
    dataset
        The file, opened at the level to read.
    source
        The source of the file.
    raster
        The header, at full resolution.
    settings
        Reduction and stretch.
    picture
        The bands to read.
    """

    at_once = 1
    """See `Reader`; GDAL decodes each window in several threads."""

    files: Sequence[str] = ()
    """Addresses of the files that are read with the raster, and its own; set by `open_raster`."""

    def __init__(
        self, dataset: rasterio.DatasetReader, source: Source, raster: Raster, settings: Ingest, picture: Picture
    ) -> None:
        self.raster = raster
        self._picture = picture
        self._dataset = dataset
        self._source = source
        self._reduction = settings.reduction
        self._stretch_setting = settings.stretch
        self.colour = len(picture.bands) == 3
        """See `Reader`."""

    @cached_property
    def stretch(self) -> tuple[float, float] | None:
        """The values that become 1 and 255; see `Reader`. "auto" is computed on first use."""
        if self.raster.dtype == "uint8" or self._stretch_setting == "none":
            return None
        if self._stretch_setting == "auto":
            return auto_stretch(self._histogram(), self.raster.dtype)
        return self._stretch_setting

    @property
    def stretches(self) -> Sequence[tuple[float, float]]:
        """See `Reader`."""
        return () if self.stretch is None else (self.stretch,)

    @cached_property
    def _table(self) -> npt.NDArray[np.uint8] | None:
        return None if self.stretch is None or self.raster.dtype != "uint16" else stretch_table(*self.stretch)

    def read(
        self, window: Window, wanted: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read a window; see `Reader`."""
        read = None if wanted is None else self._read_parts(window, wanted)
        return read or self._shrunk(*self._pixels(self._dataset, reduced(window, self.raster.level)))

    def _read_parts(
        self, window: Window, wanted: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
        """Decode only the used parts of a JPEG 2000 file; return None if this file cannot be read in parts."""
        path, bands, picture = self._source.path, self._dataset.count, self._picture
        if self._dataset.driver != "JP2OpenJPEG" or path is None or bands not in (1, 3):
            return None
        if picture.alpha or picture.masks:
            return None
        # Of several tiles, GDAL also reads the unused ones and reports their damage; reading in parts would not.
        if window.height > self.raster.block[0] or window.width > self.raster.block[1]:
            return None
        grey, has_data = np.zeros(wanted.shape, np.uint8), np.zeros(wanted.shape, np.bool_)
        level, factor = self.raster.level, self._reduction
        padding, price = 2 * MARGIN_PX + CODE_BLOCK_PX, CALL_PX * level
        for part in covering_rectangles(wanted, padding * level // factor, price // factor**2):
            full = scaled_up(part, factor)
            full = replace(full, row=window.row + full.row, col=window.col + full.col)
            all_bands = read_part(path, full, level, bands, decoding_threads())
            if all_bands is None:
                return None
            values = all_bands[[band - 1 for band in picture.bands]]
            grey[part.slices], has_data[part.slices] = self._shrunk(*picture.interpret(values))
        return grey, has_data

    def _shrunk(
        self, pixels: npt.NDArray[Any], has_data: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Convert (bands, height, width) at the level read to grey, and apply the rest of the reduction."""
        if self._table is not None:
            pixels = self._table[pixels]
        elif self.stretch is not None:
            pixels = stretched(pixels, *self.stretch)
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
            reason = self._source.redacted(error)
            raise refusal(self._source) or SceneError(
                f"{self._source}: cannot read rows {_rows(window)} "
                f"({reason}): the file is truncated or damaged, or its server failed; get it again"
            ) from (error if self._source.is_local else None)

    def _histogram(self) -> npt.NDArray[np.int64]:
        """Count the valid values, all bands together, in the bins of `auto_stretch`: (b,) int64.

        The whole scene is counted, regardless of the windows to read, so that pixels do not depend on the polygons.
        """
        counts = np.zeros(bins(self.raster.dtype), np.int64)
        with open_dataset(self._source) as full:
            large = [factor for factor in full.overviews(1) if min(full.shape) // factor >= _AUTO_SIDE_PX]
        overview = len(large) - 1 if large and not self._picture.full_resolution_only else None
        with open_dataset(self._source, overview) as level:
            for window in grid(level.shape, chunk_shape(block_shape(level), 1)):
                pixels, has_data = self._pixels(level, window)
                counts += histogram(pixels[:, has_data].ravel())
        return counts


class LumaReader:
    """A `Reader` of a JPEG 2000 file's luma. It decodes whole tiles and ignores which pixels are wanted.

    Parameters
    ----------
    tiles
        The luma, at the level to read.
    source
        The source of the file.
    raster
        The header, at full resolution.
    settings
        Reduction and level.
    """

    stretch = None
    stretches: Sequence[tuple[float, float]] = ()
    """See `Reader`; the file has 8 bits."""

    colour = True
    """See `Reader`."""

    files: Sequence[str] = ()
    """See `RasterioReader`."""

    def __init__(self, tiles: LumaTiles, source: Source, raster: Raster, settings: Ingest) -> None:
        self.raster = replace(raster, luma=True)
        self.at_once = tiles.at_once
        self.tiles = tiles
        self._source, self._settings = source, settings

    def read(
        self, window: Window, wanted: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read a window; see `Reader`."""
        try:
            luma = self.tiles.read(reduced(window, self.raster.level))
        except UndecodedError as error:
            self._read_bands(window, wanted)  # GDAL names the damage
            raise SceneError(f"{self._source}: rows {_rows(window)} cannot be decoded: get it again") from error
        if luma is None:
            return self._read_bands(window, wanted)
        left = self._settings.reduction // self.raster.level
        return reduce_mean(luma, left), ~reduce_any(luma == 0, left)

    def _read_bands(
        self, window: Window, wanted: npt.NDArray[np.bool_] | None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        settings = self._settings.model_copy(update={"grey": "opencv"})
        with open_raster(self._source, settings, georeferenced=bool(self.raster.crs_wkt)) as bands:
            return bands.read(window, wanted)


@contextmanager
def open_raster(
    place: Source | Path | str, settings: Ingest | None = None, *, georeferenced: bool = True
) -> Iterator[RasterioReader | LumaReader]:
    """Yield a reader of a raster; see `Reader.at_once` for the threads that may use it.

    Parameters
    ----------
    place
        The raster, or its path or address as a user writes it; see `s2fast.files.source.Source.of`.
    settings
        Reduction, decoding, grey and stretch; None: the defaults.
    georeferenced
        See `s2fast.raster.dataset.read_header`.

    Raises
    ------
    SceneError
        The file cannot be opened, lacks valid georeferencing, has an unsupported colour space or pixel type (all but
        8-bit pixels need a stretch), or is too small for the reduction.
    """
    source, settings = Source.parsed(place), settings or Ingest()
    with gdal_settings(), open_dataset(source) as dataset:
        picture = Picture.of(dataset, str(source))
        header = read_header(dataset, source, settings, picture, georeferenced=georeferenced)
        with open_level(source, dataset, header, settings, picture) as (level, raster):
            tiles = None
            if settings.grey == "luma":
                tiles = luma_tiles(source, dataset, raster, picture, decoding_threads())
            reader: RasterioReader | LumaReader
            if tiles is None:
                reader = RasterioReader(level, source, raster, settings, picture)
            else:
                reader = LumaReader(tiles, source, raster, settings)
            # To list them, GDAL 3.12 asks a server for a table beside a GeoTIFF.
            alone = source.is_remote and dataset.driver == "GTiff"
            reader.files = (source.address,) if alone else dataset.files
            yield reader


def indexed_reader(source: Source, settings: Ingest, raster: Raster, index: tuple[Codestream, Parts]) -> LumaReader:
    """Return a reader of luma from the known header and tile-parts of a file, which reads only tiles.

    Parameters
    ----------
    source
        The file.
    settings
        Reduction and level.
    raster
        The header.
    index
        Main header and tile-parts; see `LumaTiles.index`.

    Raises
    ------
    SceneError
        The file's parts cannot be read.
    """
    file = byte_ranges(source)
    if file is None:
        raise SceneError(f"{source}: its server no longer supports range requests: run again")
    return LumaReader(LumaTiles(file, index[0], raster.level, decoding_threads(), index[1]), source, raster, settings)


def _rows(window: Window) -> str:
    return f"{window.row} to {window.row + window.height}"


def _grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert (bands, height, width) to one grey band."""
    if len(pixels) == 1:
        return np.asarray(pixels[0])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(np.moveaxis(pixels, 0, 2)), cv2.COLOR_RGB2GRAY))


def reduce_mean(grey: npt.NDArray[np.uint8], reduction: int) -> npt.NDArray[np.uint8]:
    """Reduce by an integer factor: each pixel is the rounded mean of reduction x reduction pixels.

    For factor 2 this equals ``cv2.resize`` with its default interpolation. An incomplete last row or column is dropped.
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
    """Reduce a mask by an integer factor: True where any of reduction x reduction pixels is."""
    if reduction == 1:
        return mask
    rows, cols = mask.shape[0] // reduction, mask.shape[1] // reduction
    whole = mask[: rows * reduction, : cols * reduction]
    # Rows first, since they are contiguous in memory: much faster than both axes at once.
    of_rows = np.logical_or.reduce(whole.reshape(rows, reduction, -1), axis=1)
    columns = [of_rows[:, column::reduction] for column in range(reduction)]
    return np.asarray(np.logical_or.reduce(columns))
