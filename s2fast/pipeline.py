"""The pipeline: run the stages in order, in a new run folder or in one that an earlier run of the same job left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial

from s2fast import detectors
from s2fast.config import Config
from s2fast.errors import DamageError, InputError, RunFolderError, SceneError, option
from s2fast.folder.check import find_damage
from s2fast.folder.job import JobInputs
from s2fast.folder.lock import Lock
from s2fast.folder.log import RECORDED, collected_warnings
from s2fast.folder.record import RUN_JSON, RunRecord, SceneInput, StageRecord, load_record
from s2fast.folder.run_folder import RunFolder
from s2fast.planning import Job as Job  # the performance check imports it from here, as older revisions have it here
from s2fast.planning import plan
from s2fast.report.thumbnails import drawn_ahead
from s2fast.stages import extract, ingest, keys, match, report, verify
from s2fast.stages.forecast import Forecast, warn_of_days
from s2fast.stages.forecast import forecast as predict
from s2fast.stages.local_workers import workers_that_pay
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import check_budget, checked_features
from s2fast.stages.result import StageResult
from s2fast.work.compilation import EXHAUSTIVE_MODULES, MODULES, begin_compiling
from s2fast.work.executors import Workplace, open_workplace
from s2fast.work.progress import Progress
from s2fast_kernels.machine import available_cores

log = logging.getLogger(__name__)

Stage = Callable[[RunRecord, RunFolder, Workplace, Progress], StageResult]

STAGES: Mapping[str, Stage] = {
    "ingest": ingest.run,
    "extract": extract.run,
    "match": match.run,
    "verify": verify.run,
    "report": report.run,
}
"""The stages in the order they run; each reads the output of earlier ones."""

REQUIRED: Mapping[str, Callable[[RunRecord, RunFolder], object]] = {
    "extract": extract.check_inputs,
    "match": checked_features,
    "verify": verify.check_inputs,
    "report": report.check_inputs,
}
"""Checks of the results of earlier stages that a stage reads; they raise an error that names the stage to run first."""

BUDGETS: Mapping[str, Callable[[RunRecord, RunFolder, int], None]] = {
    "ingest": ingest.check_budget,
    "extract": extract.check_budget,
    "match": check_budget,
}
"""Checks of the memory that stages take for what is known before the run: the scenes' headers, and stored features."""

_COMPILED_BESIDE_TORCH = (
    *(f"s2fast_kernels.akaze.numba_{name}" for name in ("contrast", "masks", "suppress")),
    "s2fast.image.compiled_outlines",
)
"""Compiled modules that an extraction by AKAZE's torch and Triton backends calls."""


