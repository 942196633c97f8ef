"""The whole job: find the scenes, check the regions, run the stages one after another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from s2fast.archive.find import find_scenes
from s2fast.archive.identity import identity
from s2fast.config import Config
from s2fast.errors import DamageError, InputError, RunFolderError, SceneError
from s2fast.files.source import Source
from s2fast.folder.check import damage
from s2fast.folder.lock import Lock
from s2fast.folder.log import RECORDED, noticed
from s2fast.folder.record import RUN_JSON, RunRecord, SceneInput, StageRecord, load_record
from s2fast.folder.run_folder import RunFolder
from s2fast.raster.reader import open_raster
from s2fast.regions.check import check_regions
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import listed
from s2fast.stages import extract, ingest, match, report, verify
from s2fast.stages.result import StageResult
from s2fast.work.executors import Workplace, available_cores, open_workplace
from s2fast.work.progress import Progress
from s2fast_kernels import akaze
from s2fast_kernels.backends import resolve

log = logging.getLogger(__name__)

STAGES: Mapping[str, Callable[..., StageResult]] = {
    "ingest": ingest.run,
    "extract": extract.run,
    "match": match.run,
    "verify": verify.run,
    "report": report.run,
}
"""In the order they run; each reads what the one before wrote."""

BUDGETS: Mapping[str, Callable[[RunRecord, RunFolder, int], None]] = {
    "ingest": ingest.check_budget,
    "extract": extract.check_budget,
}
"""Stages whose memory is known from the scenes' headers: they are refused before anything is read."""


