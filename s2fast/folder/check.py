"""Find damaged and missing files in a run folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from s2fast.errors import DamageError, RunFolderError
from s2fast.files.storage import Stamp
from s2fast.folder.checksums import describe_mismatch
from s2fast.folder.record import RUN_JSON, load_record
from s2fast.folder.run_folder import SCENES, RunFolder
from s2fast.folder.sealed_groups import ROOT, SEAL


def find_damage(folder: RunFolder, *, quick: bool = False) -> Iterator[DamageError]:
    """Yield an error for each damaged or missing file of a run folder.

    Parameters
    ----------
    folder
        The run folder.
    quick
        Skip the checksum of a file written before its seal file; check only that it exists and has the recorded size.

    Yields
    ------
    DamageError
        At least one per damaged file. If its seal file is removed, the next run recomputes the result.

    Raises
    ------
    RunFolderError
        The folder holds no run.
    """
    if folder.is_empty() or not (folder.job() or RUN_JSON in folder.names()):
        raise RunFolderError(f"{folder} holds no run: {RUN_JSON} is missing; name the folder of an earlier run")
    files = folder.list_files()
    for group, members in _by_group(files).items():
        yield from _group_damage(folder, group, members, quick=quick)
    for blocks in (folder.matched, folder.verified):
        yield from blocks.find_damage(files, quick=quick)
    if not quick:
        yield from _record_damage(folder)


def _by_group(files: Mapping[str, Stamp]) -> dict[str, dict[str, Stamp]]:
    """Return the files of each group of the Zarr store, by their names relative to the group."""
    found: dict[str, dict[str, Stamp]] = defaultdict(dict)
    for name, stamp in files.items():
        folders = name.split("/")
        if name.startswith(f"{SCENES}/") and len(folders) > 3:
            depth = 4 if folders[3] == "features" and len(folders) > 4 else 3
            found["/".join(folders[:depth])]["/".join(folders[depth:])] = stamp
    return found


def _group_damage(folder: RunFolder, group: str, files: Mapping[str, Stamp], *, quick: bool) -> Iterator[DamageError]:
    try:
        attributes = folder.groups.attributes(group)
    except DamageError as error:
        yield error
        return
    if "key" not in attributes:
        return  # unfinished: no reader opens it
    recorded = attributes["files"]
    arrays = {name.partition("/")[0] for name in recorded}
    for name in sorted({*recorded, *(name for name in files if name.partition("/")[0] in arrays)}):
        stamp, size = files.get(name), recorded.get(name, [None])[0]
        if quick and stamp and stamp.size == size and stamp.written <= files[SEAL].written:
            continue
        try:
            data = folder.read(f"{group}/{name}")
        except FileNotFoundError:
            data = None
        mismatch = describe_mismatch(data, recorded.get(name))
        if mismatch:
            yield folder.damaged(f"{group}/{name}", mismatch, f"{group}/{SEAL}")


def _record_damage(folder: RunFolder) -> Iterator[DamageError]:
    """Yield the damage to run.json, the tables it holds checksums of, and the groups and pairs it names."""
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
        return  # an unfinished run has recorded no tables yet
    for name, recorded in record.history.tables.items():
        try:
            folder.read_checked(name, recorded, name)
        except DamageError as error:
            yield error
    for item in record.usable:
        for group in (f"{SCENES}/{item.scene.scene_id}", f"{SCENES}/{item.scene.scene_id}/features"):
            yield from _missing(folder, group, "key")
    for blocks in (folder.matched, folder.verified):
        yield from blocks.find_missing(record.history.counts["pairs"])


def _missing(folder: RunFolder, group: str, attribute: str) -> Iterator[DamageError]:
    """Yield an error if a group is damaged, or lacks an attribute it must have."""
    try:
        if attribute not in folder.groups.attributes(group):
            yield folder.damaged(f"{group}/{SEAL}", "it is missing", f"{group}/{SEAL}")
    except DamageError as error:
        yield error
