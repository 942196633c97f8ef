"""The other rasters of a scene's product: bands, classifications and masks, by name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from s2fast.archive.names import ASSET, NO_IMAGE
from s2fast.archive.sensors import names_of
from s2fast.errors import MissingError, SceneError
from s2fast.files.source import Source
from s2fast.files.zips import zip_names
from s2fast.model import Scene
from s2fast.raster.dataset import open_dataset

ALL = "all"
"""Name that selects all rasters of a product."""

_MASK = re.compile(
    r"^(?P<name>MSK_.+?)(?:_(?P<resolution>\d+)m)?$"
    r"|^S2[A-D]_(?:OPER|USER)_(?P<old>MSK_[A-Z]+)_.*_(?P<band>B[0-9A]{2})_MSIL1C$",
    re.IGNORECASE,
)
"""Pattern of a quality mask in a product; before December 2016 its name begins with the satellite."""

_RASTERS = (".jp2", ".tif")
"""Suffixes of quality masks that are rasters."""

_MASKS = "QI_DATA"
"""Folder of the quality masks, beside that of the images."""

_RESOLUTION = re.compile(r"R\d+m")
"""Name of a folder of images of one resolution."""

_CLASSES = re.compile(rf"^(?:{NO_IMAGE}|MSK_.+)$", re.IGNORECASE)


def is_mask(name: str) -> bool:
    """Return whether a raster holds classes or flags, which must never be interpolated.

    Examples
    --------
    >>> [is_mask(name) for name in ("SCL", "MSK_CLDPRB", "B04", "TCI", "")]
    [True, True, False, False, False]
    """
    return bool(_CLASSES.match(name))


def selected(scene: Scene, names: Sequence[str]) -> Mapping[str, Source]:
    """Return rasters of a scene's product by name.

    Parameters
    ----------
    scene
        The scene.
    names
        Names as `product_rasters` returns them, in capitals; ``all``: all of them; empty: the raster that was matched.

    Raises
    ------
    SceneError
        The product has no raster of a name; or all of them are wanted of a product on a server.
    """
    own = scene.asset
    if not names or list(names) == [own]:
        return {own: scene.source}
    if scene.source.is_held:
        raise SceneError(f"{scene.source}: an array in memory has no other rasters")
    if scene.source.is_remote:
        if ALL in names:
            raise SceneError(f"{scene.source}: files on a server are not listed; name the bands instead of all")
        found = {name: source for name in names if (source := on_server(scene, name))}
    else:
        found = product_rasters(scene)
    if ALL in names:
        return found
    missing = [name for name in names if name not in found]
    if missing:
        held = ", ".join(sorted(filter(None, found))) or "no other raster that can be found"
        raise SceneError(f"no {', '.join(missing)} in the product of {scene.source}: it has {held}")
    return {name: found[name] for name in names}


def with_bands(scene: Scene, bands: Sequence[str]) -> Scene:
    """Return a scene with other rasters of its product; the scene itself if it has them, or is no product's raster.

    Raises
    ------
    SceneError
        The product has no such raster.
    """
    if not bands or scene.asset == "" or list(bands) == [scene.asset]:
        return scene
    names = [_known_as(scene, band) for band in bands]
    if names == [scene.asset]:
        return scene
    first, *others = (selected(scene, [name])[name] for name in names)
    return replace(scene, source=first, asset=names[0], others=tuple(others))


def _known_as(scene: Scene, band: str) -> str:
    """Return the name that a scene's product has for a band, or else the given one."""
    names = names_of(band, scene.platform)
    if len(names) == 1 or scene.source.is_held:
        return band
    if scene.asset in names:
        return scene.asset
    if scene.source.is_remote:
        return next((name for name in names if on_server(scene, name)), band)
    found = product_rasters(scene)
    return next((name for name in names if name in found), band)


def product_rasters(scene: Scene) -> dict[str, Source]:
    """Find the rasters of a scene's product on disk or in a zip: name to source, of equal names the finest resolution.

    The rasters have the file name of the matched one, apart from band and resolution, and lie in its folder or in
    folders for other resolutions beside it (R10m, R20m, R60m); masks lie in the folder QI_DATA of the granule.
    """
    own, zipped = scene.source.posix, scene.source.zip_parts
    if zipped:
        found = _finest(scene, zip_names(zipped[0]), _RASTERS)
    else:
        folder, images = (Path(place) for place in _folders(own))
        masks = images.parent.glob(f"{_MASKS}/*")
        found = _finest(scene, map(str, (*folder.iterdir(), *images.glob("R*m/*"), *masks)), _RASTERS)
    return dict(sorted({scene.asset: scene.source, **found}.items()))


