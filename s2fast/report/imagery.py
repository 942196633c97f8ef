"""Read a scene's pixels for display, downsampled and stretched: in colour from its file, or the stored grey tile."""

from __future__ import annotations

import logging
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from s2fast.archive.identity import identity
from s2fast.errors import InputError, SceneError
from s2fast.files.source import Source
from s2fast.files.trusted import check_servers
from s2fast.folder.record import load_record, with_trust
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Window
from s2fast.raster.bands import Picture
from s2fast.raster.dataset import gdal_settings, open_dataset
from s2fast.raster.windows import reduced
from s2fast.report.downsampling import area_means, share

log = logging.getLogger(__name__)

THUMBNAIL_PX = 512
"""Longest side of the thumbnail that a run folder without pixels keeps."""


def whole_scene(folder: RunFolder, scene_id: str) -> Window:
    """Return the whole scene as a window of its full-resolution grid."""
    rows, cols = folder.tile(scene_id).full_shape
    return Window(0, 0, rows, cols)


def original(folder: RunFolder, scene_id: str, window: Window, side_px: int) -> npt.NDArray[np.uint8]:
    """Read a window of the scene in colour, downsampled and stretched; use the stored grey tile if the file is missing.

    Returns
    -------
    (rows, cols, 3) or (rows, cols) uint8
    """
    if not folder.has_pixels(scene_id):
        return stretched(_only_from_source(folder, scene_id, window, side_px))
    pixels = from_source(folder, scene_id, window, side_px)
    return stored_grey(folder, scene_id, window, side_px) if pixels is None else stretched(pixels)


def from_source(
    folder: RunFolder,
    scene_id: str,
    window: Window,
    side_px: int,
    source: Source | None = None,
    *,
    warns: bool = True,
) -> npt.NDArray[Any] | None:
    """Read a window of the scene's file, downsampled to at most `side_px` per side.

    Return None if the file cannot be read, and log a warning unless `warns` is False. Without `source`, it is the one
    that the run folder names, if it is still the file that the run read. Pass `source` if access needs a signature or
    password: the run folder stores only its name.
    """
    try:
        return _read(source or recorded_source(folder, scene_id), window, side_px)
    except (RasterioError, SceneError) as error:
        if warns:
            why = str(error) if isinstance(error, SceneError) else f"{scene_id}: its file cannot be read"
            log.warning("%s; the scene is drawn in grey, from the run folder", why)
        return None


def recorded_source(folder: RunFolder, scene_id: str) -> Source:
    """Return the file that a run read a scene from.

    A stranger's run folder may name any file of this machine. It is drawn only if its size and modification time, which
    a stranger does not know, are those that the run found; and one on a server only if `RunFolder.trusted` names it.

    Raises
    ------
    SceneError
        There is no such file, it is another one, or it leads where the user did not say.
    """
    name, record = folder.tile(scene_id).source, load_record(folder)
    found = with_trust(record, folder.trusted).found.scenes if record else []
    item = next((item for item in found if item.scene.scene_id == scene_id), None)
    if item is None or item.scene.source.name != name:
        raise SceneError(f"{name}: the run does not record its size and modification time")
    check_servers([item.scene.source], folder.trusted)
    source = item.scene.source
    if identity(source) != item.identity:
        raise SceneError(f"{name}: it has changed since the run read it")
    return source


def _only_from_source(folder: RunFolder, scene_id: str, window: Window, side_px: int) -> npt.NDArray[Any]:
    """Read a window of the file of a scene without stored pixels; raise InputError if it cannot be read."""
    try:
        return _read(recorded_source(folder, scene_id), window, side_px)
    except (RasterioError, SceneError) as error:
        why = str(error) if isinstance(error, SceneError) else "its file cannot be read"
        raise InputError(
            f"{scene_id} cannot be drawn: the run keeps no pixels (output.keep_pixels = false), and {why}: restore the "
            "file, or run again"
        ) from error


def _read(source: Source, window: Window, side_px: int) -> npt.NDArray[Any]:
    """Read a window of a file, downsampled: (rows, cols, 3) RGB or (rows, cols) grey."""
    with gdal_settings(), open_dataset(source) as dataset:
        picture = Picture.of(dataset, str(source))
        # GDAL uses the overview of the file nearest this size.
        values: npt.NDArray[Any] = dataset.read(
            list(picture.bands),
            window=RasterioWindow(window.col, window.row, window.width, window.height),
            out_shape=(len(picture.bands), *_shrunk_shape(window.height, window.width, side_px)),
            resampling=Resampling.average if picture.palette is None else Resampling.nearest,
        )
        pixels, _ = picture.interpret(values)
    return np.moveaxis(pixels, 0, 2) if len(pixels) == 3 else pixels[0]


