"""Compression in Zarr stores of strangers, decoded up to a limit: a few kilobytes may be those of a hundred gigabytes.

The codecs of numcodecs grow until the memory is full. Those here take their place in the description of an array.
"""

from __future__ import annotations

import asyncio
import bz2
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numcodecs
import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray
from zarr.abc.codec import BytesBytesCodec
from zarr.registry import register_codec

from s2fast.files.zstandard import decoded_bytes

_NAME = "s2fast.bounded"
"""Name of the codec in this process; no file has it."""

_PREFIX = "numcodecs."

_ANY_HEADER = 32
"""Value of zlib that accepts the headers of zlib and of gzip; more is the size of the window."""


def bounded(codecs: Any, most_bytes: int, version: int) -> Any:
    """Return the codecs of an array, or one of them, with those that compress replaced.

    Parameters
    ----------
    codecs
        Of version 3, the list in its description; of version 2, its compressor or one of its filters.
    most_bytes
        Size up to which a chunk is decoded.
    version
        Of Zarr.
    """
    if version == 2:
        if not isinstance(codecs, dict) or codecs["id"] not in (*_KINDS, *_WIDENING):
            return codecs
        return {"id": _NAME, "codec": codecs, "most_bytes": most_bytes}
    found = []
    for codec in codecs:
        kind, settings = codec["name"].removeprefix(_PREFIX), codec.get("configuration", {})
        if kind in _KINDS:
            settings = {"codec": {"id": kind, **settings}, "most_bytes": most_bytes}
            found.append({"name": _NAME, "configuration": settings})
        elif "codecs" in settings:
            inside = bounded(settings["codecs"], most_bytes, version)
            found.append({**codec, "configuration": {**settings, "codecs": inside}})
        else:
            found.append(codec)
    return found


class BoundedCodec(Codec):  # type: ignore[misc]  # numcodecs has no types
    """A codec of numcodecs that decodes up to a limit.

    Parameters
    ----------
    codec
        Its description: ``id``, and settings.
    most_bytes
        The limit.
    """

    codec_id = _NAME

    def __init__(self, codec: Mapping[str, Any], most_bytes: int) -> None:
        self.codec, self.most_bytes = dict(codec), most_bytes

    def encode(self, buf: Any) -> Any:
        """Refuse."""
        raise NotImplementedError

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk; raise ValueError if it is larger than the limit, or truncated."""
        del out
        data = memoryview(ensure_contiguous_ndarray(buf).view(np.uint8))
        if self.codec["id"] in _WIDENING:
            return _widened(self.codec, data, self.most_bytes)
        return _KINDS[self.codec["id"]](data, self.most_bytes)


@dataclass(frozen=True)
class _BoundedBytes(BytesBytesCodec):
    """`BoundedCodec` in arrays of version 3."""

    is_fixed_size = False

    codec: BoundedCodec
    """The codec."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> _BoundedBytes:
        """Return the codec that a description names."""
        return cls(BoundedCodec(**data["configuration"]))

    def to_dict(self) -> dict[str, Any]:
        """Return its description."""
        return {"name": _NAME, "configuration": {"codec": self.codec.codec, "most_bytes": self.codec.most_bytes}}

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        decoded = await asyncio.to_thread(self.codec.decode, chunk_data.as_array_like())
        return chunk_spec.prototype.buffer.from_bytes(decoded)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Refuse: it is not known."""
        raise NotImplementedError("the index of a shard is compressed")


def _check(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise ValueError(f"a chunk is decoded to more than {most_bytes} bytes")


def _streamed(data: memoryview, most_bytes: int, begin: Callable[[], Any]) -> bytes:
    """Decode one or several streams, one after another; `begin` returns the decoder of one."""
    parts: list[bytes] = []
    size, left = 0, bytes(data)
    while left:
        stream = begin()
        try:
            parts.append(stream.decompress(left, most_bytes + 1 - size))
        except zlib.error as error:
            raise ValueError(str(error)) from error
        size += len(parts[-1])
        _check(size, most_bytes)
        if not stream.eof:
            raise ValueError("a chunk is truncated")
        left = stream.unused_data
    return b"".join(parts)


def _inflated(data: memoryview, most_bytes: int) -> bytes:
    """Decode zlib, or one or several members of gzip."""
    return _streamed(data, most_bytes, lambda: zlib.decompressobj(zlib.MAX_WBITS + _ANY_HEADER))


def _bunzipped(data: memoryview, most_bytes: int) -> bytes:
    """Decode one or several streams of bzip2."""
    return _streamed(data, most_bytes, bz2.BZ2Decompressor)


def _with_size(kind: str, size_at: int) -> Any:
    """Return the decoder of a codec whose chunks begin with their decoded size."""

    def decode(data: memoryview, most_bytes: int) -> Any:
        if len(data) < size_at + 4:
            raise ValueError("a chunk is truncated")
        _check(struct.unpack_from("<I", data, size_at)[0], most_bytes)
        return numcodecs.get_codec({"id": kind}).decode(data)

    return decode


def _zstd(data: memoryview, most_bytes: int) -> Any:
    _check(decoded_bytes(data), most_bytes)
    return numcodecs.get_codec({"id": "zstd"}).decode(data)


def _widened(codec: Mapping[str, Any], data: memoryview, most_bytes: int) -> Any:
    """Decode values that are stored as those of a narrower type."""
    stored, decoded = np.dtype(codec.get("astype") or codec["dtype"]), np.dtype(codec["dtype"])
    _check(len(data) // stored.itemsize * decoded.itemsize, most_bytes)
    return numcodecs.get_codec(codec).decode(data)


_WIDENING = ("delta", "fixedscaleoffset")
"""Filters of version 2 whose result may be larger; those of version 3 have the chunk's shape."""

_KINDS: Mapping[str, Any] = {
    "zlib": _inflated,
    "gzip": _inflated,
    "bz2": _bunzipped,
    "lz4": _with_size("lz4", 0),
    "blosc": _with_size("blosc", 4),
    "zstd": _zstd,
}
"""Decoders of the codecs that compress, by their names."""

numcodecs.register_codec(BoundedCodec)
register_codec(_NAME, _BoundedBytes)
