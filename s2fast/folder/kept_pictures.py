"""Small pictures of scenes, kept so that a later report decodes no file."""

from __future__ import annotations

import json
from typing import Any

from s2fast.folder.checksums import sealed, unsealed
from s2fast.folder.run_folder import RunFolder

_FOLDER = "thumbnails"


def keep_pictures(folder: RunFolder, scene_id: str, key: str, pictures: dict[str, Any]) -> None:
    """Write a scene's pictures, a JSON value, under the content key of its tile."""
    folder.write(_name(scene_id), json.dumps(sealed({"key": key, "pictures": pictures})).encode())


def kept_pictures(folder: RunFolder, scene_id: str, key: str) -> dict[str, Any] | None:
    """Return what `keep_pictures` has written for this tile; None if there is nothing valid."""
    try:
        kept = unsealed(json.loads(folder.read(_name(scene_id))))
        pictures: dict[str, Any] | None = kept["pictures"] if kept["key"] == key else None
    except (FileNotFoundError, LookupError, ValueError):
        return None
    return pictures


def _name(scene_id: str) -> str:
    return f"{_FOLDER}/{scene_id}.json"
