"""Files on web servers: which version a server has, and the whole file where it does not give parts of it."""

from __future__ import annotations

import base64
import gzip
import logging
import os
import shutil
import tempfile
import time
import weakref
import zlib
from contextlib import closing
from functools import lru_cache
from http.client import HTTPException, HTTPResponse, responses
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from s2fast.errors import SceneError
from s2fast.files.redaction import public
from s2fast.files.source import Source

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
"""How long a server may be silent."""

_PAUSES_S = (0.5, 2.0, 8.0)
"""Waits before asking again a server that is busy or cut the answer short."""

_BUSY = (429, 500, 502, 503, 504)

_ADVICE = {
    401: "; give user and password in the address",
    403: "; its signature may have expired: get another",
    410: "; its signature may have expired: get another",
}


def version(url: str) -> str:
    """Return what the server says of a file: its size, and its tag or the time of its last change.

    One byte is asked for, since not every server, and hardly a signed address, answers a HEAD request.

    Raises
    ------
    SceneError
        The server does not give the file.
    """
    with closing(_answer(url, "bytes=0-0")) as answer:
        size = _size(answer)
        return f"{size} {answer.headers['ETag'] or answer.headers['Last-Modified'] or ''}".rstrip()


def downloaded(source: Source) -> Source | None:
    """Download a source, or the zip it lies in, whose server does not give parts of a file.

    Returns
    -------
    Source or None
        The copy, to be opened before another is asked for; None: the source is not on a web server, or the server
        gives parts of it.

    Raises
    ------
    SceneError
        The server does not give the file, or not all of it.
    """
    zipped = source.zip_parts
    if zipped:
        archive = downloaded(zipped[0])
        return archive and archive.member(zipped[1])
    if not source.is_web or _gives_parts(source.url):
        return None
    return Source.local(_whole(source.url).path)


@lru_cache(maxsize=10_000)
def _gives_parts(url: str) -> bool:
    """Whether the server gives parts of a file as it is, not compressed on the way."""
    with closing(_answer(url, "bytes=0-0")) as answer:
        return answer.status == 206 and not answer.headers["Content-Encoding"]


class _Copy:
    """A file that is removed with this object, at the latest when the process ends."""

    def __init__(self, suffix: str) -> None:
        handle, name = tempfile.mkstemp(prefix="s2fast-", suffix=suffix)
        os.close(handle)
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)


@lru_cache(maxsize=1)
def _whole(url: str) -> _Copy:
    """Download a file; the last copy is kept for whoever opens it again."""
    log.info("%s: its server does not give parts of a file; it is downloaded", public(url))
    copy = _Copy(Path(urlsplit(url).path).suffix)
    try:
        with closing(_answer(url)) as answer, copy.path.open("wb") as sink:
            compressed = answer.headers["Content-Encoding"] == "gzip"
            shutil.copyfileobj(gzip.GzipFile(fileobj=answer) if compressed else answer, sink)
            if answer.length:
                raise EOFError(f"the answer ends after {sink.tell()} bytes")
    except (OSError, EOFError, HTTPException, zlib.error) as error:
        raise error if isinstance(error, SceneError) else _failure(url, error) from None
    return copy


def _size(answer: HTTPResponse) -> str:
    part = answer.headers["Content-Range"]
    return (part.rpartition("/")[2] if part else answer.headers["Content-Length"]) or "?"


def _answer(url: str, part: str = "") -> HTTPResponse:
    """Ask for a file or a part of it, again where the server is busy."""
    request = _request(url)
    if part:
        request.add_header("Range", part)
    pauses_s = iter(_PAUSES_S)
    while True:
        try:
            answer: HTTPResponse = urlopen(request, timeout=TIMEOUT_S)  # noqa: S310  http or https: see `Source.is_web`
        except (OSError, HTTPException, ValueError) as error:
            busy = isinstance(error, HTTPException | ConnectionResetError) or getattr(error, "code", 0) in _BUSY
            failure = _failure(url, error)
            pause_s = next(pauses_s, None) if busy else None
            if pause_s is None:
                # The cause may name what the server redirected to, signature included.
                raise failure from None
            time.sleep(pause_s)
        else:
            return answer


def _request(url: str) -> Request:
    """Turn the user and password of an address into a header, as browsers do."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    address = urlunsplit(parts._replace(netloc=host))
    request = Request(address, headers={"User-Agent": "s2fast"})  # noqa: S310  http or https: see `Source.is_web`
    if at:
        # urllib drops what is added so where it is redirected to another server.
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return request


def _failure(url: str, error: Exception) -> SceneError:
    if isinstance(error, HTTPError):
        # Its own words may be many, and name what it redirects to.
        told = f"HTTP {error.code} {responses.get(error.code, '')}{_ADVICE.get(error.code, '')}"
        error.close()
    else:
        told = str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
    return SceneError(f"{public(url)}: the server does not give it: {public(told)}")
