"""Scenes in Zarr stores, on disk or on a web server: EOPF products, and any group with spatial coordinates."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from s2fast.errors import SceneError
from s2fast.files import web
from s2fast.files.source import Source
from s2fast.raster.array_dataset import ArrayDataset, Layout
from s2fast.raster.spatial import TIME_NAMES, X_NAMES, Y_NAMES, find_crs, find_transform
from s2fast.raster.zarr_metadata import Fetch, Metadata, Node

_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
"""Files that make a folder a Zarr group or array."""

_MOST_BYTES = 1 << 30
"""Largest file of a store that is read."""

_MOST_COORDINATES = 1 << 20
"""Most coordinates of a dimension that are read."""

_SHOWN = 300
"""Characters of another package's message that are shown."""

_MOST_BANDS = 16
"""Most rows of an array's first dimension that are taken for its bands."""

_UNREADABLE = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What Zarr and its codecs raise for damaged arrays; a SceneError is one of them, since it is an OSError."""

_STORE = re.compile(r"(?P<root>.*\.zarr)(?:/(?P<path>.*))?", re.IGNORECASE | re.DOTALL)

_Y_UP, _WESTWARD = "write it with rows from north to south", "write it with columns from west to east"


@contextmanager
def _about(source: Source) -> Iterator[None]:
    """Begin the message of a SceneError with the source, unless it does already."""
    try:
        yield
    except SceneError as error:
        raise error if str(error).startswith(str(source)) else SceneError(f"{source}: {error}") from error


@contextmanager
def _damage(problem: str) -> Iterator[None]:
    """Raise a SceneError that states a problem for what Zarr and its codecs raise."""
    try:
        yield
    except SceneError:
        raise
    except _UNREADABLE as error:
        raise SceneError(f"{problem}: {str(error)[:_SHOWN]}") from error


def _is_node(folder: Path) -> bool:
    """Return whether a folder is a group or an array."""
    return any((folder / name).is_file() for name in _MARKS)


def is_zarr(source: Source) -> bool:
    """Return whether a source is an array or a group of a Zarr store, on disk or by its name on a web server."""
    if source.path is not None:
        with suppress(OSError):  # opening it says why it cannot be read
            return source.path.is_dir() and _is_node(source.path)
        return False
    return source.is_web and _STORE.fullmatch(urlsplit(source.url).path.rstrip("/")) is not None


def split(source: Source) -> tuple[Source, str]:
    """Return a store and the path in it of a source for which `is_zarr` is true."""
    if source.path is not None:
        root = source.path.absolute()
        while _is_node(root.parent):
            root = root.parent
        path = source.path.absolute().relative_to(root).as_posix()
        return Source.local(root).trusting(source.trusted), "" if path == "." else path
    parts = urlsplit(source.url)
    found = _STORE.fullmatch(parts.path.rstrip("/"))
    path = (found["path"] if found else "") or ""
    root_url = parts._replace(path=found["root"] if found else parts.path).geturl()
    return Source.of(root_url).trusting(source.trusted), path


def fetcher(store: Source) -> Fetch:
    """Return the function that reads a store's files; no link of it leads out of its folder."""
    if store.path is None:
        return lambda name: web.content(store.below(name).url, _MOST_BYTES)
    root = store.path.resolve()

    def fetch(name: str) -> bytes | None:
        path = root / name
        try:
            if not path.is_file():
                return None
            if not path.resolve().is_relative_to(root):
                raise SceneError(f"{path} is a link that leads out of the store")
            if path.stat().st_size > _MOST_BYTES:
                raise SceneError(f"{path} is larger than {_MOST_BYTES >> 20} MiB")
            return path.read_bytes()
        except SceneError:
            raise
        except OSError as error:
            raise SceneError(f"{path}: {error.strerror}") from error

    return fetch


@dataclass(frozen=True, slots=True)
class Array:
    """An array that may be a scene."""

    path: str
    """Its path in the store."""
    node: Node
    """What the store says of it."""


