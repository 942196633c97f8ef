"""Find what of a run folder is not as it was written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from s2fast.errors import DamageError, RunFolderError
from s2fast.files.storage import Stamp
from s2fast.folder.checksums import fault
from s2fast.folder.record import RUN_JSON, load_record
from s2fast.folder.run_folder import ROOT, SCENES, SEAL, RunFolder


def damage(folder: RunFolder, *, quick: bool = False) -> Iterator[DamageError]:
    """Read a run folder and yield what is not as it was written.

    Parameters
    ----------
    folder
        The run folder.
    quick
        Read only files that are small, or were written after the file that vouches for them; of the others check
        that they are there and have their size.

    Yields
    ------
    DamageError
        At least one per damaged file; without the file it names as its seal, a run computes the result again.

    Raises
    ------
    RunFolderError
        There is no run.
    """
    if folder.is_empty() or not (folder.job() or RUN_JSON in folder.names()):
        raise RunFolderError(f"{folder} holds no run: no {RUN_JSON} there")
    stamps = folder.stamps()
    for group, files in _groups(stamps).items():
        yield from _group_damage(folder, group, files, quick=quick)
    for blocks in (folder.matched, folder.verified):
        yield from blocks.damage(stamps, quick=quick)
    if not quick:
        yield from _record_damage(folder)


def _groups(stamps: Mapping[str, Stamp]) -> dict[str, dict[str, Stamp]]:
    """Sort the files of the Zarr store by the group that vouches for them, by name below it."""
    found: dict[str, dict[str, Stamp]] = defaultdict(dict)
    for name, stamp in stamps.items():
        folders = name.split("/")
        if name.startswith(f"{SCENES}/") and len(folders) > 3:
            depth = 4 if folders[3] == "features" and len(folders) > 4 else 3
            found["/".join(folders[:depth])]["/".join(folders[depth:])] = stamp
    return found


def _group_damage(folder: RunFolder, group: str, files: Mapping[str, Stamp], *, quick: bool) -> Iterator[DamageError]:
    try:
        attributes = folder.attributes(group)
    except DamageError as error:
        yield error
        return
    if "key" not in attributes:
        return  # never finished: nobody reads it
    noted = attributes["files"]
    arrays = {name.partition("/")[0] for name in noted}
    for name in sorted({*noted, *(name for name in files if name.partition("/")[0] in arrays)}):
        stamp, size = files.get(name), noted.get(name, [None])[0]
        if quick and stamp and stamp.size == size and stamp.written <= files[SEAL].written:
            continue
        try:
            data = folder.read(f"{group}/{name}")
        except FileNotFoundError:
            data = None
        wrong = fault(data, noted.get(name))
        if wrong:
            yield folder.damaged(f"{group}/{name}", wrong, f"{group}/{SEAL}")


def _record_damage(folder: RunFolder) -> Iterator[DamageError]:
    """Yield what is damaged of the record and of what it vouches for, and what it names and is not there."""
    for group in (ROOT, SCENES):
        yield from _missing(folder, group, "job")
    try:
        record = load_record(folder)
    except DamageError as error:
        yield error
        return
    if record is None:
        yield folder.damaged(RUN_JSON, "it is missing", RUN_JSON)
    if record is None or not record.history.tables_key:
        return  # what a run that has not ended wrote vouches for itself
    for name, noted in record.history.tables.items():
        try:
            folder.read_checked(name, noted, name)
        except DamageError as error:
            yield error
    for item in record.usable:
        for group in (f"{SCENES}/{item.scene.scene_id}", f"{SCENES}/{item.scene.scene_id}/features"):
            yield from _missing(folder, group, "key")
    for blocks in (folder.matched, folder.verified):
        yield from blocks.missing(record.history.counts["pairs"])


def _missing(folder: RunFolder, group: str, attribute: str) -> Iterator[DamageError]:
    """Yield what is wrong with a group that must be there and have an attribute."""
    try:
        if attribute not in folder.attributes(group):
            yield folder.damaged(f"{group}/{SEAL}", "it is missing", f"{group}/{SEAL}")
    except DamageError as error:
        yield error
