"""Open rasters with rasterio: set up GDAL, check the header, and select the resolution level to read."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import Interleaving
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from s2fast.config import Ingest
from s2fast.errors import MissingError, SceneError
from s2fast.files.crs_definitions import CURE, is_definition
from s2fast.files.ranges import byte_ranges
from s2fast.files.source import Source
from s2fast.files.web import downloaded, refusal
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.model import PIXEL_TRANSFORM, Raster
from s2fast.raster.allowed import check_opened, drivers, explanation
from s2fast.raster.bands import Picture
from s2fast.raster.codestream import read_codestream
from s2fast.raster.data_array import held_version, open_held
from s2fast.raster.windows import reduced_shape
from s2fast.raster.zarr_store import is_zarr, open_zarr, zarr_version
from s2fast_kernels.machine import available_cores

_CACHE_BYTES = 64 << 20
"""Size of GDAL's block cache. Each block is read once, so it only has to hold one row of blocks of a VRT's sources."""

_WEB = {
    # Signed URLs are signed for GET only, and some servers do not support HEAD.
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    # A read-ahead that fails returns zeros, without an error, for an uncompressed TIFF.
    "CPL_VSIL_CURL_ADVISE_READ_TOTAL_BYTES_LIMIT": "0",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    # Give up if a server sends less than 1 kB/s for a minute.
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
}
"""GDAL's settings for web servers, unless the environment sets them."""

_MISSING = re.compile("does not exist|No such file|not recognized as|NoSuchKey|AccessDenied|Access Denied")
"""Messages of GDAL about a file that a server does not have; see `s2fast.errors.MissingError`."""

_PNG_END = b"IEND\xae\x42\x60\x82"
"""Last chunk of a PNG: its type and checksum."""

_PNG_TAIL_BYTES = 1 << 16
"""Part of the file in which it must be: other data may follow it."""

_MAX_SIDE_PX = 40_000
"""Longest side of a scene [px]."""

_COMPLEX_BYTES = 16
"""Most bytes of a complex pixel; NumPy lacks some of GDAL's complex types."""

_VRT_BLOCK_PX = 1024
"""Block size assumed for a VRT, which reports 128 px regardless of its sources; 1024 px is that of Sentinel-2 files."""


@contextmanager
def gdal_settings() -> Iterator[None]:
    """Configure GDAL for reading scenes in this thread."""
    options = {
        "GDAL_NUM_THREADS": str(decoding_threads()),
        # Listing a folder on a server costs requests: `open_dataset` looks for sidecar files of local files only.
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_CACHEMAX": _CACHE_BYTES,
        # Virtual rasters that run Python or read any bytes as pixels are not opened; see `s2fast.raster.allowed`.
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
        **{name: os.environ.get(name, value) for name, value in _WEB.items()},
        **_endpoint(),
    }
    with rasterio.Env(**options):
        yield


def decoding_threads() -> int:
    """Return the number of threads that decode a window: GDAL_NUM_THREADS from the environment, else one per core."""
    setting = os.environ.get("GDAL_NUM_THREADS", "ALL_CPUS")
    return int(setting) if setting.isdecimal() else available_cores()


def _endpoint() -> dict[str, str]:
    """Return GDAL's settings for the S3 server in AWS_ENDPOINT_URL, a variable that GDAL itself does not read."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    address = urlsplit(url)
    return {
        "AWS_S3_ENDPOINT": address.netloc,
        "AWS_HTTPS": "NO" if address.scheme == "http" else "YES",
        # Self-hosted servers rarely support virtual-hosted buckets; use path style.
        "AWS_VIRTUAL_HOSTING": os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE"),
    }


@dataclass(frozen=True, slots=True)
class Opener:
    """A way to open rasters."""

    holds: Callable[[Source], bool]
    """Whether it opens a source."""

    opened: Callable[[Source, int | None], Any]
    """Function that opens it, or one of its overviews; what it returns has the interface of
    `s2fast.raster.array_dataset.ArrayDataset`, which is a part of rasterio's."""

    version: Callable[[Source], str] | None = None
    """Function that returns the version of a source; None: that of its file, see `s2fast.archive.identity`."""


def opener(source: Source) -> Opener:
    """Return the first opener that opens a source."""
    return next(row for row in OPENERS if row.holds(source))


def open_dataset(source: Source, level: int | None = None) -> Any:
    """Open a dataset, or one of its overviews by its index; see `OPENERS`.

    Raises
    ------
    SceneError
        The source cannot be opened, or may not.
    """
    return opener(source).opened(source, level)


