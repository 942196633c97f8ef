"""Where the tiles of scenes on servers lie in their files, kept so that a later run asks for no headers."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, replace

from s2fast.folder.checksums import sealed, unsealed
from s2fast.folder.record import SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.raster.codestream import Codestream, Parts

_FOLDER = "tile_indexes"


def keep_index(folder: RunFolder, item: SceneInput, index: tuple[Codestream, Parts]) -> None:
    """Write the main header and the tile-parts of a scene's file."""
    stream, parts = index
    header = base64.b64encode(stream.header).decode()
    # The tile-parts hold what the lengths say.
    fields = {**asdict(replace(stream, header=b"", lengths=())), "header": header}
    places = [[tile, *place] for tile, of_tile in parts.items() for place in of_tile]
    kept = {"identity": item.identity, "stream": fields, "parts": places}
    folder.write(_name(item), json.dumps(sealed(kept)).encode())


def kept_index(folder: RunFolder, item: SceneInput) -> tuple[Codestream, Parts] | None:
    """Return what `keep_index` has written for this version of the scene's file; None if there is nothing valid."""
    try:
        kept = unsealed(json.loads(folder.read(_name(item))))
        if kept["identity"] != item.identity:
            return None
        fields = kept["stream"]
        for name in ("shape", "tile_shape", "lengths"):
            fields[name] = tuple(fields[name])
        stream = Codestream(**{**fields, "header": base64.b64decode(fields["header"])})
        parts = Parts()
        for tile, offset, length in kept["parts"]:
            parts.setdefault(tile, []).append((offset, length))
    except (FileNotFoundError, LookupError, TypeError, ValueError):
        return None
    return stream, parts


def _name(item: SceneInput) -> str:
    return f"{_FOLDER}/{item.scene.scene_id}.json"
