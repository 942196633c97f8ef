"""What a Zarr store says of its arrays, versions 2 and 3, read before anything of it is decoded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from s2fast.errors import SceneError

Fetch = Callable[[str], bytes | None]
"""Reads a file of a store by its name, such as ``b04/zarr.json``; None: there is none."""

_CODECS = frozenset(
    (
        "bytes", "blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "crc32c", "transpose", "sharding_indexed", "delta",
        "shuffle", "fixedscaleoffset", "numcodecs.zlib", "numcodecs.lz4", "numcodecs.bz2", "numcodecs.delta",
        "numcodecs.shuffle", "numcodecs.fixedscaleoffset",
    )
)  # fmt: skip
"""Codecs that only compress numbers; zarr would run any other that is installed, one of which executes code."""

_TYPES = {
    f"{order}{kind}{size}": f"{name}{8 * size}"
    for order in "<>|"
    for kind, name in (("u", "uint"), ("i", "int"), ("f", "float"))
    for size in (1, 2, 4, 8)
}
"""Types of numbers in version 3, by their names in version 2."""

_MAX_CODECS = 16
"""Most codecs of an array, one after another."""

_CONVERTED = ("dtype", "astype")
"""Settings of codecs that name types of values."""

_MAX_CHUNK_BYTES = 1 << 30

_MAX_CHUNKS = 1 << 20
"""Most chunks of an array: each costs a request, and as many bytes again to keep where it is."""

_MAX_RANK = 8

_MAX_ITEM_BYTES = 8
"""Most bytes of a value."""


@dataclass(frozen=True, slots=True)
class Node:
    """An array or a group."""

    attributes: Mapping[str, Any]
    """Its attributes."""

    shape: tuple[int, ...] | None = None
    """Shape of an array; None: it is a group."""

    dtype: str = ""
    """Type of its values, ``uint16``; empty for types that are no numbers."""

    chunks: tuple[int, ...] = ()
    """Shape of what is decoded together."""

    dims: tuple[str, ...] = ()
    """Names of its dimensions; empty if they have none."""

    version: int = 3
    """Of Zarr."""

    nodata: float | None = None
    """The value that stands for missing pixels; None: none is declared."""

    problem: str = ""
    """Why it is not decoded; empty: it may be."""

    documents: Mapping[str, Any] = field(default_factory=dict)
    """The files that describe an array, by their names without its path, as they were read and checked."""


class Metadata:
    """The metadata of a store.

    Parameters
    ----------
    fetch
        Reads the store's files.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    @cached_property
    def _consolidated(self) -> Mapping[str, Any] | None:
        """Documents of all nodes by file name, as version 2 names them or ``PATH/zarr.json``; None: there are none."""
        refused: list[SceneError] = []

        def probed(name: str) -> Any:
            # Buckets that may not be listed forbid what they do not have.
            try:
                return self._document(name)
            except SceneError as error:
                refused.append(error)
                return None

        old = probed(".zmetadata")
        if isinstance(old, dict) and isinstance(old.get("metadata"), dict):
            return dict(old["metadata"])
        root = probed("zarr.json")
        if root is None and refused:
            raise refused[0]
        found = root.get("consolidated_metadata") if isinstance(root, dict) else None
        if isinstance(found, dict) and isinstance(found.get("metadata"), dict):
            return {"zarr.json": root, **{_file(path, "zarr.json"): node for path, node in found["metadata"].items()}}
        return None

    def _document(self, name: str) -> Any:
        data = self._fetch(name)
        if data is None:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise SceneError(f"its {name} is no JSON: {error}") from error

    def _known(self, name: str) -> Any:
        consolidated = self._consolidated
        return self._document(name) if consolidated is None else consolidated.get(name)

    def node(self, path: str) -> Node | None:
        """Return the array or group at a path; None: there is none."""
        try:
            new = self._known(_file(path, "zarr.json"))
            if new is not None:
                return replace(_version_3(new), documents={"zarr.json": new})
            attributes = self._known(_file(path, ".zattrs")) or {}
            array = self._known(_file(path, ".zarray"))
            if array is not None:
                return replace(_version_2(array, attributes), documents={".zarray": array, ".zattrs": attributes})
            return None if self._known(_file(path, ".zgroup")) is None else Node(_mapping(attributes), version=2)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise SceneError(f"{path or 'its root'} is no array or group of Zarr: {reason}") from error

    def paths(self, path: str) -> Iterator[str] | None:
        """Yield the paths of all nodes below one, in order; None: the store has no list of them."""
        if self._consolidated is None:
            return None
        ends = ("zarr.json", ".zarray")
        names = (name.rpartition("/") for name in sorted(self._consolidated))
        found = (
            folder for folder, _, end in names if end in ends and (not path or f"{folder}/".startswith(f"{path}/"))
        )
        # A stranger's list may name what lies outside the store.
        return (folder for folder in found if not folder or not {"", ".", ".."} & set(folder.split("/")))