def _open_with_gdal(source: Source, level: int | None) -> rasterio.DatasetReader:
    """Open a dataset with GDAL.

    A file on a web server without range requests is downloaded. Sidecar files of a local file (world file,
    ``.aux.xml``, ``.tab``, ``.msk``) are read with it.

    Raises
    ------
    SceneError
        The source cannot be opened, or may not: see `s2fast.raster.allowed`. MissingError: its server has no such file.
    """
    options = {} if level is None else {"OVERVIEW_LEVEL": level}
    disable_listing = "EMPTY_DIR" if source.is_remote else "FALSE"
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=disable_listing), warnings.catch_warnings():
            # `read_header` raises a SceneError instead.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # `rasterio.open` accepts a single driver.
            dataset = DatasetReader((downloaded(source) or source).address, driver=drivers(source), **options)
    except RasterioError as error:
        message = f"{source}: cannot be opened as a raster ({explanation(source) or source.redacted(error)})"
        kind = MissingError if source.is_remote and _MISSING.search(str(error)) else SceneError
        # GDAL's own message may contain secrets of the address.
        raise refusal(source) or kind(message) from (error if source.is_local else None)
    try:
        check_opened(dataset, source)
        _check_complete(dataset, source)
        _ = dataset.colorinterp  # raises what GDAL could not read of the header
    except SceneError:
        dataset.close()
        raise
    except CPLE_BaseError as error:
        dataset.close()
        raise SceneError(f"{source}: its metadata cannot be read ({source.redacted(error)}): get it again") from None
    return dataset


def _check_complete(dataset: rasterio.DatasetReader, source: Source) -> None:
    """Raise SceneError for a raster that lacks its end, if GDAL would not say so.

    Of a PNG, it reads the missing pixels as zeros. Of a JPEG 2000 that lacks its last bytes it decodes some levels and
    not others; only a file on disk is looked at, not to ask servers for more.
    """
    if dataset.driver == "PNG" and (ranges := byte_ranges(source)) is not None:
        start = max(0, ranges.size - _PNG_TAIL_BYTES)
        if _PNG_END not in ranges.read(start, ranges.size - start):
            raise SceneError(f"{source}: it is truncated, the end of the PNG is missing: get it again")
    if dataset.driver == "JP2OpenJPEG" and source.path and (ranges := byte_ranges(source)) is not None:
        stream = read_codestream(ranges)
        if stream is not None and stream.end is not None and stream.end > ranges.size:
            raise SceneError(
                f"{source}: it is truncated, it has {ranges.size:,} bytes of at least {stream.end:,}: get it again"
            )


OPENERS = (
    Opener(lambda source: source.is_held, open_held, held_version),
    Opener(is_zarr, open_zarr, zarr_version),
    Opener(lambda _: True, _open_with_gdal),
)
"""All ways to open a raster; the first that holds a source is taken. See `s2fast.archive.find.KINDS`."""


def read_header(
    dataset: rasterio.DatasetReader, source: Source, settings: Ingest, picture: Picture, *, georeferenced: bool
) -> Raster:
    """Check and return the file's header, at full resolution.

    Parameters
    ----------
    dataset, source
        The file.
    settings
        Reduction, stretch and limits.
    picture
        Its bands.
    georeferenced
        Refuse a file without usable georeferencing; False: describe it in pixels, see `Raster.crs_wkt`.

    Raises
    ------
    SceneError
        The file lacks valid georeferencing, has pixels of more than 8 bits while no stretch is set, or has no pixel
        after reduction.
    """
    name = str(source)
    crs_wkt, transform, problem = _placed(dataset, source)
    if problem and georeferenced:
        raise SceneError(f"{name}: {problem}")
    if picture.dtype != "uint8" and settings.stretch == "none":
        known = {"uint16": "[0, 3558] for L1C reflectances ([1000, 4558] from baseline 04.00 on)"}
        raise SceneError(
            f"{name}: pixels are {picture.dtype} and no stretch is set; set ingest.stretch = "
            f'{known.get(picture.dtype, "[low, high], the values of black and white")}, or "auto"'
        )
    pixels = dataset.height * dataset.width
    if pixels > settings.max_px or max(dataset.shape) > _MAX_SIDE_PX:
        raise SceneError(
            f"{name}: {dataset.height} x {dataset.width} px (rows x columns), {pixels / 1e6:.0f} MB of grey, are more "
            f"than ingest.max_px = {settings.max_px}, or than {_MAX_SIDE_PX} px a side: cut it into tiles"
        )
    if (block_mb := block_bytes(dataset) >> 20) > settings.max_block_mb:
        rows, cols = dataset.block_shapes[0]
        raise SceneError(
            f"{name}: it is stored in blocks of {rows} x {cols} px of {dataset.count} bands, {block_mb} MiB each, "
            f"which are decoded as a whole, and ingest.max_block_mb is {settings.max_block_mb}: raise it, or store the "
            "scene in smaller blocks (gdal_translate -co TILED=YES)"
        )
    if not all(reduced_shape(dataset.shape, settings.reduction)):
        raise SceneError(
            f"{name}: {dataset.height} x {dataset.width} px (rows x columns) leave no pixel with "
            f"ingest.reduction = {settings.reduction}"
        )
    return Raster(
        shape=(dataset.height, dataset.width),
        block=block_shape(dataset),
        crs_wkt=crs_wkt,
        transform=transform,
        dtype=picture.dtype,
        masked=picture.masked,
    )


