"""Read a picture of unknown origin and describe it as the scenes of an index were described."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from s2fast.config import FeatureSettings, Ingest
from s2fast.detectors import DetectorInput, detector_of
from s2fast.errors import InputError, SceneError
from s2fast.files.ranges import byte_ranges
from s2fast.files.source import Source
from s2fast.image.host_scene import windows
from s2fast.image.prepare import CLAHE_TILES, prepare
from s2fast.raster.bands import Picture
from s2fast.raster.dataset import gdal_settings, open_dataset
from s2fast.raster.stretch import auto_stretch, histogram, stretched
from s2fast.retrieval.index import Index, Keypoints
from s2fast.retrieval.memory import reading_bytes
from s2fast.work.device_memory import named_device_memory
from s2fast_kernels.backends import resolve
from s2fast_kernels.features import Budget
from s2fast_kernels.machine import device_budget_bytes

KEYPOINTS = 2_000
"""Default number of keypoints of a picture that are searched."""

MOST_PX = 4096
"""A picture with a longer side is read at a lower resolution [px]."""

_ENLARGED_PX = 2048
"""A picture whose sides are no longer is enlarged for the detector, as scenes are [px]."""

_LEAST_PX = 32
"""A picture with a shorter side has no keypoints: their descriptors reach beyond it [px]."""

_MOST_SIDE_PX = 1 << 20
"""Longest side of a picture [px]."""

_MOST_FILE_BYTES = 256 << 20
"""Largest file that only OpenCV reads: it is decoded whole."""

_MOST_WHOLE_PX = 1 << 27
"""Largest image of such a file [px]."""

_NODATA_PX = 8
_PER_CELL = 4

_ARRAY = "array"
"""Name of a picture that is an array, in messages."""

_OPENCV = ("BMP", "WEBP", "PPM")
"""Formats that GDAL is not allowed to open here, but OpenCV; told by their content."""


@dataclass(frozen=True, slots=True)
class Image:
    """The pixels of a picture, at the resolution at which it is searched."""

    name: str
    """The file, without secrets of its address."""
    grey: npt.NDArray[np.uint8]
    """(rows, cols)."""
    missing: npt.NDArray[np.bool_]
    """(rows, cols) True where the file marks a pixel as missing, or black outside of it."""
    shape: tuple[int, int]
    """Rows and columns of the file."""
    is_file: bool = True
    """False if it came as an array."""

    @property
    def step(self) -> tuple[float, float]:
        """Width and height of a pixel in pixels of the file."""
        return self.shape[1] / self.grey.shape[1], self.shape[0] / self.grey.shape[0]


def read_image(place: Source | str, check: Callable[[int], None] | None = None) -> Image:
    """Read a picture in grey, at no more than `MOST_PX` per side.

    Parameters
    ----------
    place
        JPEG 2000, TIFF, PNG, JPEG, Zarr, a virtual raster, or BMP, WebP or PPM; its georeferencing, if any, is ignored.
    check
        Called with the predicted peak of memory [bytes] before pixels are read; may raise an error.

    Raises
    ------
    InputError
        It cannot be read, or has no pixels.
    """
    source = Source.of(place)
    try:
        with gdal_settings(), open_dataset(source) as dataset:
            if max(dataset.shape) > _MOST_SIDE_PX:
                raise InputError(f"{source}: {dataset.height} x {dataset.width} px are too many: cut it into pieces")
            return _read(dataset, source, check or (lambda _: None))
    except SceneError as error:
        whole = _decoded(source, check or (lambda _: None))
        if whole is None:
            raise InputError(str(error)) from error
        return whole
    except (RasterioError, MemoryError) as error:
        raise InputError(f"{source}: cannot be read ({source.redacted(error)}): get it again") from error


def _read(dataset: rasterio.DatasetReader, source: Source, check: Callable[[int], None]) -> Image:
    """Read an opened dataset at a resolution that fits."""
    found = Picture.of(dataset, str(source))
    shape: tuple[int, int] = dataset.shape
    size = _size_read(str(source), shape)
    check(reading_bytes(size[0] * size[1], len(found.bands), np.dtype(dataset.dtypes[0]).itemsize))
    # The way of averaging is GDAL's nearest neighbour for palettes, whose indices cannot be averaged.
    way = Resampling.nearest if found.palette is not None else Resampling.average
    values = dataset.read(list(found.bands), out_shape=(len(found.bands), *size), resampling=way)
    pixels, has_data = found.interpret(np.asarray(values))
    if found.alpha:
        has_data &= dataset.read(found.alpha, out_shape=size) != 0
    if found.masks:
        has_data &= dataset.read_masks(list(found.masks), out_shape=(len(found.masks), *size)).any(axis=0)
    return Image(str(source), _grey(pixels, has_data), ~has_data, shape)


def image_of(pixels: npt.NDArray[Any]) -> Image:
    """Return an array as a picture.

    Parameters
    ----------
    pixels
        (rows, columns) or (rows, columns, 3), grey or red, green and blue, of any real number type; 0 in all bands and
        what is not finite is missing.

    Raises
    ------
    InputError
        It has another shape or type, or too few pixels.
    """
    if pixels.dtype.kind not in "iuf" or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(
            f"{_ARRAY}: {pixels.dtype.name} of shape {pixels.shape}: wanted real numbers of shape (rows, columns) or "
            "(rows, columns, 3)"
        )
    shape: tuple[int, int] = pixels.shape[:2]
    size = _size_read(_ARRAY, shape)
    if size != shape:
        pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    bands = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    finite: npt.NDArray[np.bool_] = np.isfinite(bands).all(axis=0)
    has_data = finite & (bands != 0).any(axis=0)
    return Image(_ARRAY, _grey(bands, has_data), ~has_data, shape, is_file=False)


def _size_read(name: str, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns in which a picture is searched; raise InputError if it has too few."""
    if min(shape) < _LEAST_PX:
        raise InputError(f"{name}: {shape[0]} x {shape[1]} px are too few: {_LEAST_PX} a side at least")
    factor = max(1.0, max(shape) / MOST_PX)
    return max(1, round(shape[0] / factor)), max(1, round(shape[1] / factor))


