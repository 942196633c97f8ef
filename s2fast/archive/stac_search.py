"""Search a STAC API with pystac-client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from s2fast.archive.links import linked
from s2fast.errors import InputError, SceneError
from s2fast.files.legible import legible
from s2fast.files.source import Source
from s2fast.files.web import TIMEOUT_S

_SEARCH = re.compile(r"(?P<root>.*?)(?:/search|/collections/(?P<collection>[^/]+)/items)/?")
"""Path of the address that a STAC API answers with an item collection."""

_LISTS = ("collections", "ids", "sortby")
_TEXTS = ("bbox", "datetime", "filter-lang")
_OBJECTS = ("intersects", "query", "filter")
_NUMBERS = ("max_items", "limit")


def is_search(place: Source) -> bool:
    """Return whether a place is the search of a STAC API, by its name."""
    return place.is_web and _SEARCH.fullmatch(urlsplit(place.url).path) is not None


def searched(place: Source) -> Iterator[Mapping[str, Any]]:
    """Yield the items that a search finds.

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
        import pystac_client
        import requests
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

    try:
        address = urlunsplit(parts._replace(path=root or "/", query=""))
        client = pystac_client.Client.open(address, parameters=others, request_modifier=check, timeout=TIMEOUT_S)
        for page in client.search(method="GET", **asked).pages_as_dicts():
            yield from page.get("features", [])
    except (
        APIError, pystac.STACError, pystac.STACTypeError, requests.RequestException, AttributeError, LookupError,
        TypeError, ValueError,
    ) as error:  # fmt: skip
        code = getattr(error, "status_code", None)
        reason = f"HTTP {code}" if code else place.redacted(error).partition("\n")[0] or type(error).__name__
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
