"""The folder of corrected rasters: what is written appears whole, and nothing else is replaced or removed."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from s2fast.align.output import Form
from s2fast.errors import InputError, option
from s2fast.files.replacing import check_writable, remove_abandoned, replacing
from s2fast.raster.allowed import stored_tags

KEY = "S2FAST_KEY"
"""Metadata item of an output: the content key of everything that it depends on."""


def tags_of(path: Path) -> Mapping[str, str]:
    """Return the metadata of an output; empty if the file does not exist.

    Raises
    ------
    InputError
        The file is not an output.
    """
    if not path.exists():
        return {}
    tags = stored_tags(path)
    if KEY not in tags:
        raise InputError(f"{path} exists and was not written by s2fast align: choose another folder, {option('to')}")
    return tags


def remove_outputs(folder: Path, scene_id: str) -> None:
    """Remove outputs of a scene that an earlier call wrote and that would now be wrong."""
    for path in folder.glob(f"{glob.escape(scene_id)}*"):
        with suppress(InputError):
            # The names of other scenes may begin alike.
            if path.suffix in {form.suffix for form in Form} and tags_of(path)["S2FAST_SCENE"] == scene_id:
                path.unlink()


def open_folder(to: Path | str) -> Path:
    """Create the output folder, check that it can be written, and remove what killed processes left."""
    if "://" in str(to) or str(to).startswith("/vsi"):
        raise InputError(f"the folder {to} is not on disk: align writes to a local folder")
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
    if path.exists() and path.read_bytes() == data:
        return
    try:
        with replacing(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
