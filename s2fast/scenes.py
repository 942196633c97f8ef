"""Find scenes and read what their names say: SAFE products, TCI files, GeoTIFFs."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from s2fast.errors import InputError
from s2fast.model import Scene
from s2fast.sources import gdal_name, is_virtual, source_path, zip_member, zip_names, zip_parts

_TIME = r"\d{8}T\d{6}"
_TILE = r"\d{2}[A-Z]{3}"

# T36UYA_20160830T083602_TCI.jp2, T31UDQ_20240105T105339_TCI_10m.jp2, L2A_T36UYA_20180101T083339_TCI_10m.jp2
_TCI = re.compile(rf"^(?:L2A_)?T(?P<tile>{_TILE})(?:_(?P<time>{_TIME}))?_TCI(?:_(?P<resolution>\d+)m)?\.jp2$")
# S2A_OPER_MSI_L1C_TL_SGS__20151230T162543_A002734_T31TCJ_TCI.jp2, products before December 2016
_OLD_TCI = re.compile(rf"^(?P<platform>S2[A-D])_OPER_MSI_L1C_TL_.*_T(?P<tile>{_TILE})_TCI\.jp2$")
_COMPACT_PRODUCT = re.compile(
    rf"^(?P<platform>S2[A-D])_MSI(?:L1C|L2A)_(?P<time>{_TIME})_N(?P<baseline>\d{{4}})_R\d{{3}}_T{_TILE}_(?P<made>{_TIME})"
)
_OLD_PRODUCT = re.compile(
    rf"^(?P<platform>S2[A-D])_OPER_PRD_MSIL1C_.*?_(?P<made>{_TIME})_R\d{{3}}_V(?P<time>{_TIME})_{_TIME}"
)
_OLD_GRANULE = re.compile(r"^S2[A-D]_OPER_MSI_L1C_TL_.*_N(?P<baseline>\d{2}\.\d{2})$")
# ref_S2A_20160608T153121_T33UUU_sub.tif: any other file that carries an acquisition in its name
_LOOSE = re.compile(rf"(?P<platform>S2[A-D])_(?P<time>{_TIME})_T(?P<tile>{_TILE})")

_OTHER_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Found:
    """What a search for scenes gave."""

    scenes: list[Scene]
    """One scene an acquisition, in the run's order: by tile, then time."""

    superseded: list[Scene]
    """Products left out because a newer product of the same acquisition was found."""


def find_scenes(places: Sequence[Path | str]) -> Found:
    """Find every scene under the given folders, zips, files or addresses.

    In a folder or a zip, and in the zips in a folder, ``*_TCI.jp2`` and ``*_TCI_10m.jp2`` at any depth and GeoTIFFs
    count; of an L2A product's resolutions the finest. A file given by name or address counts
    whatever it is called. Of several products of one acquisition the newest baseline wins, then the newest product.

    Raises
    ------
    InputError
        A place does not exist, nothing was found, or two different files claim one name.
    """
    parsed = [scene_from_name(path) for place in places for path in _candidates(source_path(place))]
    found = _newest(_finest(parsed))
    if not found.scenes:
        where = ", ".join(str(place) for place in places)
        raise InputError(f"no scenes found under {where}: looked for *_TCI.jp2, *_TCI_10m.jp2, *.tif at any depth")
    return found


def scene_from_name(path: Path) -> Scene:
    """Read platform, sensing time, tile and product from a file's name and its folders' names."""
    product = _first_match((_COMPACT_PRODUCT, _OLD_PRODUCT), (part for part in reversed(path.parts[:-1])))
    granule = _first_match((_OLD_GRANULE,), reversed(path.parts[:-1]))
    name = _TCI.match(path.name) or _OLD_TCI.match(path.name) or _LOOSE.search(path.name)
    if name is None:
        return Scene(path.stem, path)
    told = {**product, **{key: value for key, value in name.groupdict().items() if value}}
    baseline = (product.get("baseline") or granule.get("baseline") or "0").replace(".", "")
    if "time" not in told:
        return Scene(path.stem, path, told.get("platform", ""), None, told["tile"], int(baseline))
    try:
        time = datetime.strptime(told["time"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        # Digits that are no date: the name says less than it seems to.
        return Scene(path.stem, path)
    platform = told.get("platform", "")
    scene_id = f"{platform or 'S2'}_{told['time']}_T{told['tile']}"
    return Scene(scene_id, path, platform, time, told["tile"], int(baseline), told.get("made", ""))


def _first_match(patterns: Iterable[re.Pattern[str]], parts: Iterable[str]) -> dict[str, str]:
    for part in parts:
        for pattern in patterns:
            match = pattern.match(part)
            if match:
                return match.groupdict()
    return {}


def _candidates(place: Path) -> Iterator[Path]:
    zipped = zip_parts(place)
    if zipped and not is_virtual(zipped[0]):
        yield from _zip_candidates(*zipped)
    elif is_virtual(place):
        if place.suffix.lower() in ("", ".zip", ".zip}"):
            raise InputError(
                f"{gdal_name(place)} names no scene: folders and zips on a server are not searched, name each raster "
                "(in a zip: /vsizip//vsis3/BUCKET/FILE.zip/MEMBER)"
            )
        yield place
    elif place.suffix.lower() == ".zip":
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


def _zip_candidates(archive: Path, member: str) -> Iterator[Path]:
    """List a zip's scenes, or those below one of its folders; a member named in full counts whatever it is called."""
    if not archive.is_file():
        raise InputError(f"no such file or folder for --scenes: {archive}")
    try:
        names = zip_names(archive)
    except (zipfile.BadZipFile, OSError):
        # Half a download is a scene that cannot be opened: named and skipped like any other.
        yield archive
        return
    if member in names:
        yield zip_member(archive, member)
        return
    for name in names:
        if name.startswith(member and f"{member.rstrip('/')}/") and _is_scene(Path(name)):
            yield zip_member(archive, name)


def _is_scene(path: Path) -> bool:
    return bool(_TCI.match(path.name) or _OLD_TCI.match(path.name) or path.suffix.lower() in _OTHER_SUFFIXES)


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


def _resolution_m(scene: Scene) -> int:
    match = _TCI.match(scene.path.name)
    return int(match["resolution"] or 10) if match else 10


def _finest(scenes: Iterable[Scene]) -> list[Scene]:
    """Keep, of the resolutions of one granule, the finest."""
    finest: dict[tuple[str, Path], Scene] = {}
    for scene in scenes:
        match = _TCI.match(scene.path.name)
        # R10m, R20m and R60m lie side by side in a granule's IMG_DATA.
        folder = scene.path.parent.parent if match and match["resolution"] else scene.path
        kept = finest.get((scene.scene_id, folder))
        if kept is None or _resolution_m(scene) < _resolution_m(kept):
            finest[scene.scene_id, folder] = scene
    return list(finest.values())


def _newest(scenes: Iterable[Scene]) -> Found:
    by_id: dict[str, dict[Path, Scene]] = {}
    for scene in scenes:
        # A place named twice, or inside another, is not a second product.
        by_id.setdefault(scene.scene_id, {})[scene.path.resolve()] = scene
    kept, superseded = [], []
    for scene_id, products in by_id.items():
        ranked = sorted(products.values(), key=lambda scene: (scene.baseline, scene.product_time, str(scene.path)))
        if len(ranked) > 1 and ranked[-1].sensing_time is None:
            raise InputError(f"two files are both named {scene_id}: {ranked[0].path} and {ranked[1].path}; rename one")
        kept.append(ranked[-1])
        superseded += ranked[:-1]
    return Found(sorted(kept, key=lambda scene: scene.order), superseded)
