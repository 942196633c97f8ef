"""Scenes that are arrays: of Zarr stores, and DataArrays in memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s2fast.archive.listing import LeftOut, Listed, Looking
from s2fast.archive.names import naming
from s2fast.archive.stac_items import AUTO
from s2fast.arguments import PLACE, wrong_type
from s2fast.errors import InputError, SceneError, setting
from s2fast.files.legible import identifier
from s2fast.files.source import HELD, Source
from s2fast.raster.zarr_store import Array, arrays_of, split

_SHOWN = 8
"""Names of arrays in a message."""


def zarr_scenes(place: Source, looking: Looking) -> Iterator[Listed | LeftOut]:
    """Yield the scene of a Zarr store: the array that a place names, or the one below it that is looked for."""
    try:
        found = arrays_of(place)
        store, path = split(place)
        array = _picked(found, path, looking.asset)
    except SceneError as error:
        reason = str(error).removeprefix(f"{place}: ")
        yield LeftOut(str(place), reason)
        return
    source = place if array.path == path else store.below(array.path)
    yield Listed(replace(source, placed=place.placed, trusted=place.trusted), chosen=True)


def _picked(found: Sequence[Array], path: str, wanted: str) -> Array:
    """Return the array that is looked for, of equal names the one with the most pixels."""
    if len(found) == 1 and (found[0].path == path or wanted == "auto"):
        return found[0]
    for name in AUTO if wanted == "auto" else (wanted,):
        named = [array for array in found if array.path.rpartition("/")[2].lower() == name.lower()]
        if named:
            return max(named, key=lambda array: max(array.node.shape or (0,)))
    if not found:
        raise SceneError("it holds no array of pixels: of 8 or 16 bits, with the dimensions y, x or band, y, x")
    names = ", ".join(array.path for array in found[:_SHOWN])
    raise SceneError(
        f"it holds {len(found)} images, {names}{' and more' if len(found) > _SHOWN else ''}: name one with "
        f"{setting('ingest.asset', 'NAME')}, or by its path"
    )


def held_scenes(place: Source, looking: Looking) -> Iterator[Listed]:
    """Yield a DataArray; its id and time are those of its coordinates, if it has such."""
    del looking
    named = naming(Source(f"/{place.name.removeprefix(HELD)}.x"))
    time = _time(place.held)
    if time is not None:
        named = replace(named, sensing_time=time.tz_localize(UTC).to_pydatetime())
    yield Listed(place, chosen=True, naming=named)


def as_places(scenes: Any) -> list[Source | Path | str]:
    """Return the scenes that a caller hands over, with DataArrays as sources that hold them.

    A DataArray is named by its coordinate ``id``, or else by its name and time; equal names are numbered.

    Raises
    ------
    InputError
        They are, or one of them is, an object of another type, as a numpy array, which lies nowhere on the ground.
    """
    if not (PLACE.fits(scenes) or _is_held(scenes) or isinstance(scenes, Iterable)):
        raise InputError(wrong_type("scenes", scenes, f"{PLACE.wanted}, an xarray.DataArray, or a sequence of these"))
    given = [scenes] if PLACE.fits(scenes) or _is_held(scenes) else list(scenes)
    for item in given:
        if not (_is_held(item) or PLACE.fits(item) or isinstance(item, Source)):
            raise InputError(
                f"scenes holds a {type(item).__module__}.{type(item).__qualname__}: a scene is a path, an address, or "
                "an xarray.DataArray with coordinates x and y and a CRS"
            )
    names = [_name(item) if _is_held(item) else "" for item in given]
    count, used = Counter(names), Counter[str]()
    places: list[Source | Path | str] = []
    for item, name in zip(given, names, strict=True):
        if not name:
            places.append(item)
            continue
        used[name] += 1
        unique = f"{name}_{used[name]}" if count[name] > 1 else name
        places.append(Source(HELD + unique, held=item))
    return places


def _is_held(item: Any) -> bool:
    return all(hasattr(item, name) for name in ("dims", "coords", "isel", "encoding"))


def _name(array: Any) -> str:
    own = _scalar(array, "id")
    if isinstance(own, str) and own:
        return identifier(own)
    time = _time(array)
    parts = [str(array.name) if getattr(array, "name", None) is not None else "array"]
    if time is not None:
        parts.append(time.strftime("%Y%m%dT%H%M%S"))
    return identifier(re.sub(r"\s+", "_", "_".join(parts)))


def _scalar(array: Any, name: str) -> Any:
    """Return the value of a coordinate that is one for the whole array; None: there is none."""
    if array is None or name not in array.coords or array.coords[name].size != 1:
        return None
    try:
        return np.ravel(array.coords[name].values)[0]
    except Exception:  # whatever computes it may raise an error of any type, as when the scene is opened, which tells
        return None


def _time(array: Any) -> pd.Timestamp | None:
    """Return the date and time of an array in UTC, without its zone; None: it has none, or none that is known as one.

    Numbers have no unit here: 20190427 would be a part of a second of 1970.
    """
    value = _scalar(array, "time")
    if not isinstance(value, str | date | np.datetime64) or pd.isna(value):
        return None
    try:
        time = pd.Timestamp(value)
    except ValueError:
        return None
    return time.tz_convert(None) if time.tzinfo else time
