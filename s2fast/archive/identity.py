"""Identify the version of a raster from the metadata of its file system or server, without reading pixels."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from s2fast.errors import SceneError
from s2fast.files import web
from s2fast.files.source import SCHEMES, Source
from s2fast.raster.dataset import gdal_settings, open_dataset


def identity(source: Source) -> str:
    """Return a text that identifies the version of a raster.

    Parameters
    ----------
    source
        The raster.

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
    parts = [name, _version(source)]
    if source.is_local or name.lower().endswith(".vrt"):
        parts += [f"{part.posix.name} {_version(part)}" for part in _read_with(source)]
    return " ".join(parts)


def _read_with(source: Source) -> list[Source]:
    """Return the other files that are read with a raster, sorted by path."""
    with gdal_settings(), open_dataset(source) as dataset:
        # Two files with the same name may differ in their queries.
        files = {file.address: file for file in map(Source.of, dataset.files) if file.address != source.address}
    return sorted(files.values(), key=lambda file: PurePosixPath(file.address))


def _version(source: Source) -> str:
    zipped = source.zip_parts
    if zipped:
        return _version(zipped[0])
    if source.is_web:
        return web.version(source.url)
    if source.path is None:
        return _remote_version(source)
    try:
        status = source.path.stat()
    except OSError as error:
        raise SceneError(f"{source}: cannot read its size and modification time: {error.strerror}") from error
    return f"{status.st_size} {status.st_mtime_ns}"


def _remote_version(source: Source) -> str:
    name = source.name
    url = next(
        (f"{scheme}://{name.removeprefix(prefix)}" for scheme, prefix in SCHEMES.items() if name.startswith(prefix)),
        None,
    )
    if url is None:
        raise SceneError(f"{name}: cannot determine its version; use a file, a zip or an address such as s3://")
    try:
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise SceneError(f"{name}: scenes on a server need obstore: pip install 's2fast[s3]'") from error
    folder, _, key = url.rpartition("/")
    unsigned = os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1")
    try:
        # Plain HTTP is for self-hosted servers; GDAL allows it too.
        if unsigned and url.startswith("s3://"):
            store = from_url(folder, client_options={"allow_http": True}, skip_signature=True)
        else:
            store = from_url(folder, client_options={"allow_http": True})
        found = obstore.head(store, key)
    except (BaseError, OSError) as error:
        reason = " ".join(str(error).split("\n\nDebug source")[0].partition("<?xml")[0].split())
        raise SceneError(f"{name}: cannot be read from the server: {reason}") from error
    return f"{found['size']} {found['e_tag'] or found['last_modified'].isoformat()}"
