"""Interpret a file's bands: select the image bands, and find the missing pixels."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as RasterioWindow

from s2fast.errors import SceneError
from s2fast.model import Window
from s2fast.raster.stretch import checked_type

_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)

_NOT_RGB = {
    ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black, ColorInterp.hue,
    ColorInterp.saturation, ColorInterp.lightness,
}  # fmt: skip
"""Bands of unsupported colour spaces."""

_NO_OWN_MASK = ({MaskFlags.all_valid}, {MaskFlags.nodata}, {MaskFlags.per_dataset, MaskFlags.alpha})
"""Mask flags of bands without a mask band."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The bands to read from a file."""

    bands: tuple[int, ...]
    """Numbers of the red, green and blue bands, or of a single band; the first band is 1."""

    dtype: str
    """Type of the pixels, ``uint8``, ``uint16``, ``float32``, ...; for a palette, that of its colours."""

    nodata: tuple[float | None, ...]
    """The nodata value of each band."""

    palette: npt.NDArray[np.uint8] | None
    """(values, 4) RGBA colour of each value of a single band; None: the values are not palette indices."""

    alpha: int | None
    """Number of the alpha band; it need not be the last band."""

    masks: tuple[int, ...]
    """Bands whose masks (internal, ``.msk``, or a VRT's) are read. A pixel is missing if all of them exclude it."""

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader, name: str) -> Picture:
        """Select the bands by their colour interpretation, else the first three bands, else the first.

        Raises
        ------
        SceneError
            The bands have an unsupported colour space or type, or several types; a palette is missing; or the only band
            is an alpha band.
        """
        meaning = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
        alpha = next((band for band, colour in meaning.items() if colour is ColorInterp.alpha), None)
        found = {colour: band for band, colour in reversed(meaning.items()) if band != alpha}
        others = tuple(band for band in meaning if band != alpha)
        if not others or _NOT_RGB & found.keys():
            got = ", ".join(colour.name for colour in meaning.values())
            raise SceneError(f"{name}: its bands are {got}; they must be grey, RGB or a palette: convert the file")
        if all(colour in found for colour in _RGB):
            bands = tuple(found[colour] for colour in _RGB)
        elif ColorInterp.Y in found:
            bands = (found[ColorInterp.Y],)
        elif len(others) < len(_RGB) or ColorInterp.palette in found:
            bands = (found.get(ColorInterp.palette, others[0]),)
        else:
            bands = others[:3]
        dtypes = [dataset.dtypes[band - 1] for band in bands]
        dtype = checked_type(name, dtypes)
        palette = _palette(dataset, bands[0], name) if meaning[bands[0]] is ColorInterp.palette else None
        nodata = tuple(dataset.nodatavals[band - 1] for band in bands)
        dtype = dtype if palette is None else "uint8"
        return cls(bands, dtype, nodata, palette, alpha, _mask_bands(dataset, bands))

    @property
    def masked(self) -> bool:
        """Whether pixels may be missing by anything but zeros, which a TCI uses: as declared, or as NaN."""
        translucent = self.palette is not None and bool((self.palette[:, 3] == 0).any())
        return bool(self.alpha or self.masks or any(self.nodata) or translucent or self.dtype.startswith("float"))

    @property
    def full_resolution_only(self) -> bool:
        """Whether overviews of the file cannot be used.

        Palette indices cannot be averaged, masks need not have overviews, and overviews of an alpha band mix missing
        and valid pixels.
        """
        return bool(self.masks or self.alpha) or self.palette is not None

    def read(self, dataset: rasterio.DatasetReader, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read a window; see `interpret`."""
        tiles = _tiles(window, dataset.block_shapes[0]) if dataset.driver == "JP2OpenJPEG" else [window]
        if len(tiles) > 1:
            pixels = np.empty((len(self.bands) if self.palette is None else 3, window.height, window.width), self.dtype)
            has_data = np.empty(pixels.shape[1:], np.bool_)
            for tile in tiles:
                rows, cols = replace(tile, row=tile.row - window.row, col=tile.col - window.col).slices
                pixels[:, rows, cols], has_data[rows, cols] = self.read(dataset, tile)
            return pixels, has_data
        region = RasterioWindow(window.col, window.row, window.width, window.height)
        # A VRT's sources may be JPEG 2000 files: see `_tiles`.
        with rasterio.Env(GDAL_NUM_THREADS="1") if dataset.driver == "VRT" else nullcontext():
            pixels, has_data = self.interpret(np.asarray(dataset.read(list(self.bands), window=region)))
            if self.alpha:
                has_data &= dataset.read(self.alpha, window=region) != 0
            if self.masks:
                has_data &= dataset.read_masks(list(self.masks), window=region).any(axis=0)
        return pixels, has_data

    def interpret(self, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the colours and the data mask of band values, ignoring masks and the alpha band.

        Parameters
        ----------
        values : (bands, height, width)
            Values of `bands`.

        Returns
        -------
        pixels : (1 or 3, height, width)
            Grey, or red, green and blue; the uint8 colours if there is a palette.
        has_data : (height, width) bool
            False where all pixels are 0 (Sentinel-2 TCIs declare no nodata value), where all values equal the nodata
            value, where any is not finite, and where the palette's colour is transparent.
        """
        pixels, opaque = values, None
        if self.palette is not None:
            colours = self.palette[values[0]]
            pixels, opaque = np.moveaxis(colours[..., :3], 2, 0), colours[..., 3] != 0
        if pixels.dtype.kind == "f":
            has_data: npt.NDArray[np.bool_] = (pixels != 0).any(axis=0) & np.isfinite(pixels).all(axis=0)
        else:
            has_data = np.bitwise_or.reduce(pixels, axis=0) != 0
        if opaque is not None:
            has_data &= opaque
        if any(self.nodata):
            has_data &= np.logical_or.reduce([band != nodata for band, nodata in zip(values, self.nodata, strict=True)])
        return pixels, has_data


def _tiles(window: Window, tile: tuple[int, int]) -> list[Window]:
    """Split a window along the tiles of a JPEG 2000 file.

    GDAL decodes several tiles of one band in its own threads, which discard the errors of damaged tiles.
    """
    rows, cols = (
        sorted({start, stop, *range(side * (start // side + 1), stop, side)})
        for start, stop, side in (
            (window.row, window.row + window.height, tile[0]),
            (window.col, window.col + window.width, tile[1]),
        )
    )
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(cols)
    ]


def _palette(dataset: rasterio.DatasetReader, band: int, name: str) -> npt.NDArray[np.uint8]:
    """Return a band's palette as a table: (256 or 65536, 4) uint8; values without an entry are transparent."""
    try:
        entries = dataset.colormap(band)
    except ValueError as error:
        raise SceneError(f"{name}: its values are palette indices, but it has no palette") from error
    table = np.zeros((np.iinfo(dataset.dtypes[band - 1]).max + 1, 4), np.uint8)
    for value, colour in entries.items():
        if value < len(table):
            table[value] = colour
    return table


def _mask_bands(dataset: rasterio.DatasetReader, bands: tuple[int, ...]) -> tuple[int, ...]:
    """Return the bands whose masks to read: one if all bands share a mask, none if a band has no mask."""
    own = [band for band in bands if set(dataset.mask_flag_enums[band - 1]) not in _NO_OWN_MASK]
    shared = [band for band in own if MaskFlags.per_dataset in dataset.mask_flag_enums[band - 1]]
    return tuple(shared[:1] or (own if len(own) == len(bands) else ()))
