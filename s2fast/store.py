"""The run folder: Zarr arrays and attributes a scene, Parquet parts a block, content keys, completeness.

A unit of work writes its arrays or files first and its key last: what has a key is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from s2fast.errors import RunFolderError
from s2fast.model import Features, Window

FORMAT = 1
"""Version of the folder's layout and of what is in it; part of every content key."""


def content_key(*parts: Any) -> str:
    """Hash what a result depends on: JSON values, in order, and the format version."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunFolderError(f"cannot write {path}: {error.strerror}") from error


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file so that it is there whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())


@dataclass(frozen=True, slots=True)
class TileInfo:
    """A masked tile's attributes, beside its arrays."""

    shape: tuple[int, int]
    """Rows and columns of `grey` and `valid`."""

    reduction: int
    """Full-resolution pixels a side of one pixel of `grey`."""

    key: str
    """Content key."""


class TileWriter:
    """Writes one scene's masked tile, window by window, then its key."""

    def __init__(self, group: zarr.Group, shape: tuple[int, int], chunks: tuple[int, int], valid_outside: bool) -> None:
        self._group = group
        whole = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
        # Chunks that hold only the fill value are not written.
        self._grey = group.create_array("grey", shape=shape, chunks=whole, dtype="uint8", fill_value=0)
        self._valid = group.create_array("valid", shape=shape, chunks=whole, dtype="bool", fill_value=valid_outside)

    def write(self, window: Window, grey: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_]) -> None:
        """Write a window of the tile; windows are whole chunks, so no two writers meet."""
        self._grey[window.slices] = grey
        self._valid[window.slices] = valid

    def finish(self, attributes: dict[str, Any], key: str) -> None:
        """Write the attributes and, with them, the key that says the tile is whole."""
        self._group.attrs.update({**attributes, "key": key})


