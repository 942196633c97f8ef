"""What a STAC item says of a scene: its raster, acquisition, tile, clouds and projection."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from s2fast.archive.names import NO_IMAGE, naming
from s2fast.errors import SceneError, setting
from s2fast.files.legible import identifier, legible
from s2fast.files.source import Placed, Source
from s2fast.model import Naming

if TYPE_CHECKING:
    import pystac

AUTO = ("visual", "TCI", "B04", "red")
"""Assets that "auto" takes, the best first; the last is another name of B04."""

_SHOWN = 20
"""Assets that are named."""

_MOST_SHOWN = 60
"""Characters of a wrong value that are shown."""

_PARTS = (("id", str, "a text"), ("stac_version", str, "a text"), ("properties", dict, "an object"),
          ("assets", dict, "an object"))  # fmt: skip
"""What an item must have, of which type."""

_LEAST_INFINITE = 1e300
"""Numbers of JSON have any size."""

_DECIMAL = re.compile(r"^(EPSG:\d+)\.0$")
"""What pystac makes of ``proj:epsg`` if a table of items had it as a decimal number."""

_TIMES = ("datetime", "start_datetime", "end_datetime")


def item_of(fields: Mapping[str, Any]) -> pystac.Item:
    """Return an item; assets without an address and links that are none, which may be of no use here, are left out.

    Raises
    ------
    SceneError
        It is no item. pystac says this in words of Python.
    """
    import pystac
    from pystac.utils import str_to_datetime

    for name, kind, wanted in _PARTS:
        if name not in fields:
            raise SceneError(f"it is no valid STAC item: it lacks {name!r}")
        if not isinstance(fields[name], kind):
            raise SceneError(f"it is no valid STAC item: its {name} is {_shown(fields[name])}, and must be {wanted}")
    for name in _TIMES:
        if (time := fields["properties"].get(name)) is None:
            continue
        try:
            str_to_datetime(time)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise SceneError(
                f"it is no valid STAC item: its {name} is {_shown(time)}, which is no time as 2019-06-06T08:36:01Z"
            ) from error
    links = fields.get("links")
    usable = {
        "assets": {key: asset for key, asset in fields["assets"].items() if _has(asset, "href")},
        "links": [link for link in links if _has(link, "href", "rel")] if isinstance(links, list) else [],
    }
    item = pystac.Item.from_dict({**fields, **usable}, preserve_dict=False)
    if item.datetime is not None and item.datetime.tzinfo is None:
        item.datetime = item.datetime.replace(tzinfo=UTC)
    return item


def _has(part: Any, *names: str) -> bool:
    return isinstance(part, dict) and all(isinstance(part.get(name), str) for name in names)


def _shown(value: Any) -> str:
    return legible(json.dumps(value, default=str))[:_MOST_SHOWN]


def picked(item: pystac.Item, wanted: str) -> tuple[str, pystac.Asset]:
    """Return key and asset of the raster to match.

    Parameters
    ----------
    item
        The item.
    wanted
        ``ingest.asset``: "auto", or an asset's key. A resolution may follow in the item: TCI is also TCI_10m.

    Raises
    ------
    SceneError
        The item has no such asset; the message names those that it has.
    """
    for name in AUTO if wanted == "auto" else (wanted,):
        pattern = re.compile(rf"{re.escape(name)}(?:_(\d+)m)?", re.IGNORECASE)
        found = [(int(match[1] or 0), key) for key in item.assets if (match := pattern.fullmatch(key))]
        if found:
            key = wanted if wanted in item.assets else min(found)[1]
            return key, item.assets[key]
    keys = [legible(key)[:40] for key in item.assets if not re.search(rf"\b({NO_IMAGE})\b", key, re.IGNORECASE)]
    held = ", ".join(keys[:_SHOWN]) or "no asset with an address"
    looked = "visual, TCI or B04" if wanted == "auto" else wanted
    raise SceneError(f"its item has no asset {looked}, but {held}: choose one with {setting('ingest.asset', 'NAME')}")


def named(item: pystac.Item, key: str, source: Source) -> Naming:
    """Return the scene's properties: what the item says, else what its id and the raster's address do.

    The scene's id is the item's.
    """
    properties = item.properties
    parsed = naming(Source(f"/{item.id}/x"))
    file = naming(source)
    time = item.datetime or item.common_metadata.start_datetime or parsed.sensing_time
    return Naming(
        scene_id=identifier(item.id),
        platform=_sentinel(properties) or parsed.platform or file.platform or _platform(properties),
        sensing_time=time.astimezone(UTC) if time else None,
        tile=_tile(properties) or parsed.tile or file.tile,
        baseline=_baseline(properties) or parsed.baseline or file.baseline,
        product_time=_made(properties) or parsed.product_time or file.product_time,
        level=_level(properties) or parsed.level or file.level,
        asset=file.asset or ("TCI" if key.lower() == "visual" else identifier(key).upper()),
        cloud_cover_pct=_percentage(properties.get("eo:cloud_cover")),
    )


def placed(item: pystac.Item, asset: pystac.Asset) -> Placed | None:
    """Return where the projection extension says that an asset lies, or its item; None: it does not say."""
    crs = next((crs for fields in (asset.extra_fields, item.properties) if (crs := _crs(fields))), None)
    if crs is None:
        return None
    transform = asset.extra_fields.get("proj:transform", item.properties.get("proj:transform"))
    if (
        isinstance(transform, list)
        and len(transform) in (6, 9)
        and all(isinstance(part, int | float) and abs(part) < _LEAST_INFINITE for part in transform)
    ):
        return Placed(crs, tuple(map(float, transform[:6])))
    return Placed(crs, None)


def _crs(fields: Mapping[str, Any]) -> str | None:
    """Return the definition of a CRS by the projection extension, versions 1 and 2."""
    code, number, projjson = (fields.get(f"proj:{name}") for name in ("code", "epsg", "projjson"))
    if isinstance(code, str):
        code = _DECIMAL.sub(r"\1", code)
    elif not isinstance(number, bool) and (found := re.fullmatch(r"(\d+)(?:\.0)?", str(number))):
        code = f"EPSG:{found[1]}"
    written = json.dumps(projjson) if isinstance(projjson, dict) else None
    return next((text for text in (code, fields.get("proj:wkt2"), written) if isinstance(text, str) and text), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _sentinel(properties: Mapping[str, Any]) -> str:
    found = re.fullmatch(r"sentinel-?2([a-d])", _text(properties.get("platform")), re.IGNORECASE)
    return f"S2{found[1].upper()}" if found else ""


def _platform(properties: Mapping[str, Any]) -> str:
    name = _text(properties.get("platform"))
    return identifier(name) if name else ""


def _tile(properties: Mapping[str, Any]) -> str:
    """Return the MGRS tile by the grid extension, the mgrs extension, or what catalogues of Sentinel-2 use."""
    zone, band, square = (properties.get(f"mgrs:{part}") for part in ("utm_zone", "latitude_band", "grid_square"))
    for text in (properties.get("grid:code"), properties.get("s2:mgrs_tile"), f"{zone}{band}{square}"):
        found = re.fullmatch(r"(?:MGRS-)?T?(\d{1,2}[A-Z]{3})", _text(text), re.IGNORECASE)
        if found:
            return found[1].upper().zfill(5)
    return ""


def _baseline(properties: Mapping[str, Any]) -> int:
    for name in ("s2:processing_baseline", "processing:version"):
        found = re.fullmatch(r"N?(\d\d)\.?(\d\d)", _text(properties.get(name)))
        if found:
            return int(found[1] + found[2])
    return 0


def _made(properties: Mapping[str, Any]) -> str:
    for name in ("s2:generation_time", "processing:datetime"):
        try:
            made = datetime.fromisoformat(_text(properties.get(name)))
        except ValueError:
            continue
        return made.strftime("%Y%m%dT%H%M%S")
    return ""


def _level(properties: Mapping[str, Any]) -> str:
    for name in ("s2:product_type", "product:type", "processing:level"):
        found = re.fullmatch(r"(?:S2MSI|L)(1C|2A)", _text(properties.get(name)), re.IGNORECASE)
        if found:
            return f"L{found[1].upper()}"
    return ""


def _percentage(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 100 else None
