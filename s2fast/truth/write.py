"""Write a changed copy of a raster, window by window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RasterWindow

from s2fast.errors import SceneError
from s2fast.files.replacing import replacing
from s2fast.files.source import Source
from s2fast.files.writing import writing
from s2fast.model import Window
from s2fast.raster.bands import Picture
from s2fast.raster.dataset import gdal_settings, open_dataset
from s2fast.raster.whole import check_whole
from s2fast.truth.moves import Move, moved, support_px
from s2fast.truth.settings import Injected

_SIDE_PX = 1024
"""Side of the windows: with margins and three bands in float32 they take 20 MB."""

_LOOK_PX = 512
"""Side of the preview from which a scene's range of values is taken."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy to make."""

    part: Window
    """The part of the scene that it shows."""
    transform: tuple[float, ...]
    """Its georeferencing: a, b, c, d, e, f at pixel corners [CRS units]."""
    move: Move
    """Where pixels go, in the pixels of the scene."""
    altered: bool
    """Whether its pixels are blurred, noisy, hazy or of another contrast, as the settings say."""
    number: int = 0
    """Of scenes with equal numbers the noise is the same."""


def write_copy(source: Source, copy: Copy, settings: Injected, path: Path) -> None:
    """Write a copy as a tiled GeoTIFF.

    Raises
    ------
    SceneError
        The scene cannot be read, or its pixels are indices of a palette.
    """
    with gdal_settings(), open_dataset(source) as dataset:
        picture = Picture.of(dataset, str(source))
        if picture.palette is not None:
            raise SceneError(f"{source}: its pixels are indices of a palette, which cannot be resampled")
        window = copy.part
        whole = {
            "driver": "GTiff", "width": window.width, "height": window.height, "count": len(picture.bands),
            "dtype": picture.dtype, "crs": dataset.crs, "transform": rasterio.Affine(*copy.transform),
            "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1,
            "nodata": _nodata(picture),
        }  # fmt: skip
        scale = _Scale.of(dataset, picture)
        with replacing(path) as partial:
            with writing(path.parent), rasterio.open(partial, "w", **whole) as out:
                if len(picture.bands) == 3:
                    out.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
                for top in range(0, window.height, _SIDE_PX):
                    for left in range(0, window.width, _SIDE_PX):
                        rows = min(_SIDE_PX, window.height - top)
                        cols = min(_SIDE_PX, window.width - left)
                        piece = Window(window.row + top, window.col + left, rows, cols)
                        pixels = _piece(dataset, picture, piece, copy, settings, scale)
                        out.write(pixels, window=RasterWindow(left, top, cols, rows))
            with writing(path.parent):
                check_whole(partial)


@dataclass(frozen=True, slots=True)
class _Scale:
    """A scene's values."""

    mean: float
    """Mean of its valid pixels [DN]."""
    white: float
    """Value of white: 255 for 8-bit pixels, else the 99th percentile of the valid ones [DN]."""

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader, picture: Picture) -> _Scale:
        factor = max(1, max(dataset.shape) // _LOOK_PX)
        shape = -(-dataset.height // factor), -(-dataset.width // factor)
        pixels = dataset.read(list(picture.bands), out_shape=(len(picture.bands), *shape))
        valid = picture.interpret(pixels)[1] & (dataset.dataset_mask(out_shape=shape) != 0)
        known = pixels[:, valid]
        if not known.size:
            return cls(0.0, 1.0)
        white = 255.0 if pixels.dtype == np.uint8 else float(np.percentile(known, 99))
        return cls(float(known.mean(dtype=np.float64)), white)


def _piece(
    dataset: rasterio.DatasetReader, picture: Picture, piece: Window, copy: Copy, settings: Injected, scale: _Scale
) -> npt.NDArray[Any]:
    """Return the pixels of a window of a copy: (bands, rows, cols); 0, or the nodata value, where nothing is valid."""
    move = copy.move
    corners = np.array([[piece.col, piece.row], [piece.col + piece.width - 1, piece.row + piece.height - 1]], float)
    ends = np.array([[x, y] for x in corners[:, 0] for y in corners[:, 1]])
    sources = move.sources(ends)
    margin = support_px(move) + math.ceil(4 * settings.blur_px) + 1
    low = np.floor(np.minimum(sources.min(axis=0), corners[0])).astype(int) - margin
    high = np.ceil(np.maximum(sources.max(axis=0), corners[1])).astype(int) + margin + 1
    low, high = np.maximum(low, 0), np.minimum(high, [dataset.width, dataset.height])
    (left, top), (width, height) = low.tolist(), (high - low).tolist()
    read, valid = picture.read(dataset, Window(top, left, height, width))
    nodata = _nodata(picture)
    missing = nodata or 0
    rows, cols = (slice(start - edge, start - edge + length) for start, edge, length in (
        (piece.row, low[1], piece.height), (piece.col, low[0], piece.width)))  # fmt: skip
    if move.still and not (copy.altered and changes(settings)):
        return np.where(valid, read, missing)[:, rows, cols].astype(read.dtype)
    local = Move(move.by, (move.centre[0] - low[0], move.centre[1] - low[1]), move.turn)
    draw = np.random.default_rng([settings.seed, copy.number, piece.row, piece.col])
    result = []
    for band in read:
        image, usable = np.where(valid, band, 0).astype(np.float32), valid
        if not move.still:
            image, usable = moved(image, valid, local)
        if copy.altered:
            image = _altered(image, settings, scale, draw)
        result.append(np.where(usable, _ground(image, read.dtype, nodata), missing)[rows, cols].astype(read.dtype))
    return np.stack(result)


def _ground(image: npt.NDArray[np.float32], dtype: np.dtype[Any], nodata: float | None) -> npt.NDArray[Any]:
    """Return values of valid ground as a type: neither 0, which is no data in all bands, nor the nodata value."""
    if dtype.kind == "f":
        values = image.astype(dtype)
        values[values == 0] = np.finfo(dtype).tiny
        if nodata is not None:
            values[values == nodata] = np.nextafter(dtype.type(nodata), dtype.type(np.inf))
        return values
    least = int(np.iinfo(dtype).min)
    values = np.clip(np.rint(image), least or 1, np.iinfo(dtype).max)
    values[values == 0] = 1
    values[values == nodata] += 1 if nodata in (1, least) else -1
    return values


def _altered(
    image: npt.NDArray[np.float32], settings: Injected, scale: _Scale, draw: np.random.Generator
) -> npt.NDArray[np.float32]:
    if settings.blur_px:
        image = cv2.GaussianBlur(image, (0, 0), settings.blur_px).astype(np.float32)
    image = (image - scale.mean) * settings.contrast + scale.mean
    image = image * (1 - settings.haze) + scale.white * settings.haze
    if settings.noise:
        image = image + draw.normal(0.0, settings.noise / 100 * scale.white, image.shape).astype(np.float32)
    return image


def changes(settings: Injected) -> bool:
    """Return whether copies differ from their scenes by more than their place."""
    return bool(settings.blur_px or settings.noise or settings.haze or settings.contrast != 1)


def _nodata(picture: Picture) -> float | None:
    """Return the nodata value, if pixels can have it."""
    value, dtype = picture.nodata[0], np.dtype(picture.dtype)
    if value is None or dtype.kind == "f":
        return value
    limits = np.iinfo(dtype)
    return int(value) if limits.min <= value <= limits.max and value == int(value) else None
