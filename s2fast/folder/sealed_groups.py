"""Groups of Zarr arrays whose attributes, written last, hold a content key and the checksums of the arrays' files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from types import EllipsisType, MappingProxyType
from typing import Any, Protocol

import numpy.typing as npt

from s2fast.errors import DamageError, RunFolderError
from s2fast.files.storage import Storage
from s2fast.folder.checksums import Sums, checksum, describe_mismatch, sealed, unsealed
from s2fast.folder.whole_chunks import METADATA, read_array

ROOT = "store.zarr"
"""Path of the Zarr store in the run folder."""

SEAL = "zarr.json"
"""Name of a group's seal file: the Zarr metadata file, whose attributes hold the key and the checksums."""


class Files(Protocol):
    """The run folder's files; implemented by `s2fast.folder.run_folder.RunFolder`."""

    def read(self, name: str) -> bytes:
        """Read a file; raise FileNotFoundError if it does not exist."""

    def write(self, name: str, data: bytes) -> int:
        """Write a file atomically; return its checksum."""

    def remove(self, name: str) -> None:
        """Remove a file, or a folder recursively."""

    def damaged(self, name: str, why: str, seal: str) -> DamageError:
        """Return the error for a damaged file."""


class SealedGroups:
    """The groups of arrays of a run folder; paths are relative to the folder.

    Parameters
    ----------
    files
        The run folder.
    storage
        Its storage, for the files of arrays.
    """

    def __init__(self, files: Files, storage: Storage) -> None:
        self._files, self._storage = files, storage

    def attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes of a group, finished or not; empty if the group does not exist.

        The values are kept for the next call: they must not be modified.
        """
        name = f"{path}/{SEAL}"
        try:
            data = self._files.read(name)
        except FileNotFoundError:
            return {}
        try:
            return dict(_attributes(data))
        except (LookupError, TypeError, ValueError) as error:
            raise self._files.damaged(name, str(error), name) from error

    def finished(self, path: str) -> dict[str, Any]:
        """Return the attributes of a finished group, including ``files``, the checksums of its files.

        Raises
        ------
        DamageError
            The attributes are damaged.
        RunFolderError
            The group does not exist or is not finished.
        """
        attributes = self.attributes(path)
        if "key" not in attributes:
            raise RunFolderError(f"{self._files}/{path} is missing or not finished: run the stage that writes it")
        return attributes

    def begin(self, path: str, key: str) -> GroupWriter:
        """Open a group for writing under this key; keep what writers of the same key wrote, delete anything else."""
        try:
            attributes = self.attributes(path)
        except DamageError:
            attributes = {}
        if key not in (attributes.get("writing"), attributes.get("key")):
            # The key is removed before the arrays, so that it never refers to deleted data.
            self._files.remove(f"{path}/{SEAL}")
            self._files.remove(path)
            self._files.write(f"{path}/{SEAL}", group_file({"writing": key}))
        return self.writer(path, key)

    def writer(self, path: str, key: str, kept: Sums = MappingProxyType({})) -> GroupWriter:
        """Return a writer of a group that replaces its attributes; `kept` are the files that remain from before."""
        return GroupWriter(self._files, self._storage, path, key, kept)

    def opened(self, path: str) -> Callable[[str], StoredArray]:
        """Open a finished group; return a function that opens one of its arrays by name."""
        sums = self.finished(path)["files"]
        return lambda name: StoredArray(partial(self._recorded, path, sums, name), partial(self._damage, path, name))

    def read(self, path: str, *names: str) -> dict[str, npt.NDArray[Any]]:
        """Read arrays of a finished group."""
        sums = self.finished(path)["files"]
        arrays = {}
        for name in names:
            with self._damage(path, name):
                arrays[name] = read_array(partial(self._recorded, path, sums, name))
        return arrays

    @contextmanager
    def _damage(self, group: str, array: str) -> Iterator[None]:
        """Convert ValueError to the error for a damaged array."""
        try:
            yield
        except ValueError as error:
            raise self._files.damaged(f"{group}/{array}", str(error), f"{group}/{SEAL}") from error

    def _recorded(self, group: str, sums: Sums, array: str, name: str) -> bytes | None:
        """Read a file of an array and verify its checksum; return None if it was never written."""
        within = f"{array}/{name}"
        try:
            data = self._files.read(f"{group}/{within}")
        except FileNotFoundError:
            data = None
        mismatch = describe_mismatch(data, sums.get(within))
        if mismatch:
            raise self._files.damaged(f"{group}/{within}", mismatch, f"{group}/{SEAL}")
        return data


class StoredArray:
    """An array of a finished group, of which windows are read."""

    def __init__(
        self, recorded: Callable[[str], bytes | None], damage: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._recorded, self._damage = recorded, damage
        self._description = recorded(METADATA)

    def __getitem__(self, window: EllipsisType | tuple[slice, ...]) -> npt.NDArray[Any]:
        """Read a window, or all; slices have no steps."""
        with self._damage():
            return read_array(self._file, None if window is ... else window)

    def _file(self, name: str) -> bytes | None:
        return self._description if name == METADATA else self._recorded(name)


class GroupWriter:
    """Writes the files of a group's arrays, then its attributes with the key and the files' checksums.

    Existing files are overwritten unread: all writers of a unit write the same bytes.
    """

    def __init__(self, files: Files, storage: Storage, path: str, key: str, kept: Sums) -> None:
        self._files, self._storage, self._path, self._key = files, storage, path, key
        self._sums = dict(kept)

    def files(self, array: str) -> Callable[[str, bytes], None]:
        """Return a function that writes a file of an array, given its name and content."""

        def write(name: str, data: bytes) -> None:
            within = f"{array}/{name}"
            self._storage.write(f"{self._path}/{within}", data)
            self._sums[within] = len(data), checksum(data)

        return write

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Write the attributes with the key, which marks the group as finished."""
        finished = {**attributes, "key": self._key, "files": dict(sorted(self._sums.items()))}
        self._files.write(f"{self._path}/{SEAL}", group_file(finished))


def group_file(attributes: Mapping[str, Any]) -> bytes:
    """Return the content of a Zarr group's metadata file, whose attributes include their own checksum."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": sealed(attributes)}).encode()


@lru_cache(maxsize=256)
def _attributes(data: bytes) -> Mapping[str, Any]:
    """Return the attributes in the content of a group's metadata file.

    The latest are remembered by their bytes: a stage asks for one property of a scene after another.

    Raises
    ------
    LookupError, TypeError, ValueError
        The content is not what `group_file` returns.
    """
    attributes = unsealed(json.loads(data)["attributes"])
    if data != group_file(attributes):
        raise ValueError("its content has changed")
    return attributes
