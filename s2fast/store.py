"""The run folder: Zarr arrays and attributes a scene, Parquet parts a block, content keys, completeness.

A unit of work writes its arrays or files first and its key last: what has a key is whole. The same key means the same
bytes, so a unit that runs twice, even at once (a worker thought dead), harms nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from s2fast.errors import RunFolderError
from s2fast.fixed import Fixed
from s2fast.model import Features, Window
from s2fast.parts import Parts
from s2fast.storage import open_storage

_ZARR = "store.zarr"


class TileWriter:
    """Writes one scene's masked tile, window by window, then its key."""

    def __init__(
        self,
        group: zarr.Group,
        key: str,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        valid_outside: bool,
        with_missing: bool,
    ) -> None:
        self._group = group
        self._key = key
        whole = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
        # Chunks that hold only the fill value are not written.
        self._grey = _array_to_write(group, "grey", shape, whole, np.uint8, 0)
        self._valid = _array_to_write(group, "valid", shape, whole, np.bool_, valid_outside)
        self._missing = _array_to_write(group, "missing", shape, whole, np.bool_, False) if with_missing else None

    def write(
        self,
        window: Window,
        grey: npt.NDArray[np.uint8],
        valid: npt.NDArray[np.bool_],
        missing: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Write a window of the tile; windows are whole chunks, so no two writers meet."""
        self._grey[window.slices] = grey
        self._valid[window.slices] = valid
        if self._missing is not None and missing is not None:
            self._missing[window.slices] = missing

    def finish(self, attributes: dict[str, Any]) -> None:
        """Write the attributes and, with them, the key that says the tile is whole."""
        self._group.attrs.put({**attributes, "key": self._key})


class RunFolder:
    """Arrays and tables of one output folder.

    Parameters
    ----------
    address
        A local folder, or a URL of an object store such as ``s3://bucket/prefix``.
    """

    def __init__(self, address: Path | str) -> None:
        self._storage = open_storage(str(address))
        self._zarr = self._storage.zarr(_ZARR)
        self.matched = Parts(self, "pairs", "good")
        self.verified = Parts(self, "verified", "matches")

    @property
    def address(self) -> str:
        """Where the folder is: what another process opens it by."""
        return self._storage.address

    def __str__(self) -> str:
        return self.address

    def create(self) -> None:
        """Make the groups that all scenes share."""
        with self._told(""):
            zarr.open_group(self._zarr, mode="a").require_group("scenes")

    def is_empty(self) -> bool:
        """Say whether nothing is there yet."""
        return self._storage.is_empty()

    def sweep(self) -> None:
        """Remove what writers that have died left unfinished."""
        self._storage.sweep()

    # Files

    def read(self, name: str) -> bytes:
        """Read a file; raises FileNotFoundError if it is not there."""
        return self._storage.read(name)

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that it is there whole or not at all."""
        self._storage.write(name, data)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all in it; what is not there is no error."""
        self._storage.remove(name)

    def names(self, folder: str = "") -> list[str]:
        """List the files directly in a folder, sorted."""
        return self._storage.names(folder)

    def read_table(self, name: str) -> pa.Table:
        """Read a Parquet file; raises FileNotFoundError if it is not there."""
        data = self.read(name)
        try:
            return pq.read_table(pa.BufferReader(data))
        except pa.ArrowException as error:
            raise RunFolderError(f"{self}/{name} is damaged ({error}): remove it and run again") from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file so that it is there whole or not at all."""
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        self.write(name, sink.getvalue())

    # Tiles

    def tile_key(self, scene_id: str) -> str | None:
        """Content key of the scene's tile; None if there is no whole tile."""
        return self.tile_attributes(scene_id).get("key")

    def tile_attributes(self, scene_id: str) -> dict[str, Any]:
        """All attributes of the scene's group; empty if there is none."""
        return self._attributes(_scene(scene_id))

    def tile_writer(
        self,
        scene_id: str,
        key: str,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        *,
        valid_outside: bool,
        with_missing: bool = False,
    ) -> TileWriter:
        """Start the scene's tile; another tile that was there, features included, is gone."""
        return TileWriter(self._begin(_scene(scene_id), key), key, shape, chunks, valid_outside, with_missing)

    def grey(self, scene_id: str) -> npt.NDArray[np.uint8]:
        """Read the scene's masked tile: (rows, cols) uint8, on the reduced grid."""
        return self._array(f"{_scene(scene_id)}/grey")

    def valid(self, scene_id: str) -> npt.NDArray[np.bool_]:
        """Read where a keypoint may lie: (rows, cols) bool, on the reduced grid."""
        return self._array(f"{_scene(scene_id)}/valid")

    def valid_source(self, scene_id: str) -> Callable[[slice, slice], npt.NDArray[np.bool_]]:
        """Read `valid` part by part: a function of rows and columns, two slices."""
        path = f"{_scene(scene_id)}/valid"
        with self._told(path):
            array = zarr.open_array(self._zarr, path=path, mode="r")
        return lambda rows, columns: np.asarray(array[rows, columns])

    def missing(self, scene_id: str) -> npt.NDArray[np.bool_]:
        """Read which pixels the scene's file says are missing: (rows, cols) bool; only where the tile is ``masked``."""
        return self._array(f"{_scene(scene_id)}/missing")

    # Features

    def features_key(self, scene_id: str) -> str | None:
        """Content key of the scene's features; None if there are none, or not all."""
        return self.feature_attributes(scene_id).get("key")

    def feature_attributes(self, scene_id: str) -> dict[str, Any]:
        """Key, count and backend of the scene's features; empty if there are none."""
        return self._attributes(f"{_scene(scene_id)}/features")

    def write_features(
        self,
        scene_id: str,
        features: Features,
        clear: npt.NDArray[np.uint8],
        fixed: Fixed,
        key: str,
        backend: str,
    ) -> None:
        """Write a scene's features, its map of clear ground and what could be fixed to its pixels, then their key."""
        group = self._begin(f"{_scene(scene_id)}/features", key)
        arrays = {field.name: getattr(part, field.name) for part in (features, fixed) for field in fields(part)}
        arrays |= {"clear": clear}
        for name, values in arrays.items():
            chunks = (max(1, len(values)), *values.shape[1:])
            _array_to_write(group, name, values.shape, chunks, values.dtype, 0)[...] = values
        group.attrs.put({"backend": backend, "count": len(features), "key": key})

    def features(self, scene_id: str) -> Features:
        """Read a scene's features."""
        path = f"{_scene(scene_id)}/features"
        return Features(**{field.name: self._array(f"{path}/{field.name}") for field in fields(Features)})

    def positions(self, scene_id: str) -> npt.NDArray[np.float32]:
        """Read where a scene's keypoints are: (n, 2) float32, see `Features.xy`."""
        return self._array(f"{_scene(scene_id)}/features/xy")

    def clear(self, scene_id: str) -> npt.NDArray[np.uint8]:
        """Read a scene's map of clear ground: see `s2fast.prepare.clear_cells`."""
        return self._array(f"{_scene(scene_id)}/features/clear")

    def described(self, scene_id: str) -> dict[str, npt.NDArray[Any]]:
        """Read what matching needs of a scene's features: ``descriptors``, ``xy``, ``size``."""
        path = f"{_scene(scene_id)}/features"
        return {name: self._array(f"{path}/{name}") for name in ("descriptors", "xy", "size")}

    def fixed(self, scene_id: str) -> Fixed:
        """Read what could be fixed to a scene's pixels."""
        path = f"{_scene(scene_id)}/features"
        return Fixed(**{field.name: self._array(f"{path}/{field.name}") for field in fields(Fixed)})

    # Zarr

    def _begin(self, path: str, key: str) -> zarr.Group:
        """Open a group to write what has this key: empty, or with what a writer of the same key has written so far."""
        attributes = self._attributes(path)
        if key not in (attributes.get("writing"), attributes.get("key")):
            # The attributes go first: a key must not outlive what it stands for.
            self._storage.remove(f"{_ZARR}/{path}/zarr.json")
            self._storage.remove(f"{_ZARR}/{path}")
        with self._told(path):
            return zarr.open_group(self._zarr, path=path, mode="a", attributes={"writing": key})

    def _attributes(self, path: str) -> dict[str, Any]:
        with self._told(f"{path}/zarr.json"):
            try:
                attributes: dict[str, Any] = json.loads(self.read(f"{_ZARR}/{path}/zarr.json"))["attributes"]
            except FileNotFoundError:
                return {}
            return attributes

    def _array(self, path: str) -> npt.NDArray[Any]:
        with self._told(path):
            return np.asarray(zarr.open_array(self._zarr, path=path, mode="r")[...])

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Say which part of the Zarr store is missing, or not as it was written."""
        try:
            yield
        except FileNotFoundError as error:
            raise RunFolderError(f"{self}/{_ZARR}/{path} is missing: run the stage that writes it") from error
        except (RuntimeError, ValueError) as error:
            raise RunFolderError(f"{self}/{_ZARR}/{path} is damaged ({error}): remove it and run again") from error


def _scene(scene_id: str) -> str:
    return f"scenes/{scene_id}"


def _array_to_write(
    group: zarr.Group, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: npt.DTypeLike, fill: Any
) -> zarr.Array[Any]:
    """Open the array a writer of the same key has begun, or make it."""
    found = group.get(name)
    if isinstance(found, zarr.Array) and (found.shape, found.chunks, found.dtype) == (shape, chunks, np.dtype(dtype)):
        return found
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype=dtype, fill_value=fill, overwrite=found is not None
    )
