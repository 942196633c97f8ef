"""Decode parts of JPEG 2000 files with OpenJPEG: the code-blocks of an area, or the luma of a tile.

GDAL calls the same library, but always decodes whole tiles with all their bands. `s2fast.raster.reader` uses GDAL for
everything that this module cannot read.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from s2fast.model import Window

CALL_PX = 90_000
"""Cost of one more call per tile, in decoded pixels: each call reads the headers of all packets again."""

CODE_BLOCK_PX = 64
"""Half the side of a code-block, on the image [px]: the expected excess of a decoded part over its area."""

MARGIN_PX = 32
"""Margin decoded around an area, on the level read [px]. OpenJPEG 2.5 skips a code-block that still contributes to the
wavelet, so values within 9 px of the area's edge can be off by one."""

_OLDEST = (2, 3)
"""The first version that can skip code-blocks."""

_STREAM_BYTES = 16 << 10
"""Read buffer [bytes]. The library's default of 1 MiB would be read again at the start of every skipped tile."""

_J2K, _JP2 = 0, 2
"""Formats: a bare codestream, a file."""

_END = c_size_t(-1).value
"""What a stream returns instead of a number of bytes at its end."""

_AS_CODED = 1
"""`OPJ_DPARAMETERS_IGNORE_PCLR_CMAP_CDEF_FLAG`: return the bands of the codestream, as GDAL does, without applying the
palette or the channel definition."""


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
    """The first fields of `opj_codestream_info_v2_t`."""

    _fields_ = [(name, c_uint32) for name in ["x0", "y0", "width", "height", "columns", "rows"]]


_Read = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_size_t, c_void_p)
_Skip = ctypes.CFUNCTYPE(c_int64, c_int64, c_void_p)
_Seek = ctypes.CFUNCTYPE(c_int, c_int64, c_void_p)

_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "opj_version": (c_char_p, ()),
    "opj_stream_create_file_stream": (c_void_p, (c_char_p, c_size_t, c_int)),
    "opj_stream_create": (c_void_p, (c_size_t, c_int)),
    "opj_stream_set_user_data": (None, (c_void_p, c_void_p, c_void_p)),
    "opj_stream_set_user_data_length": (None, (c_void_p, c_uint64)),
    "opj_stream_set_read_function": (None, (c_void_p, _Read)),
    "opj_stream_set_skip_function": (None, (c_void_p, _Skip)),
    "opj_stream_set_seek_function": (None, (c_void_p, _Seek)),
    "opj_create_decompress": (c_void_p, (c_int,)),
    "opj_set_default_decoder_parameters": (None, (POINTER(_Parameters),)),
    "opj_setup_decoder": (c_int, (c_void_p, POINTER(_Parameters))),
    "opj_codec_set_threads": (c_int, (c_void_p, c_int)),
    "opj_read_header": (c_int, (c_void_p, c_void_p, POINTER(POINTER(_Image)))),
    "opj_get_cstr_info": (POINTER(_Tiling), (c_void_p,)),
    "opj_destroy_cstr_info": (None, (POINTER(POINTER(_Tiling)),)),
    "opj_set_decoded_resolution_factor": (c_int, (c_void_p, c_uint32)),
    "opj_set_decoded_components": (c_int, (c_void_p, c_uint32, POINTER(c_uint32), c_int)),
    "opj_get_decoded_tile": (c_int, (c_void_p, c_void_p, POINTER(_Image), c_uint32)),
    "opj_set_decode_area": (c_int, (c_void_p, POINTER(_Image), c_int32, c_int32, c_int32, c_int32)),
    "opj_decode": (c_int, (c_void_p, c_void_p, POINTER(_Image))),
    "opj_image_destroy": (None, (POINTER(_Image),)),
    "opj_destroy_codec": (None, (c_void_p,)),
    "opj_stream_destroy": (None, (c_void_p,)),
}


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Return the OpenJPEG bundled with rasterio, else the system's; None if it is missing or too old."""
    package = Path(rasterio.__file__).parent
    folders = [package.parent / "rasterio.libs", package / ".dylibs"]
    found = [str(file) for folder in folders for file in sorted(folder.glob("libopenjp2*"))]
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
    """Read a window within one tile of a JP2 file.

    Parameters
    ----------
    path
        A file on disk.
    window
        Window on the full-resolution grid; its origin is a multiple of `factor`.
    factor
        Factor of the resolution level to read, a power of two.
    bands
        Number of bands of the file.
    threads
        Number of threads that decode code-blocks.

    Returns
    -------
    (bands, height // factor, width // factor) uint8 or None
        The values that rasterio reads, without applying a palette. None if that cannot be guaranteed: there is no
        library, the window spans several tiles, samples are not 8-bit, or the file cannot be decoded. In the last case
        the caller gets the reason from GDAL.
    """
    opj = library()
    if opj is None:
        return None
    stream = opj.opj_stream_create_file_stream(os.fsencode(path), _STREAM_BYTES, 1)
    with _opened(opj, stream, _JP2, threads) as (codec, image):
        if not image or image.contents.components != bands or not _has_plain_samples(image.contents):
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


