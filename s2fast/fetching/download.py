"""Download the files of scenes into a folder; what was interrupted goes on where it stopped."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from s2fast.archive.identity import identity
from s2fast.config import Ingest
from s2fast.errors import InputError, MissingError, SceneError, option
from s2fast.files.legible import identifier
from s2fast.files.places import is_file
from s2fast.files.ranges import ByteRanges, byte_ranges
from s2fast.files.source import Source
from s2fast.files.suffixes import check_on_disk
from s2fast.files.web import downloaded
from s2fast.masks.lookup import find_mask
from s2fast.model import Scene
from s2fast.raster.dataset import gdal_settings
from s2fast.raster.zarr_store import is_zarr
from s2fast.work.progress import Bar, Progress

_PART_BYTES = 8 << 20
"""Bytes of one request."""

_THREADS = 4
"""Files that are downloaded at a time."""

_PAUSES_S = (1.0, 4.0, 15.0)
"""Pauses before a part is requested again."""

_PARTIAL = ".part"
"""Suffix of a file that is not complete."""

_RESOLUTION = re.compile(r"R\d+m")
"""Name of a folder of images of one resolution."""

_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to download."""

    source: Source
    """Where it is."""

    target: Path
    """Where it goes."""

    size: int
    """Its size [bytes]; 0 if only its download can tell."""


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """The files of a scene."""

    scene: Scene
    """The scene, where it is now."""

    target: Path
    """Its raster in the folder."""

    missing: tuple[RemoteFile, ...]
    """Its files that are not in the folder yet."""


def plan(scenes: Sequence[Scene], folder: Path, settings: Ingest) -> tuple[list[SceneFiles], dict[str, str]]:
    """Return the files of scenes, and why others cannot be downloaded, by scene id.

    A scene's files are its raster and the mask that a run would use, in the folder ``SCENE_ID``. A file that is in the
    folder is complete, and is not requested again.

    Parameters
    ----------
    scenes
        The scenes.
    folder
        Where they go.
    settings
        Which mask a run would use.
    """
    planned: list[SceneFiles] = []
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for scene, asked in [(scene, pool.submit(_files_of, scene, folder, settings)) for scene in scenes]:
            try:
                planned.append(asked.result())
            except SceneError as error:
                failed[scene.scene_id] = str(error)
    return planned, failed


def _files_of(scene: Scene, folder: Path, settings: Ingest) -> SceneFiles:
    if scene.source.path is not None or scene.source.is_held:
        raise SceneError(f"{scene.source}: it is on this machine already")
    if is_zarr(scene.source):
        raise SceneError(f"{scene.source}: a Zarr array is read where it is: let a run read its address")
    if scene.source.zip_parts:
        raise SceneError(f"{scene.source}: it is in a zip on a server: download the zip, or give its address")
    target = _target(folder, scene, scene.source)
    files = [(scene.source, target)]
    with gdal_settings():
        mask = find_mask(scene, settings)
    if mask is not None:
        files.append((mask.source, _target(folder, scene, mask.source)))
    missing = [RemoteFile(source, path, _size(source)) for source, path in files if not is_file(path)]
    return SceneFiles(scene, target, tuple(missing))


def _target(folder: Path, scene: Scene, source: Source) -> Path:
    """Return where a file goes; a folder of one resolution is kept, since masks of others are looked for beside it."""
    parent = source.posix.parent.name
    kept = [parent] if _RESOLUTION.fullmatch(parent) else []
    return folder.joinpath(identifier(scene.scene_id), *kept, identifier(source.posix.name))


def _size(source: Source) -> int:
    ranges = byte_ranges(source)
    return 0 if ranges is None else ranges.size


def megabytes(scenes: Sequence[SceneFiles]) -> int:
    """Return the size of what is missing, rounded up [MB]."""
    return -(-sum(file.size for scene in scenes for file in scene.missing) // _MB)


def download(scenes: Sequence[SceneFiles], folder: Path, progress: Progress) -> dict[str, str]:
    """Download what is missing; return why scenes are not complete, by scene id.

    Raises
    ------
    InputError
        The folder cannot be made, or its disk has too little space.
    """
    check_on_disk(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free // _MB
    except OSError as error:
        raise InputError(f"{folder}: cannot be used as folder of an archive: {error.strerror}") from error
    total = megabytes(scenes)
    if total > free:
        raise InputError(
            f"{folder}: the scenes take {total} MB, and its disk has {free} MB: {option('limit')} fetches fewer"
        )
    failed: dict[str, str] = {}
    waiting = [(scene.scene.scene_id, file) for scene in scenes for file in scene.missing]
    with progress.stage("fetch, MB", total, 0) as bar, ThreadPoolExecutor(_THREADS) as pool:
        advance = _counting(bar)
        asked = {pool.submit(_download, file, advance): name for name, file in waiting}
        for future in as_completed(asked):
            try:
                future.result()
            except SceneError as error:
                failed.setdefault(asked[future], str(error))
            except OSError as error:
                pool.shutdown(cancel_futures=True)
                raise InputError(f"{folder}: cannot be written: {error.strerror}; fetch again to go on") from error
    return failed


def _counting(bar: Bar) -> Callable[[int], None]:
    """Return a function that counts bytes, and advances a bar by megabytes."""
    lock = threading.Lock()
    received = 0

    def advance(count: int) -> None:
        nonlocal received
        with lock:
            before, received = received, received + count
            for _ in range(-(-received // _MB) - -(-before // _MB)):
                bar.advance()

    return advance


def _download(file: RemoteFile, advance: Callable[[int], None]) -> None:
    """Download a file beside its place, and move it there once it is complete.

    What another process downloads at the same time does no harm: both write equal bytes at equal places.
    """
    version = identity(file.source, ())
    digest = hashlib.blake2b(version.encode(), digest_size=4).hexdigest()
    partial = file.target.with_name(f"{file.target.name}.{digest}{_PARTIAL}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    for old in partial.parent.glob(f"{glob.escape(file.target.name)}.*{_PARTIAL}"):
        if old != partial:
            old.unlink(missing_ok=True)
    ranges = byte_ranges(file.source)
    if ranges is None:
        copy = downloaded(file.source)
        if copy is None or copy.path is None:
            raise SceneError(f"{file.source}: only GDAL can read it: let a run read its address")
        shutil.copyfile(copy.path, partial)
    else:
        partial.touch()
        with partial.open("r+b", buffering=0) as sink:
            at = min(sink.seek(0, os.SEEK_END), file.size)
            advance(at)
            sink.seek(at)
            while at < file.size:
                part = _part(ranges, file.source, at, min(_PART_BYTES, file.size - at))
                written = sink.write(part)
                at += written
                advance(written)
            sink.truncate()
            os.fsync(sink.fileno())
        if identity(file.source, ()) != version:
            partial.unlink()
            raise SceneError(f"{file.source}: it changed while it was downloaded: fetch it again")
    with suppress(FileNotFoundError):  # another process was faster
        partial.replace(file.target)


def _part(ranges: ByteRanges, source: Source, offset: int, length: int) -> bytes:
    """Return bytes of a file, at least one and at most so many; ask again if the server fails."""
    pauses_s = iter(_PAUSES_S)
    while True:
        try:
            part = ranges.read(offset, length)[:length]
            if part:
                return part
            problem = SceneError(f"{source}: its server returns nothing from byte {offset}")
        except MissingError:
            raise
        except SceneError as error:
            problem = error
        pause_s = next(pauses_s, None)
        if pause_s is None:
            raise problem
        time.sleep(pause_s)
