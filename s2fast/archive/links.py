"""Which files a document from a stranger may name: the links and assets of STAC items.

What it names is read with the rights of whoever runs s2fast. A document on a server names nothing on this machine or
in its network; a document on disk names what lies in its folder; both name public servers, and what the user trusts.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote, urljoin, urlsplit

from s2fast.errors import InputError, SceneError, setting
from s2fast.files.legible import legible
from s2fast.files.redaction import SIGNATURE, public
from s2fast.files.redirects import is_private
from s2fast.files.source import Source
from s2fast.files.trusted import within

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_STORES = ("s3", "gs", "az")
_SHOWN = 120
"""Characters of a link in a message."""

_MAX_NAME_BYTES = 255
"""Longest name of a file or folder, on all systems."""


def linked(document: Source, href: str, folders: Sequence[Source]) -> Source:
    """Return what a document names.

    Parameters
    ----------
    document
        Where the document was read.
    href
        What it says: an address, or a path relative to it.
    folders
        Folders that the user named, on disk or on servers: what lies in them may be named.

    Raises
    ------
    SceneError
        The document may not name it, or it is none that can be read.
    """
    shown = legible(public(href))[:_SHOWN]
    scheme = _SCHEME.match(href)
    kind = scheme[1].lower() if scheme else ""
    if (
        not href
        or legible(href) != href
        or href.startswith("/vsi")
        or kind not in ("", "http", "https", "file", *_STORES)
    ):
        raise SceneError(f"it names {shown!r}, which is no address that an item may have: http(s)://, s3:// or a path")
    if kind in _STORES:
        source = _address(href, shown)
        inside = _bucket(source) == _bucket(document) or within(source, folders)
        return _checked(source, inside, shown, posixpath.dirname(href))
    if kind == "file" or (not kind and document.is_local):
        path = unquote(urlsplit(href).path) if kind else href
        if not document.is_local:
            raise SceneError(f"it names {shown!r}, a file on this machine, but comes from a server")
        if shown != href and SIGNATURE.search(href):
            raise SceneError(f"it names {shown!r}, a signed address on the server that it was on: name it there")
        source = Source.local(document.absolute().path.parent / path)  # type: ignore[union-attr]  # it is on disk
        source = Source(os.path.normpath(source.name))
        longest = max(map(len, source.name.encode(errors="replace").split(b"/")))
        if source.name.startswith(("/vsi", "//")) or longest > _MAX_NAME_BYTES:
            raise SceneError(f"it names {shown!r}, which is no path")
        return _checked(source, within(source, folders), shown, posixpath.dirname(source.name))
    if bucket := _bucket(document) if not kind else "":
        source = Source(posixpath.normpath(posixpath.join(posixpath.dirname(document.name), href)))
        return _checked(source, source.name.startswith(bucket), shown, bucket)
    source = _address(urljoin(document.url, href) if not kind else href, shown)
    inside = _host(source) == _host(document) or within(source, folders) or not is_inside(_host(source)[0])
    return _checked(source, inside, shown, "{0.scheme}://{0.netloc}".format(urlsplit(public(source.url))))


def _address(text: str, shown: str) -> Source:
    """Return the source at an address; raise SceneError if it is none that can be read."""
    try:
        return Source.parsed(text)
    except InputError as error:
        raise SceneError(f"it names {shown!r}: {error}") from error


def _checked(source: Source, allowed: bool, shown: str, folder: str) -> Source:
    """Return a source that is allowed, and no virtual raster."""
    if not allowed:
        raise SceneError(
            f"it names {shown!r}, which a stranger's item may not: trust it with "
            f"{setting('ingest.trust', legible(public(folder)))}"
        )
    if unquote(source.name).lower().endswith(".vrt"):
        raise SceneError(f"it names {shown!r}, a virtual raster, which may name other files: give its path yourself")
    return source


def _host(source: Source) -> tuple[str, int | None]:
    """Return host and port of an address on a web server; ("", None) for others."""
    if not source.is_web:
        return "", None
    try:
        parts = urlsplit(source.url)
        return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", None


def _bucket(source: Source) -> str:
    """Return store and bucket of an object; empty for others."""
    found = re.match(r"/vsi(?:s3|gs|az)/[^/]+/", source.name)
    return found[0] if found else ""


@lru_cache(maxsize=1024)
def is_inside(host: str) -> bool:
    """Return whether a source is here: it has no host, or its host `is_private`; each host is asked for once."""
    return not host or is_private(host)