def _placed(
    dataset: rasterio.DatasetReader, source: Source
) -> tuple[str, tuple[float, float, float, float, float, float], str]:
    """Return a file's CRS as WKT and its transform, or those of pixels, and what is wrong with its georeferencing."""
    crs, transform = _georeferencing(dataset, source)
    problem = _georeferencing_problem(dataset, source.name, crs, transform)
    if not problem:
        grid = PixelGrid(crs.to_wkt(), tuple(transform)[:6], dataset.shape)
        if grid.on_earth:
            return grid.crs_wkt, grid.transform, ""
        problem = (
            f"its geotransform {grid.transform} and its CRS {crs.to_string()} do not place it on Earth, or give "
            "pixels below a thousandth of a millimetre; assign both again, for example with gdal_edit.py -a_srs and "
            "-a_ullr"
        )
    return "", PIXEL_TRANSFORM, problem


def _georeferencing(dataset: rasterio.DatasetReader, source: Source) -> tuple[Any, Any]:
    """Return a file's CRS and transform; where it has none, those that its catalogue gives."""
    crs, transform = dataset.crs, dataset.transform
    if source.placed is None:
        return crs, transform
    if (crs is None or not (crs.is_projected or crs.is_geographic)) and is_definition(source.placed.crs):
        with suppress(CRSError, ValueError):  # ValueError: of a code such as EPSG:none
            crs = CRS.from_user_input(source.placed.crs)
    if source.placed.transform is not None and transform.is_identity:
        transform = Affine(*source.placed.transform)
    return crs, transform


def _georeferencing_problem(dataset: rasterio.DatasetReader, name: str, crs: Any, transform: Any) -> str:
    """Return what is wrong with a file's georeferencing, and how to fix it; empty if nothing is."""
    invertible = np.isfinite(transform).all() and transform.determinant != 0
    if not invertible or transform.is_identity:
        for kind, option, found in (
            ("ground control points", "", dataset.gcps[0]),
            ("rational polynomials (RPC)", "-rpc ", dataset.rpcs),
        ):
            if found:
                return (
                    f"it is georeferenced by {kind}, not by a geotransform; rectify it, for example with "
                    f"gdalwarp {option}-t_srs EPSG:32636 {name} OUT.tif"
                )
    # For a JP2 without a CRS, GDAL returns an unnamed local CRS.
    if crs is None or not (crs.is_projected or crs.is_geographic):
        return (
            "it has no CRS, or only a local one; assign one, for example with gdal_edit.py -a_srs EPSG:32636, or match "
            'scenes without a CRS in pixels (verification.prior = "none" and matching.mode = "exhaustive")'
        )
    if not is_definition(crs.to_wkt()):
        return f"its CRS names a file: {CURE}"
    if not invertible:
        got = tuple(transform)[:6]
        return f"its geotransform {got} gives pixels no size; assign another, for example with gdal_edit.py -a_ullr"
    if transform.is_identity:
        return (
            "it has a CRS but no geotransform; put a world file beside it, or assign a geotransform with "
            "gdal_edit.py -a_ullr (world files on servers are not read)"
        )
    return ""


def block_shape(dataset: rasterio.DatasetReader) -> tuple[int, int]:
    """Return the rows and columns of a block, which is decoded as a whole."""
    if dataset.driver == "VRT":
        return min(_VRT_BLOCK_PX, dataset.height), min(_VRT_BLOCK_PX, dataset.width)
    rows, cols = dataset.block_shapes[0]
    return int(rows), int(cols)


def block_bytes(dataset: rasterio.DatasetReader) -> int:
    """Return the size of the largest decoded block [bytes], with all bands that are stored together."""
    together = 1 if dataset.interleaving is Interleaving.band else dataset.count
    sizes = (
        rows * cols * (_COMPLEX_BYTES if "complex" in dtype else np.dtype(dtype).itemsize)
        for (rows, cols), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True)
    )
    return together * int(max(sizes))


@contextmanager
def open_level(
    source: Source, dataset: rasterio.DatasetReader, raster: Raster, settings: Ingest, picture: Picture
) -> Iterator[tuple[rasterio.DatasetReader, Raster]]:
    """Yield the dataset at the level to read, and its header.

    With ``ingest.decode = "reduced"`` this is the overview whose factor is the reduction, if the file has one with
    ``ceil(side / factor)`` pixels per side. Everything else is decoded at full resolution: also a VRT, since the pixel
    centres of its overviews are unknown, and files that are `Picture.full_resolution_only`.
    """
    factor, levels = settings.reduction, [] if picture.full_resolution_only else dataset.overviews(1)
    if settings.decode == "full" or dataset.driver == "VRT" or factor not in levels:
        yield dataset, raster
        return
    with open_dataset(source, levels.index(factor)) as level:
        if level.shape != tuple(-(-side // factor) for side in raster.shape):
            yield dataset, raster
            return
        rows, cols = block_shape(level)
        # Low-pass samples of a JPEG 2000 wavelet are centred on every second pixel; averages, between pixels.
        wavelet = level.driver.startswith("JP")
        centre_px = 0.0 if wavelet else (factor - 1) / 2
        yield level, replace(raster, block=(rows * factor, cols * factor), level=factor, level_centre_px=centre_px)
