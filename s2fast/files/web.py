"""Files on web servers: their versions, and downloads from servers without range requests."""

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
from functools import cached_property, lru_cache
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, responses
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request

from s2fast.errors import MissingError, SceneError
from s2fast.files.redaction import public
from s2fast.files.redirects import open_url
from s2fast.files.source import Source

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
"""Maximum time without data from a server."""

_PAUSES_S = (0.5, 2.0, 8.0)
"""Pauses before a request is repeated because the server is busy or the response was truncated."""

_BUSY = (429, 500, 502, 503, 504)

_MISSING = (403, 404, 410)
"""Stores whose files may not be listed answer 403 for a file that they do not have."""

_ABSENT = (404, 410)
"""What a server answers that does not have a file, whether or not it may be listed."""

_ADVICE = {
    401: "; write user and password into the address",
    403: "; its signature may have expired: get a new address",
    410: "; its signature may have expired: get a new address",
}


def version(source: Source) -> str:
    """Return the version of a file on a web server: its size, and its ETag or modification time.

    One byte is requested with GET, since some servers and most signed addresses reject HEAD requests.

    Raises
    ------
    SceneError
        The server does not return the file.
    """
    with closing(_answer(source.url, "bytes=0-0", source.trusted)) as answer:
        size = _size(answer)
        return f"{size} {answer.headers['ETag'] or answer.headers['Last-Modified'] or ''}".rstrip()


def content(url: str, most_bytes: int) -> bytes | None:
    """Return a whole file from a server; None: the server has no such file.

    Raises
    ------
    SceneError
        The server does not return the file, returns only part of it, or it is larger than `most_bytes`.
    """
    try:
        with closing(_answer(url, missing=True)) as answer:
            if answer.status in _ABSENT:
                return None
            compressed = answer.headers["Content-Encoding"] == "gzip"
            # Of a compressed file, no more than the limit is unpacked.
            data = (gzip.GzipFile(fileobj=answer) if compressed else answer).read(most_bytes + 1)
            if len(data) <= most_bytes and answer.length:
                raise EOFError(f"the response ends after {len(data)} bytes")
    except (OSError, EOFError, HTTPException, zlib.error) as error:
        raise error if isinstance(error, SceneError) else _failure(url, error) from None
    if len(data) > most_bytes:
        raise SceneError(f"{public(url)}: it has more than {most_bytes} bytes")
    return data


