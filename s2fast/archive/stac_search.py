"""Search a STAC API with pystac-client."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from s2fast.archive.links import linked
from s2fast.errors import InputError, SceneError
from s2fast.files.legible import legible
from s2fast.files.source import Source
from s2fast.files.web import TIMEOUT_S

_SEARCH = re.compile(r"(?P<root>.*?)(?:/search|/collections/(?P<collection>[^/]+)/items)/?")
"""Path of the address that a STAC API answers with an item collection."""

_ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\")\]]+)")
"""What the operating system says of a connection, within a message."""

_LISTS = ("collections", "ids", "sortby")
_TEXTS = ("bbox", "datetime", "filter-lang")
_OBJECTS = ("intersects", "query", "filter")
_NUMBERS = ("max_items", "limit")


def is_search(place: Source) -> bool:
    """Return whether a place is the search of a STAC API, by its name."""
    return place.is_web and _SEARCH.fullmatch(urlsplit(place.url).path) is not None


@contextmanager
def _without_attempts() -> Iterator[None]:
    """Suppress urllib3's warnings, one per attempt to reach a server."""
    logger = logging.getLogger("urllib3.connectionpool")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def searched(place: Source, most: int) -> list[Mapping[str, Any]]:
    """Return the items that a search finds, at most so many.

    Parameters
    ----------
    place
        Address of the search: ``https://HOST/v1/search?collections=sentinel-2-l2a&bbox=W,S,E,N&datetime=A/B``, or of
        a collection's ``/items``. ``max_items`` ends it; parameters that searches do not have, such as a token, go
        with every request.

    Raises
    ------
    InputError
        pystac-client is missing, or a parameter is none.
    SceneError
        The server does not answer as a STAC API.
    """
    try:
        import pystac
        import pystac_client.stac_api_io
        import requests
        from pystac_client.errors import ClientTypeError
        from pystac_client.exceptions import APIError
    except ImportError as error:
        raise InputError(f"{place}: a search needs pystac-client: pip install 's2fast[stac]'") from error
    parts = urlsplit(place.url)
    found = _SEARCH.fullmatch(parts.path)
    root = found["root"] if found else ""
    asked, others = _parameters(place, parts.query)
    if found and found["collection"]:
        asked["collections"] = [unquote(found["collection"])]

    refused: list[str] = []

    def check(request: requests.Request) -> None:
        # Links of the server's answers lead to the next page; the session adds the other parameters to each.
        try:
            linked(place, str(request.url), [Source.of(folder) for folder in place.trusted])
        except SceneError as error:
            refused.append(str(error))  # pystac-client hides the error
            raise
        own = urlsplit(str(request.url))
        kept = [part for part in own.query.split("&") if unquote(part.partition("=")[0]) not in others]
        request.url = urlunsplit(own._replace(query="&".join(kept)))

    class OnlyWeb(pystac_client.stac_api_io.StacApiIO):
        """Reads only web addresses, and no items, which old versions let others complete."""

        def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
            if isinstance(source, str) and not source.lower().startswith(("http://", "https://")):
                raise ValueError(f"it names {legible(source)[:100]!r}, which is no web address")
            return super().read_text(source, *args, **kwargs)

        def stac_object_from_dict(self, d: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            if d.get("type") == "Feature":
                raise ValueError("it answers with an item, not as a STAC API")
            return super().stac_object_from_dict(d, *args, **kwargs)

    try:
        with warnings.catch_warnings(), _without_attempts():
            # They say which parts of the standard a server does not promise; what fails is said below.
            warnings.simplefilter("ignore")
            address = urlunsplit(parts._replace(path=root or "/", query=""))
            client = pystac_client.Client.open(
                address, parameters=others, request_modifier=check, timeout=TIMEOUT_S, stac_io=OnlyWeb()
            )
            pages = client.search(method="GET", **{"max_items": most, **asked}).pages_as_dicts()
            return list(islice((item for page in pages for item in page.get("features", [])), most))
    except (
        APIError, ClientTypeError, pystac.STACError, pystac.STACTypeError, requests.RequestException, AttributeError,
        LookupError, TypeError, ValueError, Warning,
    ) as error:  # fmt: skip
        code = getattr(error, "status_code", None)
        # Of a server that cannot be reached, requests and urllib3 repeat the address and each other's names.
        unreachable = _ERRNO.search(str(error))
        reason = f"HTTP {code}" if code else place.redacted(error).partition("\n")[0] or type(error).__name__
        reason = unreachable[1] if unreachable else reason
        raise SceneError(f"{place}: the search failed: {refused[0] if refused else legible(reason)[:300]}") from None


def _parameters(place: Source, query: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Split the parameters of an address into those of a search and others."""
    asked: dict[str, Any] = {}
    others: dict[str, str] = {}
    for name, values in parse_qs(query, keep_blank_values=True).items():
        value = values[-1]
        try:
            if name in _LISTS:
                asked[name] = value.split(",")
            elif name in _TEXTS:
                asked[name.replace("-", "_")] = value
            elif name in _OBJECTS:
                asked[name] = json.loads(value) if value.lstrip().startswith("{") else value
            elif name in _NUMBERS:
                asked[name] = int(value)
            else:
                others[name] = value
        except ValueError as error:
            raise InputError(
                f"{place}: the search's parameter {name} is not as a STAC API takes it: {error}"
            ) from error
    return asked, others
