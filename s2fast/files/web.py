"""Files on web servers: their versions, and downloads from servers without range requests."""

from __future__ import annotations

import gzip
import io
import logging
import re
import sys
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property, lru_cache
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, responses
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request

from s2fast.errors import MissingError, SceneError
from s2fast.files.redaction import public
from s2fast.files.redirects import open_url, split_login, with_login
from s2fast.files.source import Source
from s2fast.files.storage import FREE_SPACE, FULL
from s2fast.files.temporary import make_folder, remove_folder

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
"""Maximum time without data from a server."""

_PAUSES_S = (0.5, 2.0, 8.0)
"""Pauses before a request is repeated because the server is busy or the response was truncated."""

_LONGEST_PAUSE_S = 60.0
"""Longest pause that a busy server may ask for by ``Retry-After``."""

_COPIED_BYTES = 1 << 20
"""Size of the parts in which a file is copied."""

_BUSY = (429, 500, 502, 503, 504)

_MISSING = (403, 404, 410)
"""Stores whose files may not be listed answer 403 for a file that they do not have."""

_ABSENT = (404, 410)
"""What a server answers that does not have a file, whether or not it may be listed."""

_ADVICE = {
    **dict.fromkeys((301, 302, 303, 307, 308), "; it redirects in a loop, or to no web address"),
    401: "; write user and password into the address",
    403: "; its signature may have expired: get a new address",
    410: "; its signature may have expired: get a new address",
}


_Read = TypeVar("_Read")


def version(source: Source) -> str:
    """Return the version of a file on a web server: its size, and its ETag or modification time.

    One byte is requested with GET, since some servers and most signed addresses reject HEAD requests.

    Raises
    ------
    SceneError
        The server does not return the file.
    """

    def read(answer: HTTPResponse) -> str:
        return f"{_size(answer)} {answer.headers['ETag'] or answer.headers['Last-Modified'] or ''}".rstrip()

    return _asked(source.url, read, "bytes=0-0", source.trusted)


def content(url: str, most_bytes: int) -> bytes | None:
    """Return a whole file from a server; None: the server has no such file.

    Raises
    ------
    SceneError
        The server does not return the file, returns only part of it, or it is larger than `most_bytes`.
    """

    def read(answer: HTTPResponse) -> bytes | None:
        if answer.status in _ABSENT:
            return None
        data = io.BytesIO()
        _copy(answer, data, most_bytes)
        return data.getvalue()

    data = _asked(url, read, missing=True)
    if data is not None and len(data) > most_bytes:
        raise SceneError(f"{public(url)}: it has more than {most_bytes} bytes")
    return data


