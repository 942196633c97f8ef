"""What to fetch: the address of a search, from what a user says, and the scenes found there that are wanted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from s2fast.config import Regions
from s2fast.errors import ConfigError, InputError, option
from s2fast.model import Scene
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import load_regions

EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
"""STAC API that is searched unless another is named; its files need no account."""


_TILE = re.compile(r"\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z]{2}")
"""An MGRS tile: zone, band of latitude, square."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which scenes are wanted; what is empty or None does not matter."""

    tile: str = ""
    """MGRS tile, ``36UYA``."""

    max_cloud_pct: float | None = None
    """Largest share of the scene under clouds by the catalogue [%]; scenes without one are not left out."""

    limit: int | None = None
    """Most scenes: those with the fewest clouds, in the archive's order."""

    @classmethod
    def asked(cls, tile: str = "", max_cloud_pct: float | None = None, limit: int | None = None) -> Wanted:
        """Return what a user asks for, the tile in any spelling: ``36uya``, ``T36UYA``, ``MGRS-36UYA``.

        Raises
        ------
        ConfigError
            A number is out of range, or the tile is none.

        Examples
        --------
        >>> Wanted.asked("T36uya").tile
        '36UYA'
        """
        if max_cloud_pct is not None and not 0 <= max_cloud_pct <= 100:
            name = option("max_cloud", "max-cloud")
            raise ConfigError(f"{name} is {max_cloud_pct:g}, must be between 0 and 100")
        if limit is not None and limit < 1:
            raise ConfigError(f"{option('limit')} is {limit}, must be at least 1")
        named = tile.upper().removeprefix("MGRS-").removeprefix("T")
        if named and not _TILE.fullmatch(named):
            raise ConfigError(f"{option('tile')} is {tile!r}: wanted an MGRS tile, such as 36UYA")
        return cls(named, max_cloud_pct, limit)

    def of(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Return those scenes that are wanted."""
        kept = [
            scene
            for scene in scenes
            if (not self.tile or scene.tile in ("", self.tile))
            and (self.max_cloud_pct is None or (scene.cloud_cover_pct or 0.0) <= self.max_cloud_pct)
        ]
        if self.limit is None:
            return kept
        # The sort is stable: scenes with equal clouds stay in the archive's order.
        clearest = sorted(kept, key=lambda scene: math.inf if scene.cloud_cover_pct is None else scene.cloud_cover_pct)
        return sorted(clearest[: self.limit], key=lambda scene: scene.order)


@dataclass(frozen=True, slots=True)
class Search:
    """Where scenes are looked for in a catalogue."""

    box: Sequence[float] | None
    """West, south, east, north [degrees]."""

    regions: Path | str | None
    """File of polygons: the box around them."""

    dates: str
    """``FROM/TO`` or one date, each of them a day, month or year; empty: any."""

    api: str | None = None
    """Address of a STAC API; None: `EARTH_SEARCH`."""

    collection: str = "sentinel-2-l2a"
    """Collection of the API."""

    def of(self, place: Path | str | None, wanted: Wanted) -> Path | str:
        """Return the place that lists the scenes: the given one, or the address of a search.

        Raises
        ------
        InputError
            Nothing says where to look, or two things do.
        """
        box, regions, dates, api = option("bbox"), option("regions"), option("dates"), option("api")
        if place is not None:
            if self.box is not None or self.regions or self.dates or self.api:
                raise InputError(f"{place} says itself where to look: leave out {box}, {regions}, {dates} and {api}")
            return place
        if self.box is None and not self.regions and not wanted.tile:
            raise InputError(
                f"what to fetch is missing: name a place, or search with {box}, {regions} or {option('tile')}"
            )
        if self.box is not None and self.regions:
            raise InputError(f"{box} and {regions} both say where to look: leave out one of them")
        around = checked_box(self.box) if self.box is not None else box_around(self.regions) if self.regions else None
        return search_address(self.api or EARTH_SEARCH, self.collection, around, self.dates, wanted)


def search_address(
    api: str, collection: str, box: tuple[float, float, float, float] | None, dates: str, wanted: Wanted
) -> str:
    """Return the address of a search, as `s2fast.archive.stac_search.searched` takes it.

    Parameters
    ----------
    api
        Address of a STAC API; parameters in it, such as a token, go with every request.
    collection
        Collection of the API.
    box
        West, south, east, north [degrees]; None: everywhere.
    dates
        ``FROM/TO`` or one date, each of them a day, month or year; empty: any.
    wanted
        Tile and clouds are part of the search, so that the server need not list what is not wanted.
    """
    parts = urlsplit(api)
    if parts.scheme not in ("http", "https"):
        raise InputError(f"{option('api')} {api}: wanted the address of a STAC API, https://...")
    asked = {"collections": collection}
    if box is not None:
        asked["bbox"] = ",".join(f"{number:.6f}".rstrip("0").rstrip(".") for number in box)
    if dates:
        asked["datetime"] = dates
    conditions: dict[str, dict[str, object]] = {}
    if wanted.tile:
        conditions["grid:code"] = {"eq": f"MGRS-{wanted.tile}"}
    if wanted.max_cloud_pct is not None:
        conditions["eo:cloud_cover"] = {"lte": wanted.max_cloud_pct}
    if conditions:
        asked["query"] = json.dumps(conditions, separators=(",", ":"))
    query = "&".join(
        filter(None, [parts.query, *(f"{name}={quote(text, safe=',/:')}" for name, text in asked.items())])
    )
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/search", query=query, fragment=""))


def parse_box(text: str) -> tuple[float, float, float, float]:
    """Parse ``WEST,SOUTH,EAST,NORTH`` [degrees]; see `checked_box`.

    Examples
    --------
    >>> parse_box("34.2,50,34.8,50.4")
    (34.2, 50.0, 34.8, 50.4)
    """
    try:
        return checked_box([float(word) for word in text.split(",")])
    except ValueError:
        raise InputError(
            f"{option('bbox')} {text}: wanted WEST,SOUTH,EAST,NORTH in degrees, such as 34.2,50,34.8,50.4"
        ) from None


def checked_box(box: Sequence[float]) -> tuple[float, float, float, float]:
    """Return west, south, east, north [degrees]; west may be greater than east, across longitude 180.

    Raises
    ------
    InputError
        These are not four numbers of which south is less than north.
    """
    try:
        west, south, east, north = map(float, box)
    except (TypeError, ValueError):  # no sequence, of other than four elements, or of other than numbers
        west = south = east = north = math.nan
    if not (abs(west) <= 180 and abs(east) <= 180 and west != east and -90 <= south < north <= 90):
        raise InputError(
            f"{option('bbox')} {box}: wanted west, south, east, north in degrees, such as 34.2, 50, 34.8, 50.4"
        )
    return west, south, east, north


def box_around(regions: Path | str) -> tuple[float, float, float, float]:
    """Return the box around all polygons of a file [degrees].

    Raises
    ------
    InputError
        The file cannot be read, or holds no polygon.
    """
    shapes = load_regions(RegionFile.at(regions), Regions()).shapes
    west, south, east, north = map(float, shapes.to_crs(4326).total_bounds)
    return west, south, east, north
