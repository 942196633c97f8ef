"""Part of a JPEG 2000 tile, by OpenJPEG itself: GDAL decodes whole tiles, OpenJPEG the code-blocks an area needs.

The values are GDAL's own, which calls the same library; `s2fast.raster.reader` asks GDAL for all that is not read here.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int32, c_size_t, c_uint16, c_uint32, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from s2fast.model import Window

CALL_PX = 90_000
"""What asking for one more part of a tile costs, in pixels decoded: the headers of all its packets are read again."""

CODE_BLOCK_PX = 64
"""Half a code-block's side on the image, which a part must be expected to reach into at either end [px]."""

MARGIN_PX = 32
"""Decoded around an area, on the level read: up to 9 px from its edge OpenJPEG 2.5 is sometimes one grey value off, as
it leaves out a code-block that the wavelet still reaches."""

_OLDEST = (2, 3)
"""The first version that leaves out code-blocks."""

_STREAM_BYTES = 16 << 10
"""What is read at once. The library's 1 MiB would be read again at the head of every tile that is passed over."""

_JP2 = 2

_AS_CODED = 1
"""`OPJ_DPARAMETERS_IGNORE_PCLR_CMAP_CDEF_FLAG`: bands as the codestream has them, as GDAL reads them, not with a
palette looked up or in the order of a channel definition."""


class _Component(ctypes.Structure):
    """`opj_image_comp_t`."""

    _fields_ = [
        *(
            (name, c_uint32)
            for name in ["dx", "dy", "w", "h", "x0", "y0", "precision", "bpp", "signed", "resolutions", "factor"]
        ),
        ("data", POINTER(c_int32)),
        ("alpha", c_uint16),
    ]


class _Image(ctypes.Structure):
    """`opj_image_t`."""

    _fields_ = [
        *((name, c_uint32) for name in ["x0", "y0", "x1", "y1", "components"]),
        ("colour_space", c_int),
        ("component", POINTER(_Component)),
        ("profile", c_void_p),
        ("profile_bytes", c_uint32),
    ]


class _Parameters(ctypes.Structure):
    """`opj_dparameters_t`."""

    _fields_ = [
        *((name, c_uint32) for name in ["reduce", "layers"]),
        *((name, ctypes.c_char * 4096) for name in ["input", "output"]),
        *((name, c_int) for name in ["decoded_format", "coded_format"]),
        *((name, c_uint32) for name in ["x0", "x1", "y0", "y1"]),
        ("verbose", c_int),
        *((name, c_uint32) for name in ["tile", "tiles"]),
        *((name, c_int) for name in ["jpwl_correct", "jpwl_components", "jpwl_tiles"]),
        ("flags", c_uint32),
    ]


class _Tiling(ctypes.Structure):
    """How `opj_codestream_info_v2_t` begins."""

    _fields_ = [(name, c_uint32) for name in ["x0", "y0", "width", "height", "columns", "rows"]]


_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "opj_version": (c_char_p, ()),
    "opj_stream_create_file_stream": (c_void_p, (c_char_p, c_size_t, c_int)),
    "opj_create_decompress": (c_void_p, (c_int,)),
    "opj_set_default_decoder_parameters": (None, (POINTER(_Parameters),)),
    "opj_setup_decoder": (c_int, (c_void_p, POINTER(_Parameters))),
    "opj_codec_set_threads": (c_int, (c_void_p, c_int)),
    "opj_read_header": (c_int, (c_void_p, c_void_p, POINTER(POINTER(_Image)))),
    "opj_get_cstr_info": (POINTER(_Tiling), (c_void_p,)),
    "opj_destroy_cstr_info": (None, (POINTER(POINTER(_Tiling)),)),
    "opj_set_decoded_resolution_factor": (c_int, (c_void_p, c_uint32)),
    "opj_set_decode_area": (c_int, (c_void_p, POINTER(_Image), c_int32, c_int32, c_int32, c_int32)),
    "opj_decode": (c_int, (c_void_p, c_void_p, POINTER(_Image))),
    "opj_image_destroy": (None, (POINTER(_Image),)),
    "opj_destroy_codec": (None, (c_void_p,)),
    "opj_stream_destroy": (None, (c_void_p,)),
}


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Load the OpenJPEG that came with rasterio, else the system's; None if there is none, or it is too old."""
    package = Path(rasterio.__file__).parent
    beside = [package.parent / "rasterio.libs", package / ".dylibs"]
    found = [str(file) for folder in beside for file in sorted(folder.glob("libopenjp2*"))]
    for name in (*found, ctypes.util.find_library("openjp2")):
        try:
            loaded = ctypes.CDLL(name) if name else None
            if loaded is None:
                continue
            for function, (result, arguments) in _FUNCTIONS.items():
                getattr(loaded, function).restype = result
                getattr(loaded, function).argtypes = arguments
        except (OSError, AttributeError):
            continue
        version = loaded.opj_version().decode().split(".")
        if tuple(map(int, version[:2])) >= _OLDEST:
            return loaded
    return None


