"""STAC: the scenes of an item, an item collection, a catalogue or a collection, on disk or on a server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from s2fast.archive.arrays import zarr_scenes
from s2fast.archive.links import linked
from s2fast.archive.listing import LeftOut, Listed, Looking
from s2fast.archive.stac_items import item_of, named, picked, placed
from s2fast.archive.stac_search import is_search, searched
from s2fast.errors import InputError, SceneError
from s2fast.files import web
from s2fast.files.legible import identifier, legible
from s2fast.files.objects import ObjectRanges, is_object
from s2fast.files.ranges import FileRanges
from s2fast.files.source import Source
from s2fast.raster.zarr_store import is_zarr

if TYPE_CHECKING:
    import pystac

_MOST_BYTES = 256 << 20
"""Largest document: an item has 10 to 50 kB."""

_MOST_ITEMS = 20_000
_MOST_DOCUMENTS = 50_000

_DOCUMENT = re.compile(r"\.(json|geojson)$", re.IGNORECASE)

_API_DOCUMENT = re.compile(r"/collections/[^/]+(/items/[^/]+)?/?$")
"""Path of a collection or an item of a STAC API, whose names have no suffix."""


def is_stac(place: Source) -> bool:
    """Return whether a place is a STAC document, or the search of a STAC API, by its name."""
    if place.zip_parts or place.is_held or (place.path is not None and place.path.is_dir()):
        return False
    path = urlsplit(place.url).path if place.is_web else place.name
    return bool(_DOCUMENT.search(path) or is_search(place) or (place.is_web and _API_DOCUMENT.search(path)))


def stac_scenes(place: Source, looking: Looking) -> Iterator[Listed | LeftOut]:
    """Yield the scenes of a STAC document, of all that it links to, or of a search.

    Raises
    ------
    InputError
        The document cannot be read, or is none of STAC; or it has too many items.
    """
    try:
        import pystac  # noqa: F401
    except ImportError as error:
        raise InputError(f"{place}: STAC needs pystac: pip install 's2fast[stac]'") from error
    place = place.absolute()
    items: Iterator[tuple[Source, Mapping[str, Any] | LeftOut]]
    try:
        if is_search(place):
            items = ((place, item) for item in searched(place, _MOST_ITEMS + 1))
        else:
            items = _Walk(place).items(place)
        for count, (document, item) in enumerate(items):
            if count == _MOST_ITEMS:
                raise InputError(
                    f"{place}: it has more than {_MOST_ITEMS} items: name a part of it, or limit the search"
                )
            yield item if isinstance(item, LeftOut) else _scene(document, item, _folders(place), looking)
    except SceneError as error:
        raise InputError(str(error)) from error


def _folders(place: Source) -> list[Source]:
    """Return the folders whose files a document may name: its own, and those that the user trusts."""
    own = [Source(str(place.path.parent))] if place.path is not None else []
    return [*own, *(Source.of(folder).absolute() for folder in place.trusted)]


def _scene(
    document: Source, fields: Mapping[str, Any], folders: Sequence[Source], looking: Looking
) -> Listed | LeftOut:
    """Return the scene of an item."""
    import pystac

    broken = (
        pystac.STACError, pystac.STACTypeError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError,
        ValueError,
    )  # fmt: skip
    name = identifier(str(fields.get("id", ""))[:1000])
    try:
        item = item_of(fields)
        key, asset = picked(item, looking.asset)
        source = linked(_base(document, item), asset.href, folders)
        source = replace(source, trusted=document.trusted, placed=placed(item, asset))
        if is_zarr(source):
            array = next(zarr_scenes(source, Looking()))
            if isinstance(array, LeftOut):
                raise SceneError(f"{source}: {array.reason}")
            source = array.source
        return Listed(source, chosen=True, naming=named(item, key, source))
    except SceneError as error:
        return LeftOut(name, str(error))
    except KeyError as error:
        return LeftOut(name, f"it is no valid STAC item: it lacks {legible(str(error))[:200]}")
    except broken as error:
        return LeftOut(name, f"it is no valid STAC item: {legible(str(error))[:200]}")


def _base(document: Source, item: pystac.Item) -> Source:
    """Return the document to which an item's links are relative: where it was read; of a search, its own address."""
    own = item.get_single_link("self")
    if own is not None and is_search(document):
        found = Source.of(str(own.target))
        return found if found.is_web else document
    return document


