"""Find scenes in archives of any layout: SAFE products, public buckets, zips, plain files."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

from s2fast.archive.names import ASSET, NO_IMAGE, naming, with_unique_ids
from s2fast.archive.products import Preview, Replaced, preview, used_products
from s2fast.errors import InputError, option
from s2fast.files.source import Source
from s2fast.files.zips import zip_names
from s2fast.model import Scene

_NOT_SCENES = re.compile(
    rf"\._|MSK_|S2[A-D]_(OPER|USER)_(MSK|{NO_IMAGE})_|(cloud|snow|preview|overview|thumbnail)\.", re.IGNORECASE
)
"""Beginnings of the names of masks and previews, and of the metadata files that macOS adds to a zip."""

_RESOLUTION_FOLDER = re.compile(r"R(\d+)m", re.IGNORECASE)

_SUFFIXES = (".jp2", ".tif", ".tiff")

_MOST_NESTED = 4
"""Maximum depth of zips within zips that are searched: a zip may contain itself."""


@dataclass(frozen=True, slots=True)
class Found:
    """Result of a search for scenes."""

    scenes: list[Scene]
    """The scenes in the run's order: by tile, then time."""

    replaced: list[Replaced]
    """Products left out because another product of the same acquisition shows the same ground."""

    unnamable: list[str]
    """Files left out because their names are not UTF-8; the invalid bytes are escaped here."""


def find_scenes(
    places: Sequence[Source | Path | str], look: Callable[[Source], Preview | None] = preview, band: str = ""
) -> Found:
    """Find all scenes in the given folders, zips, files or addresses.

    In a folder or a zip, and in the zips in a folder, all JPEG 2000 files and GeoTIFFs at any depth are candidates. Of
    a product's files only the image at the finest resolution is used, or the bands if there is no image; masks and
    previews are not. A file given by its path or address is used regardless of its name. Of several products of one
    acquisition that show the same ground, the newest is used; see `s2fast.archive.products.used_products`.

    Parameters
    ----------
    places
        Paths or addresses as a user writes them; see `s2fast.files.source.Source.of`.
    look
        Function that returns a preview of a raster; called only for acquisitions with several products.
    band
        ``ingest.band``: of each product this raster is used, and no other; of a file given by its path or address too,
        if its product has it.

    Raises
    ------
    InputError
        A path does not exist, nothing was found, or two addresses differ only in their secret parts.
    """
    given: list[Source] = []
    searched: list[Source] = []
    unnamable: list[str] = []
    sources = [Source.of(place) for place in places]
    for place in sources:
        for source in _candidates(place, band):
            if (legible := _legible(source)) != source.name:
                unnamable.append(legible)
                continue
            (given if source == place else searched).append(source)
    by_source: dict[Source, Scene] = {}
    for source in (*given, *_images(searched)):
        # A file that is found twice is one scene.
        before = by_source.setdefault(source.resolved(), Scene.of(source, naming(source)))
        if before.source.secret != source.secret:
            raise InputError(
                f"{source} is named twice, with different queries; queries may be secret and are not recorded, so they "
                "cannot distinguish scenes: name it once, or download the files"
            )
    if not by_source:
        where = ", ".join(map(str, sources))
        raise InputError(
            f"no scenes found under {where}: looked for {band or 'images'}, *.jp2 and *.tif, at any depth"
            + (f"; the name of {unnamable[0]} is not UTF-8: rename it" if unnamable else "")
        )
    scenes, replaced = used_products(list(by_source.values()), look)
    renamed = {scene.source: scene for scene in with_unique_ids(scenes)}
    return Found(
        sorted(renamed.values(), key=lambda scene: scene.order),
        [replace(product, by=renamed[product.by.source]) for product in replaced],
        unnamable,
    )


def images_at(place: Source) -> list[Source]:
    """Return the images at a place, of each product the one at the finest resolution; see `find_scenes`."""
    found = list(_candidates(place))
    return found if found == [place] else _images(found)


def _legible(source: Source) -> str:
    """Return a source's name with invalid UTF-8 bytes escaped."""
    return source.name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _candidates(place: Source, band: str = "") -> Iterator[Source]:
    zipped, path = place.zip_parts, place.path
    if zipped and not place.is_remote:
        yield from _zip_candidates(*zipped, band)
    elif path is None:
        suffix = place.posix.suffix.lower()
        if suffix in (".zip", ".zip}") or (not suffix and "?" not in place.address):
            raise InputError(
                f"{place} is not a raster: folders and zips on a server are not searched; give the address of each "
                "raster (in a zip: /vsizip//vsis3/BUCKET/FILE.zip/MEMBER)"
            )
        yield place
    elif path.suffix.lower() == ".zip" and not path.is_dir():
        yield from _zip_candidates(place, "", band)
    elif path.is_file():
        yield place
    elif path.is_dir():
        for file in sorted(_files(path)):
            if _is_scene(file, band):
                yield Source.local(file)
            elif file.suffix.lower() == ".zip":
                yield from _zip_candidates(Source.local(file), "", band)
    else:
        raise InputError(f"no such file or folder for {option('scenes')}: {place}")


def _zip_candidates(archive: Source, member: str, band: str = "", depth: int = 1) -> Iterator[Source]:
    """Yield a zip's scenes, or those below one of its folders; a member given by its full path is always a scene."""
    if depth == 1 and not Path(archive.outermost.name).is_file():
        raise InputError(f"no such file or folder for {option('scenes')}: {archive.outermost}")
    try:
        names = zip_names(archive)
    except (zipfile.BadZipFile, OSError):
        # An incomplete download, or a zip with a password, is skipped like any scene that cannot be opened.
        yield archive
        return
    if member in names and not member.lower().endswith(".zip"):
        yield archive.member(member)
        return
    folder = member and f"{member.rstrip('/')}/"
    for name in names:
        if not name.startswith(folder) and name != member:
            continue
        if _is_scene(PurePosixPath(name), band):
            yield archive.member(name)
        elif name.lower().endswith(".zip") and depth < _MOST_NESTED:
            yield from _zip_candidates(archive.member(name), "", band, depth + 1)


def _is_scene(path: PurePath, band: str = "") -> bool:
    """Return whether a file found in a folder may be a scene: of a product's files, only `band` unless it is empty."""
    asset = ASSET.match(path.stem)
    if path.suffix.lower() not in _SUFFIXES or _NOT_SCENES.match(path.name) or (asset and asset["other"]):
        return False
    if band and asset:
        return band == ("TCI" if asset["image"] else asset["band"].upper())
    # A product's single bands in JPEG 2000 are not used.
    return not (asset and asset["band"] and path.suffix.lower() == ".jp2")


def _files(place: Path) -> Iterator[Path]:
    """Yield all files below a folder, following links but visiting each folder once."""
    visited = set()
    for root, folders, files in os.walk(place, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        yield from (Path(root, name) for name in files)


def _images(sources: Iterable[Source]) -> list[Source]:
    """Return the image of each product at its finest resolution, or, without an image, each band at its finest."""
    rasters: dict[tuple[PurePath, str, str, str], list[tuple[int, Source]]] = {}
    for source in sources:
        path = source.posix
        asset, resolution = ASSET.match(path.stem), _RESOLUTION_FOLDER.fullmatch(path.parent.name)
        if asset is None:
            rasters[path, "", "", ""] = [(0, source)]
            continue
        # A granule's IMG_DATA contains the folders R10m, R20m and R60m.
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
