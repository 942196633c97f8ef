"""Zarr arrays written and read in whole chunks, without zarr's asynchronous machinery.

That machinery takes milliseconds per array, more than the work on most arrays of a scene. The files are those of
``zarr.create_array`` with the codecs `CODECS`, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs.zstd import Zstd
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from s2fast.folder.checksums import checksum

CODECS = (ZstdCodec(), Crc32cCodec())
"""Codecs of all arrays; CRC-32C protects the chunks for readers other than s2fast."""

METADATA = "zarr.json"
"""Name of the file that describes an array."""

_SUM_BYTES = 4

_TYPES = ("bool", "uint8", "int16", "int32", "uint64", "float32")
"""Data types of a run folder's arrays."""

_NAMES = ["bytes", "zstd", "crc32c"]
"""Names of the codecs in an array's description; zarr would run any other that is installed here."""

_MAX_RANK = 4

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
        data: bytes = Zstd().encode(values)
        return data + checksum(data).to_bytes(_SUM_BYTES, "little")


def write_array(write: Callable[[str, bytes], None], values: npt.NDArray[Any]) -> None:
    """Write an array as one chunk, or none if it is empty or 0 throughout; `write` as in `ChunkWriter`."""
    chunks = (max(1, len(values)), *values.shape[1:])
    array = ChunkWriter(write, values.shape, chunks, values.dtype, 0)
    array[tuple(map(slice, (0,) * values.ndim, values.shape))] = values


def read_array(read: Callable[[str], bytes | None]) -> npt.NDArray[Any]:
    """Read an array that `write_array` wrote.

    Parameters
    ----------
    read
        Reads a file and verifies its checksum, given its name relative to the array; None: it was never written.
    """
    shape, dtype = described(read(METADATA) or b"")
    data = read(_chunk_name([0] * len(shape)))
    values: npt.NDArray[Any] = np.zeros(shape, dtype)
    if data is not None:
        try:
            Zstd().decode(data[:-_SUM_BYTES], values)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
    return values


def described(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array from its description, which a stranger may have written.

    Raises
    ------
    ValueError
        s2fast writes no such array: it has another type, codec or layout, or is too large.
    """
    try:
        document = json.loads(data)
        shape, name = document["shape"], document["data_type"]
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
    return tuple(shape), dtype


def _chunk_name(place: list[int]) -> str:
    return "/".join(map(str, ["c", *place]))


def _metadata(
    shape: tuple[int, ...], chunks: tuple[int, ...], fill: npt.NDArray[Any], dims: tuple[str, ...] | None
) -> bytes:
    """Return the content of the file that describes an array."""
    document = json.loads(_example(len(shape), fill.dtype, fill.item(), dims))
    document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"] = shape, chunks
    return json.dumps(document, indent=zarr.config.get("json_indent")).encode()


@cache
def _example(rank: int, dtype: np.dtype[Any], fill: int | float | bool, dims: tuple[str, ...] | None) -> bytes:
    """Return what zarr writes of an array with one value."""
    files: dict[str, Buffer] = {}
    one = (1,) * rank
    zarr.create_array(
        MemoryStore(files),
        shape=one,
        chunks=one,
        dtype=dtype,
        fill_value=fill,
        compressors=CODECS,
        dimension_names=dims,
    )
    return files[METADATA].to_bytes()
