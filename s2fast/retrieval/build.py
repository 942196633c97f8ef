"""Make an index of the keypoints of runs, or add runs to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from s2fast.errors import ConfigError, InputError, RunFolderError, caller_hint, option, setting
from s2fast.files.open_storage import open_storage
from s2fast.folder.checksums import checksum
from s2fast.folder.content_key import content_key
from s2fast.folder.lock import Lock
from s2fast.folder.record import RunRecord, load_record
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Features
from s2fast.retrieval.index import (
    FORMAT,
    INDEX_JSON,
    SEGMENT_ROWS,
    SEGMENT_SCENES,
    Contents,
    Entry,
    Made,
    Segment,
    index_call,
    read_contents,
    write_contents,
)
from s2fast.work.progress import Progress
from s2fast_kernels.features import Budget

PER_SCENE = 2_000
"""Default number of a scene's keypoints."""

_PER_CELL = 4
"""Keypoints for which a cell of the ground has room."""

_LEAST_OCTAVES = 2
"""Keypoints of fewer octaves do not bear other scales."""


def build(
    to: str, outs: Sequence[Path | str], per_scene: int = PER_SCENE, progress: Progress | None = None
) -> Contents:
    """Add the scenes of runs to an index, which is made if there is none.

    Parameters
    ----------
    to
        Folder of the index, local or in an object store.
    outs
        Run folders whose features have been extracted. Scenes that the index holds already are not read again; if a
        run has made other features of a scene, these replace the old ones.
    per_scene
        Most keypoints of a scene, spread over cells of the ground, the strongest of each cell first; 0: all.
    progress
        Shows how many scenes are done.

    Returns
    -------
    Contents
        What the index holds now.

    Raises
    ------
    ConfigError
        `per_scene` is negative.
    InputError
        The features were not made as those of the index, or no run is named.
    RunFolderError
        A folder holds no run or no features, or those by which no picture can be found (`check_made`), or `to` holds
        something else than an index.
    """
    if per_scene < 0:
        raise ConfigError(f"{option('per_scene', 'per-scene')} is {per_scene}, must be at least 0, which keeps all")
    if not outs:
        raise InputError("no run is named: an index is made of the features of run folders")
    progress = progress or Progress()
    runs = [_opened(out) for out in outs]
    folder = RunFolder(to)
    if read_contents(to) is None and not folder.is_empty():
        raise RunFolderError(f"{to} exists and is no index: name another folder with {option('to')}")
    made = _made_alike(runs, per_scene)
    check_made(made, ", ".join(folder.address for folder, _ in runs), to)
    with closing(Lock(folder)) as lock:
        lock.acquire()
        folder.sweep()
        contents = read_contents(to) or Contents(made=made)
        _check_alike(to, contents.made, made)
        todo = _missing(contents, runs)
        if not todo and contents.complete:
            progress.print_line(f"nothing to do: {to} is up to date")
            return contents
        contents.complete = False
        write_contents(to, contents)
        kept = sum(len(segment.entries) for segment in contents.segments)
        with progress.stage("index", len(todo), kept) as bar:
            for entries, features in _parts(todo, per_scene):
                contents.segments.append(write_segment(to, entries, features, per_scene))
                write_contents(to, contents)
                for _ in entries:
                    bar.advance()
        _drop_replaced(contents)
        contents.complete = True
        write_contents(to, contents)
        _sweep(to, contents)
    return contents


def _opened(out: Path | str) -> tuple[RunFolder, RunRecord]:
    folder = RunFolder(out)
    record = load_record(folder)
    if record is None:
        raise RunFolderError(f"{folder} holds no run: name the folder of an earlier run")
    for item in record.usable:
        if folder.features_key(item.scene.scene_id) is None:
            raise RunFolderError(f"{folder} has no features of {item.scene.scene_id}: run s2fast extract first")
    return folder, record


def _made_alike(runs: Sequence[tuple[RunFolder, RunRecord]], per_scene: int) -> Made:
    """Return how the features of all runs were made; raise InputError if they differ."""
    found: dict[Made, RunFolder] = {}
    for folder, record in runs:
        settings, ingest = record.config.features, record.config.ingest
        made = Made(
            detector=settings.detector,
            octaves=settings.octaves,
            layers=settings.layers,
            threshold=settings.threshold,
            upright=_are_upright(folder, record),
            contrast=ingest.contrast,
            clahe_clip=ingest.clahe_clip,
            per_scene=per_scene,
        )
        found.setdefault(made, folder)
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise InputError(f"{second} and {first} differ in {_difference(other, one)}: index them apart")
    return next(iter(found))


def _are_upright(folder: RunFolder, record: RunRecord) -> bool:
    """Return whether the keypoints of a run have no orientation, by its first scene that has keypoints."""
    angles = (folder.features(item.scene.scene_id).angle for item in record.usable)
    return not next((angle.any() for angle in angles if len(angle)), True)


