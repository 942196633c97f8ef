"""Identify the version of a raster from the metadata of its file system or server, without reading pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from s2fast.errors import SceneError
from s2fast.files import web
from s2fast.files.objects import ObjectRanges
from s2fast.files.source import Source
from s2fast.model import Scene
from s2fast.raster.dataset import gdal_settings, open_dataset, opener


def identity(source: Source, files: Sequence[str] | None = None) -> str:
    """Return a text that identifies the version of a raster.

    Parameters
    ----------
    source
        The raster.
    files
        Addresses of the files that are read with it, if it has just been opened; None: open it to list them.

    Returns
    -------
    str
        The raster's name, then size and modification time of its file (for a zip's member: of the zip), or size and
        ETag on its server. The same follows for each file that is read with it: a world file, a VRT's sources.

    Raises
    ------
    SceneError
        A file does not exist, or its server does not respond.
    """
    name = source.posix.name
    placed = [str(source.placed)] if source.placed else []
    if (version := opener(source).version) is not None:
        return " ".join([name, version(source), *placed])
    parts = [name, _version(source), *placed]
    if source.is_local or name.lower().endswith(".vrt"):
        parts += [f"{part.posix.name} {_version(part)}" for part in _read_with(source, files)]
    return " ".join(parts)


def scene_identity(scene: Scene, files: Sequence[str] | None = None) -> str:
    """Return a text that identifies the version of a scene's rasters; `files`, see `identity`, are of the first."""
    return " ".join([identity(scene.source, files), *map(identity, scene.others)])


def _read_with(source: Source, files: Sequence[str] | None) -> list[Source]:
    """Return the other files that are read with a raster, sorted by path."""
    if files is None:
        with gdal_settings(), open_dataset(source) as dataset:
            files = dataset.files
    # Two files with the same name may differ in their queries.
    others = {file.address: file for file in map(Source.of, files) if file.address != source.address}
    return sorted(others.values(), key=lambda file: PurePosixPath(file.address))


def _version(source: Source) -> str:
    zipped = source.zip_parts
    if zipped:
        return _version(zipped[0])
    if source.is_web:
        return web.version(source)
    if source.path is None:
        return ObjectRanges(source).version()
    try:
        status = source.path.stat()
    except OSError as error:
        raise SceneError(f"{source}: cannot read its size and modification time: {error.strerror}") from error
    return f"{status.st_size} {status.st_mtime_ns}"
