"""Requests to web servers, which must not lead from the internet into one's own network."""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from http.client import HTTPMessage, HTTPResponse
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener


def open_url(request: Request, timeout_s: float, trusted: Iterable[str]) -> HTTPResponse:
    """Send a request and follow its redirects.

    A server on the internet may not redirect to a private address: it would make s2fast ask what only this machine can
    reach. The address of the request itself may be private, since the user gave it; such a server may redirect to any.

    Parameters
    ----------
    request
        An ``http`` or ``https`` request.
    timeout_s
        Maximum time without data from a server [s].
    trusted
        Addresses of servers that others may redirect to, and folders, which are ignored.

    Raises
    ------
    URLError
        A redirect leads to a private address, or the request fails.
    """
    names = {urlsplit(place.removeprefix("/vsicurl/")).hostname for place in trusted if "://" in place}
    answer: HTTPResponse = build_opener(_Redirects(names)).open(request, timeout=timeout_s)
    return answer


class _Redirects(HTTPRedirectHandler):
    """Follow redirects, but not from the internet to a private address."""

    def __init__(self, trusted: set[str | None]) -> None:
        self._trusted = trusted

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """See `HTTPRedirectHandler`."""
        host = urlsplit(newurl).hostname or ""
        if host not in self._trusted and is_private(host) and not is_private(req.origin_req_host):
            fp.close()
            raise URLError(
                f"it redirects to {host}, an address inside a network: if you know that server, give its address, or "
                f'trust it: ingest.trust = ["{urlsplit(newurl).scheme}://{host}/"]'
            )
        address, login = split_login(newurl)
        request = super().redirect_request(req, fp, code, msg, headers, address)
        return request and with_login(request, login)


def split_login(url: str) -> tuple[str, str]:
    """Split a URL into the one without, and its user and password as they are written there; empty if it has none.

    Examples
    --------
    >>> split_login("https://me:word@example.org/a.tif?sig=x")
    ('https://example.org/a.tif?sig=x', 'me:word')
    """
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    return (urlunsplit(parts._replace(netloc=host)), login) if at else (url, "")


def with_login(request: Request, login: str) -> Request:
    """Return a request with a user and password, if there are any, in a header, as browsers send them."""
    if login:
        # urllib does not send this header to a server that it is redirected to.
        header = base64.b64encode(unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {header}")
    return request


def is_private(host: str) -> bool:
    """Return whether a host is this machine or in a network that the internet does not reach.

    A host without an address is not private: reading it says that it is unknown.

    Examples
    --------
    >>> is_private("127.0.0.1"), is_private("169.254.169.254"), is_private("[::ffff:10.0.0.1]"), is_private("8.8.8.8")
    (True, True, True, False)
    """
    return any(_is_inside(address) for address in _addresses(host.strip("[]")))


def _addresses(host: str) -> Sequence[str]:
    """Return the addresses of a host; none if it is unknown."""
    try:
        found: list[tuple[Any, ...]] = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]


def _is_inside(address: str) -> bool:
    number = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(number, "ipv4_mapped", None)
    return not (mapped or number).is_global
