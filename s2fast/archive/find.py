"""Find scenes in archives of any layout: SAFE products, public buckets, zips, plain files."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from s2fast.archive.arrays import held_scenes, zarr_scenes
from s2fast.archive.listing import LeftOut, Listed, Looking
from s2fast.archive.names import ASSET, NO_IMAGE, naming, with_unique_ids
from s2fast.archive.products import Preview, Replaced, preview, used_products
from s2fast.archive.sensors import names_of
from s2fast.archive.stac import is_stac, stac_scenes
from s2fast.errors import InputError, option, setting
from s2fast.files.source import Source
from s2fast.files.zips import unread_archive, zip_files
from s2fast.model import Scene
from s2fast.raster.zarr_store import is_zarr

_NOT_SCENES = re.compile(
    rf"\._|MSK_|S2[A-D]_(OPER|USER)_(MSK|{NO_IMAGE})_|(cloud|snow|preview|overview|thumbnail|quicklook)\.|.*-ql\.jpg$"
    r"|.*_displacement\.tif$",
    re.IGNORECASE,
)
"""Names, or their beginnings, of masks and previews, of the displacements beside aligned scenes, and of the metadata
files that macOS adds to a zip."""

_TRASH = re.compile(r"\.Trash(es|-\d+)?|\$RECYCLE\.BIN|[@#]Recycle|@eaDir", re.IGNORECASE)
"""Folders of deleted files, and of previews that file servers add."""

_RESOLUTION_FOLDER = re.compile(r"R(\d+)m", re.IGNORECASE)

_SUFFIXES = (".jp2", ".tif", ".tiff")

_Path = TypeVar("_Path", bound=PurePath)

_PICTURES = (".png", ".jpg", ".jpeg")
"""Suffixes of rasters that rarely have a CRS; see `Looking.pictures`."""

RUN_STORE = "store.zarr"
"""Name of the store in a run folder, which holds no scenes."""

_MOST_NESTED = 4
"""Maximum depth of zips within zips that are searched: a zip may contain itself."""


@dataclass(frozen=True, slots=True)
class Found:
    """Result of a search for scenes."""

    scenes: list[Scene]
    """The scenes in the run's order: by tile, then time."""

    replaced: list[Replaced]
    """Products left out because another product of the same acquisition shows the same ground."""

    left_out: dict[str, str]
    """Why others are left out, by name: names that are not UTF-8, whose invalid bytes are escaped here; items without
    the wanted asset."""


