"""Places that a file of a stranger names: which of them may be read because the user named them too."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from s2fast.errors import SceneError, option
from s2fast.files.source import SCHEMES, Source


def within(part: Source, folders: Iterable[Source]) -> bool:
    """Return whether a file lies in or below one of the folders, links followed."""
    if part.path is not None:
        resolved = Path(part.resolved().name)
        return any(resolved.is_relative_to(folder.resolved().name) for folder in folders if folder.path is not None)
    name = posixpath.normpath(part.name)
    return any(name.startswith(f"{posixpath.normpath(folder.name)}/") for folder in folders if folder.path is None)


def check_servers(sources: Iterable[Source], trusted: Iterable[str]) -> None:
    """Raise SceneError if a source, or the zip that holds it, lies on a server that the user has not named.

    Parameters
    ----------
    sources
        Files that a run folder names, which may be a stranger's: a request tells a server who reads it, and reaches
        what only this machine can reach.
    trusted
        Addresses of servers, or of folders and files on them, that may be asked; others in it are ignored.

    Examples
    --------
    >>> check_servers([Source.of("s3://scenes/T36UYA_TCI.jp2")], ["s3://scenes/"])
    >>> check_servers([Source.of("https://example.org/T36UYA_TCI.jp2")], ["s3://scenes/"])
    Traceback (most recent call last):
    s2fast.errors.SceneError: https://example.org/T36UYA_TCI.jp2: it is on a server, which is asked only if you name \
it: trust https://example.org/
    """
    places = [place for place in map(Source.of, trusted) if place.is_remote]
    for source in sources:
        outermost = source.outermost
        if outermost.is_local or outermost.is_held or outermost in places or within(outermost, places):
            continue
        raise SceneError(
            f"{source}: it is on a server, which is asked only if you name it: {option('trust')} {server(outermost)}"
        )


def server(source: Source) -> str:
    """Return the address of a web server, or of a bucket, as a user writes it.

    Examples
    --------
    >>> server(Source.of("https://example.org/a/b.tif")), server(Source.of("s3://bucket/a/b.tif"))
    ('https://example.org/', 's3://bucket/')
    """
    if source.is_web:
        parts = urlsplit(source.name.removeprefix("/vsicurl/"))
        return f"{parts.scheme}://{parts.netloc}/"
    for scheme, prefix in SCHEMES.items():
        if source.name.startswith(prefix):
            return f"{scheme}://{source.name[len(prefix) :].partition('/')[0]}/"
    return source.name