def check_made(made: Made, holder: object, to: object = "INDEX") -> None:
    """Raise RunFolderError unless pictures can be found by keypoints that were made so.

    Parameters
    ----------
    made
        How they were made.
    holder
        The index or the run folders that hold them.
    to
        The index to make instead.
    """
    if made.upright:
        raise RunFolderError(
            f"{holder} holds upright keypoints, which only find pictures that are not rotated: {right_index(to)}"
        )
    if made.octaves < _LEAST_OCTAVES:
        raise RunFolderError(
            f"{holder} holds keypoints of {made.octaves} octave, which only find pictures of one scale: "
            f"{right_index(to)}"
        )


def _check_alike(to: str, before: Made, made: Made) -> None:
    if before != made:
        raise InputError(
            f"{to} was made otherwise, with {_difference(before, made)}: name another folder with {option('to')}"
        )


def _difference(one: Made, other: Made) -> str:
    fields = one.model_dump().items() - other.model_dump().items()
    return ", ".join(f"{name} = {value}" for name, value in sorted(fields))


def _missing(contents: Contents, runs: Sequence[tuple[RunFolder, RunRecord]]) -> list[tuple[RunFolder, Entry]]:
    """Return the scenes that the index does not hold with their features, ordered by tile and time."""
    known = {entry.key for segment in contents.segments for entry in segment.entries}
    contents.dropped = [key for key in contents.dropped if key in known]
    found = []
    for folder, record in runs:
        if folder.address not in contents.runs:
            contents.runs.append(folder.address)
        for item in sorted(record.usable, key=lambda item: item.scene.order):
            scene_id = item.scene.scene_id
            key = folder.features_key(scene_id)
            if key is None or key in known:
                contents.dropped = [other for other in contents.dropped if other != key]
                continue
            known.add(key)
            raster, time = item.raster, item.scene.sensing_time
            if raster.crs_wkt not in contents.crs:
                contents.crs.append(raster.crs_wkt)
            entry = Entry(
                scene_id=scene_id,
                run=contents.runs.index(folder.address),
                key=key,
                rows=0,
                tile=item.scene.tile,
                time=time.isoformat() if time else "",
                crs=contents.crs.index(raster.crs_wkt),
                transform=raster.transform,
                shape=raster.shape,
            )
            found.append((folder, entry))
    return found


def _parts(todo: Sequence[tuple[RunFolder, Entry]], per_scene: int) -> Iterator[tuple[list[Entry], list[Features]]]:
    """Read and select the keypoints of scenes; yield the scenes of one segment at a time."""
    entries: list[Entry] = []
    features: list[Features] = []
    rows = 0
    for folder, entry in todo:
        chosen = spread(folder.own_features(entry.scene_id), entry.shape, per_scene)
        if entries and (rows + len(chosen) > SEGMENT_ROWS or len(entries) == SEGMENT_SCENES):
            yield entries, features
            entries, features, rows = [], [], 0
        entries.append(entry.model_copy(update={"rows": len(chosen)}))
        features.append(chosen)
        rows += len(chosen)
    if entries:
        yield entries, features


def spread(features: Features, shape: tuple[int, int], per_scene: int) -> Features:
    """Return at most `per_scene` keypoints, the strongest of each cell of the ground first; 0: all."""
    if not per_scene or len(features) <= per_scene:
        return features
    cell_px = max(1, round((shape[0] * shape[1] * _PER_CELL / per_scene) ** 0.5))
    return features.take(Budget(per_scene, cell_px).select(features.xy, features.response, shape))


def write_segment(to: str, entries: list[Entry], features: Sequence[Features], per_scene: int) -> Segment:
    """Write the files of a segment; return what ``index.json`` says of it."""
    key = content_key("segment", FORMAT, per_scene, [entry.key for entry in entries])
    keypoints = [np.column_stack([part.xy, part.size, part.angle]) for part in features]
    files = {
        "descriptors": np.concatenate([part.descriptors for part in features]),
        "keypoints": np.concatenate(keypoints).astype(np.float32),
    }
    sums = {}
    for name, rows in files.items():
        data = rows.tobytes()
        open_storage(to).write(f"segments/{key}.{name}", data)
        sums[name] = len(data), checksum(data)
    return Segment.model_validate({"key": key, "entries": entries, "sums": sums})


def _drop_replaced(contents: Contents) -> None:
    """Mark the features of a scene of a run as replaced if the index holds newer ones."""
    latest: dict[tuple[int, str], str] = {}
    dropped = set(contents.dropped)
    for segment in contents.segments:
        for entry in segment.entries:
            if entry.key in dropped:
                continue
            before = latest.get((entry.run, entry.scene_id))
            if before is not None:
                dropped.add(before)
            latest[entry.run, entry.scene_id] = entry.key
    contents.dropped = sorted(dropped)


def _sweep(to: str, contents: Contents) -> None:
    """Remove files that an interrupted command has left."""
    storage = open_storage(to)
    named = {f"{segment.key}.{name}" for segment in contents.segments for name in segment.sums}
    for name in storage.names("segments"):
        if name not in named:
            storage.remove(f"segments/{name}")


def right_index(index: object) -> str:
    """Return what makes an index in which pictures can be found."""
    upright = setting("features.upright", "false")
    run = caller_hint(f"s2fast run ... {upright} --out OUT", f's2fast.run(..., out="OUT", {upright})')
    return f"{run}, then {index_call(index)}"


__all__ = ["INDEX_JSON", "PER_SCENE", "build", "check_made", "right_index", "spread", "write_segment"]
