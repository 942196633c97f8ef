"""What a run would do and take, from the scenes' headers and what the run folder holds; nothing is written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s2fast.errors import DamageError
from s2fast.files.legible import counted
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.raster.windows import reduced_shape
from s2fast.report.outputs import FILES
from s2fast.stages import duration, extract, ingest, keys, verify
from s2fast.stages.blocks_at_once import block_bytes, blocks_at_once
from s2fast.stages.levels import levels_of
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import Pair, selected_pairs
from s2fast.work.progress import duration_text
from s2fast_kernels.machine import MIB, available_cores

_FEATURE_BYTES = 120
"""Compressed size of a keypoint with its descriptor in the run folder."""

_PIXEL_BYTES = 0.8
"""Compressed size of a stored pixel: grey and mask."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do."""

    out: str
    """The run folder."""
    tiles: Mapping[str, int]
    """Number of scenes of each tile."""
    todo: Mapping[str, tuple[int, int]]
    """Units to compute and units up to date, by stage; of pairs at most so many."""
    megapixels: float
    """Pixels of the scenes to read [Mpx]; of masked scenes, only the blocks that polygons meet are read."""
    seconds: float
    """Rough CPU time [s]."""
    memory_mb: int
    """Predicted peak of a unit of work, beyond the idle process [MiB]."""
    budget_mb: int
    """``compute.budget_mb``."""
    workers: int
    """Number of workers."""
    stored_mb: float
    """Rough size of new results [MB]."""
    problems: Mapping[str, str]
    """Scenes that would be left out, and why."""
    polygons: int
    """Rows of the regions file that would be left out."""

    def lines(self) -> list[str]:
        """Return the forecast as text."""
        scenes = sum(self.tiles.values())
        of_tiles = ", ".join(f"{number} of {tile or 'no tile'}" for tile, number in sorted(self.tiles.items()))
        found = [f"{counted(scenes, 'scene')}: {of_tiles}; run folder {self.out}"]
        for stage, (todo, kept) in self.todo.items():
            unit = {"match": "pair", "verify": "pair", "report": "file"}.get(stage, "scene")
            up_to_date = f", {kept} up to date" if kept else ""
            found.append(f"{stage:8} {counted(todo, unit) if todo else 'nothing'} to do{up_to_date}")
        if any(todo for todo, _ in self.todo.values()):
            time = f"time     about {duration_text(self.seconds)} of one core"
            cores = available_cores()
            found.append(time + (f", {duration_text(self.seconds / cores)} on {cores}" if cores > 1 else ""))
            memory = f"memory   at most {self.memory_mb} MiB per worker (compute.budget_mb = {self.budget_mb})"
            found.append(memory + (f", {self.workers} workers" if self.workers > 1 else ""))
            if self.megapixels:
                found.append(f"reading  {self.megapixels:,.0f} megapixels, fewer where polygons leave blocks out")
            if self.stored_mb >= 1:
                found.append(f"disk     about {self.stored_mb:,.0f} MB of new results")
        found += [f"left out {name}: {reason}" for name, reason in self.problems.items()]
        return [*found, "dry run: nothing was written"]


