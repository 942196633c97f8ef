"""Open a raster with rasterio: GDAL's settings, what the header must say, which of the file's levels to read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.files.web import downloaded
from s2fast.geometry.placement import PixelGrid
from s2fast.model import Raster
from s2fast.raster.bands import Picture
from s2fast.raster.windows import reduced_shape
from s2fast_kernels.machine import available_cores

_CACHE_BYTES = 64 << 20
"""Each block is read once: the cache only has to hold a row of the blocks of a VRT's sources."""

_WEB = {
    # Signed addresses are signed for GET alone, and some servers know nothing else.
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    # What is read ahead and fails comes back as zeros, without an error, where a TIFF is not compressed.
    "CPL_VSIL_CURL_ADVISE_READ_TOTAL_BYTES_LIMIT": "0",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    # Slower than 1 kB/s for a minute: the server is stuck.
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
}
"""What GDAL is told about servers unless the environment says otherwise."""

_VRT_BLOCK_PX = 1024
"""A VRT states blocks of 128 px, whatever its sources are coded in; this is what Sentinel-2's are."""


@contextmanager
def gdal_settings() -> Iterator[None]:
    """Set GDAL up for reading scenes, in this thread."""
    options = {
        "GDAL_NUM_THREADS": str(decoding_threads()),
        # Listing a folder on a server costs requests: `opened` looks beside local files only.
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_CACHEMAX": _CACHE_BYTES,
        **{name: os.environ.get(name, value) for name, value in _WEB.items()},
        **_endpoint(),
    }
    with rasterio.Env(**options):
        yield


def decoding_threads() -> int:
    """How many threads may decode a window: GDAL_NUM_THREADS of the environment, else one a core."""
    wanted = os.environ.get("GDAL_NUM_THREADS", "ALL_CPUS")
    return int(wanted) if wanted.isdecimal() else available_cores()