class RunFolder:
    """Paths, arrays and tables of one output folder."""

    def __init__(self, path: Path | str) -> None:
        if "://" in str(path):
            raise RunFolderError(f"{path}: only local folders can hold a run")
        self.path = Path(path)

    @property
    def run_json(self) -> Path:
        """The run's record; `record.py` knows what is in it."""
        return self.path / "run.json"

    def scene_path(self, scene_id: str) -> Path:
        """Name the folder of the scene's Zarr group."""
        return self.path / "store.zarr" / "scenes" / scene_id

    def create(self) -> None:
        """Make the folder and the groups that all scenes share."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            zarr.open_group(self.path / "store.zarr", mode="a").require_group("scenes")
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}") from error

    # Tiles

    def tile_key(self, scene_id: str) -> str | None:
        """Content key of the scene's tile; None if there is no whole tile."""
        return _attributes(self.scene_path(scene_id)).get("key")

    def tile_attributes(self, scene_id: str) -> dict[str, Any]:
        """All attributes of the scene's group; empty if there is none."""
        return _attributes(self.scene_path(scene_id))

    def tile_writer(
        self, scene_id: str, shape: tuple[int, int], chunks: tuple[int, int], *, valid_outside: bool
    ) -> TileWriter:
        """Start the scene's tile anew; whatever was there, features included, is gone."""
        path = self.scene_path(scene_id)
        shutil.rmtree(path, ignore_errors=True)
        return TileWriter(zarr.open_group(path, mode="w-"), shape, chunks, valid_outside)

    def grey(self, scene_id: str) -> npt.NDArray[np.uint8]:
        """Read the scene's masked tile: (rows, cols) uint8, on the reduced grid."""
        return _array(self.scene_path(scene_id), "grey")

    def valid(self, scene_id: str) -> npt.NDArray[np.bool_]:
        """Read where a keypoint may lie: (rows, cols) bool, on the reduced grid."""
        return _array(self.scene_path(scene_id), "valid")

    def valid_source(self, scene_id: str) -> Callable[[slice, slice], npt.NDArray[np.bool_]]:
        """Read `valid` part by part: a function of rows and columns, two slices."""
        array = zarr.open_array(self.scene_path(scene_id) / "valid", mode="r")
        return lambda rows, columns: np.asarray(array[rows, columns])

    # Features

    def features_key(self, scene_id: str) -> str | None:
        """Content key of the scene's features; None if there are none, or not all."""
        return _attributes(self.scene_path(scene_id) / "features").get("key")

    def feature_attributes(self, scene_id: str) -> dict[str, Any]:
        """Key, count and backend of the scene's features; empty if there are none."""
        return _attributes(self.scene_path(scene_id) / "features")

    def write_features(self, scene_id: str, features: Features, key: str, backend: str) -> None:
        """Write a scene's features, then their key."""
        path = self.scene_path(scene_id) / "features"
        shutil.rmtree(path, ignore_errors=True)
        group = zarr.open_group(path, mode="w-")
        for field in fields(features):
            values = getattr(features, field.name)
            chunks = (max(1, len(values)), *values.shape[1:])
            group.create_array(field.name, shape=values.shape, chunks=chunks, dtype=values.dtype)[...] = values
        group.attrs.update({"backend": backend, "count": len(features), "key": key})

    def features(self, scene_id: str) -> Features:
        """Read a scene's features."""
        path = self.scene_path(scene_id) / "features"
        return Features(**{field.name: _array(path, field.name) for field in fields(Features)})

    def descriptors(self, scene_id: str) -> npt.NDArray[np.uint64]:
        """Read a scene's packed descriptors: (n, 8) uint64."""
        return _array(self.scene_path(scene_id) / "features", "descriptors")

    # Pairs

    def pair_parts(self) -> pd.DataFrame:
        """Read the rows of all blocks of pairs, with the block's name as column ``part``."""
        frames = [
            pd.read_parquet(path).assign(part=path.stem) for path in sorted((self.path / "pairs").glob("*.parquet"))
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"key": [], "part": []}, dtype=str)

    def write_part(self, part: str, pairs: pa.Table, matches: pa.Table | None) -> None:
        """Write one block of pairs: its matches, then the rows that say it is whole."""
        if matches is not None:
            write_table(self.path / "matches" / f"{part}.parquet", matches)
        write_table(self.path / "pairs" / f"{part}.parquet", pairs)

    def keep_pairs(self, part: str, keys: set[str]) -> None:
        """Drop from a block every pair whose key is not among those given, and the block if nothing is left."""
        pairs_path, matches_path = (self.path / kind / f"{part}.parquet" for kind in ("pairs", "matches"))
        pairs = pq.read_table(pairs_path)
        kept = pairs.filter(pa.compute.is_in(pairs["key"], pa.array(sorted(keys), pa.string())))
        if kept.num_rows == pairs.num_rows:
            return
        if kept.num_rows == 0:
            pairs_path.unlink()
            matches_path.unlink(missing_ok=True)
            return
        matches = None
        if matches_path.exists():
            names = set(zip(kept["query"].to_pylist(), kept["train"].to_pylist(), strict=True))
            frame = pq.read_table(matches_path)
            of_pair = zip(frame["query"].to_pylist(), frame["train"].to_pylist(), strict=True)
            matches = frame.filter(pa.array([pair in names for pair in of_pair], pa.bool_()))
        self.write_part(part, kept, matches)

    def matches(self, query: str, train: str) -> pd.DataFrame:
        """Read the good matches of one pair."""
        filters = [("query", "==", query), ("train", "==", train)]
        frames = [pd.read_parquet(path, filters=filters) for path in sorted((self.path / "matches").glob("*.parquet"))]
        found = [frame for frame in frames if len(frame)] or frames[:1]
        rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["query", "train"])
        return rows.astype({"query": str, "train": str})


def _attributes(path: Path) -> dict[str, Any]:
    try:
        metadata: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())
    except FileNotFoundError:
        return {}
    attributes: dict[str, Any] = metadata["attributes"]
    return attributes


def _array(path: Path, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(zarr.open_array(path / name, mode="r")[...])
    except FileNotFoundError as error:
        raise RunFolderError(f"{path / name} is missing: run the stage that writes it") from error
