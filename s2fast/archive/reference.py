"""The scene that a run holds fixed: one of its scenes, or an image from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import shapely

from s2fast.archive.find import images_at
from s2fast.archive.fragments import scene_named, scenes_named
from s2fast.archive.listing import Looking
from s2fast.archive.names import naming
from s2fast.errors import InputError, option
from s2fast.files.places import exists
from s2fast.files.source import Source
from s2fast.geometry.antimeridian import footprint, joined
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.model import Raster, Scene

_FULL_TURN_DEG = 360


def with_reference(
    scenes: Sequence[Scene], asked: Source | Path | str, trusted: tuple[str, ...], looking: Looking
) -> tuple[list[Scene], Scene]:
    """Find the reference, and add it to the scenes unless it is one of them.

    Parameters
    ----------
    scenes
        The scenes found.
    asked
        The id of one of them, or a part that only it has; or the path or address of an image, or of a folder or zip
        that holds a single one. A file of this name comes before a part of an id.
    trusted
        See `s2fast.files.source.Source.trusting`.
    looking
        See `s2fast.archive.find.find_scenes`.

    Returns
    -------
    scenes : list of Scene
        The scenes in the run's order. An image from outside has an id that none of the others has; theirs do not
        change.
    reference : Scene
        The one that is held fixed.

    Raises
    ------
    InputError
        There is no such scene or image, or several.
    """
    by_id = {scene.scene_id: scene for scene in scenes}
    if str(asked) in by_id:
        return list(scenes), by_id[str(asked)]
    place = Source.of(asked).absolute()
    if place.path and not exists(place.path):
        if scenes_named(str(asked), list(by_id)):
            return list(scenes), by_id[scene_named(str(asked), list(by_id))]
        raise InputError(f"{option('reference')} {asked}: neither a file nor a scene of the run has this name")
    found = images_at(place.trusting(trusted), looking)
    if len(found) != 1:
        raise InputError(f"{option('reference')} {place}: it holds {len(found) or 'no'} images; name one")
    source = found[0].source.trusting(trusted)
    for scene in scenes:
        if scene.source.resolved() == source.resolved():
            return list(scenes), scene
    named = Scene.of(source, found[0].naming or naming(source))
    scene_id, number = named.scene_id, 1
    while scene_id in by_id:
        scene_id, number = f"{named.scene_id}_reference{number if number > 1 else ''}", number + 1
    reference = replace(named, scene_id=scene_id)
    return sorted([*scenes, reference], key=lambda scene: scene.order), reference


def check_ground(reference: str, rasters: Mapping[str, Raster]) -> list[str]:
    """Return the ids of the scenes that share no ground with the reference.

    Parameters
    ----------
    reference
        Id of the reference.
    rasters
        Headers of all scenes, the reference among them, by id.

    Raises
    ------
    InputError
        None of them shares ground with the reference.
    """
    outlines = {name: joined(footprint(PixelGrid.of_raster(raster))) for name, raster in rasters.items()}
    own = outlines.pop(reference)
    # An outline across the 180th meridian may be given a turn away from another's.
    everywhere = shapely.union_all(
        [shapely.affinity.translate(own, turn) for turn in (-_FULL_TURN_DEG, 0, _FULL_TURN_DEG)]
    )
    apart = [name for name, outline in outlines.items() if not outline.intersects(everywhere)]
    if outlines and len(apart) == len(outlines):
        at, there = (_text(outline.centroid) for outline in (own, outlines[apart[0]]))
        raise InputError(
            f"the reference {reference} shares no ground with any scene: it shows {at}, {apart[0]} shows {there}; name "
            f"another {option('reference')}, or correct its georeferencing"
        )
    return apart


def _text(point: shapely.Point) -> str:
    longitude = (point.x + 180) % _FULL_TURN_DEG - 180
    return f"{abs(point.y):.3f}° {'N' if point.y >= 0 else 'S'} {abs(longitude):.3f}° {'E' if longitude >= 0 else 'W'}"