def _endpoint() -> dict[str, str]:
    """Say in GDAL's words which S3 server AWS_ENDPOINT_URL names, as everything else that talks to S3 reads it."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    address = urlsplit(url)
    return {
        "AWS_S3_ENDPOINT": address.netloc,
        "AWS_HTTPS": "NO" if address.scheme == "http" else "YES",
        # A server of one's own has no name of its own for every bucket.
        "AWS_VIRTUAL_HOSTING": os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE"),
    }


def opened(source: Source, level: int | None = None) -> rasterio.DatasetReader:
    """Open a dataset, or one of its coarser levels by its index.

    What a web server does not give in parts is downloaded. Files that belong to a local one (world file, ``.aux.xml``,
    ``.tab``, ``.msk``) are read with it, as GDAL does.

    Raises
    ------
    SceneError
        It cannot be opened.
    """
    options = {} if level is None else {"OVERVIEW_LEVEL": level}
    beside = "EMPTY_DIR" if source.is_remote else "FALSE"
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=beside), warnings.catch_warnings():
            # `read_header` says so of scenes, in one line.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open((downloaded(source) or source).address, **options)
    except RasterioError as error:
        told = f"{source}: cannot be opened as a raster ({source.redacted(error)})"
        # GDAL's own words may hold what is secret in an address.
        raise SceneError(told) from (error if source.is_local else None)


def read_header(dataset: rasterio.DatasetReader, source: Source, settings: Ingest, picture: Picture) -> Raster:
    """Check and take down what the file says of itself, at full resolution.

    Raises
    ------
    SceneError
        It does not say where on Earth its pixels lie, has 16-bit pixels and no stretch is set, or no pixel is left once
        it is reduced.
    """
    name = source.name
    missing = _missing_place(dataset, name)
    if missing:
        raise SceneError(f"{name}: {missing}")
    if picture.dtype == "uint16" and settings.stretch == "none":
        raise SceneError(
            f"{name}: pixels are uint16 and no stretch is set; set ingest.stretch = [0, 3558] for L1C reflectances "
            '([1000, 4558] from baseline 04.00 on), or "auto"'
        )
    if not all(reduced_shape(dataset.shape, settings.reduction)):
        raise SceneError(
            f"{name}: {dataset.height} x {dataset.width} px (rows x columns) leave no pixel with "
            f"ingest.reduction = {settings.reduction}"
        )
    raster = Raster(
        shape=(dataset.height, dataset.width),
        block=block_shape(dataset),
        crs_wkt=dataset.crs.to_wkt(),
        transform=tuple(dataset.transform)[:6],
        dtype=picture.dtype,
        masked=picture.masked,
    )
    if not PixelGrid.of_raster(raster).on_earth:
        raise SceneError(
            f"{name}: its geotransform {raster.transform} puts it nowhere on Earth in its CRS "
            f"{dataset.crs.to_string()}; assign both anew, for example with gdal_edit.py -a_srs and -a_ullr"
        )
    return raster


def _missing_place(dataset: rasterio.DatasetReader, name: str) -> str:
    """Return what is missing of a file's georeferencing, and the cure; empty: nothing."""
    placed = np.isfinite(dataset.transform).all() and dataset.transform.determinant != 0
    if not placed or dataset.transform.is_identity:
        for kind, option, found in (
            ("ground control points", "", dataset.gcps[0]),
            ("rational polynomials (RPC)", "-rpc ", dataset.rpcs),
        ):
            if found:
                return (
                    f"is placed by {kind}, not by a geotransform; rectify it, for example with "
                    f"gdalwarp {option}-t_srs EPSG:32636 {name} OUT.tif"
                )
    # A JP2 without a CRS comes back with a nameless local one.
    if dataset.crs is None or not (dataset.crs.is_projected or dataset.crs.is_geographic):
        return (
            "has no CRS that says where on Earth it lies; assign one, for example with gdal_edit.py -a_srs EPSG:32636"
        )
    if not placed:
        told = tuple(dataset.transform)[:6]
        return f"its geotransform {told} gives pixels no size; assign another, for example with gdal_edit.py -a_ullr"
    if dataset.transform.is_identity:
        return (
            "has a CRS and no geotransform, so where it lies is not known; put a world file beside it, or assign one "
            "with gdal_edit.py -a_ullr (beside a file on a server nothing is looked for)"
        )
    return ""


def block_shape(dataset: rasterio.DatasetReader) -> tuple[int, int]:
    """Rows and columns that are decoded together."""
    if dataset.driver == "VRT":
        return min(_VRT_BLOCK_PX, dataset.height), min(_VRT_BLOCK_PX, dataset.width)
    rows, cols = dataset.block_shapes[0]
    return int(rows), int(cols)


@contextmanager
def opened_at_level(
    source: Source, dataset: rasterio.DatasetReader, raster: Raster, settings: Ingest, picture: Picture
) -> Iterator[tuple[rasterio.DatasetReader, Raster]]:
    """Open the level of the file to read, and describe the raster read so.

    That is the file's own level of the wanted reduction, if decoding is to be reduced and there is one: every second or
    fourth pixel, the last one of an odd side included. Of a VRT it is not known what lies below, nor where its pixels
    have their centres: like all else, and what is `Picture.whole_only`, it is decoded in full.
    """
    factor, levels = settings.reduction, [] if picture.whole_only else dataset.overviews(1)
    if settings.decode == "full" or dataset.driver == "VRT" or factor not in levels:
        yield dataset, raster
        return
    with opened(source, levels.index(factor)) as level:
        if level.shape != tuple(-(-side // factor) for side in raster.shape):
            yield dataset, raster
            return
        rows, cols = block_shape(level)
        # The low-pass samples of a JPEG 2000 wavelet lie on every second pixel, averages between the pixels.
        wavelet = level.driver.startswith("JP")
        centre_px = 0.0 if wavelet else (factor - 1) / 2
        yield level, replace(raster, block=(rows * factor, cols * factor), level=factor, level_centre_px=centre_px)