def read_part(path: Path, window: Window, factor: int, bands: int, threads: int) -> npt.NDArray[np.uint8] | None:
    """Read a window that lies in one tile of a JP2 file.

    Parameters
    ----------
    path
        A file on disk.
    window
        On the grid of full resolution; its origin a multiple of `factor`.
    factor
        Every how many pixels: a power of two, the file's own resolution level.
    bands
        How many there are.
    threads
        For the code-blocks.

    Returns
    -------
    (bands, height // factor, width // factor) uint8
        What rasterio reads there, a palette not looked up; None where that cannot be promised: no library, more than
        one tile, samples that are not 8 bits, or a file that cannot be decoded, of which GDAL then says what is wrong
        with it.
    """
    opj = library()
    if opj is None:
        return None
    with _opened(opj, path, threads) as (codec, stream, image):
        if not image or image.contents.components != bands or not _plain(image.contents):
            return None
        area = _area(opj, codec, image.contents, window, factor)
        if (
            area is None
            or not opj.opj_set_decoded_resolution_factor(codec, factor.bit_length() - 1)
            or not opj.opj_set_decode_area(codec, image, *area)
            or not opj.opj_decode(codec, stream, image)
        ):
            return None
        row, column = (window.row - area[1]) // factor, (window.col - area[0]) // factor
        height, width = window.height // factor, window.width // factor
        pixels = np.empty((bands, height, width), np.uint8)
        for band in range(bands):
            component = image.contents.component[band]
            if not component.data:
                return None
            decoded = np.ctypeslib.as_array(component.data, (component.h, component.w))
            pixels[band] = decoded[row : row + height, column : column + width]
        return pixels


@contextmanager
def _opened(opj: ctypes.CDLL, path: Path, threads: int) -> Iterator[tuple[int | None, int | None, Any]]:
    """Open a file and read its header; the image is a null pointer if that failed."""
    image = POINTER(_Image)()
    stream = opj.opj_stream_create_file_stream(os.fsencode(path), _STREAM_BYTES, 1)
    codec = opj.opj_create_decompress(_JP2)
    try:
        parameters = _Parameters()
        opj.opj_set_default_decoder_parameters(parameters)
        parameters.flags |= _AS_CODED
        if stream and codec and opj.opj_setup_decoder(codec, parameters):
            if threads > 1:
                opj.opj_codec_set_threads(codec, threads)
            opj.opj_read_header(stream, codec, ctypes.byref(image))
        yield codec, stream, image
    finally:
        opj.opj_image_destroy(image)
        opj.opj_destroy_codec(codec)
        opj.opj_stream_destroy(stream)


def _plain(image: _Image) -> bool:
    """Whether an image starts at its grid's origin and has 8-bit samples at every pixel."""
    components = image.component[: image.components]
    return (image.x0, image.y0) == (0, 0) and all(
        (part.dx, part.dy, part.precision, part.signed) == (1, 1, 8, 0) for part in components
    )


def _area(
    opj: ctypes.CDLL, codec: int | None, image: _Image, window: Window, factor: int
) -> tuple[int, int, int, int] | None:
    """Widen a window by the margin, within its tile: x0, y0, x1, y1; None if it lies in several."""
    told = opj.opj_get_cstr_info(codec)
    if not told:
        return None
    tiling = told.contents
    x0, y0, x1, y1 = window.bounds
    column, row = (x0 - tiling.x0) // tiling.width, (y0 - tiling.y0) // tiling.height
    left, top = tiling.x0 + column * tiling.width, tiling.y0 + row * tiling.height
    right, bottom = min(left + tiling.width, image.x1), min(top + tiling.height, image.y1)
    opj.opj_destroy_cstr_info(ctypes.byref(told))
    margin = MARGIN_PX * factor
    area = max(left, x0 - margin), max(top, y0 - margin), min(right, x1 + margin), min(bottom, y1 + margin)
    return area if x1 <= right and y1 <= bottom and area[0] % factor == area[1] % factor == 0 else None
