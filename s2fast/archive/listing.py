"""What the places that a user names hold: scenes, and what cannot be one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from s2fast.files.source import Source
from s2fast.model import Naming, Scene


@dataclass(frozen=True, slots=True)
class Listed:
    """A raster that may be a scene."""

    source: Source
    """The raster."""

    chosen: bool = False
    """Whether it is a scene whatever its name is, and whichever other rasters its product has."""

    naming: Naming | None = None
    """Its properties, if they are known otherwise than from its name; see `s2fast.archive.names.naming`."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was meant to be a scene and cannot be one."""

    name: str
    """Its id, or else its address, without secrets."""

    reason: str
    """Why it is left out, and what to do."""


@dataclass(frozen=True, slots=True)
class Looking:
    """What is looked for."""

    asset: str = "auto"
    """See `s2fast.config.Ingest.asset`."""

    band: str = ""
    """``ingest.band``: of each product this raster is used, and no other; of a file given by its path or address too,
    if its product has it."""

    pictures: bool = False
    """Whether PNG and JPEG files found in folders and zips are scenes too, unless a raster of the same name lies beside
    them, whose preview they are."""

    mask_of: Callable[[Scene], Source | None] | None = None
    """Returns the file that the user made as a scene's mask, there or not: found in a folder or zip, it is no scene."""