def arrays_of(source: Source) -> list[Array]:
    """Return the array that a source names, or all arrays below it that have pixels: bands, rows and columns.

    Raises
    ------
    SceneError
        The store cannot be read.
    """
    store, path = split(source)
    with _about(source):
        metadata = Metadata(fetcher(store))
        node = metadata.node(path)
        if node is not None and node.shape is not None:
            return [Array(path, node)]
        if node is None and metadata.paths(path) is None:
            raise SceneError("there is no Zarr array or group")
        found = (Array(below, inner) for below in _paths(store, metadata, path) if (inner := metadata.node(below)))
        images = [array for array in found if array.node.shape is not None and _is_image(array.node)]
        return [array for array in images if array.node.dtype in ("uint8", "uint16")] or images


def _paths(store: Source, metadata: Metadata, path: str) -> Iterable[str]:
    listed = metadata.paths(path)
    if listed is not None:
        return listed
    if store.path is None:
        raise SceneError("its server does not list it, and it has no consolidated metadata: name an array in it")
    return _paths_on_disk(store.path, path)


def _paths_on_disk(root: Path, path: str) -> Iterator[str]:
    for folder, names, files in os.walk(root / path):
        if ".zarray" in files or "zarr.json" in files:
            yield Path(folder).relative_to(root).as_posix().removeprefix(".")
        # Folders of chunks are many, and no nodes.
        names[:] = sorted(name for name in names if not _may_be_chunks(name) or _is_node(Path(folder, name)))


def _may_be_chunks(name: str) -> bool:
    return name == "c" or name.isdecimal()


def _axes(node: Node) -> tuple[int | None, int, int] | None:
    """Return the axes of bands, rows and columns; None: it has no such axes."""
    rank = len(node.shape or ())
    names = [name.lower() for name in node.dims]
    rows = [axis for axis, name in enumerate(names) if name in Y_NAMES]
    cols = [axis for axis, name in enumerate(names) if name in X_NAMES]
    if rank not in (2, 3) or len(rows) != 1 or len(cols) != 1:
        return None
    others = [axis for axis in range(rank) if axis not in (rows[0], cols[0])]
    return (others[0] if others else None, rows[0], cols[0])


def _is_image(node: Node) -> bool:
    axes = _axes(node)
    if axes is None or node.shape is None or not node.dtype or np.dtype(node.dtype).kind not in "iuf":
        return False
    return axes[0] is None or node.shape[axes[0]] <= _MOST_BANDS


def open_zarr(source: Source, level: int | None = None) -> ArrayDataset:
    """Open an array of a store; every `level` is read at full resolution.

    Raises
    ------
    SceneError
        It is no array, may not be decoded, or lacks coordinates or a CRS.
    """
    del level
    with _about(source):
        return _opened(source)


def _opened(source: Source) -> ArrayDataset:
    store, path = split(source)
    fetch = fetcher(store)
    metadata = Metadata(fetch)
    node = metadata.node(path)
    if node is None or node.shape is None:
        raise SceneError(f"it has no array {path!r}: name one")
    axes = _axes(node)
    if axes is None:
        raise SceneError(f"its dimensions are {', '.join(node.dims) or 'unnamed'}; they must be y, x or band, y, x")
    if axes[0] is not None and node.shape[axes[0]] > 1 and node.dims[axes[0]].lower() in TIME_NAMES:
        raise SceneError(
            f"its dimension {node.dims[axes[0]]} has {node.shape[axes[0]]} dates: open it with xarray.open_zarr, and "
            "hand over each date to s2fast.run"
        )
    folder = path.rpartition("/")[0]
    x, y = (_coordinate(fetch, metadata, folder, node.dims[axis]) for axis in (axes[2], axes[1]))
    for axis, place in ((axes[2], x), (axes[1], y)):
        if place is not None and len(place) != node.shape[axis]:
            raise SceneError(
                f"it has {node.shape[axis]} pixels along {node.dims[axis]} and {len(place)} coordinates: write it again"
            )
    described = list(_described(metadata, node, path))
    crs = find_crs(described) or (find_crs([{"crs_wkt": source.placed.crs}]) if source.placed else None)
    if crs is None:
        raise SceneError('it has no CRS: add one to the group, for example the attribute "proj:code": "EPSG:32636"')
    transform = find_transform(x, y, described, _Y_UP, _WESTWARD)
    array = _array(fetch, path, node)
    bands = 1 if axes[0] is None else node.shape[axes[0]]
    shape = (bands, node.shape[axes[1]], node.shape[axes[2]])
    labels = () if axes[0] is None else _labels(node)
    layout = Layout(
        shape, node.dtype, (node.chunks[axes[1]], node.chunks[axes[2]]), crs, transform, node.nodata, labels
    )

    def read_window(of_bands: slice, rows: slice, cols: slice) -> npt.NDArray[Any]:
        wanted: list[slice] = [slice(None)] * len(node.dims)
        for axis, part in zip(axes, (of_bands, rows, cols), strict=True):
            if axis is not None:
                wanted[axis] = part
        try:
            values = np.asarray(array[tuple(wanted)]).astype(node.dtype, copy=False)
        except _UNREADABLE as error:
            reason = error if isinstance(error, SceneError) else f"{type(error).__name__}: {source.redacted(error)}"
            raise SceneError(f"{source}: cannot read rows {rows.start} to {rows.stop} ({reason})") from None
        if axes[0] is None:
            return values[None] if axes[1] < axes[2] else values.T[None]
        return np.ascontiguousarray(values.transpose(axes[0], axes[1], axes[2]))

    return ArrayDataset(layout, read_window)


