"""Zarr arrays written and read in whole chunks, without the package zarr.

Its asynchronous machinery takes longer than the work on most arrays of a scene, and every process would import it. The
files are those of ``zarr.create_array`` with the codecs Zstandard and CRC-32C.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.zstd import Zstd

from s2fast.files.zstandard import decoded_bytes
from s2fast.folder.checksums import checksum

METADATA = "zarr.json"
"""Name of the file that describes an array."""

_SUM_BYTES = 4
"""Size of the checksum at the end of a chunk."""

_TYPES = ("bool", "uint8", "int16", "int32", "uint64", "float32")
"""Data types of a run folder's arrays."""

_NAMES = ["bytes", "zstd", "crc32c"]
"""Names of the codecs in an array's description; zarr would run any other that is installed here."""

_LEVEL = 1
"""Level of Zstandard. Its default, 3, takes several times as long for pixels, whose noise hardly compresses further."""

_MAX_RANK = 4
"""Most dimensions of an array."""

_READERS = 8
"""Threads that read the chunks of an array: of an object store, each takes a request."""

_MAX_CHUNKS = 1 << 20
"""Most chunks of an array: a scene of 40,000 px a side has 1,600."""

_MAX_BYTES = 4 << 30
"""Largest array of a run folder: a scene of 40,000 px a side has 1.6 GB, 60 million descriptors have 4 GB."""