def _grey(pixels: npt.NDArray[Any], has_data: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Convert (1 or 3, rows, columns) of any real type to grey, stretched unless they have 8 bits."""
    if pixels.dtype != np.uint8:
        pixels = stretched(pixels, *auto_stretch(histogram(pixels[:, has_data].ravel()), pixels.dtype.name))
    grey = pixels[0] if len(pixels) == 1 else cv2.cvtColor(np.moveaxis(pixels, 0, 2).copy(), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(grey, np.uint8)


def _decoded(source: Source, check: Callable[[int], None]) -> Image | None:
    """Decode a file in a format that GDAL may not open; return None if it is in none of `_OPENCV`."""
    import PIL.Image

    try:
        ranges = byte_ranges(source)
        if ranges is None or not 0 < ranges.size <= _MOST_FILE_BYTES:
            return None
        data = ranges.read(0, ranges.size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data), formats=_OPENCV) as opened:
                columns, rows = opened.size
    except (SceneError, OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    if rows * columns > _MOST_WHOLE_PX:
        raise InputError(f"{source}: {rows} x {columns} px are too many for this format: convert it to TIFF")
    size = _size_read(str(source), (rows, columns))
    check(len(data) + reading_bytes(rows * columns, 1, 1))
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        grey = None
    if grey is None:
        raise InputError(f"{source}: cannot be decoded: it is truncated or damaged; get it again")
    if size != (rows, columns):
        grey = cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA)
    return Image(str(source), np.asarray(grey, np.uint8), np.zeros(grey.shape[:2], np.bool_), (rows, columns))


def describing_bytes(image: Image, index: Index, threads: int) -> int:
    """Predict the peak memory of `describe`."""
    settings, (rows, columns) = _settings(index), image.grey.shape
    detector = detector_of(settings)
    backend = resolve(detector.backends, settings.backend).name
    enlarged = _factor(image.grey.shape)
    return detector.load().extract_bytes((rows, columns), threads, backend=backend, upsample=enlarged, masked=True)


def _factor(shape: tuple[int, ...]) -> int:
    """Return how many times a picture is enlarged for the detector."""
    return 2 if max(shape) <= _ENLARGED_PX else 1


def _settings(index: Index) -> FeatureSettings:
    """Return the settings with which the keypoints of an index were found."""
    made = index.contents.made
    return FeatureSettings(
        detector=made.detector, octaves=made.octaves, layers=made.layers, threshold=made.threshold, upright=made.upright
    )


def describe(
    image: Image, index: Index, keypoints: int = KEYPOINTS, device: str = "auto", threads: int = 0
) -> Keypoints:
    """Find and describe the keypoints of a picture as those of an index.

    Parameters
    ----------
    image
        The picture.
    index
        The index, which says how.
    keypoints
        Most keypoints, spread over the picture, the strongest of each part first.
    device
        ``compute.device``.
    threads
        Number of threads; 0: one per core.

    Returns
    -------
    Keypoints
        On the grid of the file.

    Raises
    ------
    InputError
        The picture is empty or of one colour.
    """
    if image.missing.all():
        raise InputError(f"{image.name}: it is empty: all of its pixels are black or missing")
    if np.ptp(image.grey[~image.missing]) == 0:
        raise InputError(f"{image.name}: it has one colour, so nothing in it can be found")
    made = index.contents.made
    factor, settings = _factor(image.grey.shape), _settings(index)
    unchanged = Ingest(clouds=False, contrast="none")
    prepared = prepare(image.grey.copy(), unchanged, _NODATA_PX, missing=image.missing)
    pixels = prepared.image
    if made.contrast == "clahe":
        pixels = cv2.createCLAHE(made.clahe_clip, _parts(index, image.grey.shape)).apply(pixels)
    clear = prepared.clear.repeat(factor, axis=0).repeat(factor, axis=1)
    shape = factor * image.grey.shape[0], factor * image.grey.shape[1]
    cell_px = max(1, round((shape[0] * shape[1] * _PER_CELL / keypoints) ** 0.5))
    detector = detector_of(settings)
    selected = resolve(detector.backends, settings.backend, device)
    scene = DetectorInput(
        windows(np.asarray(pixels, np.uint8), factor), shape, lambda rows, columns: clear[rows, columns],
        Budget(keypoints, cell_px), device_bytes=device_budget_bytes(selected.device, "auto"),
    )  # fmt: skip
    with named_device_memory(f"{image.name}: finding keypoints"):
        found = detector.load().extract(scene, settings, selected.name, threads, device)
    across, down = image.step
    step = np.array([across, down]) / factor
    xy = (found.xy.astype(np.float64) + 0.5) * step - 0.5
    size = found.size * np.float32(step.mean())
    return Keypoints(xy.astype(np.float32), size, found.angle, found.descriptors)


def _parts(index: Index, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the parts of a picture, across and down, in which contrast is raised: as large as those of scenes."""
    side = float(np.median([max(entry.shape) for entry in index.entries] or [1])) / CLAHE_TILES
    rows, columns = (int(np.clip(round(length / side), 1, CLAHE_TILES)) for length in shape)
    return columns, rows
