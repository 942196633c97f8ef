"""The run folder: Zarr arrays and attributes per scene, Parquet files per block of pairs, each with a content key.

A unit of work writes its arrays or files first and its key last, so a unit that has a key is complete. Equal keys mean
equal bytes: units are idempotent, and may even run twice at once, as when a live worker is taken for dead. The
checksums of the unit's files are stored beside the key. Readers verify them and raise an error for a changed or missing
file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.errors import DamageError, RunFolderError
from s2fast.files.open_storage import open_storage
from s2fast.files.storage import Stamp
from s2fast.folder.checksums import checksum
from s2fast.folder.pair_blocks import PairBlocks
from s2fast.folder.sealed_groups import ROOT, SEAL, SealedGroups, group_file
from s2fast.folder.tile_writer import TileWriter as TileWriter
from s2fast.folder.tile_writer import finish_without_pixels
from s2fast.folder.whole_chunks import write_array
from s2fast.geometry.placement import Placement
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.model import Features, TileInfo

SCENES = f"{ROOT}/scenes"
"""Path of the scenes' groups in the run folder."""

_PIXELS = ("grey", "missing")
"""Arrays of a tile that `RunFolder.drop_pixels` removes."""


class RunFolder:
    """The arrays and tables of one run.

    Parameters
    ----------
    address
        A local folder, or a URL of an object store such as ``s3://bucket/prefix``.
    trusted
        Folders and addresses that the user named, which a file that this folder names may lead to; the folder may be a
        stranger's.
    """

    def __init__(self, address: Path | str, trusted: Iterable[str] = ()) -> None:
        self.trusted = tuple(trusted)
        self._storage = open_storage(str(address))
        self.groups = SealedGroups(self, self._storage)
        self.matched = PairBlocks(self, "pairs", "good")
        self.verified = PairBlocks(self, "verified", "matches")

    @property
    def address(self) -> str:
        """The folder's path or URL, with which another process can open it."""
        return self._storage.address

    def __str__(self) -> str:
        return self.address

    def create(self, job: Mapping[str, Any] | None = None) -> None:
        """Create the groups that all scenes share and store the job's identity, which `job` returns."""
        for path in (ROOT, SCENES):
            data = group_file({"job": job or {}})
            try:
                if self.read(f"{path}/{SEAL}") == data:
                    continue
            except FileNotFoundError:
                pass
            self.write(f"{path}/{SEAL}", data)

    def job(self) -> dict[str, Any] | None:
        """Return the job's identity as stored by `create`, or None; used if run.json is missing or damaged."""
        try:
            return self.groups.attributes(ROOT).get("job")
        except DamageError:
            return None

    def damaged(self, name: str, why: str, seal: str) -> DamageError:
        """Return the error for a damaged file; see `DamageError.seal`."""
        finding = f"{self}/{name} is damaged ({why})"
        error = DamageError(f"{finding}: run again to recompute it; s2fast check {self} lists all damage")
        error.finding, error.seal = finding, seal
        return error

    def discard(self, damage: DamageError) -> None:
        """Remove the seal file of a damaged result, so that the next run recomputes the result."""
        if damage.seal:
            self.remove(damage.seal)

    def list_files(self) -> dict[str, Stamp]:
        """Return size and modification time of all files, recursively, by path relative to the folder."""
        return self._storage.stamps()

    def is_empty(self) -> bool:
        """Return whether the folder holds no files, apart from the lock."""
        return self._storage.is_empty()

    def hold(self) -> None:
        """Begin to write the folder, which no other process changes until `release`."""
        self._storage.hold()

    def release(self) -> None:
        """End writing the folder."""
        self._storage.release()

    def sweep(self) -> None:
        """Remove partial files left by dead writers."""
        self._storage.sweep()

    # Files

    def read(self, name: str) -> bytes:
        """Read a file; raise FileNotFoundError if it does not exist."""
        return self._storage.read(name)

    def write(self, name: str, data: bytes) -> int:
        """Write a file atomically; return its checksum."""
        self._storage.write(name, data)
        return checksum(data)

    def read_checked(self, name: str, recorded: int | None, seal: str) -> bytes:
        """Read a file; raise DamageError if it is missing or its checksum differs from the recorded one."""
        try:
            data = self.read(name)
        except FileNotFoundError as error:
            raise self.damaged(name, "it is missing", seal) from error
        if checksum(data) != recorded:
            raise self.damaged(name, "its checksum is wrong", seal)
        return data

    def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Replace a file only if its content is still `before` (None: it does not exist); return whether it was."""
        return self._storage.swap(name, before, after)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder recursively; do nothing if it does not exist."""
        self._storage.remove(name)

    def names(self, folder: str = "") -> list[str]:
        """List the files directly in a folder, sorted."""
        return self._storage.names(folder)

    # Tiles

    def tile_key(self, scene_id: str) -> str | None:
        """Return the content key of the scene's tile; None if the tile is missing or incomplete."""
        return self.groups.attributes(_scene(scene_id)).get("key")

    def tile(self, scene_id: str) -> TileInfo:
        """Read the attributes of the scene's tile; raise RunFolderError if the tile is missing or incomplete."""
        path = _scene(scene_id)
        try:
            return TileInfo.from_attributes(self.groups.finished(path))
        except ValueError as error:
            raise self.damaged(f"{path}/{SEAL}", "another version of s2fast wrote it", f"{path}/{SEAL}") from error

    def placement(self, scene_id: str) -> Placement:
        """Read the scene's georeferencing and its map of clear ground."""
        of_pixels = self.interpolated(scene_id), self.levels(scene_id)
        return Placement.of(self.tile(scene_id), self.clear(scene_id), *of_pixels)

    def tile_writer(
        self,
        scene_id: str,
        key: str,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        *,
        valid_outside: bool,
        with_missing: bool = False,
        with_pixels: bool = True,
    ) -> TileWriter:
        """Begin writing the scene's tile; delete a tile with another key, including its features."""
        group = self.groups.begin(_scene(scene_id), key)
        return TileWriter(group, shape, chunks, valid_outside, with_missing, with_pixels)

    def has_pixels(self, scene_id: str) -> bool:
        """Return whether the scene's tile is complete with its pixels."""
        attributes = self.groups.attributes(_scene(scene_id))
        return "key" in attributes and bool(attributes.get("pixels", True))

    def has_files_of_pixels(self, scene_id: str) -> bool:
        """Return whether pixels are left of the scene, also those that a killed run was about to remove."""
        return any(self.names(f"{_scene(scene_id)}/{name}") for name in _PIXELS)

    def drop_pixels(self, scene_id: str, thumbnail: npt.NDArray[np.uint8] | None) -> None:
        """Replace the pixels of the scene's tile by a thumbnail; None: it has one, and only files are left."""
        path = _scene(scene_id)
        if thumbnail is not None:
            attributes = self.groups.finished(path)
            kept = {name: sums for name, sums in attributes["files"].items() if name.split("/")[0] not in _PIXELS}
            group = self.groups.writer(path, attributes["key"], kept)
            finish_without_pixels(group, self.tile(scene_id), thumbnail)
        for name in _PIXELS:
            self.remove(f"{path}/{name}")

    def thumbnail(self, scene_id: str) -> npt.NDArray[np.uint8]:
        """Read the grey thumbnail of a scene without pixels: see `s2fast.report.imagery.thumbnail_of`."""
        return self.groups.read(_scene(scene_id), "thumbnail")["thumbnail"]

    def grey(self, scene_id: str) -> npt.NDArray[np.uint8]:
        """Read the scene's masked grey image: (rows, cols) uint8, on the reduced grid."""
        return np.asarray(self.groups.opened(_scene(scene_id))("grey")[...])

    def valid(self, scene_id: str) -> npt.NDArray[np.bool_]:
        """Read the mask of valid pixels: (rows, cols) bool, on the reduced grid; True: a keypoint may lie there."""
        return np.asarray(self.groups.opened(_scene(scene_id))("valid")[...])

    def valid_source(self, scene_id: str) -> Callable[[slice, slice], npt.NDArray[np.bool_]]:
        """Return a function that reads a part of `valid`, given by two slices: rows and columns."""
        array = self.groups.opened(_scene(scene_id))("valid")

        def read(rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
            return np.asarray(array[rows, columns])

        return read

    def missing(self, scene_id: str) -> npt.NDArray[np.bool_]:
        """Read the mask of no-data pixels: (rows, cols) bool, True: no data; stored only if the tile is ``masked``."""
        return np.asarray(self.groups.opened(_scene(scene_id))("missing")[...])

    # Features

    def features_key(self, scene_id: str) -> str | None:
        """Return the content key of the scene's features; None if they are missing or incomplete."""
        return self.groups.attributes(_features(scene_id)).get("key")

    def keypoints(self, scene_id: str) -> int:
        """Return the number of the scene's keypoints; raise RunFolderError if its features are not complete."""
        return int(self.groups.finished(_features(scene_id))["count"])

    def write_features(
        self,
        scene_id: str,
        features: Features,
        clear: npt.NDArray[np.uint8],
        fixed: FixedPattern,
        key: str,
        backend: str,
        *,
        clouds_judged: bool = False,
        levels: Sequence[tuple[float, int]] = (),
        interpolated: int = 1,
    ) -> None:
        """Write a scene's features, map of clear ground and fixed pattern, and finally their key.

        See `levels` and `interpolated`.
        """
        group = self.groups.begin(_features(scene_id), key)
        arrays = {field.name: getattr(part, field.name) for part in (features, fixed) for field in fields(part)}
        arrays |= {"clear": clear}
        for name, values in arrays.items():
            write_array(group.files(name), values)
        of_levels: dict[str, object] = {"levels": [list(level) for level in levels]} if levels else {}
        if interpolated > 1:
            of_levels["interpolated"] = interpolated
        group.finish({"backend": backend, "count": len(features), "clouds_judged": clouds_judged, **of_levels})

    def levels(self, scene_id: str) -> tuple[tuple[float, int], ...]:
        """Return the coarser grids on which a scene was searched too: sides of pixels [m], numbers of features.

        These features follow those of the scene's own grid, in this order.
        """
        stored = self.groups.finished(_features(scene_id)).get("levels", [])
        return tuple((float(grid_m), int(count)) for grid_m, count in stored)

    def interpolated(self, scene_id: str) -> int:
        """Return the side of the pixels from which a scene was interpolated [px of its tile]; 1: it was not."""
        return int(self.groups.finished(_features(scene_id)).get("interpolated", 1))

    def clouds_judged(self, scene_id: str) -> bool | None:
        """Return whether clouds of a scene were found by brightness; None: an older version did not record it."""
        return self.groups.finished(_features(scene_id)).get("clouds_judged")

    def features(self, scene_id: str) -> Features:
        """Read a scene's features."""
        return Features(**self.groups.read(_features(scene_id), *(field.name for field in fields(Features))))

    def own_features(self, scene_id: str) -> Features:
        """Read the features that were found on a scene's own grid, without those of its `levels`."""
        features = self.features(scene_id)
        of_levels = sum(count for _, count in self.levels(scene_id))
        return features.take(np.arange(len(features) - of_levels)) if of_levels else features

    def positions(self, scene_id: str) -> npt.NDArray[np.float32]:
        """Read the positions of a scene's keypoints: (n, 2) float32, see `Features.xy`."""
        return self.groups.read(_features(scene_id), "xy")["xy"]

    def clear(self, scene_id: str) -> npt.NDArray[np.uint8]:
        """Read a scene's map of clear ground: see `s2fast.image.prepare.clear_cells`."""
        return self.groups.read(_features(scene_id), "clear")["clear"]

    def described(self, scene_id: str) -> dict[str, npt.NDArray[Any]]:
        """Read the features that matching needs: ``descriptors``, ``xy``, ``size``."""
        return self.groups.read(_features(scene_id), "descriptors", "xy", "size")

    def fixed_pattern(self, scene_id: str) -> FixedPattern:
        """Read the parts of a scene that may belong to a fixed pattern."""
        return FixedPattern(**self.groups.read(_features(scene_id), *(field.name for field in fields(FixedPattern))))


def _scene(scene_id: str) -> str:
    """Return the path of a scene's group; the id may come from a stranger's record, and must not lead elsewhere."""
    if scene_id in ("", ".", "..") or re.search(r"[/\\\x00]", scene_id):
        raise RunFolderError(f"{scene_id[:80]!r} is no scene id: it is a path")
    return f"{SCENES}/{scene_id}"


def _features(scene_id: str) -> str:
    return f"{_scene(scene_id)}/features"