def decode_luma(codestream: bytes, tile: int, factor: int, threads: int) -> npt.NDArray[np.uint8] | None:
    """Decode the first component of a tile, which is luma if the codestream has a colour transform.

    Parameters
    ----------
    codestream
        A codestream that contains the tile; see `s2fast.raster.codestream.single_tile`.
    tile
        Number of the tile.
    factor
        Factor of the resolution level to decode, a power of two.
    threads
        Number of threads that decode the tile; the values do not depend on it.

    Returns
    -------
    (rows, cols) uint8 or None
        The tile's part of the level. After a reversible transform ``floor((R + 2 G + B) / 4)`` of the bands; after an
        irreversible one ``0.299 R + 0.587 G + 0.114 B``, which differs by at most 1 from the same sum of the decoded
        bands, since these are rounded. Both are limited to 0..255; bands whose limits are exceeded, such as on sharp
        edges, give luma that differs more. None if there is no library or the tile cannot be decoded.
    """
    opj = library()
    if opj is None:
        return None
    position = 0

    def read(buffer: int, length: int, _data: int | None) -> int:
        nonlocal position
        data = codestream[position : position + length]
        ctypes.memmove(buffer, data, len(data))
        position += len(data)
        return len(data) or _END

    def seek(offset: int, _data: int | None) -> int:
        nonlocal position
        position = offset
        return 1

    def skip(length: int, _data: int | None) -> int:
        nonlocal position
        position += length
        return length

    functions = _Read(read), _Skip(skip), _Seek(seek)
    stream = opj.opj_stream_create(_STREAM_BYTES, 1)
    opj.opj_stream_set_user_data(stream, None, None)
    opj.opj_stream_set_user_data_length(stream, len(codestream))
    for name, function in zip(("read", "skip", "seek"), functions, strict=True):
        getattr(opj, f"opj_stream_set_{name}_function")(stream, function)
    with _opened(opj, stream, _J2K, threads) as (codec, image):
        if (
            not image
            or not opj.opj_set_decoded_components(codec, 1, ctypes.byref(c_uint32(0)), 0)
            or not opj.opj_set_decoded_resolution_factor(codec, factor.bit_length() - 1)
            or not opj.opj_get_decoded_tile(codec, stream, image, tile)
        ):
            return None
        component = image.contents.component[0]
        if not component.data:
            return None
        return np.ctypeslib.as_array(component.data, (component.h, component.w)).astype(np.uint8)


@contextmanager
def _opened(opj: ctypes.CDLL, stream: int | None, kind: int, threads: int) -> Iterator[tuple[int | None, Any]]:
    """Read the header of a stream, which is closed at the end; the image is a null pointer if that fails."""
    image = POINTER(_Image)()
    codec = opj.opj_create_decompress(kind)
    try:
        parameters = _Parameters()
        opj.opj_set_default_decoder_parameters(parameters)
        parameters.flags |= _AS_CODED
        if stream and codec and opj.opj_setup_decoder(codec, parameters):
            if threads > 1:
                opj.opj_codec_set_threads(codec, threads)
            opj.opj_read_header(stream, codec, ctypes.byref(image))
        yield codec, image
    finally:
        opj.opj_image_destroy(image)
        opj.opj_destroy_codec(codec)
        opj.opj_stream_destroy(stream)


def _has_plain_samples(image: _Image) -> bool:
    """Return whether an image starts at its grid's origin and has an 8-bit sample at every pixel."""
    components = image.component[: image.components]
    return (image.x0, image.y0) == (0, 0) and all(
        (part.dx, part.dy, part.precision, part.signed) == (1, 1, 8, 0) for part in components
    )


def _area(
    opj: ctypes.CDLL, codec: int | None, image: _Image, window: Window, factor: int
) -> tuple[int, int, int, int] | None:
    """Return the window widened by the margin, clipped to its tile: x0, y0, x1, y1; None if it spans several tiles."""
    info = opj.opj_get_cstr_info(codec)
    if not info:
        return None
    tiling = info.contents
    x0, y0, x1, y1 = window.bounds
    column, row = (x0 - tiling.x0) // tiling.width, (y0 - tiling.y0) // tiling.height
    left, top = tiling.x0 + column * tiling.width, tiling.y0 + row * tiling.height
    right, bottom = min(left + tiling.width, image.x1), min(top + tiling.height, image.y1)
    opj.opj_destroy_cstr_info(ctypes.byref(info))
    margin = MARGIN_PX * factor
    area = max(left, x0 - margin), max(top, y0 - margin), min(right, x1 + margin), min(bottom, y1 + margin)
    return area if x1 <= right and y1 <= bottom and area[0] % factor == area[1] % factor == 0 else None