class WebRanges:
    """A file on a server that supports range requests; see `s2fast.files.ranges.ByteRanges`.

    Parameters
    ----------
    source
        The file.

    Raises
    ------
    SceneError
        By all methods: the server does not return what is asked for.
    """

    def __init__(self, source: Source) -> None:
        self._url, self._trusted = source.url, source.trusted

    @cached_property
    def size(self) -> int:
        """See `ByteRanges`."""
        with closing(_answer(self._url, "bytes=0-0", self._trusted)) as answer:
            size = _size(answer)
        if not size.isdecimal():
            raise SceneError(f"{public(self._url)}: its server does not give its size")
        return int(size)

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteRanges`."""
        try:
            part = f"bytes={offset}-{offset + length - 1}"
            with closing(_answer(self._url, part, self._trusted)) as answer:
                if answer.status != HTTPStatus.PARTIAL_CONTENT:
                    raise SceneError(f"{public(self._url)}: its server no longer supports range requests")
                return answer.read()
        except (OSError, HTTPException) as error:
            raise error if isinstance(error, SceneError) else _failure(self._url, error) from None


def supports_ranges(source: Source) -> bool:
    """Return whether a source is on a web server that supports range requests.

    Raises
    ------
    SceneError
        The server does not return the file.
    """
    return source.is_web and _supports_ranges(source.url, source.trusted)


def downloaded(source: Source) -> Source | None:
    """Download a source, or the zip that contains it, if its server does not support range requests.

    Returns
    -------
    Source or None
        The local copy, which must be opened before the next call; None: the source is not on a web server, or the
        server supports range requests.

    Raises
    ------
    SceneError
        The server does not return the file, or returns only part of it.
    """
    zipped = source.zip_parts
    if zipped:
        archive = downloaded(zipped[0])
        return archive and archive.member(zipped[1])
    if not source.is_web or supports_ranges(source):
        return None
    return Source.local(_whole(source.url, source.trusted).path)


@lru_cache(maxsize=10_000)
def _supports_ranges(url: str, trusted: tuple[str, ...]) -> bool:
    """Return whether the server supports range requests for a file, without content encoding."""
    with closing(_answer(url, "bytes=0-0", trusted)) as answer:
        return answer.status == HTTPStatus.PARTIAL_CONTENT and not answer.headers["Content-Encoding"]


class _Copy:
    """A temporary file that is removed with this object, at the latest when the process ends."""

    def __init__(self, suffix: str) -> None:
        handle, name = tempfile.mkstemp(prefix="s2fast-", suffix=suffix)
        os.close(handle)
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)


@lru_cache(maxsize=1)
def _whole(url: str, trusted: tuple[str, ...]) -> _Copy:
    """Download a file; the last copy is cached."""
    log.info("%s: downloading the file, since its server does not support range requests", public(url))
    copy = _Copy(Path(urlsplit(url).path).suffix)
    try:
        with closing(_answer(url, trusted=trusted)) as answer, copy.path.open("wb") as sink:
            compressed = answer.headers["Content-Encoding"] == "gzip"
            shutil.copyfileobj(gzip.GzipFile(fileobj=answer) if compressed else answer, sink)
            if answer.length:
                raise EOFError(f"the response ends after {sink.tell()} bytes")
    except (OSError, EOFError, HTTPException, zlib.error) as error:
        raise error if isinstance(error, SceneError) else _failure(url, error) from None
    return copy


def _size(answer: HTTPResponse) -> str:
    part = answer.headers["Content-Range"]
    return (part.rpartition("/")[2] if part else answer.headers["Content-Length"]) or "?"


def _answer(url: str, part: str = "", trusted: tuple[str, ...] = (), *, missing: bool = False) -> HTTPResponse:
    """Request a file or a part of it; repeat the request if the server is busy.

    A file that the server does not have is an error, unless `missing` asks for its answer.
    """
    request = _request(url)
    if part:
        request.add_header("Range", part)
    pauses_s = iter(_PAUSES_S)
    while True:
        try:
            answer = open_url(request, TIMEOUT_S, trusted)
        except (OSError, HTTPException, ValueError) as error:
            if missing and isinstance(error, HTTPError) and error.code in _ABSENT:
                return error  # type: ignore[return-value]  # it has what is read of an answer
            busy = isinstance(error, HTTPException | ConnectionResetError) or getattr(error, "code", 0) in _BUSY
            failure = _failure(url, error)
            pause_s = next(pauses_s, None) if busy else None
            if pause_s is None:
                # The cause may contain the redirection's target, including a signature.
                raise failure from None
            time.sleep(pause_s)
        else:
            return answer


def _request(url: str) -> Request:
    """Return a request with the user and password of the address in a header, as browsers send them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    address = urlunsplit(parts._replace(netloc=host))
    request = Request(address, headers={"User-Agent": "s2fast"})  # noqa: S310  http or https: see `Source.is_web`
    if at:
        # urllib does not send this header to a server that it is redirected to.
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return request


def _failure(url: str, error: Exception) -> SceneError:
    missing = isinstance(error, HTTPError) and error.code in _MISSING
    if isinstance(error, HTTPError):
        # The error's own message may be long, and contain the redirection's target.
        reason = f"HTTP {error.code} {responses.get(error.code, '')}{_ADVICE.get(error.code, '')}"
        error.close()
    else:
        reason = str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
    kind = MissingError if missing else SceneError
    return kind(f"{public(url)}: cannot be read from the server: {public(reason)}")