def _labels(node: Node) -> tuple[str, ...]:
    """Return the names of the bands, as EOPF and CF write them; empty if there are none."""
    names = node.attributes.get("band_names") or node.attributes.get("long_name")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _described(metadata: Metadata, node: Node, path: str) -> Iterator[dict[str, Any]]:
    """Yield the attributes that may say where an array lies: its own, its grid mapping's, and those of its groups."""
    yield dict(node.attributes)
    folders = path.split("/")[:-1]
    mapping = str(node.attributes.get("grid_mapping") or "spatial_ref")
    for depth in range(len(folders), -1, -1):
        folder = "/".join(folders[:depth])
        if re.fullmatch(r"\w+", mapping) and (found := metadata.node("/".join(filter(None, (folder, mapping))))):
            yield dict(found.attributes)
        if (group := metadata.node(folder)) is not None:
            yield dict(group.attributes)


def _coordinate(fetch: Fetch, metadata: Metadata, folder: str, name: str) -> npt.NDArray[Any] | None:
    """Return the coordinates of a dimension; None: there are none."""
    path = f"{folder}/{name}" if folder else name
    node = metadata.node(path)
    if node is None or node.shape is None or len(node.shape) != 1:
        return None
    if node.shape[0] > _MOST_COORDINATES:
        raise SceneError(f"it has {node.shape[0]} coordinates {name}")
    with _damage(f"{path} cannot be read"):
        return np.asarray(_array(fetch, path, node)[:])


def _array(fetch: Fetch, path: str, node: Node) -> Any:
    from s2fast.raster.zarr_array import open_array  # the package zarr, for those who read such scenes

    if node.problem:
        raise SceneError(f"{path}: {node.problem}")
    with _damage(f"{path} cannot be opened"):
        return open_array(fetch, path, node)


def zarr_version(source: Source) -> str:
    """Return a text that identifies the version of an array.

    On disk these are size and time of all its files and of its coordinates'; on a server, those of its description and
    of the store's.
    """
    store, path = split(source)
    folder = path.rpartition("/")[0]
    if store.path is None:
        names = (".zmetadata", "zarr.json", *(f"{path}/{name}" if path else name for name in (".zarray", "zarr.json")))
        found, failed = [], []
        for name in dict.fromkeys(names):
            try:
                found.append(web.version(store.below(name)))
            except SceneError as error:  # a server may lack each of them, and forbids what it lacks if it is a bucket
                failed.append(error)
        if not found:
            raise failed[0]
        return " ".join(found)
    digest = hashlib.blake2b(digest_size=16)
    root = store.path
    for node in (path, *(f"{folder}/{name}" if folder else name for name in ("x", "y", "spatial_ref"))):
        for file in sorted(file for file in (root / node).rglob("*") if file.is_file()):
            status = file.stat()
            digest.update(f"{file.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n".encode())
    for name in (*_MARKS, ".zattrs"):
        if (root / name).is_file():
            digest.update((root / name).read_bytes())
    return digest.hexdigest()