def forecast(record: RunRecord, folder: RunFolder, stages: Sequence[str], workers: int, threads: int) -> Forecast:
    """Return what stages would do.

    Parameters
    ----------
    record
        The plan of the run, with the history of earlier runs in the folder.
    folder
        The run folder, which need not exist.
    stages
        Names of stages.
    workers, threads
        Number of workers, and of threads of each.
    """
    config, wanted = record.config, keys.features_keys(record)
    levels = levels_of(record.usable, config)
    to_read, to_extract = _scenes_to_do(record, folder, wanted)
    done = {"ingest": len(to_read), "extract": len(to_extract), **_pairs_to_do(record, folder, wanted)}
    scenes, pairs = len(record.usable), len(planned_pairs(record, folder))
    whole = {"ingest": scenes, "extract": scenes, "match": pairs, "verify": pairs}
    todo = {name: (done[name], whole[name] - done[name]) for name in stages if name in whole}
    if "report" in stages:
        stale = not record.history.tables_key or any(number for number, _ in todo.values())
        todo["report"] = (len(FILES), 0) if stale else (0, len(FILES))
    work = duration.Work(
        scenes=record.usable,
        read=to_read if "ingest" in stages else (),
        extract=to_extract if "extract" in stages else (),
        match=todo.get("match", (0, 0))[0],
        verify=todo.get("verify", (0, 0))[0],
        report=record.usable if todo.get("report", (0, 0))[0] else (),
        levels=levels,
    )
    peaks = [
        *(ingest.predicted_bytes(item, record, threads) for item in to_read if "ingest" in stages),
        *(
            extract.predicted_bytes(item, config, threads, levels.get(str(item), ()))
            for item in to_extract
            if "extract" in stages
        ),
    ]
    if workers == 1 and "extract" in stages:
        units = [ingest.Unit(item, wanted[str(item)], levels.get(str(item), ())) for item in to_read]
        several = [extract.at_once(to_extract, config, threads, levels)]
        if "ingest" in stages:
            several += [ingest.scenes_ahead(units, record, threads), ingest.at_once(units, record, threads)]
        peaks += [needed for _, needed in several]
    most = config.features.max_per_scene
    grids = {str(item): 1 + len(levels.get(str(item), ())) for item in record.usable}
    if most and done["match"] and "match" in stages:
        held = most * max(grids.values(), default=1)
        keypoints, rule = [held] * scenes, MatchingRule.of(config.matching, config.compute.device)
        at_once = blocks_at_once(keypoints, rule, config.compute, threads) if workers == 1 else 1
        peaks.append(min(config.compute.budget_mb * MIB, at_once * block_bytes(keypoints)))
    pixels = {str(item): math.prod(reduced_shape(item.raster.shape, config.ingest.reduction)) for item in to_read}
    stored = (_PIXEL_BYTES * sum(pixels.values()) if config.output.keep_pixels else 0) + (
        _FEATURE_BYTES * most * sum(grids[str(item)] for item in to_extract)
    )
    return Forecast(
        out=folder.address,
        tiles=Counter(item.scene.tile for item in record.usable),
        todo=todo,
        megapixels=sum(math.prod(item.raster.shape) for item in to_read) / 1e6,
        seconds=work.seconds(config),
        memory_mb=max(peaks, default=0) // MIB,
        budget_mb=config.compute.budget_mb,
        workers=workers,
        stored_mb=stored / 1e6,
        problems=record.history.problems,
        polygons=record.found.polygons_dropped,
    )


def warn_of_days(record: RunRecord, folder: RunFolder) -> None:
    """Warn if the scenes that a run has to read and extract may take more than a day; pairs are not counted."""
    read, extracted = _scenes_to_do(record, folder, keys.features_keys(record))
    work = duration.Work(read=read, extract=extracted, levels=levels_of(record.usable, record.config))
    duration.warn_of_days(work.seconds(record.config))


def _scenes_to_do(
    record: RunRecord, folder: RunFolder, features: Mapping[str, str]
) -> tuple[list[SceneInput], list[SceneInput]]:
    """Return the scenes to read, and those to extract features of; damaged ones are computed again."""
    read, extracted = [], []
    for item in record.usable:
        try:
            kept = ingest.is_up_to_date(item, record, folder, features)
            found = folder.features_key(item.scene.scene_id) == features[str(item)]
        except DamageError:
            kept = found = False
        if not kept:
            read.append(item)
        if not found:
            extracted.append(item)
    return read, extracted


def planned_pairs(record: RunRecord, folder: RunFolder) -> list[tuple[str, str]]:
    """Return the pairs that a run would compare, without looking at their ground or likeness."""
    settings = record.config.matching
    if settings.pairs == "similar":
        names = [item.scene.scene_id for item in record.usable]
        return [pair for step in range(1, settings.similar + 1) for pair in zip(names, names[step:], strict=False)]
    if settings.pairs == "overlapping":
        settings = settings.model_copy(update={"pairs": "all"})
    return selected_pairs([item.scene.scene_id for item in record.usable], settings, folder.placement, record.reference)


def _pairs_to_do(record: RunRecord, folder: RunFolder, features: Mapping[str, str]) -> dict[str, int]:
    """Return the number of pairs without a result under their key, by stage."""
    config, pairs = record.config, planned_pairs(record, folder)
    stored = {key for block in folder.matched.complete_keys(with_matches=True).values() for key in block}
    if not stored:
        return {"match": len(pairs), "verify": len(pairs)}
    judged = [Pair(query, train, keys.verdict_key(features[query], features[train], config)) for query, train in pairs]
    return {
        "match": sum(keys.pair_key(features[query], features[train], config) not in stored for query, train in pairs),
        "verify": len(verify.missing_verdicts(judged, config, folder)),
    }