def masks_beside(scene: Scene, names: Sequence[str]) -> dict[str, Source]:
    """Find rasters and masks, also those that are polygons, of a scene's product on disk or in a zip, by name.

    On disk only the folder of masks is listed: thousands of scenes may lie in one folder.
    """
    own, zipped = scene.source.posix, scene.source.zip_parts
    if zipped:
        try:
            inside = zip_names(zipped[0])
        except (zipfile.BadZipFile, OSError) as error:
            raise SceneError(f"{zipped[0]}: the files in it cannot be listed ({error})") from error
        found = _finest(scene, inside, (*_RASTERS, ".gml"))
    else:
        masks = Path(_folders(own)[1].parent).glob(f"{_MASKS}/*")
        found = _finest(scene, map(str, masks), (*_RASTERS, ".gml"))
        if asset := ASSET.match(own.stem):
            for name in names:
                paths = (Path(own.parents[tail.count("/")], tail) for tail in _tails(own, asset, name))
                if path := next(filter(Path.is_file, paths), None):
                    found[name.upper()] = Source.local(path)
    return {name: found[name.upper()] for name in names if name.upper() in found}


def _finest(scene: Scene, files: Iterable[str], suffixes: Sequence[str]) -> dict[str, Source]:
    """Return those files that belong to a scene's product, without its own, by name; of equal names the finest."""
    own, zipped = scene.source.posix, scene.source.zip_parts
    if zipped:
        own = PurePosixPath(zipped[1])
    found: dict[str, tuple[float, Source]] = {}
    for name, resolution, file in _parsed(own, map(PurePosixPath, files), suffixes):
        if name != scene.asset and (name not in found or resolution < found[name][0]):
            found[name] = resolution, zipped[0].member(str(file)) if zipped else Source.local(Path(file))
    return {name: source for name, (_, source) in found.items()}


def _folders(own: PurePosixPath) -> tuple[PurePosixPath, PurePosixPath]:
    """Return the folder of a product's raster, and the one of all its images."""
    folder = own.parent
    return folder, folder.parent if _RESOLUTION.fullmatch(folder.name) else folder


def _parsed(
    own: PurePosixPath, files: Iterable[PurePosixPath], suffixes: Sequence[str]
) -> Iterator[tuple[str, float, PurePosixPath]]:
    """Yield name, resolution [m] and path of those files that are rasters of the same product, or masks of it."""
    (folder, images), asset = _folders(own), ASSET.match(own.stem)
    for file in sorted(set(files)):
        if file.parent == images.parent / _MASKS:
            mask = _MASK.match(file.stem)
            if mask and file.suffix.lower() in suffixes:
                name = mask["name"] or f"{mask['old']}_{mask['band']}"
                yield name.upper(), float(mask["resolution"] or 0), file
        elif file.parent == folder or (file.parent.parent == images and _RESOLUTION.fullmatch(file.parent.name)):
            matched = ASSET.match(file.stem)
            if asset and matched and matched["rest"] == asset["rest"] and file.suffix.lower() == own.suffix.lower():
                name = "TCI" if matched["image"] else (matched["band"] or matched["other"]).upper()
                yield name, float(matched["resolution"] or 0), file


def on_server(scene: Scene, name: str) -> Source | None:
    """Return the raster of a product on a server, or in a zip there, that has a name; None if there is none.

    Its address is that of the matched raster, with another band and resolution. An answer that does not say whether a
    finer raster is there, such as 503, raises SceneError: the next coarser one would be taken for it.
    """
    if name == scene.asset:
        return scene.source
    zipped = scene.source.zip_parts
    own = PurePosixPath(zipped[1]) if zipped else scene.source.posix
    asset = ASSET.match(own.stem)
    if asset is None:
        return None
    for tail in _tails(own, asset, name):
        if zipped:
            source = zipped[0].member(str(own.parents[1] / tail if "/" in tail else own.with_name(tail)))
        else:
            address, mark, query = scene.source.address.partition("?")
            head = address.rsplit("/", 1 + tail.count("/"))[0]
            source = Source.of(f"{head}/{tail}{mark}{query}")
        try:
            open_dataset(source).close()
        except MissingError:
            continue
        return source
    return None


def _tails(own: PurePosixPath, asset: re.Match[str], name: str) -> Iterator[str]:
    """Yield the ends of the addresses at which a raster may be, that of the finest resolution first."""
    begin = own.stem[: len(asset["rest"]) + 1] if asset["rest"] else ""
    in_folder, in_name = _RESOLUTION.fullmatch(own.parent.name), asset["resolution"]
    for resolution in (10, 20, 60) if in_folder or in_name else (0,):
        folder = f"R{resolution}m/" if in_folder else ""
        end = f"_{resolution}m" if in_name else ""
        for word in dict.fromkeys((name, name.lower())):
            yield f"{folder}{begin}{word}{end}{own.suffix}"
