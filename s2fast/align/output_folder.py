"""The folder of corrected rasters: what is written appears whole, and nothing else is replaced or removed."""

from __future__ import annotations

import glob
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd

from s2fast.align.output import Form
from s2fast.errors import InputError, option
from s2fast.files.replacing import check_writable, remove_abandoned, replacing
from s2fast.files.suffixes import check_on_disk
from s2fast.raster.allowed import stored_tags

KEY = "S2FAST_KEY"
"""Metadata item of an output: the content key of everything that it depends on."""


SCENE = "S2FAST_SCENE"
"""Metadata item of an output: the id of its scene."""

TABLE = "alignment"
"""Stem of the names of the tables that list the outputs."""

FIELD = "_displacement.tif"
"""End of the name of a file that holds a displacement field, see `s2fast.align.local.field_raster`."""

log = logging.getLogger(__name__)


def tags_of(path: Path) -> Mapping[str, str]:
    """Return the metadata of an output; empty if the file does not exist.

    Of a damaged file that an earlier call has written, by the table in its folder, only the scene is known.

    Raises
    ------
    InputError
        The file is not an output.
    """
    if not path.exists():
        return {}
    tags = stored_tags(path)
    if tags is None and (scene_id := _written_for(path)):
        log.warning("%s is damaged: it is replaced, or removed if its scene is left out", path)
        return {SCENE: scene_id}
    if tags is None:
        raise InputError(
            f"{path} exists and is no raster, or a damaged one: remove it, or choose another folder, {option('to')}"
        )
    if KEY not in tags:
        raise InputError(f"{path} exists and was not written by s2fast align: choose another folder, {option('to')}")
    return tags


def _written_for(path: Path) -> str:
    """Return the scene for which an earlier call has written a file; empty if none has."""
    try:
        table = pd.read_csv(path.with_name(f"{TABLE}.csv"), keep_default_na=False, dtype=str)
        for scene_id, files in zip(table["scene_id"], table["files"], strict=True):
            if path.name in [*files.split(), *([f"{scene_id}{FIELD}"] if files else [])]:
                return str(scene_id)
    except (OSError, ValueError, KeyError):
        pass  # there is no such table
    return ""


def remove_outputs(folder: Path, scene_id: str) -> None:
    """Remove outputs of a scene that an earlier call wrote and that would now be wrong."""
    for path in folder.glob(f"{glob.escape(scene_id)}*"):
        with suppress(InputError):
            # The names of other scenes may begin alike.
            if path.suffix in {form.suffix for form in Form} and tags_of(path)[SCENE] == scene_id:
                path.unlink()


def open_folder(to: Path | str) -> Path:
    """Create the output folder, check that it can be written, and remove what killed processes left."""
    check_on_disk(to)
    folder = Path(to)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        check_writable(folder)
    except OSError as error:
        raise InputError(
            f"cannot write to the folder {folder}: {error.strerror}; choose another {option('to')}"
        ) from error
    return folder


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically, unless it holds these bytes already."""
    try:
        if path.exists() and path.read_bytes() == data:
            return
        with replacing(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