def find_scenes(
    places: Sequence[Source | Path | str],
    preview_of: Callable[[Source], Preview | None] = preview,
    looking: Looking = Looking(),  # noqa: B008  it is frozen
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
    preview_of
        Function that returns a preview of a raster; called only for acquisitions with several products.
    looking
        What is looked for in products that hold several rasters.

    Raises
    ------
    InputError
        A path does not exist, nothing was found, or two addresses differ only in their secret parts.
    """
    given: list[Listed] = []
    searched: list[Source] = []
    left_out: dict[str, str] = {}
    sources = [Source.of(place) for place in places]
    empty: list[Source] = []
    for place in sources:
        all_found = list(_listed(place, looking))
        if not all_found:
            empty.append(place)
        for found in all_found:
            if isinstance(found, LeftOut):
                left_out[found.name] = found.reason
            elif (legible := _legible(found.source)) != found.source.name:
                left_out[legible] = "its name is not UTF-8: rename it"
            elif found.chosen:
                given.append(found)
            else:
                searched.append(found.source)
    by_source: dict[Source, Scene] = {}
    for found in (*given, *map(Listed, _images(searched))):
        source = found.source
        # A file that is found twice is one scene.
        before = by_source.setdefault(source.resolved(), Scene.of(source, found.naming or naming(source)))
        if before.source.secret != source.secret:
            raise InputError(
                f"{source} is named twice, with different queries; queries may be secret and are not recorded, so they "
                "cannot distinguish scenes: name it once, or download the files"
            )
    if looking.mask_of is not None:
        mask_of = {source: mask.resolved() for source, scene in by_source.items() if (mask := looking.mask_of(scene))}
        masks = {mask for source, mask in mask_of.items() if mask != source}
        masks -= {found.source.resolved() for found in given}
        by_source = {source: scene for source, scene in by_source.items() if source not in masks}
    if not by_source:
        where = ", ".join(map(str, sources))
        first = next((f"{name}: {reason}" for name, reason in left_out.items()), "")
        raise InputError(f"no scenes found under {where}: {first or _looked_for(sources[0], looking)}")
    left_out |= {str(place): f"no scenes found: {_looked_for(place, looking)}" for place in empty}
    scenes, replaced = used_products(list(by_source.values()), preview_of)
    renamed = {scene.source: scene for scene in with_unique_ids(scenes)}
    ids = {scene.scene_id for scene in renamed.values()}
    left_out = {f"{name} (another)" if name in ids else name: reason for name, reason in left_out.items()}
    return Found(
        sorted(renamed.values(), key=lambda scene: scene.order),
        [replace(product, by=renamed[product.by.source]) for product in replaced],
        left_out,
    )


def _looked_for(place: Source, looking: Looking) -> str:
    """Return what was looked for at a place that holds none of it."""
    if is_stac(place):
        return "it has no items"
    wanted = f"looked for {looking.band or 'images'}, *.jp2 and *.tif"
    if looking.pictures:
        return f"{wanted}, *.png and *.jpg, at any depth"
    return f"{wanted}, at any depth; PNG, JPEG and virtual rasters are scenes if each is named"


def images_at(place: Source, looking: Looking) -> list[Listed]:
    """Return the images at a place, of each product the one at the finest resolution; see `find_scenes`."""
    found = [item for item in _listed(place, looking) if isinstance(item, Listed)]
    chosen = [item for item in found if item.chosen]
    return [*chosen, *map(Listed, _images(item.source for item in found if not item.chosen))]


def _legible(source: Source) -> str:
    """Return a source's name with invalid UTF-8 bytes escaped."""
    return source.name.encode(errors="surrogateescape").decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of place that scenes are found at."""

    holds: Callable[[Source], bool]
    """Whether a place is of this kind."""

    scenes: Callable[[Source, Looking], Iterator[Listed | LeftOut]]
    """Function that yields what it holds."""


def _listed(place: Source, looking: Looking) -> Iterator[Listed | LeftOut]:
    """Yield what a place holds, as the first kind of `KINDS` that fits finds it."""
    try:
        kind = next((kind for kind in KINDS if kind.holds(place)), None)
    except OSError as error:
        raise InputError(f"cannot read {place} for {option('scenes')}: {error.strerror}") from error
    if kind is None:
        raise InputError(f"no such file or folder for {option('scenes')}: {place}")
    return kind.scenes(place, looking)


def _in_zip(place: Source, looking: Looking) -> Iterator[Listed | LeftOut]:
    archive, member = place.zip_parts or (place, "")
    for found in _zip_candidates(archive, member, looking):
        yield found if isinstance(found, LeftOut) else Listed(found, found == place)


def _on_server(place: Source, looking: Looking) -> Iterator[Listed]:
    """Yield a raster on a server, or in a zip there."""
    del looking
    suffix = place.posix.suffix.lower()
    if suffix in (".zip", ".zip}") or (not suffix and "?" not in place.address):
        raise InputError(
            f"{place} is not a raster: folders and zips on a server are not searched; give the address of each "
            "raster (in a zip: /vsizip//vsis3/BUCKET/FILE.zip/MEMBER)"
        )
    yield Listed(place, chosen=True)


def _itself(place: Source, looking: Looking) -> Iterator[Listed | LeftOut]:
    del looking
    reason = unread_archive(place.name)
    yield LeftOut(str(place), reason) if reason else Listed(place, chosen=True)


def _in_folder(place: Source, looking: Looking) -> Iterator[Listed | LeftOut]:
    closed: list[OSError] = []
    files = _without_previews(sorted(_files(Path(place.name), closed)))
    yield from (LeftOut(str(error.filename), f"the folder cannot be read: {error.strerror}") for error in closed)
    for file in files:
        if file.suffix.lower() == ".zarr":
            yield from zarr_scenes(Source.local(file), looking)
        elif (is_scene := _is_scene(file, looking)) or file.suffix.lower() == ".zip":
            if _is_pipe(file):
                yield LeftOut(str(file), "it is a pipe or a device, not a file: copy its content to a file")
            elif is_scene:
                yield Listed(Source.local(file))
            else:
                for found in _zip_candidates(Source.local(file), "", looking):
                    yield found if isinstance(found, LeftOut) else Listed(found)
    yield from (LeftOut(str(file), reason) for file, reason in _unread_archives(files))
    yield from _without_the_band(files, looking)


def _unread_archives(files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield archives that are not read, and why; one was unpacked if another file or folder begins with its name."""
    found = [(file, reason) for file in files if (reason := unread_archive(file.name))]
    names = "\n".join(map(str, files)) if found else ""
    for file, reason in found:
        if len(re.findall(rf"/{re.escape(file.name.partition('.')[0])}(?=[/._])", names)) == 1:
            yield file, reason


def _is_pipe(file: Path) -> bool:
    """Return whether a name in a folder is a pipe or a device: to open a pipe would wait for a writer."""
    try:
        return not stat.S_ISREG(file.stat().st_mode)
    except OSError:  # what cannot be opened is told like any broken scene
        return False


def _is_zip(place: Source) -> bool:
    if place.path is not None:
        return place.path.suffix.lower() == ".zip" and not place.path.is_dir()
    return place.zip_parts is not None and not place.is_remote


KINDS = (
    Kind(lambda place: place.is_held, held_scenes),
    Kind(is_stac, stac_scenes),
    Kind(is_zarr, zarr_scenes),
    Kind(_is_zip, _in_zip),
    Kind(lambda place: place.path is None, _on_server),
    Kind(lambda place: Path(place.name).is_file(), _itself),
    Kind(lambda place: Path(place.name).is_dir(), _in_folder),
)
"""All kinds of places; the first that fits is taken. To add one, add a function that finds its scenes, and a row; if
GDAL does not read its pixels, also a row to `s2fast.raster.dataset.OPENERS`."""


def _zip_candidates(archive: Source, member: str, looking: Looking, depth: int = 1) -> Iterator[Source | LeftOut]:
    """Yield a zip's scenes, or those below one of its folders; a member given by its full path is always a scene."""
    if depth == 1 and not os.path.isfile(archive.outermost.name):  # noqa: PTH113  a Path raises for too long names
        raise InputError(f"no such file or folder for {option('scenes')}: {archive.outermost}")
    try:
        faults = zip_files(archive)
    except (zipfile.BadZipFile, OSError):
        # An incomplete download is skipped like any scene that cannot be opened.
        yield archive
        return
    names = list(faults)
    if member in names and not member.lower().endswith(".zip"):
        yield _readable(archive.member(member), faults[member])
        return
    folder = member and f"{member.rstrip('/')}/"
    kept = set(_without_previews([PurePosixPath(name) for name in names]))
    names = [name for name in names if (name.startswith(folder) or name == member) and PurePosixPath(name) in kept]
    for name in names:
        if _is_scene(PurePosixPath(name), looking):
            yield _readable(archive.member(name), faults[name])
        elif name.lower().endswith(".zip") and faults[name]:
            yield LeftOut(str(archive.member(name)), faults[name])
        elif name.lower().endswith(".zip") and depth < _MOST_NESTED:
            yield from _zip_candidates(archive.member(name), "", looking, depth + 1)
    yield from _without_the_band([PurePosixPath(name) for name in names], looking)


def _readable(source: Source, fault: str) -> Source | LeftOut:
    return LeftOut(str(source), fault) if fault else source


def _without_previews(files: Sequence[_Path]) -> list[_Path]:
    """Return files without the PNG and JPEG beside which a raster of the same name lies."""
    rasters = {file.with_suffix("") for file in files if file.suffix.lower() in _SUFFIXES}
    return [file for file in files if file.suffix.lower() not in _PICTURES or file.with_suffix("") not in rasters]


def _is_scene(path: PurePath, looking: Looking) -> bool:
    """Return whether a file found in a folder may be a scene: of a product's files, only the band looked for."""
    asset, band = ASSET.match(path.stem), looking.band
    suffixes = (*_SUFFIXES, *_PICTURES) if looking.pictures else _SUFFIXES
    if path.suffix.lower() not in suffixes or _NOT_SCENES.match(path.name) or (asset and asset["other"]):
        return False
    if band and asset:
        name = _asset_name(asset)
        return name == band or name in names_of(band, naming(Source(f"/{path.as_posix()}")).platform)
    # A product's single bands in JPEG 2000 are not used.
    return not (asset and asset["band"] and path.suffix.lower() == ".jp2")


def _without_the_band(files: Iterable[PurePath], looking: Looking) -> Iterator[LeftOut]:
    """Yield the products of which no raster is looked for: they lack the band, or hold only bands and no image."""
    products: dict[tuple[PurePath, str], dict[str, PurePath]] = {}
    for file in files:
        asset = ASSET.match(file.stem)
        if asset and not asset["other"] and _is_scene(file, replace(looking, band=_asset_name(asset))):
            products.setdefault((_images_folder(file), asset["rest"]), {})[_asset_name(asset)] = file
    used = {key for key, held in products.items() if any(_is_scene(file, looking) for file in held.values())}
    folders = {folder for folder, _ in used}
    for (folder, rest), held in products.items():
        # B04.jp2 beside S2A_36SYC_20190805_0_L2A_TCI.jp2 is of its product.
        if (folder, rest) not in used and (looking.band or rest or folder not in folders):
            first = Source(f"/{next(iter(held.values())).as_posix()}")
            names = ", ".join(sorted(held))
            choice = setting("ingest.band", "B04" if "B04" in held else min(held))
            cure = "" if looking.band else f": choose one with {choice}"
            lacks = f"no {looking.band or 'image (TCI)'} in its product"
            yield LeftOut(naming(first).scene_id, f"{lacks}, which has {names}{cure}")


def _asset_name(asset: re.Match[str]) -> str:
    """Return the name of a product's raster, by the match of its file name."""
    return "TCI" if asset["image"] else asset["band"].upper()


def _images_folder(file: PurePath) -> PurePath:
    """Return the folder of a product's images: a granule's IMG_DATA contains the folders R10m, R20m and R60m."""
    return file.parent.parent if _RESOLUTION_FOLDER.fullmatch(file.parent.name) else file.parent


def _files(place: Path, closed: list[OSError]) -> Iterator[Path]:
    """Yield all files below a folder, following links but visiting each folder once; of Zarr stores, the folder.

    The stores of run folders are not looked into. Folders that cannot be read are added to `closed`.
    """
    visited = set()
    for root, folders, files in os.walk(place, onerror=closed.append, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        stores = [name for name in folders if name.lower().endswith(".zarr")]
        yield from (path for name in stores if name != RUN_STORE and is_zarr(Source.local(path := Path(root, name))))
        folders[:] = [name for name in folders if name not in stores and not _TRASH.fullmatch(name)]
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
        metres = int(asset["resolution"] or (resolution[1] if resolution else 10))
        key = (_images_folder(path), asset["rest"], "" if asset["image"] else asset["band"], path.suffix)
        rasters.setdefault(key, []).append((metres, source))
    with_image = {(folder, rest) for folder, rest, band, _ in rasters if not band}
    images = Counter(folder for folder, _ in with_image)
    # red.tif beside the only image of a folder, S2A_36SYC_20190805_0_L2A_visual.tif, is of its product.
    with_image |= {(folder, "") for folder, number in images.items() if number == 1}
    return [
        source
        for (folder, rest, band, _), found in rasters.items()
        if not band or (folder, rest) not in with_image
        for metres, source in found
        if metres == min(metres for metres, _ in found)
    ]