def refusal(source: Source) -> SceneError | None:
    """Return why a server does not return a source, or the zip that contains it, any more; None: it does, or is none.

    GDAL only says that it could not read a file whose signature has expired.
    """
    if not source.outermost.is_web:
        return None
    try:
        version(source.outermost)
    except SceneError as error:
        return error
    return None


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
        size = _asked(self._url, _size, "bytes=0-0", self._trusted)
        if not size.isdecimal():
            raise SceneError(f"{public(self._url)}: its server does not give its size")
        return int(size)

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteRanges`."""

        def read(answer: HTTPResponse) -> bytes:
            first = _first_byte(answer)
            if answer.status != HTTPStatus.PARTIAL_CONTENT or first is None or first > offset:
                raise SceneError(f"{public(self._url)}: its server no longer returns the parts that are asked for")
            # A server may return more than is asked for.
            return answer.read()[offset - first :][:length]

        return _asked(self._url, read, f"bytes={offset}-{offset + length - 1}", self._trusted)


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
        The local copy, which a thread must open before its next call; None: the source is not on a web server, or the
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
    with _downloading:
        _own.copy = _whole(source.url, source.trusted)
    return Source.local(_own.copy.path)


_downloading = threading.Lock()

_own = threading.local()
"""``copy``: the last copy of this thread, which another thread's must not remove."""


@lru_cache(maxsize=10_000)
def _supports_ranges(url: str, trusted: tuple[str, ...]) -> bool:
    """Return whether the server returns exactly the bytes asked for, without content encoding, and says how many."""

    def read(answer: HTTPResponse) -> bool:
        whole = answer.status == HTTPStatus.PARTIAL_CONTENT and not answer.headers["Content-Encoding"]
        return whole and answer.length == 1 and _first_byte(answer) == 0 and _size(answer).isdecimal()

    return _asked(url, read, "bytes=0-0", trusted)


class _Copy:
    """A temporary file that is removed with this object, at the latest when the process ends."""

    def __init__(self, suffix: str) -> None:
        folder = make_folder()
        self.path = folder / f"copy{suffix}"
        weakref.finalize(self, remove_folder, folder)


@lru_cache(maxsize=1)
def _whole(url: str, trusted: tuple[str, ...]) -> _Copy:
    """Download a file; the last copy is cached."""
    log.info("%s: downloading the file, since its server does not support range requests", public(url))
    copy = _Copy(Path(urlsplit(url).path).suffix)

    def read(answer: HTTPResponse) -> None:
        with copy.path.open("wb") as sink:
            try:
                _copy(answer, sink)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                raise SceneError(
                    f"{public(url)}: cannot be copied to {copy.path.parent}: {error.strerror}; {FREE_SPACE}, or set "
                    "TMPDIR to another folder"
                ) from error

    _asked(url, read, trusted=trusted)
    return copy


def _copy(answer: HTTPResponse, sink: IO[bytes], most_bytes: int = sys.maxsize) -> None:
    """Write what a server returns, unpacked, to a file; of more than `most_bytes`, only the beginning."""
    compressed = answer.headers["Content-Encoding"] == "gzip"
    source: gzip.GzipFile | HTTPResponse = gzip.GzipFile(fileobj=answer) if compressed else answer
    while sink.tell() <= most_bytes and (part := source.read(_COPIED_BYTES)):
        sink.write(part)
    if sink.tell() <= most_bytes and answer.length:
        raise EOFError(f"the response ends after {sink.tell()} bytes")


def _size(answer: HTTPResponse) -> str:
    part = answer.headers["Content-Range"]
    return (part.rpartition("/")[2] if part else answer.headers["Content-Length"]) or "?"


def _first_byte(answer: HTTPResponse) -> int | None:
    """Return the offset of a part by its header; None if it does not say it."""
    found = re.match(r"bytes (\d+)-", answer.headers["Content-Range"] or "")
    return int(found[1]) if found else None


def _asked(
    url: str,
    read: Callable[[HTTPResponse], _Read],
    part: str = "",
    trusted: tuple[str, ...] = (),
    *,
    missing: bool = False,
) -> _Read:
    """Request a file or a part of it and read the answer; repeat both if the server is busy or breaks off.

    Parameters
    ----------
    url
        The file.
    read
        Function that reads the answer.
    part
        Bytes to ask for, as ``Range`` names them; empty: the whole file.
    trusted
        See `open_url`.
    missing
        Let `read` have the answer of a server that has no such file, which is an error otherwise.

    Raises
    ------
    SceneError
        The server does not return the file, or returns only part of it.
    """
    address, login = split_login(url)
    request = with_login(Request(address, headers={"User-Agent": "s2fast"}), login)  # noqa: S310  see `Source.is_web`
    if part:
        request.add_header("Range", part)
    pauses_s = iter(_PAUSES_S)
    while True:
        try:
            with closing(_answer(request, trusted, missing)) as answer:
                return read(answer)
        except SceneError:
            raise
        except (OSError, EOFError, HTTPException, ValueError, zlib.error) as error:
            broken = isinstance(error, HTTPException | ConnectionResetError | EOFError | zlib.error)
            wanted_s = _retry_after_s(error)
            failure = _failure(url, error)
            pause_s = next(pauses_s, None) if broken or getattr(error, "code", 0) in _BUSY else None
            if pause_s is None:
                # The cause may contain the redirection's target, including a signature.
                raise failure from None
            time.sleep(max(pause_s, wanted_s))


def _answer(request: Request, trusted: tuple[str, ...], missing: bool) -> Any:
    """Return the answer to a request; with `missing` also that of a server that has no such file."""
    try:
        return open_url(request, TIMEOUT_S, trusted)
    except HTTPError as error:
        if missing and error.code in _ABSENT:
            return error  # it has what is read of an answer
        raise


def _retry_after_s(error: Exception) -> float:
    """Return how long a busy server asks to wait [s], at most `_LONGEST_PAUSE_S`; 0 if it does not."""
    wanted = str(error.headers["Retry-After"]) if isinstance(error, HTTPError) and error.headers else ""
    return min(max(_pause_s(wanted.strip()), 0.0), _LONGEST_PAUSE_S)


def _pause_s(wanted: str) -> float:
    """Return the pause that a ``Retry-After`` asks for, a number of seconds or a date [s]; 0 if it is neither.

    Examples
    --------
    >>> _pause_s("120"), _pause_s("Fri, 31 Dec 1999 23:59:59 GMT") < 0, _pause_s("soon")
    (120.0, True, 0.0)
    """
    if wanted.isascii() and wanted.isdecimal():
        return float(wanted)
    try:
        then = parsedate_to_datetime(wanted)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


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
