"""The STAC items of a folder of fetched scenes: what the catalogue said of them, with paths in the folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from s2fast.errors import InputError
from s2fast.fetching.download import SceneFiles
from s2fast.files.replacing import replacing
from s2fast.model import Scene

ITEMS = "items.json"
"""The item collection in the folder."""


def write_items(scenes: Sequence[SceneFiles], folder: Path) -> Path:
    """Write the items of scenes, beside those that are there; return the file.

    Raises
    ------
    InputError
        The file there is no item collection, or cannot be written.
    """
    path = folder / ITEMS
    try:
        before = json.loads(path.read_text("utf-8"))["features"] if path.exists() else []
        items = {item["id"]: item for item in before}
        for files in scenes:
            href = files.target.relative_to(folder).as_posix()
            items[files.scene.scene_id] = _item(files.scene, f"./{href}")
        document = {"type": "FeatureCollection", "features": [items[name] for name in sorted(items)]}
        with replacing(path) as partial:
            partial.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: it is not the item collection that s2fast fetch writes: move it away") from error
    return path


def _item(scene: Scene, href: str) -> dict[str, Any]:
    """Return the item of a scene, which `s2fast.archive.stac_items` reads as it was."""
    baseline = f"{scene.baseline // 100:02d}.{scene.baseline % 100:02d}" if scene.baseline else None
    placed = scene.source.placed
    said: dict[str, Any] = {
        "platform": f"sentinel-2{scene.platform[2].lower()}" if scene.platform[:2] == "S2" else scene.platform,
        "grid:code": f"MGRS-{scene.tile}" if scene.tile else None,
        "eo:cloud_cover": scene.cloud_cover_pct,
        "processing:version": baseline,
        "processing:datetime": _datetime(scene.product_time),
        "processing:level": scene.level,
        "proj:code": placed and placed.crs,
        "proj:transform": placed and placed.transform,
    }
    properties = {name: value for name, value in said.items() if value not in (None, "")}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": scene.scene_id,
        "geometry": None,
        "links": [],
        "properties": {"datetime": scene.sensing_time.isoformat() if scene.sensing_time else None, **properties},
        "assets": {"visual" if scene.asset == "TCI" else scene.asset or "visual": {"href": href}},
    }


def _datetime(compact: str) -> str | None:
    """Return ``20190805T100000`` as ISO 8601; None if it is none."""
    try:
        return datetime.strptime(compact, "%Y%m%dT%H%M%S").isoformat()
    except ValueError:
        return None
