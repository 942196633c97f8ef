"""The other rasters of a scene's product: bands, classifications and masks, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from s2fast.archive.names import ASSET, NO_IMAGE
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.model import Scene

ALL = "all"
"""Name that selects all rasters of a product."""

_MASK = re.compile(r"^(?P<name>MSK_.+?)(?:_(?P<resolution>\d+)m)?$", re.IGNORECASE)
"""Pattern of a quality mask in a product's folder ``QI_DATA``."""

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
        The product has no raster of a name.
    """
    own = scene.asset
    if not names or list(names) == [own]:
        return {own: scene.source}
    found = product_rasters(scene)
    if ALL in names:
        return found
    missing = [name for name in names if name not in found]
    if missing:
        held = ", ".join(sorted(filter(None, found))) or "no other raster that can be found"
        raise SceneError(f"no {', '.join(missing)} in the product of {scene.source}: it has {held}")
    return {name: found[name] for name in names}


def product_rasters(scene: Scene) -> dict[str, Source]:
    """Find the rasters of a scene's product on disk: name to source, of equal names the finest resolution.

    The rasters have the file name of the matched one, apart from band and resolution, and lie in its folder or in
    folders for other resolutions beside it (R10m, R20m, R60m); masks lie in the folder QI_DATA of the granule.
    """
    found = {scene.asset: (0.0, scene.source)}
    path = scene.source.path
    matched = ASSET.match(path.stem) if path else None
    if path and matched:
        for name, resolution, file in _candidates(path, matched["rest"]):
            if name != scene.asset and (name not in found or resolution < found[name][0]):
                found[name] = resolution, Source.local(file)
    return {name: source for name, (_, source) in sorted(found.items())}


def _candidates(path: Path, rest: str) -> Iterator[tuple[str, float, Path]]:
    """Yield name, resolution [m] and file of the rasters of a product."""
    folder = path.parent
    images = folder.parent if re.fullmatch(r"R\d+m", folder.name) else folder
    for file in sorted({*folder.iterdir(), *images.glob("R*m/*")}):
        matched = ASSET.match(file.stem)
        if matched and matched["rest"] == rest and file.suffix.lower() == path.suffix.lower():
            name = "TCI" if matched["image"] else (matched["band"] or matched["other"]).upper()
            yield name, float(matched["resolution"] or 0), file
    for file in sorted(images.parent.glob("QI_DATA/MSK_*")):
        mask = _MASK.match(file.stem)
        if mask and file.suffix.lower() in (".jp2", ".tif"):
            yield mask["name"].upper(), float(mask["resolution"] or 0), file
