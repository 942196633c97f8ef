"""Find scenes, however an archive is laid out: SAFE products, public buckets, zips, plain files."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from s2fast.archive.names import ASSET, NO_IMAGE, scene_from_name, told_apart
from s2fast.archive.products import Replaced, Shown, shown, used_products
from s2fast.errors import InputError
from s2fast.files.source import gdal_name, is_virtual, source_path, zip_member, zip_names, zip_parts
from s2fast.model import Scene

_BESIDE = re.compile(
    rf"\._|MSK_|S2[A-D]_(OPER|USER)_(MSK|{NO_IMAGE})_|(cloud|snow|preview|overview|thumbnail)\.", re.IGNORECASE
)
"""How names begin of masks and previews, and of what a Mac adds to a zip."""

_RESOLUTION_FOLDER = re.compile(r"R(\d+)m", re.IGNORECASE)

_SUFFIXES = (".jp2", ".tif", ".tiff")

_MOST_NESTED = 4
"""Zips in zips further down are not looked into: a zip may hold itself."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search for scenes gave."""

    scenes: list[Scene]
    """In the run's order: by tile, then time."""

    replaced: list[Replaced]
    """Products left out for another of the same acquisition that shows the same ground."""

    unnamable: list[str]
    """Files left out since their names are no text (UTF-8), with these bytes as escapes."""


def find_scenes(places: Sequence[Path | str], show: Callable[[Path], Shown | None] = shown) -> Found:
    """Find every scene under the given folders, zips, files or addresses.

    In a folder or a zip, and in the zips in a folder, JPEG 2000 files and GeoTIFFs at any depth count. Of a product's
    files its image does, at the finest resolution; its masks and previews do not, nor its bands where there is an
    image. A file given by name or address counts whatever it is called. Of several products of one acquisition that
    show the same ground the newest counts; see `s2fast.archive.products.used_products`.

    Parameters
    ----------
    places
        As a user writes them.
    show
        What gives a look at a raster; only products of one acquisition are looked at.

    Raises
    ------
    InputError
        A place does not exist, nothing was found, or two addresses differ only in what is not written down.
    """
    named: list[Path] = []
    searched: list[Path] = []
    unnamable: list[str] = []
    for place in map(source_path, places):
        for path in _candidates(place):
            if (legible := _legible(path)) != str(path):
                unnamable.append(legible)
                continue
            (named if path == place else searched).append(path)
    by_path: dict[Path, Scene] = {}
    for scene in map(scene_from_name, (*named, *_images(searched))):
        # A place named twice, or inside another, is not a second product.
        before = by_path.setdefault(scene.path if is_virtual(scene.path) else scene.path.resolve(), scene)
        if before.source != scene.source and is_virtual(scene.path):
            raise InputError(
                f"{gdal_name(scene.path)} is named twice, with different queries, which are not written down and so "
                "cannot tell scenes apart: name it once, or download the files"
            )
    if not by_path:
        where = ", ".join(gdal_name(source_path(place)) for place in places)
        raise InputError(
            f"no scenes found under {where}: looked for images, *.jp2 and *.tif, at any depth"
            + (f"; {unnamable[0]} has a name that is no UTF-8: rename it" if unnamable else "")
        )
    scenes, replaced = used_products(list(by_path.values()), show)
    apart = {scene.path: scene for scene in told_apart(scenes)}
    return Found(
        sorted(apart.values(), key=lambda scene: scene.order),
        [replace(one, by=apart[one.by.path]) for one in replaced],
        unnamable,
    )


def _legible(path: Path) -> str:
    """Write a path as text; bytes that are none become escapes."""
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


def _candidates(place: Path) -> Iterator[Path]:
    zipped = zip_parts(place)
    if zipped and not is_virtual(_outermost(place)):
        yield from _zip_candidates(*zipped)
    elif is_virtual(place):
        suffix = Path(gdal_name(place)).suffix.lower()
        if suffix in (".zip", ".zip}") or (not suffix and "?" not in str(place)):
            raise InputError(
                f"{gdal_name(place)} names no scene: folders and zips on a server are not searched, name each raster "
                "(in a zip: /vsizip//vsis3/BUCKET/FILE.zip/MEMBER)"
            )
        yield place
    elif place.suffix.lower() == ".zip" and not place.is_dir():
        yield from _zip_candidates(place, "")
    elif place.is_file():
        yield place
    elif place.is_dir():
        for path in sorted(_files(place)):
            if _is_scene(path):
                yield path
            elif path.suffix.lower() == ".zip":
                yield from _zip_candidates(path, "")
    else:
        raise InputError(f"no such file or folder for --scenes: {place}")


def _outermost(path: Path) -> Path:
    zipped = zip_parts(path)
    return _outermost(zipped[0]) if zipped else path


def _zip_candidates(archive: Path, member: str, depth: int = 1) -> Iterator[Path]:
    """List a zip's scenes, or those below one of its folders; a member named in full counts whatever it is called."""
    if depth == 1 and not _outermost(archive).is_file():
        raise InputError(f"no such file or folder for --scenes: {_outermost(archive)}")
    try:
        names = zip_names(archive)
    except (zipfile.BadZipFile, OSError):
        # Half a download, or a zip with a password, is a scene that cannot be opened: named and skipped like any other.
        yield archive
        return
    if member in names and not member.lower().endswith(".zip"):
        yield zip_member(archive, member)
        return
    folder = member and f"{member.rstrip('/')}/"
    for name in names:
        if not name.startswith(folder) and name != member:
            continue
        if _is_scene(Path(name)):
            yield zip_member(archive, name)
        elif name.lower().endswith(".zip") and depth < _MOST_NESTED:
            yield from _zip_candidates(zip_member(archive, name), "", depth + 1)


def _is_scene(path: Path) -> bool:
    """Whether a file found in a folder may be a scene."""
    asset = ASSET.match(path.stem)
    if path.suffix.lower() not in _SUFFIXES or _BESIDE.match(path.name) or (asset and asset["other"]):
        return False
    # A product's bands in JPEG 2000 are no pictures.
    return not (asset and asset["band"] and path.suffix.lower() == ".jp2")


def _files(place: Path) -> Iterator[Path]:
    """List all files below a folder, linked folders too, each folder once."""
    visited = set()
    for root, folders, files in os.walk(place, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        yield from (Path(root, name) for name in files)


def _images(paths: Iterable[Path]) -> list[Path]:
    """Keep, of the rasters of one product that lie together, the image at the finest resolution, else each band so."""
    rasters: dict[tuple[Path, str, str, str], list[tuple[int, Path]]] = {}
    for path in paths:
        asset, resolution = ASSET.match(path.stem), _RESOLUTION_FOLDER.fullmatch(path.parent.name)
        if asset is None:
            rasters[path, "", "", ""] = [(0, path)]
            continue
        # R10m, R20m and R60m lie side by side in a granule's IMG_DATA.
        folder = path.parent.parent if resolution else path.parent
        metres = int(asset["resolution"] or (resolution[1] if resolution else 10))
        key = (folder, asset["rest"], "" if asset["image"] else asset["band"], path.suffix)
        rasters.setdefault(key, []).append((metres, path))
    with_image = {(folder, rest) for folder, rest, band, _ in rasters if not band}
    return [
        path
        for (folder, rest, band, _), found in rasters.items()
        if not band or (folder, rest) not in with_image
        for metres, path in found
        if metres == min(found)[0]
    ]
