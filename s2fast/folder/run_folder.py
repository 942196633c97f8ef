"""The run folder: Zarr arrays and attributes a scene, Parquet parts a block, content keys, completeness.

A unit of work writes its arrays or files first and its key last: what has a key is whole. The same key means the same
bytes, so a unit that runs twice, even at once (a worker thought dead), harms nothing. Beside the key stand the
checksums of the unit's files, and every reader checks them: a file that has changed or is missing is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from s2fast.errors import DamageError, RunFolderError
from s2fast.files.storage import Stamp, open_storage
from s2fast.folder.checksums import CheckedStore, NotingStore, checksum, sealed, unsealed
from s2fast.folder.pair_blocks import PairBlocks
from s2fast.geometry.placement import Placement
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.model import Features, TileInfo, Window

ROOT = "store.zarr"
"""Folder of the Zarr store."""

SCENES = f"{ROOT}/scenes"
"""Folder of the scenes' groups."""

SEAL = "zarr.json"
"""A group's own file: it holds the key and the checksums."""


class TileWriter:
    """Writes one scene's masked tile, window by window, then its key."""

    def __init__(
        self,
        group: _GroupWriter,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        valid_outside: bool,
        with_missing: bool,
    ) -> None:
        self._group = group
        whole = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
        # Chunks that hold only the fill value are not written.
        self._grey = group.array("grey", shape, whole, np.uint8, 0)
        self._valid = group.array("valid", shape, whole, np.bool_, valid_outside)
        self._missing = group.array("missing", shape, whole, np.bool_, False) if with_missing else None

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

    def finish(self, info: TileInfo) -> None:
        """Write what describes the tile and, with it, the content key: from now on the tile is complete."""
        self._group.finish(info.to_attributes())


