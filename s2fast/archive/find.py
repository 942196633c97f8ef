"""Find scenes, however an archive is laid out: SAFE products, public buckets, zips, plain files."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

from s2fast.archive.names import ASSET, NO_IMAGE, naming, told_apart
from s2fast.archive.products import Replaced, Shown, shown, used_products
from s2fast.errors import InputError
from s2fast.files.source import Source
from s2fast.files.zips import zip_names
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


def find_scenes(places: Sequence[Source | Path | str], show: Callable[[Source], Shown | None] = shown) -> Found:
    """Find every scene under the given folders, zips, files or addresses.

    In a folder or a zip, and in the zips in a folder, JPEG 2000 files and GeoTIFFs at any depth count. Of a product's
    files its image does, at the finest resolution; its masks and previews do not, nor its bands where there is an
    image. A file given by name or address counts whatever it is called. Of several products of one acquisition that
    show the same ground the newest counts; see `s2fast.archive.products.used_products`.

    Parameters
    ----------
    places
        As a user writes them; see `s2fast.files.source.Source.of`.
    show
        What gives a look at a raster; only products of one acquisition are looked at.

    Raises
    ------
    InputError
        A place does not exist, nothing was found, or two addresses differ only in what is not written down.
    """
    named: list[Source] = []
    searched: list[Source] = []
    unnamable: list[str] = []
    asked = [Source.of(place) for place in places]
    for place in asked:
        for source in _candidates(place):
            if (legible := _legible(source)) != source.name:
                unnamable.append(legible)
                continue
            (named if source == place else searched).append(source)
    by_place: dict[Source, Scene] = {}
    for source in (*named, *_images(searched)):
        # A place named twice, or inside another, is not a second product.
        before = by_place.setdefault(source.resolved(), Scene.of(source, naming(source)))
        if before.source.secret != source.secret:
            raise InputError(
                f"{source} is named twice, with different queries, which are not written down and so "
                "cannot tell scenes apart: name it once, or download the files"
            )
    if not by_place:
        where = ", ".join(map(str, asked))
        raise InputError(
            f"no scenes found under {where}: looked for images, *.jp2 and *.tif, at any depth"
            + (f"; {unnamable[0]} has a name that is no UTF-8: rename it" if unnamable else "")
        )
    scenes, replaced = used_products(list(by_place.values()), show)
    apart = {scene.source: scene for scene in told_apart(scenes)}
    return Found(
        sorted(apart.values(), key=lambda scene: scene.order),
        [replace(one, by=apart[one.by.source]) for one in replaced],
        unnamable,
    )


def _legible(source: Source) -> str:
    """Write a source's name as text; bytes that are none become escapes."""
    return source.name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _candidates(place: Source) -> Iterator[Source]:
    zipped, path = place.zip_parts, place.path
    if zipped and not place.is_remote:
        yield from _zip_candidates(*zipped)
    elif path is None:
        suffix = place.posix.suffix.lower()
        if suffix in (".zip", ".zip}") or (not suffix and "?" not in place.address):
            raise InputError(
                f"{place} names no scene: folders and zips on a server are not searched, name each raster "
                "(in a zip: /vsizip//vsis3/BUCKET/FILE.zip/MEMBER)"
            )
        yield place
    elif path.suffix.lower() == ".zip" and not path.is_dir():
        yield from _zip_candidates(place, "")
    elif path.is_file():
        yield place
    elif path.is_dir():
        for file in sorted(_files(path)):
            if _is_scene(file):
                yield Source.local(file)
            elif file.suffix.lower() == ".zip":
                yield from _zip_candidates(Source.local(file), "")
    else:
        raise InputError(f"no such file or folder for --scenes: {place}")


def _zip_candidates(archive: Source, member: str, depth: int = 1) -> Iterator[Source]:
    """List a zip's scenes, or those below one of its folders; a member named in full counts whatever it is called."""
    if depth == 1 and not Path(archive.outermost.name).is_file():
        raise InputError(f"no such file or folder for --scenes: {archive.outermost}")
    try:
        names = zip_names(archive)
    except (zipfile.BadZipFile, OSError):
        # Half a download, or a zip with a password, is a scene that cannot be opened: named and skipped like any other.
        yield archive
        return
    if member in names and not member.lower().endswith(".zip"):
        yield archive.member(member)
        return
    folder = member and f"{member.rstrip('/')}/"
    for name in names:
        if not name.startswith(folder) and name != member:
            continue
        if _is_scene(PurePosixPath(name)):
            yield archive.member(name)
        elif name.lower().endswith(".zip") and depth < _MOST_NESTED:
            yield from _zip_candidates(archive.member(name), "", depth + 1)


def _is_scene(path: PurePath) -> bool:
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


def _images(sources: Iterable[Source]) -> list[Source]:
    """Keep, of the rasters of one product that lie together, the image at the finest resolution, else each band so."""
    rasters: dict[tuple[PurePath, str, str, str], list[tuple[int, Source]]] = {}
    for source in sources:
        path = source.posix
        asset, resolution = ASSET.match(path.stem), _RESOLUTION_FOLDER.fullmatch(path.parent.name)
        if asset is None:
            rasters[path, "", "", ""] = [(0, source)]
            continue
        # R10m, R20m and R60m lie side by side in a granule's IMG_DATA.
        folder = path.parent.parent if resolution else path.parent
        metres = int(asset["resolution"] or (resolution[1] if resolution else 10))
        key = (folder, asset["rest"], "" if asset["image"] else asset["band"], path.suffix)
        rasters.setdefault(key, []).append((metres, source))
    with_image = {(folder, rest) for folder, rest, band, _ in rasters if not band}
    return [
        source
        for (folder, rest, band, _), found in rasters.items()
        if not band or (folder, rest) not in with_image
        for metres, source in found
        if metres == min(metres for metres, _ in found)
    ]