def _file(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sides(value: Any) -> tuple[int, ...]:
    sides = tuple(value)
    if len(sides) > _MAX_RANK or any(type(side) is not int or side < 0 for side in sides):
        raise ValueError(f"its shape is {str(value)[:80]}")
    return sides


def _version_3(document: Mapping[str, Any]) -> Node:
    attributes = _mapping(document.get("attributes"))
    if document["node_type"] == "group":
        return Node(attributes)
    chunks = _sides(document["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = list(_codecs(document["codecs"]))
    shards = [codec for codec in document["codecs"] if codec["name"] == "sharding_indexed"]
    inner = _sides(shards[0]["configuration"]["chunk_shape"]) if shards else chunks
    dtype = document["data_type"] if document["data_type"] in _TYPES.values() else ""
    names = tuple(str(name or "") for name in document.get("dimension_names") or ())
    nodata = _number(attributes.get("_FillValue"))
    return _checked(attributes, _sides(document["shape"]), dtype, (inner, chunks), names, 3, nodata, codecs)


def _codecs(codecs: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the names and settings of codecs, and of those inside shards."""
    for codec in codecs:
        settings = codec.get("configuration", {})
        yield str(codec["name"]), settings
        for name in ("codecs", "index_codecs"):
            yield from _codecs(settings.get(name, ()))


def _version_2(document: Mapping[str, Any], attributes: Any) -> Node:
    attributes = _mapping(attributes)
    chunks = _sides(document["chunks"])
    codecs = [document.get("compressor"), *(document.get("filters") or ())]
    dtype = document["dtype"]
    names = tuple(map(str, attributes.get("_ARRAY_DIMENSIONS") or ()))
    kind = _TYPES.get(dtype, "") if isinstance(dtype, str) else ""
    nodata = _number(attributes.get("_FillValue", document.get("fill_value")))
    used = [(str(codec["id"]), codec) for codec in codecs if codec is not None]
    return _checked(attributes, _sides(document["shape"]), kind, (chunks, chunks), names, 2, nodata, used)


def _is_number(dtype: Any) -> bool:
    """Return whether a setting of a codec names a type of numbers of at most 8 bytes; it may be left out."""
    if not isinstance(dtype, str):
        return dtype is None
    known = np.dtype(dtype)
    return known.kind in "uif" and known.itemsize <= _MAX_ITEM_BYTES


def _checked(
    attributes: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: str,
    chunks: tuple[tuple[int, ...], tuple[int, ...]],
    names: tuple[str, ...],
    version: int,
    nodata: float | None,
    codecs: list[tuple[str, Mapping[str, Any]]],
) -> Node:
    problem = ""
    unknown = [codec for codec, _ in codecs if codec.lower() not in _CODECS]
    if len(codecs) > _MAX_CODECS:
        problem = f"it has {len(codecs)} codecs, at most {_MAX_CODECS} are decoded"
    elif unknown:
        problem = f"it is compressed by {unknown[0][:40]!r}, which is not decoded"
    elif not all(_is_number(settings.get(name)) for _, settings in codecs for name in _CONVERTED):
        problem = "its values are decoded to no numbers"
    elif not dtype:
        problem = "its values are no numbers"
    elif len(chunks[0]) != len(shape) or 0 in chunks[0] or (names and len(names) != len(shape)):
        problem = "its shape, chunks and dimensions differ"
    elif prod(chunks[1]) * _MAX_ITEM_BYTES > _MAX_CHUNK_BYTES:
        problem = f"its chunks of {chunks[1]} are larger than {_MAX_CHUNK_BYTES >> 20} MiB"
    elif (number := prod(-(-side // part) for side, part in zip(shape, chunks[0], strict=True))) > _MAX_CHUNKS:
        problem = f"it has {number} chunks, at most {_MAX_CHUNKS} are read: write it in larger ones"
    elif prod(outer // inner for outer, inner in zip(chunks[1], chunks[0], strict=True)) > _MAX_CHUNKS:
        problem = f"its shards of {chunks[1]} hold more than {_MAX_CHUNKS} chunks of {chunks[0]}"
    return Node(attributes, shape, dtype, chunks[0], names, version, nodata, problem)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