class RunFolder:
    """Arrays and tables of one output folder.

    Parameters
    ----------
    address
        A local folder, or a URL of an object store such as ``s3://bucket/prefix``.
    """

    def __init__(self, address: Path | str) -> None:
        self._storage = open_storage(str(address))
        self._zarr = self._storage.zarr(ROOT)
        self.matched = PairBlocks(self, "pairs", "good")
        self.verified = PairBlocks(self, "verified", "matches")

    @property
    def address(self) -> str:
        """Where the folder is: what another process opens it by."""
        return self._storage.address

    def __str__(self) -> str:
        return self.address

    def create(self, job: Mapping[str, Any] | None = None) -> None:
        """Make the groups that all scenes share, and note whose run this is; see `job`."""
        for path in (ROOT, SCENES):
            data = _group_file({"job": job or {}})
            try:
                if self.read(f"{path}/{SEAL}") == data:
                    continue
            except FileNotFoundError:
                pass
            self.write(f"{path}/{SEAL}", data)

    def job(self) -> dict[str, Any] | None:
        """Return what `create` noted, should the run's record be lost; None if that is lost too."""
        try:
            return self.attributes(ROOT).get("job")
        except DamageError:
            return None

    def damaged(self, name: str, why: str, seal: str) -> DamageError:
        """Make the error that says that a file is damaged; see `DamageError.seal`."""
        finding = f"{self}/{name} is damaged ({why})"
        error = DamageError(f"{finding}: s2fast check {self} lists all that is, the next run computes it again")
        error.finding, error.seal = finding, seal
        return error

    def discard(self, damage: DamageError) -> None:
        """Remove what vouches for something damaged: the next run computes it again."""
        if damage.seal:
            self.remove(damage.seal)

    def stamps(self) -> dict[str, Stamp]:
        """List all files below the folder."""
        return self._storage.stamps()

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

    def write(self, name: str, data: bytes) -> int:
        """Write a file so that it is there whole or not at all; return its checksum."""
        self._storage.write(name, data)
        return checksum(data)

    def read_checked(self, name: str, noted: int | None, seal: str) -> bytes:
        """Read a file of which a checksum is noted; raises DamageError if it has changed or is missing."""
        try:
            data = self.read(name)
        except FileNotFoundError as error:
            raise self.damaged(name, "it is missing", seal) from error
        if checksum(data) != noted:
            raise self.damaged(name, "its checksum is wrong", seal)
        return data

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Write a file only if it still holds `before`, None: is not there; return whether it was written."""
        return self._storage.swap(name, before, after)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all in it; what is not there is no error."""
        self._storage.remove(name)

    def names(self, folder: str = "") -> list[str]:
        """List the files directly in a folder, sorted."""
        return self._storage.names(folder)

    # Tiles

    def tile_key(self, scene_id: str) -> str | None:
        """Content key of the scene's tile; None if there is no whole tile."""
        return self.attributes(_scene(scene_id)).get("key")

    def tile(self, scene_id: str) -> TileInfo:
        """Read what describes the scene's tile; raises RunFolderError if there is no complete tile."""
        return TileInfo.from_attributes(self.whole_group(_scene(scene_id)))

    def placement(self, scene_id: str) -> Placement:
        """Read where the scene lies, and which ground of it is clear."""
        return Placement.of(self.tile(scene_id), self.clear(scene_id))

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
        return TileWriter(self._begin(_scene(scene_id), key), shape, chunks, valid_outside, with_missing)

    def grey(self, scene_id: str) -> npt.NDArray[np.uint8]:
        """Read the scene's masked tile: (rows, cols) uint8, on the reduced grid."""
        return self._arrays(_scene(scene_id), "grey")["grey"]

    def valid(self, scene_id: str) -> npt.NDArray[np.bool_]:
        """Read where a keypoint may lie: (rows, cols) bool, on the reduced grid."""
        return self._arrays(_scene(scene_id), "valid")["valid"]

    def valid_source(self, scene_id: str) -> Callable[[slice, slice], npt.NDArray[np.bool_]]:
        """Read `valid` part by part: a function of rows and columns, two slices."""
        array = self._opened(_scene(scene_id))("valid")

        def read(rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
            return np.asarray(array[rows, columns])

        return read

    def missing(self, scene_id: str) -> npt.NDArray[np.bool_]:
        """Read which pixels the scene's file says are missing: (rows, cols) bool; only where the tile is ``masked``."""
        return self._arrays(_scene(scene_id), "missing")["missing"]

    # Features

    def features_key(self, scene_id: str) -> str | None:
        """Content key of the scene's features; None if there are none, or not all."""
        return self.attributes(_features(scene_id)).get("key")

    def keypoints(self, scene_id: str) -> int:
        """Count the scene's keypoints; raises RunFolderError if its features are missing or incomplete."""
        return int(self.whole_group(_features(scene_id))["count"])

    def write_features(
        self,
        scene_id: str,
        features: Features,
        clear: npt.NDArray[np.uint8],
        fixed: FixedPattern,
        key: str,
        backend: str,
    ) -> None:
        """Write a scene's features, its map of clear ground and its fixed pattern, then their key."""
        group = self._begin(_features(scene_id), key)
        arrays = {field.name: getattr(part, field.name) for part in (features, fixed) for field in fields(part)}
        arrays |= {"clear": clear}
        for name, values in arrays.items():
            chunks = (max(1, len(values)), *values.shape[1:])
            group.array(name, values.shape, chunks, values.dtype, 0)[...] = values
        group.finish({"backend": backend, "count": len(features)})

    def features(self, scene_id: str) -> Features:
        """Read a scene's features."""
        return Features(**self._arrays(_features(scene_id), *(field.name for field in fields(Features))))

    def positions(self, scene_id: str) -> npt.NDArray[np.float32]:
        """Read where a scene's keypoints are: (n, 2) float32, see `Features.xy`."""
        return self._arrays(_features(scene_id), "xy")["xy"]

    def clear(self, scene_id: str) -> npt.NDArray[np.uint8]:
        """Read a scene's map of clear ground: see `s2fast.image.prepare.clear_cells`."""
        return self._arrays(_features(scene_id), "clear")["clear"]

    def described(self, scene_id: str) -> dict[str, npt.NDArray[Any]]:
        """Read what matching needs of a scene's features: ``descriptors``, ``xy``, ``size``."""
        return self._arrays(_features(scene_id), "descriptors", "xy", "size")

    def fixed_pattern(self, scene_id: str) -> FixedPattern:
        """Read the parts of a scene that may belong to a fixed pattern."""
        return FixedPattern(**self._arrays(_features(scene_id), *(field.name for field in fields(FixedPattern))))

    # Groups

    def attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes of a group, finished or not; empty if there is none."""
        name = f"{path}/{SEAL}"
        try:
            data = self.read(name)
        except FileNotFoundError:
            return {}
        try:
            attributes = unsealed(json.loads(data)["attributes"])
            if data != _group_file(attributes):
                raise ValueError("it is not the file that was written")
        except (LookupError, TypeError, ValueError) as error:
            raise self.damaged(name, str(error), name) from error
        return attributes

    def whole_group(self, path: str) -> dict[str, Any]:
        """Return the attributes of a finished group, among them ``files``, the checksums of the files below it.

        Raises
        ------
        DamageError
            They are not as they were written.
        RunFolderError
            There is no such group, or it is not finished.
        """
        attributes = self.attributes(path)
        if "key" not in attributes:
            raise RunFolderError(f"{self}/{path} is missing or not finished: run the stage that writes it")
        return attributes

    def _begin(self, path: str, key: str) -> _GroupWriter:
        """Open a group to write what has this key: empty, or with what a writer of the same key has written so far."""
        try:
            attributes = self.attributes(path)
        except DamageError:
            attributes = {}
        if key not in (attributes.get("writing"), attributes.get("key")):
            # The attributes go first: a key must not outlive what it stands for.
            self._storage.remove(f"{path}/{SEAL}")
            self._storage.remove(path)
            self.write(f"{path}/{SEAL}", _group_file({"writing": key}))
        return _GroupWriter(self, NotingStore(self._zarr, path.removeprefix(f"{ROOT}/")), path, key)

    def _opened(self, path: str) -> Callable[[str], zarr.Array[Any]]:
        """Open a finished group: a function that opens an array of it by name."""
        sums = self.whole_group(path)["files"]
        group = path.removeprefix(f"{ROOT}/")

        def damaged(key: str, why: str) -> DamageError:
            return self.damaged(f"{ROOT}/{key}", why, f"{path}/{SEAL}")

        store = CheckedStore(self._zarr, group, sums, damaged)
        return lambda name: zarr.open_array(store, path=f"{group}/{name}", mode="r")

    def _arrays(self, path: str, *names: str) -> dict[str, npt.NDArray[Any]]:
        """Read arrays of a finished group."""
        opened = self._opened(path)
        return {name: np.asarray(opened(name)[...]) for name in names}


class _GroupWriter:
    """Writes the arrays of a group, then its attributes with the key and the checksums."""

    def __init__(self, folder: RunFolder, store: NotingStore, path: str, key: str) -> None:
        self._folder, self._store, self._path, self._key = folder, store, path, key

    def array(
        self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: npt.DTypeLike, fill: Any
    ) -> zarr.Array[Any]:
        """Make an array; its chunks that hold only the fill value are not written."""
        group = self._path.removeprefix(f"{ROOT}/")
        # The checksums of the chunks are for whoever reads the array without us.
        return zarr.create_array(
            self._store,
            name=f"{group}/{name}",
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            fill_value=fill,
            compressors=(ZstdCodec(), Crc32cCodec()),
        )

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Write the attributes; from now on the group is whole."""
        finished = {**attributes, "key": self._key, "files": dict(sorted(self._store.sums.items()))}
        self._folder.write(f"{self._path}/{SEAL}", _group_file(finished))


def _scene(scene_id: str) -> str:
    return f"{SCENES}/{scene_id}"


def _features(scene_id: str) -> str:
    return f"{SCENES}/{scene_id}/features"


def _group_file(attributes: Mapping[str, Any]) -> bytes:
    """Return a Zarr group's file; its attributes carry their own checksum."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": sealed(attributes)}).encode()