@dataclass(slots=True)
class _Walk:
    """The items below a document, each document read once."""

    place: Source
    """The document that the user named."""
    seen: set[str] = field(default_factory=set)
    """Names of the documents read."""

    def items(self, document: Source) -> Iterator[tuple[Source, Mapping[str, Any] | LeftOut]]:
        """Yield the items of a document and of those that it links to, with the document that holds each."""
        waiting = [document]
        while waiting:
            document = waiting.pop()
            if document.resolved().name in self.seen:
                continue
            self.seen.add(document.resolved().name)
            if len(self.seen) > _MOST_DOCUMENTS:
                raise InputError(f"{self.place}: it leads to more than {_MOST_DOCUMENTS} documents: name a part of it")
            try:
                fields = _read(document)
                kind = _kind(document, fields)
            except SceneError as error:
                if document == self.place:
                    raise
                yield document, LeftOut(document.name, str(error))
                continue
            if kind == "Feature":
                yield document, fields
            elif kind == "FeatureCollection":
                for item in fields["features"]:
                    yield document, item if isinstance(item, dict) else LeftOut(document.name, "an item is no object")
            else:
                below = list(self._below(document, fields))
                yield from ((document, found) for found in below if isinstance(found, LeftOut))
                waiting += [found for found in reversed(below) if isinstance(found, Source)]

    def _below(self, document: Source, fields: Mapping[str, Any]) -> Iterator[Source | LeftOut]:
        """Yield the documents that a catalogue links to."""
        for link in fields["links"]:
            if not isinstance(link, dict) or link.get("rel") not in ("item", "child", "items"):
                continue
            if link["rel"] == "items":
                yield LeftOut(
                    str(document), "it is a collection of a STAC API: name its address with /items at the end"
                )
                continue
            try:
                found = linked(document, str(link.get("href", "")), _folders(self.place))
                yield found.trusting(self.place.trusted)
            except SceneError as error:
                yield LeftOut(str(document), f"a link cannot be followed: {error}")


def _read(document: Source) -> Any:
    """Read a document; raise SceneError if it cannot be read or is no JSON."""
    data: bytes | None
    if document.is_web:
        data = web.content(document.url, _MOST_BYTES)
    elif is_object(document):
        ranges = ObjectRanges(document)
        data = ranges.read(0, min(ranges.size, _MOST_BYTES + 1)) if ranges.size else b""
    else:
        path = document.path
        if path is None:
            raise SceneError(f"{document}: a STAC document must be a file, or on a server")
        try:
            data = FileRanges(path, 0, _MOST_BYTES + 1).read(0, _MOST_BYTES + 1) if path.is_file() else None
        except OSError as error:  # of a name that no file can have
            raise SceneError(f"{legible(str(document))[:200]}: cannot be read: {error.strerror}") from error
    if data is None:
        raise SceneError(f"{document}: there is no such file")
    if len(data) > _MOST_BYTES:
        raise SceneError(f"{document}: it has more than {_MOST_BYTES} bytes, a STAC document at most these")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{document}: it is no JSON: {legible(str(error))}") from error


def _kind(document: Source, fields: Any) -> str:
    """Return what a document is by its type; a catalogue of old versions has none."""
    if isinstance(fields, dict):
        kind = fields.get("type")
        if kind == "Feature" and "assets" in fields:
            return "Feature"
        if kind == "FeatureCollection" and isinstance(fields.get("features"), list):
            return "FeatureCollection"
        if "stac_version" in fields and isinstance(fields.get("links"), list):
            return "Catalog"
    raise SceneError(f"{document}: it is no STAC item, item collection, catalogue or collection")