class ChunkWriter:
    """Writes one array in windows of whole chunks.

    Parameters
    ----------
    write
        Writes a file, given its name relative to the array and its content.
    shape, chunks
        Shape of the array and of its chunks.
    dtype
        Type of the values.
    fill
        Value of what is not written; chunks that hold nothing else are not written.
    dims
        Names of the dimensions; None: they have none.
    """

    def __init__(
        self,
        write: Callable[[str, bytes], None],
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        dtype: npt.DTypeLike,
        fill: int | bool,
        dims: tuple[str, ...] | None = None,
    ) -> None:
        self._write, self._shape, self._chunks = write, shape, chunks
        self._fill = np.asarray(fill, dtype)
        write(METADATA, _metadata(shape, chunks, self._fill, dims))

    def __setitem__(self, window: tuple[slice, ...], values: npt.NDArray[Any]) -> None:
        """Write a window, which begins at a chunk's corner and ends at one or at the array's edge."""
        starts = [part.start for part in window]
        counts = [-(-size // side) for size, side in zip(values.shape, self._chunks, strict=True)]
        for place in product(*map(range, counts)):
            part = values[
                tuple(slice(at * side, (at + 1) * side) for at, side in zip(place, self._chunks, strict=True))
            ]
            data = self._encoded(part)
            if data is not None:
                at = [start // side + step for start, side, step in zip(starts, self._chunks, place, strict=True)]
                self._write(_chunk_name(at), data)

    def _encoded(self, values: npt.NDArray[Any]) -> bytes | None:
        """Return the content of a chunk's file; None: it only holds the fill value."""
        values = np.ascontiguousarray(values, self._fill.dtype)
        # Bit patterns are compared: -0.0 is not the fill value 0.0.
        bits = f"u{values.itemsize}"
        if not (values.view(bits) != self._fill.view(bits)).any():
            return None
        if values.shape != self._chunks:
            whole = np.full(self._chunks, self._fill)
            whole[tuple(map(slice, values.shape))] = values
            values = whole
        data: bytes = Zstd(level=_LEVEL).encode(values)
        return data + checksum(data).to_bytes(_SUM_BYTES, "little")


def write_array(write: Callable[[str, bytes], None], values: npt.NDArray[Any]) -> None:
    """Write an array as one chunk, or none if it is empty or 0 throughout; `write` as in `ChunkWriter`."""
    chunks = (max(1, len(values)), *values.shape[1:])
    array = ChunkWriter(write, values.shape, chunks, values.dtype, 0)
    array[tuple(map(slice, (0,) * values.ndim, values.shape))] = values


@dataclass(frozen=True, slots=True)
class Description:
    """Shape, chunks and values of an array."""

    shape: tuple[int, ...]
    """Its shape."""
    chunks: tuple[int, ...]
    """Shape of its chunks."""
    dtype: np.dtype[Any]
    """Type of its values."""
    fill: int | float | bool
    """Value of what is not written."""


def read_array(read: Callable[[str], bytes | None], window: Sequence[slice] | None = None) -> npt.NDArray[Any]:
    """Read an array, or a window of it.

    Parameters
    ----------
    read
        Reads a file and verifies its checksum, given its name relative to the array; None: it was never written.
    window
        A slice per dimension, without steps; None: the whole array.

    Raises
    ------
    ValueError
        See `described`; or a chunk cannot be decoded.
    """
    array = described(read(METADATA) or b"")
    asked = [slice(None)] * len(array.shape) if window is None else window
    bounds = [part.indices(size)[:2] for part, size in zip(asked, array.shape, strict=True)]
    start, stop = np.array(bounds, np.int64).reshape(-1, 2).T
    values: npt.NDArray[Any] = np.full(np.maximum(stop - start, 0), array.fill, array.dtype)
    if not values.size:
        return values
    side = np.array(array.chunks)

    def add(place: tuple[int, ...]) -> None:
        data = read(_chunk_name(place))
        if data is None:
            return
        corner = np.array(place) * side
        low, high = np.maximum(corner, start), np.minimum(corner + side, stop)
        part = values[_box(low - start, high - start)]
        is_whole = part.shape == array.chunks and part.flags.c_contiguous
        chunk = part if is_whole else np.zeros(array.chunks, array.dtype)
        try:
            if decoded_bytes(data[:-_SUM_BYTES]) > chunk.nbytes:
                raise ValueError(f"a chunk has more than {chunk.nbytes} bytes")
            Zstd().decode(data[:-_SUM_BYTES], chunk)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        if not is_whole:
            part[...] = chunk[_box(low - corner, high - corner)]

    places = list(product(*map(range, start // side, -(-stop // side))))
    if len(places) == 1:
        add(places[0])
    else:
        with ThreadPoolExecutor(min(_READERS, len(places))) as pool:
            list(pool.map(add, places))
    return values


def _box(low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> tuple[slice, ...]:
    return tuple(map(slice, low, high))


def described(data: bytes) -> Description:
    """Return the content of an array's ``zarr.json``, which a stranger may have written.

    Raises
    ------
    ValueError
        s2fast writes no such array: it has another type, codec or layout, or is too large.
    """
    try:
        document = json.loads(data)
        shape, name, fill = document["shape"], document["data_type"], document["fill_value"]
        chunks = document["chunk_grid"]["configuration"]["chunk_shape"]
        codecs = [codec["name"] for codec in document["codecs"]]
        plain = (document["zarr_format"], document["node_type"], document.get("storage_transformers", []))
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it describes no array") from error
    if plain != (3, "array", []) or name not in _TYPES or codecs != _NAMES:
        raise ValueError(f"it describes an array that s2fast does not write: {str(name)[:40]}, {str(codecs)[:80]}")
    for sides, least in ((shape, 0), (chunks, 1)):
        if type(sides) is not list or any(type(side) is not int or side < least for side in sides):
            raise ValueError(f"its shape is {str(sides)[:80]}")
    dtype = np.dtype(name)
    if len(chunks) != len(shape) or len(shape) > _MAX_RANK:
        raise ValueError(f"it has {len(shape)} dimensions, its chunks {len(chunks)}")
    for sides in (shape, chunks):
        size = prod(sides) * dtype.itemsize
        if size > _MAX_BYTES:
            raise ValueError(f"it declares {size} bytes, an array has at most {_MAX_BYTES}")
    if prod(-(-side // part) for side, part in zip(shape, chunks, strict=True)) > _MAX_CHUNKS:
        raise ValueError(f"it declares more than {_MAX_CHUNKS} chunks")
    if fill not in (0, 1):  # True and False are, too
        raise ValueError(f"its fill value is {str(fill)[:40]}")
    return Description(tuple(shape), tuple(chunks), dtype, fill)


def _chunk_name(place: Sequence[int]) -> str:
    return "/".join(map(str, ["c", *place]))


def _metadata(
    shape: tuple[int, ...], chunks: tuple[int, ...], fill: npt.NDArray[Any], dims: tuple[str, ...] | None
) -> bytes:
    """Return the content of the file that describes an array."""
    bytes_of = {"name": "bytes"} | ({"configuration": {"endian": "little"}} if fill.itemsize > 1 else {})
    document = {
        "shape": shape,
        "data_type": fill.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill.item(),
        "codecs": [
            bytes_of,
            {"name": "zstd", "configuration": {"level": _LEVEL, "checksum": False}},
            {"name": "crc32c"},
        ],
        "attributes": {},
        **({"dimension_names": dims} if dims else {}),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    return json.dumps(document, indent=2).encode()
