"""Fetch the scenes of a catalogue into a folder that a run takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from s2fast.archive.find import find_scenes
from s2fast.archive.listing import Looking
from s2fast.config import Ingest
from s2fast.errors import InputError, option
from s2fast.fetching.download import SceneFiles, download, megabytes, plan
from s2fast.fetching.items import write_items
from s2fast.fetching.query import Wanted
from s2fast.files.legible import counted
from s2fast.files.source import Source
from s2fast.files.suffixes import check_on_disk
from s2fast.work.progress import Progress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched, or would be."""

    items: Path | None
    """Item collection of the folder, which a run takes as scenes; None if no scene is complete, or nothing was written.
    """
    files: tuple[SceneFiles, ...]
    """The wanted scenes, and which of their files were not there before, in the archive's order."""
    left_out: dict[str, str]
    """Why other scenes cannot be had, by id."""

    @property
    def scene_ids(self) -> list[str]:
        """Ids of the wanted scenes without those that are left out."""
        return [files.scene.scene_id for files in self.files if files.scene.scene_id not in self.left_out]

    def scenes(self) -> pd.DataFrame:
        """Return one row per wanted scene: scene_id, cloud_pct, megabytes that were not there before, and file."""
        import pandas as pd

        rows = [
            (files.scene.scene_id, files.scene.cloud_cover_pct, megabytes([files]), str(files.target))
            for files in self.files
        ]
        table = pd.DataFrame(rows, columns=["scene_id", "cloud_pct", "megabytes", "file"])
        return table.astype({"cloud_pct": "float64", "megabytes": "int64"})


def fetch(
    place: Path | str, wanted: Wanted, to: Path | str | None, settings: Ingest, progress: Progress, *, dry_run: bool
) -> Fetched:
    """Download the wanted scenes of a place; files that are in the folder are not requested again.

    Parameters
    ----------
    place
        STAC document, search, or folder in a bucket.
    wanted
        Which of its scenes.
    to
        Folder for the scenes, new or begun; None only with `dry_run`.
    settings
        Which asset and mask a run would use, and which addresses may be requested.
    progress
        Shows how many megabytes are done.
    dry_run
        Whether to write nothing.

    Raises
    ------
    InputError
        The folder is missing or cannot be written, or no scene is wanted.
    """
    if to is None and not dry_run:
        listing = option("dry_run", "dry-run")
        raise InputError(f"the folder is missing: name it with {option('to')}, or list the scenes with {listing}")
    if to is not None:
        check_on_disk(to)
    source = Source.of(place)
    band = settings.bands[0] if settings.bands else ""
    found = find_scenes([source.trusting((source.address, *settings.trust))], looking=Looking(settings.asset, band))
    scenes = wanted.of(found.scenes)
    if not scenes:
        raise InputError(f"{source}: none of {counted(len(found.scenes), 'scene')} there is wanted")
    folder = Path(to or "ARCHIVE")
    planned, failed = plan(scenes, folder, settings)
    failed |= found.left_out
    if dry_run:
        return Fetched(None, tuple(planned), failed)
    failed |= download(planned, folder, progress)
    complete = [files for files in planned if files.scene.scene_id not in failed]
    return Fetched(write_items(complete, folder) if complete else None, tuple(planned), failed)