def thumbnail_of(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what a run folder without pixels keeps of them: the tile, downsampled, not stretched."""
    return shrunk(grey, THUMBNAIL_PX)


def stored_grey(folder: RunFolder, scene_id: str, window: Window, side_px: int) -> npt.NDArray[np.uint8]:
    """Read a window of the stored tile, downsampled and stretched.

    Of a scene without stored pixels, the thumbnail is used if the window is the whole scene, also if the tile is
    smaller than a thumbnail; else the scene's file, black where the thumbnail is.
    """
    if not folder.has_pixels(scene_id):
        thumbnail, whole = folder.thumbnail(scene_id), whole_scene(folder, scene_id)
        if window == whole:
            return stretched(shrunk(thumbnail, side_px))
        pixels = _only_from_source(folder, scene_id, snapped_to_tile(folder, scene_id, window), side_px)
        grey = stretched(pixels if pixels.ndim == 2 else cv2.cvtColor(stretched(pixels), cv2.COLOR_RGB2GRAY))
        return np.where(_placed(thumbnail, whole, window, grey.shape) > 0, grey, np.uint8(0))
    return stretched(shrunk(stored(folder.grey(scene_id), folder, scene_id, window), side_px))


def shown_tile(
    folder: RunFolder, scene_id: str, window: Window, side_px: int, outside: float = 0.0
) -> npt.NDArray[np.uint8]:
    """Read a window of the stored tile, downsampled; multiply pixels that may not have keypoints by `outside`."""
    grey = stored_grey(folder, scene_id, window, side_px)
    valid = stored(folder.valid(scene_id), folder, scene_id, window).view(np.uint8)
    if grey.shape[0] > valid.shape[0]:
        inside: npt.NDArray[np.uint8] = cv2.resize(valid, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    else:
        inside = share(valid, grey.shape)
    # "> 0" keeps regions visible that are smaller than a drawn pixel.
    return np.where(inside > 0, grey, (grey * np.float32(outside)).astype(np.uint8))


def snapped_to_tile(folder: RunFolder, scene_id: str, window: Window) -> Window:
    """Enlarge a window of the full-resolution grid to whole pixels of the stored tile."""
    tile = folder.tile(scene_id)
    reduction = tile.reduction
    x0, y0, x1, y1 = (edge // reduction for edge in window.bounds[:2] + tuple(-edge for edge in window.bounds[2:]))
    # Remaining rows and columns at the far edges do not form a whole stored pixel.
    rows, cols = (side // reduction for side in tile.full_shape)
    left, top = min(x0, cols - 1), min(y0, rows - 1)
    right, bottom = min(-x1, cols), min(-y1, rows)
    return Window(top * reduction, left * reduction, (bottom - top) * reduction, (right - left) * reduction)


def stored(tile: npt.NDArray[Any], folder: RunFolder, scene_id: str, window: Window) -> npt.NDArray[Any]:
    """Return the part of a stored array for a window of the full-resolution grid; see `snapped_to_tile`."""
    cut = reduced(snapped_to_tile(folder, scene_id, window), folder.tile(scene_id).reduction)
    return tile[cut.slices]


def _placed(
    thumbnail: npt.NDArray[np.uint8], whole: Window, window: Window, shape: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """Return the pixels of a scene's thumbnail nearest those of a window that is drawn in this shape."""
    rows = (window.row + (np.arange(shape[0]) + 0.5) * window.height / shape[0]) * thumbnail.shape[0] / whole.height
    cols = (window.col + (np.arange(shape[1]) + 0.5) * window.width / shape[1]) * thumbnail.shape[1] / whole.width
    at_row, at_col = (
        np.minimum(places.astype(int), side - 1) for places, side in zip((rows, cols), thumbnail.shape, strict=True)
    )
    return thumbnail[np.ix_(at_row, at_col)]


def shrunk(grey: npt.NDArray[np.uint8], side_px: int) -> npt.NDArray[np.uint8]:
    """Downsample to at most `side_px` per side: each pixel is the mean of the pixels with data, or 0 without any."""
    shape = _shrunk_shape(grey.shape[0], grey.shape[1], side_px)
    mean, of_data = area_means(grey, shape).astype(np.float32), share(grey, shape).astype(np.float32) / 255
    return np.where(of_data > 0, np.clip(mean / np.maximum(of_data, 1 / 255), 1, 255), 0).astype(np.uint8)


def stretched(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Stretch pixels linearly from their 1st and 99th percentile to 1 and 255, ignoring 0: true colours are dark."""
    if image.dtype != np.uint8:
        lit = image[image > 0]
        return _spread(image, *np.percentile(lit, (1, 99))) if lit.size else np.zeros(image.shape, np.uint8)
    # Of 256 values, those at the percentiles' ranks are found by counting.
    count = np.cumsum(np.bincount(image.ravel(), minlength=256)[1:])
    if not count[-1]:
        return np.zeros(image.shape, np.uint8)
    limits = [_percentile(count, share) for share in (0.01, 0.99)]
    stretched_values: npt.NDArray[np.uint8] = cv2.LUT(image, _spread(np.arange(256, dtype=np.uint8), *limits))
    return stretched_values


def _percentile(count: npt.NDArray[np.integer], share: float) -> np.float64:
    """Return the linear percentile that NumPy computes, of values 1, 2 ... with these cumulative counts."""
    rank = share * (int(count[-1]) - 1)
    below, above = np.searchsorted(count, [math.floor(rank), math.ceil(rank)], side="right") + 1
    part = rank - math.floor(rank)
    # As NumPy interpolates, to the last bit.
    step = float(above - below)
    return np.float64(above - step * (1 - part) if part >= 0.5 else below + step * part)


def _spread(image: npt.NDArray[Any], low: np.float64, high: np.float64) -> npt.NDArray[np.uint8]:
    spread = np.clip((image.astype(np.float32) - low) * (254 / max(high - low, 1.0)) + 1, 1, 255)
    return np.where(image > 0, spread, 0).astype(np.uint8)


def _shrunk_shape(rows: int, cols: int, side_px: int) -> tuple[int, int]:
    shrink = max(1.0, max(rows, cols) / side_px)
    return max(1, round(rows / shrink)), max(1, round(cols / shrink))
