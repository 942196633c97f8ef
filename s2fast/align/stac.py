"""Write a run as a STAC Collection with one Item per scene: its offset, its projection, and its corrected rasters."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyproj
import shapely
from rasterio.errors import RasterioError

from s2fast.align.output_folder import TABLE, open_folder, write_file
from s2fast.errors import InputError, SceneError, option
from s2fast.files.arrow_memory import arrow_file
from s2fast.files.legible import identifier, legible_json
from s2fast.files.places import is_file
from s2fast.files.source import Source
from s2fast.files.suffixes import check_path
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.geometry.scene_verdict import SceneVerdict
from s2fast.raster.allowed import header

COLLECTION = "collection.json"

_VERSION = "1.1.0"
_EXTENSIONS = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "eo": "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "grid": "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
}
"""Schemas by the prefixes of the fields that they define."""

_LONG_AGO = "1900-01-01T00:00:00Z"
"""Start of the time of a scene whose time is unknown; its end is that of the run."""

_TYPES = {
    ".tif": "image/tiff; application=geotiff",
    ".tiff": "image/tiff; application=geotiff",
    ".jp2": "image/jp2",
    ".png": "image/png",
    ".zarr": "application/vnd+zarr",
}
"""Media types by suffix. A VRT has none: odc-stac skips assets of types that it does not know, not those without."""

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"

_COLUMNS = (
    "offset_x_m", "offset_y_m", "offset_error_m", "verdict", "correction", "n_verified", "n_keypoints", "clear_pct",
)  # fmt: skip
"""Columns of the table of scenes that become properties of items, ``s2fast:NAME``."""


def write_stac(record: RunRecord, scenes: pd.DataFrame, to: Path | str, aligned: Path | str | None) -> Path:
    """Write a run as a STAC Collection.

    Parameters
    ----------
    record, scenes
        A finished run and its table of scenes.
    to
        Folder on disk; created if missing. Items of scenes that are no longer in the run are removed.
    aligned
        Folder in which `s2fast.align.aligned.align` has written corrected rasters, which become assets; None: none.

    Returns
    -------
    Path
        The file of the collection; those of the items lie beside it, in ``items``.

    Raises
    ------
    InputError
        The folder cannot be written, or `aligned` holds no corrected rasters.
    """
    if record.in_pixels:
        raise InputError(
            "the scenes have no CRS, so a STAC catalogue cannot say where they are: assign it and run again"
        )
    corrected = {} if aligned is None else _corrected(Path(aligned))
    folder = open_folder(to)
    (folder / "items").mkdir(exist_ok=True)
    rows = geopandas.GeoDataFrame(scenes).set_index("scene_id")
    items = [_item(item, rows.loc[item.scene.scene_id], record, folder, corrected) for item in record.usable]
    names = [f"items/{item['id']}.json" for item in items]
    for name, item in zip(names, items, strict=True):
        write_file(folder / name, _json(item))
    for old in (folder / "items").glob("*.json"):
        if f"items/{old.name}" not in names and _is_ours(old):
            old.unlink()
    collection = _collection(record, items, names, folder)
    write_file(folder / COLLECTION, _json(collection))
    return folder / COLLECTION


def _json(fields: Mapping[str, Any]) -> bytes:
    return legible_json(json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False)).encode()


def _is_ours(path: Path) -> bool:
    try:
        return "s2fast:verdict" in json.loads(path.read_bytes())["properties"]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _corrected(folder: Path) -> dict[str, list[Path]]:
    """Return the corrected rasters of each scene."""
    check_path(folder)
    try:
        content = (folder / f"{TABLE}.parquet").read_bytes()
        table = pd.read_parquet(arrow_file(content), columns=["scene_id", "aligned", "files"])
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} holds no {TABLE}.parquet: name the folder that s2fast align has written, {option('aligned')}"
        ) from error
    found = {}
    for scene_id, names in table.loc[table["aligned"], ["scene_id", "files"]].itertuples(index=False):
        # Names from a table that anyone may have written: none leads out of the folder.
        found[scene_id] = [folder / Path(name).name for name in names.split() if is_file(folder / Path(name).name)]
    return found


def _item(
    item: SceneInput, row: Any, record: RunRecord, folder: Path, corrected: Mapping[str, Sequence[Path]]
) -> dict[str, Any]:
    scene, raster = item.scene, item.raster
    properties: dict[str, Any] = dict(_times(item, record))
    if scene.platform:
        sentinel = re.fullmatch(r"S2([A-D])", scene.platform)
        properties["platform"] = f"sentinel-2{sentinel[1].lower()}" if sentinel else scene.platform
    if scene.tile:
        properties["grid:code"] = f"{'WRS2' if scene.tile.isdecimal() else 'MGRS'}-{scene.tile}"
    if scene.cloud_cover_pct is not None:
        properties["eo:cloud_cover"] = scene.cloud_cover_pct
    properties |= {
        **_projection(raster.crs_wkt, raster.transform, raster.shape),
        "processing:software": _software(record),
        "processing:lineage": f"Matched in a run of {len(record.usable)} scenes; offset relative to {_datum(record)}",
        **{f"s2fast:{name}": _plain(row[name]) for name in _COLUMNS},
        "s2fast:run": record.history.tables_key,
    }
    assets: dict[str, Any] = {}
    href = _href(scene.source, folder / "items")
    if href:
        assets["source"] = {
            "href": href, "title": "as it was matched", "roles": ["data"], **_media(scene.source.posix.suffix),
        }  # fmt: skip
    for path in corrected.get(scene.scene_id, []):
        band = path.stem.removeprefix(scene.scene_id).strip("_")
        assets[f"aligned_{band}" if band else "aligned"] = _aligned_asset(path, folder / "items")
    west, south, east, north = _bounds(row["geometry"])
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": _extensions(properties),
        "id": scene.scene_id,
        "geometry": json.loads(shapely.to_geojson(shapely.orient_polygons(row["geometry"]))),
        "bbox": [west, south, east, north],
        "properties": properties,
        "links": [
            {"rel": rel, "href": f"../{COLLECTION}", "type": "application/json"}
            for rel in ("root", "parent", "collection")
        ],
        "assets": assets,
        "collection": _name(folder),
    }


def _software(record: RunRecord) -> dict[str, str]:
    return {"s2fast": record.history.versions.get("s2fast", "unknown")}


def _datum(record: RunRecord) -> str:
    return record.reference or "the median of the scenes that pairs connect"


def _times(item: SceneInput, record: RunRecord) -> Mapping[str, str | None]:
    time = item.scene.sensing_time
    if time is not None:
        return {"datetime": _zulu(time.astimezone(UTC).isoformat())}
    return {"datetime": None, "start_datetime": _LONG_AGO, "end_datetime": _zulu(record.history.updated)}


def _zulu(text: str) -> str:
    return text.replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    """Return a value of a table as JSON; NaN and missing values become None."""
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _projection(wkt: str, transform: Sequence[float], shape: Sequence[int]) -> dict[str, Any]:
    crs = pyproj.CRS(wkt)
    code = crs.to_authority()
    named: dict[str, Any] = {"proj:code": ":".join(code)} if code else {"proj:code": None, "proj:wkt2": crs.to_wkt()}
    return {**named, "proj:transform": [*transform], "proj:shape": [*shape]}


def _aligned_asset(path: Path, base: Path) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": _relative(path, base),
        "title": "with its offset removed",
        "roles": ["data"],
        **_media(path.suffix),
    }
    try:
        with header(path) as dataset:
            if dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG":
                asset["type"] = _COG
            asset |= _projection(dataset.crs.to_wkt(), tuple(dataset.transform)[:6], dataset.shape)
            asset["data_type"] = dataset.dtypes[0]
            if dataset.nodata is not None and np.isfinite(dataset.nodata):
                asset["nodata"] = dataset.nodata
            if dataset.count > 1:
                asset["bands"] = [
                    {"name": colour.name if colour.name not in ("gray", "undefined") else f"band_{number}"}
                    for number, colour in zip(dataset.indexes, dataset.colorinterp, strict=True)
                ]
    except (RasterioError, SceneError) as error:
        raise InputError(f"{path} cannot be opened: write it again with s2fast align") from error
    return asset


def _media(suffix: str) -> dict[str, str]:
    kind = _TYPES.get(suffix.lower())
    return {"type": kind} if kind else {}


def _href(source: Source, base: Path) -> str:
    """Return the address of a scene without secrets, relative if it is on disk; empty for an array in memory."""
    if source.path is not None:
        return _relative(source.path, base)
    if source.is_held:
        return ""
    return source.name if source.zip_parts else str(source)


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _extensions(*fields: Mapping[str, Any]) -> list[str]:
    prefixes = {name.partition(":")[0] for mapping in fields for name in mapping}
    return [schema for prefix, schema in _EXTENSIONS.items() if prefix in prefixes]


def _bounds(shape: shapely.Geometry) -> tuple[float, float, float, float]:
    """Return the bounding box; of a shape that crosses the 180th meridian, west is greater than east."""
    west, south, east, north = map(float, shape.bounds)
    parts = shapely.get_parts(shape)
    if len(parts) > 1 and west == -180 and east == 180:
        west = min(float(part.bounds[0]) for part in parts if part.bounds[2] > 0)
        east = max(float(part.bounds[2]) for part in parts if part.bounds[0] < 0)
    return west, south, east, north


def _name(folder: Path) -> str:
    return identifier(folder.resolve().name)


def _collection(
    record: RunRecord, items: Sequence[Mapping[str, Any]], names: Sequence[str], folder: Path
) -> dict[str, Any]:
    boxes = np.array([item["bbox"] for item in items], np.float64)
    crossing = (boxes[:, 0] > boxes[:, 2]).any()
    west, east = (-180.0, 180.0) if crossing else (boxes[:, 0].min(), boxes[:, 2].max())
    box = [float(west), float(boxes[:, 1].min()), float(east), float(boxes[:, 3].max())]
    times = [item["properties"][name] for item in items for name in _time_names(item)]
    links = [{"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}]
    links += [{"rel": "item", "href": f"./{name}", "type": "application/geo+json"} for name in names]
    held = [item["id"] for item in items if item["properties"]["s2fast:verdict"] == SceneVerdict.REFERENCE]
    return {
        "type": "Collection",
        "stac_version": _VERSION,
        "stac_extensions": [_EXTENSIONS["processing"]],
        "id": _name(folder),
        "title": f"s2fast: {len(items)} scenes",
        "description": (
            "Scenes matched in all pairs: offsets on the ground, east and north in metres, relative to "
            f"{_datum(record)}{', which is held fixed' if held else ''}; corrected rasters have them removed"
        ),
        "license": "other",
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [[min(times), max(times)]]}},
        "providers": [{"name": "s2fast", "roles": ["processor"], "processing:software": _software(record)}],
        "links": links,
    }


def _time_names(item: Mapping[str, Any]) -> tuple[str, ...]:
    return ("datetime",) if item["properties"]["datetime"] else ("start_datetime", "end_datetime")