def run_stages(
    config: Config,
    scenes: Sequence[Path | str],
    regions: Path | str | None,
    out: Path | str,
    *,
    stages: Sequence[str] = tuple(STAGES),
    workers: int = 1,
    scheduler: str | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Run stages over an archive; what is already there under the same settings is kept.

    Parameters
    ----------
    config
        The settings.
    scenes
        Folders or files with scenes.
    regions
        File of polygons; None: the whole scenes count.
    out
        The run folder, new or of the same job.
    stages
        Names from `STAGES`.
    workers, scheduler
        Where work runs; see `s2fast.work.executors.open_workplace`.
    strict
        Stop at the first scene or polygon that cannot be used, instead of leaving it out.
    progress
        Where to show progress; None: nowhere.

    Returns
    -------
    RunRecord
        As written to run.json; ``problems`` names the scenes left out.

    Raises
    ------
    S2FastError
        Something asked for cannot be used; nothing is written before the inputs are checked.
    """
    progress = progress or Progress()
    folder = RunFolder(out)
    with noticed() as told, ExitStack() as held:
        planned = plan(config, scenes, regions, strict=strict)
        _earlier(planned, folder)  # refused before anything is written
        lock = held.enter_context(closing(Lock(folder)))
        workplace = held.enter_context(open_workplace(workers, scheduler, config.compute.threads))
        lock.acquire()
        folder.sweep()
        before = _earlier(planned, folder)
        if before is None and not folder.is_empty():
            log.warning("%s/%s is lost or damaged: it is written anew", folder, RUN_JSON)
        record = _continued(planned, before, reads="ingest" in stages)
        record.noticed = told
        for name in filter(BUDGETS.get, stages):
            BUDGETS[name](record, folder, workplace.threads or available_cores())
        # The record comes first: a folder with anything in it but no record is not ours to go on with.
        record.save(folder)
        folder.create(record.job)
        for error in list(damage(folder, quick=True)):
            _computed_again(error, folder)
        changed = _run_all(stages, record, folder, workplace, progress, lock, strict=strict)
    if not changed:
        progress.say(f"nothing to do: {folder} is up to date")
    return record


def _run_all(
    stages: Sequence[str],
    record: RunRecord,
    folder: RunFolder,
    workplace: Workplace,
    progress: Progress,
    lock: Lock,
    *,
    strict: bool,
) -> bool:
    """Run stages, anew from the first whenever one has met something damaged; True if they changed anything."""
    changed = False
    met: set[str] = set()
    while True:
        try:
            for name in stages:
                lock.confirm()
                changed |= _run_stage(name, record, folder, workplace, progress, strict=strict)
                record.save(folder)
        except DamageError as error:
            if error.seal in met:
                raise
            met.add(error.seal)
            _computed_again(error, folder)
        else:
            return changed


def _computed_again(error: DamageError, folder: RunFolder) -> None:
    """Discard what is damaged, so that its stage computes it again."""
    log.warning("%s: it is computed again", error.finding)
    folder.discard(error)


def plan(config: Config, places: Sequence[Path | str], regions: Path | str | None, *, strict: bool) -> RunRecord:
    """Check all inputs and say what the run works on; writes nothing."""
    resolve(akaze.BACKENDS, config.features.backend)
    resolve(match.backends(config.matching), config.matching.backend)
    if not places:
        raise InputError("no scenes asked for: name folders or files with --scenes")
    # Workers need not share our working directory.
    found = find_scenes([Source.of(place).absolute() for place in places])
    superseded: dict[str, list[str]] = {}
    for product in found.replaced:
        log.warning("%s", product, extra=RECORDED)
        superseded.setdefault(product.by.scene_id, []).append(str(product))
    inputs, problems = [], {}
    for name in found.unnamable:
        problems[name] = "its name is no UTF-8: rename it"
        if strict:
            raise InputError(f"{name}: {problems[name]}")
        log.warning("%s skipped: %s", name, problems[name], extra=RECORDED)
    for scene in found.scenes:
        try:
            with open_raster(scene.source, config.ingest) as reader:
                inputs.append(SceneInput(scene=scene, raster=reader.raster, identity=identity(scene.source)))
        except SceneError as error:
            if strict:
                raise
            log.warning("%s skipped: %s", scene.scene_id, error, extra=RECORDED)
            problems[scene.scene_id] = str(error)
    if not inputs:
        raise InputError(
            f"none of the {len(problems)} scenes found can be used; first: {next(iter(problems.values()))}"
        )
    region_file, region_rows = None if regions is None else RegionFile.at(regions), None
    if region_file is not None and config.regions.mode != "none":
        region_rows = check_regions(region_file, config.regions, [item.raster for item in inputs])
        if strict and region_rows.dropped:
            raise InputError(f"{region_file}: rows that cannot be used: {listed(region_rows.dropped)}")
    return RunRecord(
        config=config,
        places=sorted(Source.of(place).resolved().name for place in places),
        regions=region_file,
        region_rows=region_rows,
        scenes=inputs,
        superseded=superseded,
        problems=problems,
    )


def _earlier(record: RunRecord, folder: RunFolder) -> RunRecord | None:
    """Return what an earlier run of the same job noted, None if nothing; refuse another job's folder."""
    try:
        before = load_record(folder)
    except DamageError as error:
        if folder.job() != record.job:
            raise RunFolderError(f"{error.finding}: name another --out") from error
        return None
    if before is None:
        if not folder.is_empty() and folder.job() != record.job:
            raise RunFolderError(f"{folder} exists and is no run folder: name another --out")
        return None
    if before.job != record.job:
        raise RunFolderError(
            f"{folder} holds another job's run, of --scenes {' '.join(before.places)}"
            f"{f' --regions {before.regions}' if before.regions else ''}: name another --out"
        )
    return before


def _continued(record: RunRecord, before: RunRecord | None, *, reads: bool) -> RunRecord:
    """Take over what an earlier run of the same job noted.

    Scenes that could not be read stay left out, unless this run `reads` them anew.
    """
    if before is None:
        return record
    found = {item.scene.scene_id for item in record.scenes}
    gone = {item.scene.scene_id: item.scene.source.name for item in before.usable if item.scene.scene_id not in found}
    if reads:
        problems = {}
        for name, path in gone.items():
            log.warning("%s: %s is gone; the run goes on without it", name, path)
    else:
        told = "is gone since it was ingested: run ingest again, with or without it"
        problems = before.problems | {name: f"{path} {told}" for name, path in gone.items()}
    record = record.model_copy(
        update={
            "stages": before.stages,
            "counts": before.counts,
            "null_rate": before.null_rate,
            "warnings": before.warnings,
            "problems": problems | record.problems,
        }
    )
    # Tables of other settings or scenes are not this run's, however far it gets.
    return record.model_copy(
        update={
            "tables_key": before.tables_key if before.tables_key == report.tables_key(record) else "",
            "tables": before.tables,
        }
    )


def _run_stage(
    name: str, record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, strict: bool
) -> bool:
    """Run one stage and note how it went; True if it changed anything."""
    start = time.perf_counter()
    result = STAGES[name](record, folder, workplace, progress, strict=strict)
    for scene_id, problem in result.problems.items():
        log.warning("%s skipped: %s", scene_id, problem, extra=RECORDED)
    record.problems.update(result.problems)
    if not result.done and name in record.stages:
        return bool(result.problems)
    record.stages[name] = StageRecord(
        seconds=round(time.perf_counter() - start, 3), done=result.done, kept=result.kept, backend=result.backend
    )
    return bool(result.done or result.problems)
