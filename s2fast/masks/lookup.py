"""Find the mask of a scene: beside it in its product, or by the pattern of names that the user gave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from s2fast.archive.identity import identity
from s2fast.archive.siblings import masks_beside, on_server
from s2fast.config import Ingest
from s2fast.errors import InputError, SceneError
from s2fast.files.places import exists
from s2fast.files.source import Source
from s2fast.files.suffixes import shown
from s2fast.masks.kinds import BY_NAME, KINDS, SHAPES, Kind
from s2fast.model import Scene

_RASTERS = {".tif", ".tiff", ".jp2", ".png", ".img", ".vrt", ".jpg", ".jpeg", ".zarr"}
"""Suffixes of a user's files that are rasters; any other file holds polygons."""


@dataclass(frozen=True, slots=True)
class FoundMask:
    """The mask of a scene."""

    kind: str
    """Name of its `s2fast.masks.kinds.Kind`."""

    source: Annotated[Source, Field(alias="path")]
    """Its file."""

    identity: str
    """See `s2fast.archive.identity.identity`."""

    def check_unchanged(self) -> None:
        """Raise SceneError if the file has changed since it was found."""
        if version_of(BY_NAME[self.kind], self.source) != self.identity:
            raise SceneError(f"{self.source} has changed since the run began: run again")

    def key(self, settings: Ingest) -> list[object]:
        """Return everything on which the masked pixels depend, as JSON values."""
        kind = BY_NAME[self.kind]
        # Older versions read nodata values and NaN as any other value.
        rule = [] if kind.flags is None else ["without what it does not know"]
        return [self.kind, self.identity, *kind.values(settings), *rule]


def find_mask(scene: Scene, settings: Ingest) -> FoundMask | None:
    """Return the mask of a scene, or None: clouds are found by brightness, or not at all.

    Raises
    ------
    SceneError
        The settings ask for a mask that does not exist.
    """
    if not settings.clouds or settings.mask in ("none", "bright"):
        return None
    if source := own_mask(scene, settings):
        kind = _kind_of_file(settings, source)
        if not _is_there(scene, source):
            raise SceneError(
                f"{scene.source}: its mask {shown(str(source))} does not exist: make it, or change ingest.mask_file "
                "(words in braces are {id}, {stem}, {folder}, {tile} and {date})"
            )
        return FoundMask(kind.name, source, version_of(kind, source))
    wanted = [kind for kind in KINDS if kind.files and settings.mask in ("auto", kind.asked)]
    for kind in wanted:
        for source in _beside(scene, kind, asked=settings.mask != "auto"):
            return FoundMask(kind.name, source, version_of(kind, source))
    if settings.mask == "auto":
        return None
    names = ", ".join(name for kind in wanted for name in kind.files)
    raise SceneError(
        f"{scene.source}: its product has no {names}, and ingest.mask is {settings.mask!r}: get it, name a file with "
        'ingest.mask_file, or set ingest.mask = "auto"'
    )


def _beside(scene: Scene, kind: Kind, *, asked: bool) -> Iterator[Source]:
    """Yield the files of a product that are a kind of mask, the finest first.

    On a server files are not listed: names are tried, by "auto" only that of the scene classification, which every
    product of level 2A has.
    """
    if not scene.source.is_remote:
        yield from masks_beside(scene, kind.files).values()
    elif kind.flags is not None and (asked or (kind.name == "scl" and scene.level == "L2A")):
        for name in kind.files:
            if source := on_server(scene, name):
                yield source


def own_mask(scene: Scene, settings: Ingest) -> Source | None:
    """Return the user's file of a scene's mask, there or not; None: the settings name none."""
    if not settings.clouds or settings.mask in ("none", "bright") or not settings.mask_file:
        return None
    return Source.local(_named(settings.mask_file, scene))


def _is_there(scene: Scene, mask: Source) -> bool:
    """Return whether a user's file is there; raise SceneError if the file system does not tell."""
    try:
        return exists(mask.name)
    except InputError as error:
        raise SceneError(f"{scene.source}: its mask: {error}") from error


def _named(pattern: str, scene: Scene) -> Path:
    """Return the path of a user's mask for a scene."""
    own = scene.source.posix
    time = scene.sensing_time
    words = {
        "id": scene.scene_id, "stem": own.stem, "folder": str(own.parent), "tile": scene.tile,
        "date": f"{time:%Y%m%d}" if time else "",
    }  # fmt: skip
    return Path(pattern.format(**words)).absolute()


def version_of(kind: Kind, source: Source) -> str:
    """Return the version of a mask's file, see `s2fast.archive.identity.identity`."""
    return identity(source, () if kind.flags is None else None)


def _kind_of_file(settings: Ingest, source: Source) -> Kind:
    """Return the kind of a user's file: polygons, classes, probabilities, or anything but 0."""
    if settings.mask != "file":
        return next(kind for kind in KINDS if kind.asked == settings.mask)
    return BY_NAME["file" if source.posix.suffix.lower() in _RASTERS else SHAPES]