def run_stages(
    job: Job,
    *,
    stages: Sequence[str] = tuple(STAGES),
    workers: int | None = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> RunRecord:
    """Run stages over an archive; reuse cached results of the same settings.

    Parameters
    ----------
    job
        Settings, inputs and run folder.
    stages
        Names from `STAGES`.
    workers, scheduler
        Options of the executor; see `s2fast.work.executors.open_workplace`. Without a number of workers, there are as
        many as pay; see `workers_that_pay`.
    progress
        Progress display; None: show nothing.

    Returns
    -------
    RunRecord
        The content of run.json; ``history.problems`` names the scenes left out.

    Raises
    ------
    S2FastError
        A setting, an input or the run folder cannot be used. Nothing is written before the inputs are checked.
    """
    progress = progress or Progress()
    folder = RunFolder(job.out)
    with collected_warnings() as warnings, ExitStack() as resources:
        planned = plan(job, _known_headers(job, folder))
        _load_earlier(planned, folder)  # raises an error for another job's folder before anything is written
        if workers is None:
            workers = 1 if scheduler else workers_that_pay(planned, folder, stages)
        lock = resources.enter_context(closing(Lock(folder)))
        workplace = resources.enter_context(open_workplace(workers, scheduler, job.config.compute.threads))
        lock.acquire()
        folder.sweep()
        before = _load_earlier(planned, folder)
        if before is None and not folder.is_empty():
            log.warning("%s/%s is missing or damaged: it is recreated", folder, RUN_JSON)
        record = _continue_run(planned, before, ingests="ingest" in stages)
        record.history.noticed = warnings
        if "ingest" in stages:
            warn_of_days(record, folder)
        if not folder.is_empty():
            for damage in list(find_damage(folder, quick=True)):
                _discard(damage, folder)
        # A stage that cannot begin leaves the record of a finished run, and with it the run's results.
        _check_stages(stages, record, folder, workplace.threads or available_cores())
        # The record is written first, because a folder with other files but no record is refused.
        record.save(folder)
        folder.create(record.asked.inputs.model_dump())
        if not record.history.tables_key:
            resources.callback(begin_compiling(workplace, progress, _compiled_modules(job.config)))
        changed = _run_all(stages, record, folder, workplace, progress, lock)
    if not changed:
        progress.print_line(f"nothing to do: {folder} is up to date")
    return record


def forecast(job: Job, *, stages: Sequence[str] = tuple(STAGES), workers: int | None = 1) -> Forecast:
    """Check all inputs, and return what `run_stages` would do with so many workers; write nothing.

    Raises
    ------
    S2FastError
        As `run_stages`, before its first stage.
    """
    folder = RunFolder(job.out)
    planned = plan(job, _known_headers(job, folder))
    record = _continue_run(planned, _load_earlier(planned, folder), ingests="ingest" in stages)
    workers = workers or workers_that_pay(record, folder, stages)
    threads = job.config.compute.threads or max(1, available_cores() // workers)
    _check_stages(stages, record, folder, threads)
    return predict(record, folder, stages, workers, threads)


def _check_stages(stages: Sequence[str], record: RunRecord, folder: RunFolder, threads: int) -> None:
    """Check the inputs of the first stage, which the others follow from, and the memory that all take."""
    for name in filter(REQUIRED.get, stages[:1]):
        REQUIRED[name](record, folder)
    for name in filter(BUDGETS.get, stages):
        BUDGETS[name](record, folder, threads)


def _compiled_modules(config: Config) -> list[str]:
    """Return the modules of compiled kernels that a run with these settings calls."""
    matching = MatchingRule.of(config.matching, config.compute.device)
    windowed = config.matching.mode == "windowed" and matching.backend == "numba"
    detecting = detectors.selected_backend(config).name
    used = {
        "s2fast_kernels.akaze.": detecting == "numba",
        **dict.fromkeys(_COMPILED_BESIDE_TORCH, detecting in ("torch", "triton")),
        "s2fast_kernels.window_matches.": windowed,
        "s2fast.": config.verification.enabled,
    }
    modules = [module for module in MODULES if any(module.startswith(start) for start in used if used[start])]
    exhaustive = config.matching.mode == "exhaustive" and matching.backend == "numba"
    return [*EXHAUSTIVE_MODULES, *modules] if exhaustive else modules


def _run_all(
    stages: Sequence[str], record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, lock: Lock
) -> bool:
    """Run stages, restarting from the first after damaged results; return whether anything changed."""
    changed = False
    discarded: set[str] = set()
    while True:
        try:
            before = StageResult()
            with ExitStack() as beside:
                for name in stages:
                    lock.confirm()
                    if name == "report":
                        beside.close()
                    stage = _with_what_it_shares(name, stages, before, workplace)
                    before = _run_stage(name, stage, record, folder, workplace, progress, before.ahead_s)
                    changed |= bool(before.done or before.problems)
                    record.save(folder)
                    if name == "ingest" and "report" in stages and not record.history.tables_key:
                        # The stages between leave a core idle at times.
                        threads = min(1, workplace.slots * (workplace.threads or available_cores()) - 1)
                        pictures = drawn_ahead(record.usable, folder, workplace, threads, masked=record.uses_regions)
                        beside.enter_context(pictures)
        except DamageError as error:
            if error.seal in discarded:
                raise
            discarded.add(error.seal)
            _discard(error, folder)
        else:
            return changed


def _with_what_it_shares(name: str, stages: Sequence[str], before: StageResult, workplace: Workplace) -> Stage:
    """Return a stage, told to begin the next one's work while its input is in memory, or how much of its own is done.

    Parameters
    ----------
    name
        The stage.
    stages
        All stages of this run.
    before
        Result of the stage before.
    workplace
        Where they run.
    """
    if name == "ingest" and "extract" in stages:
        # Kernels that are being compiled would be waited for: the scenes are read meanwhile.
        return partial(ingest.run, extracts=not workplace.compiles)
    if name == "extract":
        return partial(extract.run, extracted=before.ahead)
    if name == "match" and "verify" in stages:
        return partial(match.run, verifies=True)
    if name == "verify":
        return partial(verify.run, verified=before.ahead)
    return STAGES[name]


def _discard(error: DamageError, folder: RunFolder) -> None:
    """Discard a damaged result, so that its stage recomputes it."""
    log.warning("%s: it is recomputed", error.finding)
    folder.discard(error)


def _known_headers(job: Job, folder: RunFolder) -> dict[str, SceneInput]:
    """Return the scenes on servers whose headers an earlier run with the same `ingest` settings read, by name."""
    try:
        before = load_record(folder)
    except DamageError:
        return {}
    if before is None or before.config.ingest != job.config.ingest:
        return {}
    return {item.scene.source.name: item for item in before.found.scenes if item.scene.source.is_remote}


def _load_earlier(record: RunRecord, folder: RunFolder) -> RunRecord | None:
    """Return the record of an earlier run of the same job, or None; raise RunFolderError for another job's folder.

    Of a folder whose record is missing or damaged, the job is known by what `RunFolder.create` stored.
    """
    inputs = record.asked.inputs
    before = damage = None
    try:
        before = load_record(folder)
    except DamageError as error:
        damage = error
    if before is None and damage is None and folder.is_empty():
        return None
    known = before.asked.inputs if before else JobInputs.stored(folder.job())
    if known and inputs.continues(known):
        return before
    where = str(folder) if damage is None else f"{damage.finding}; the folder"
    if known:
        why = f"{where} holds another job's run, {inputs.unlike(known)}"
    elif damage:
        why = damage.finding
    else:
        why = f"{folder} exists and is not a run folder"
    raise RunFolderError(f"{why}: name another {option('out')}") from damage


def _continue_run(record: RunRecord, before: RunRecord | None, *, ingests: bool) -> RunRecord:
    """Return the new record with the history of an earlier run of the same job.

    Unless this run `ingests` the scenes again, those that could not be read before remain left out.
    """
    if before is None:
        return record
    found = {item.scene.scene_id for item in record.found.scenes}
    gone = {item.scene.scene_id: str(item.scene.source) for item in before.usable if item.scene.scene_id not in found}
    if before.found.outside:
        # Another reference, or none, is asked for.
        gone.pop(before.reference, None)
    if ingests:
        problems = {}
        for name, path in gone.items():
            log.warning("%s: %s no longer exists; the run continues without it", name, path)
    else:
        reason = "no longer exists: restore it, or run ingest again without it"
        problems = before.history.problems | {name: f"{path} {reason}" for name, path in gone.items()}
    kept = before.history.model_copy(update={"problems": problems | record.history.problems, "noticed": []})
    record = RunRecord(record.asked, record.found, kept)
    _forget_stale_tables(record)
    return record


def _forget_stale_tables(record: RunRecord) -> None:
    """Mark the tables as not current if they belong to other settings or scenes."""
    if record.history.tables_key != keys.tables_key(record):
        record.history.tables_key = ""


def _run_stage(
    name: str,
    stage: Stage,
    record: RunRecord,
    folder: RunFolder,
    workplace: Workplace,
    progress: Progress,
    spent_s: float,
) -> StageResult:
    """Run one stage and record its outcome; the stage before has spent `spent_s` seconds on its units."""
    start = time.perf_counter()
    history = record.history
    if name == "report":
        _forget_stale_tables(record)
        if not report.is_up_to_date(record, folder):
            # While tables are replaced, or if this process is killed, readers must not see a finished run.
            history.tables_key = ""
            record.save(folder)
    result = stage(record, folder, workplace, progress)
    for scene_id, problem in result.problems.items():
        log.warning("%s skipped: %s", scene_id, problem, extra=RECORDED)
    history.problems.update(result.problems)
    if record.reference in result.problems:
        raise SceneError(f"the reference cannot be used: {result.problems[record.reference]}")
    if result.problems and not record.usable:
        record.save(folder)
        name, reason = next(iter(result.problems.items()))
        number = len(record.found.scenes)
        if number == 1:
            raise InputError(f"the only scene cannot be used: {name}: {reason}")
        raise InputError(f"none of the {number} scenes can be used; the first problem: {name}: {reason}")
    if result.summary is not None:
        history.counts, history.null_rate = dict(result.summary.counts), result.summary.null_rate
        history.warnings = list(result.summary.warnings)
        history.tables_key, history.tables = keys.tables_key(record), dict(result.summary.tables)
    if not result.done and name in history.stages:
        return result
    history.stages[name] = StageRecord(
        seconds=round(spent_s + time.perf_counter() - start - result.ahead_s, 6),
        done=result.done,
        kept=result.kept,
        backend=result.backend,
        device=result.device,
        prepared=result.prepared,
    )
    return result
