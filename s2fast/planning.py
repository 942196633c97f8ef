"""Planning a run: find the scenes, read their headers, and check all inputs before anything is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from s2fast import detectors
from s2fast.archive.find import find_scenes
from s2fast.archive.headers import headers_at_once
from s2fast.archive.identity import scene_identity
from s2fast.archive.listing import Looking
from s2fast.archive.reference import check_ground, with_reference
from s2fast.archive.siblings import with_bands
from s2fast.archive.ungeoreferenced import are_accepted, check_settings, not_comparable
from s2fast.config import Config
from s2fast.errors import InputError, SceneError, option
from s2fast.files.source import Source
from s2fast.files.suffixes import check_path, shown
from s2fast.folder.log import RECORDED
from s2fast.folder.record import Asked, Found, History, RunRecord, SceneInput
from s2fast.masks.lookup import FoundMask, find_mask, own_mask
from s2fast.model import Scene
from s2fast.raster.band_files import files_of, open_bands
from s2fast.raster.reader import open_raster
from s2fast.regions.check import check_regions
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import summarize_rows
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import pairs_from_file
from s2fast_kernels import machine

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """The settings, inputs and run folder of a run."""

    config: Config
    """The settings."""
    scenes: Sequence[Source | Path | str]
    """Folders, files or addresses of scenes, or sources that hold a DataArray."""
    regions: Path | str | None
    """File of polygons; None: whole scenes are matched."""
    out: Path | str
    """The run folder, new or of the same job; a local path or an object store's URL."""
    strict: bool = False
    """Raise an error for the first scene or polygon that cannot be used, instead of leaving it out."""
    reference: Path | str | None = None
    """Id of a scene, or an image from outside, that is held fixed: offsets are relative to it. None: relative to the
    median of the scenes."""


def plan(job: Job, known: Mapping[str, SceneInput] = MappingProxyType({})) -> RunRecord:
    """Check all inputs and return a record of them; write nothing.

    The header of a scene that is `known` under its name is not read again if the scene's version is the same.
    """
    config = job.config
    detectors.check(config)
    MatchingRule.of(config.matching, config.compute.device)
    _warn_of_unused_gpu(config)
    if not job.scenes:
        raise InputError(f"no scenes given: name folders or files with {option('scenes')}")
    found, problems = _find_inputs(job, known)
    rasters = {item.scene.scene_id: item.raster for item in found.scenes}
    check_settings(rasters, config, regions=job.regions is not None)
    _check_reference(found, config)
    if config.matching.pairs == "file":
        check_path(config.matching.pairs_file)
        pairs_from_file(Path(config.matching.pairs_file), list(rasters))
    regions = None if job.regions is None else RegionFile.at(job.regions)
    if regions is not None and config.regions.mode != "none":
        rows = check_regions(regions, config.regions, [item.raster for item in found.scenes])
        if job.strict and rows.dropped:
            raise InputError(f"{regions}: rows that cannot be used: {summarize_rows(rows.dropped)}")
        found = found.model_copy(update={"region_rows": rows})
    places = sorted(Source.of(place).resolved().name for place in job.scenes)
    asked = Asked(config=config, places=places, regions=regions, strict=job.strict)
    return RunRecord(asked, found, History(problems=problems))


def _warn_of_unused_gpu(config: Config) -> None:
    """Warn if this machine has a GPU that torch cannot use, unless the settings choose the CPU."""
    if config.compute.device == "auto" and machine.gpu_missing() is None:
        found = machine.gpus()
        if not found.capabilities:
            log.warning('%s: this run uses the CPU; %s, or set compute.device = "cpu"', found.missing, found.remedy)


def _check_reference(found: Found, config: Config) -> None:
    """Raise an error if a reference is missing, or shows other ground than all scenes."""
    if not found.reference:
        if config.matching.pairs == "reference":
            raise InputError(f'matching.pairs = "reference" needs a reference: name one with {option("reference")}')
        return
    apart = check_ground(found.reference, {item.scene.scene_id: item.raster for item in found.scenes})
    if apart:
        log.warning(
            "%d of %d scenes share no ground with the reference %s, the first is %s; their offsets follow from other "
            "scenes, if pairs connect them", len(apart), len(found.scenes) - 1, found.reference, apart[0],
        )  # fmt: skip


def _find_inputs(job: Job, known: Mapping[str, SceneInput]) -> tuple[Found, dict[str, str]]:
    """Find the scenes and read their headers; return the usable ones, and the problems of the others by name."""
    # Workers need not share our working directory.
    places = [Source.of(place).absolute() for place in job.scenes]
    trusted = tuple(place.address for place in [*places, *map(Source.of, job.config.ingest.trust)])
    bands = job.config.ingest.bands
    looking = Looking(
        job.config.ingest.asset,
        bands[0] if bands else "",
        pictures=are_accepted(job.config),
        mask_of=partial(own_mask, settings=job.config.ingest),
    )
    archive = find_scenes([place.trusting(trusted) for place in places], looking=looking)
    scenes, reference = archive.scenes, None
    if job.reference is not None:
        scenes, reference = with_reference(scenes, job.reference, trusted, looking)
    superseded: dict[str, list[str]] = {}
    for product in archive.replaced:
        log.warning("%s", product, extra=RECORDED)
        superseded.setdefault(product.by.scene_id, []).append(str(product))
    left_out = _LeftOut(job.strict)
    for name, reason in archive.left_out.items():
        left_out.add(name, reason)
    outside = reference is not None and reference not in archive.scenes

    def read(scene: Scene) -> SceneInput | SceneError:
        try:
            mask = _mask_of(scene, job.config, needed=not (outside and scene == reference))
            return _read_header(scene, mask, job.config, known)
        except SceneError as error:
            return error

    inputs = []
    for scene, header in headers_at_once(scenes, read):
        if isinstance(header, SceneInput):
            inputs.append(header)
        elif scene == reference:
            raise InputError(f"the reference cannot be used: {header}") from header
        elif job.strict:
            raise header
        else:
            left_out.add(scene.scene_id, str(header))
    rasters = {item.scene.scene_id: item.raster for item in inputs}
    apart = not_comparable(rasters, "" if reference is None else reference.scene_id)
    for name, reason in apart.items():
        left_out.add(name, reason)
    inputs = [item for item in inputs if item.scene.scene_id not in apart]
    if not inputs:
        raise left_out.nothing_is_left()
    if reference is None:
        return Found(scenes=inputs, superseded=superseded), left_out.problems
    found = Found(scenes=inputs, superseded=superseded, reference=reference.scene_id, outside=outside)
    return found, left_out.problems


def _mask_of(scene: Scene, config: Config, *, needed: bool) -> FoundMask | None:
    """Return the mask of a scene; raise SceneError if it is needed and missing.

    A reference from outside is of another making than the scenes, and need not have such masks as they have.
    """
    try:
        return find_mask(scene, config.ingest)
    except SceneError as error:
        if needed:
            raise
        log.warning("the reference has no mask, so that its clouds are found by brightness: %s", error)
        return None


def _read_header(scene: Scene, mask: FoundMask | None, config: Config, known: Mapping[str, SceneInput]) -> SceneInput:
    """Read the header of a scene, unless it is known; raise SceneError if the scene cannot be used."""
    scene = with_bands(scene, config.ingest.bands)
    unplaced = are_accepted(config)
    before = known.get(scene.source.name)
    if before is not None and (unplaced or before.raster.crs_wkt) and before.identity == scene_identity(scene):
        return before.model_copy(update={"scene": scene, "mask": mask})
    opens = partial(open_raster, georeferenced=not unplaced)
    with open_bands((scene.source, *scene.others), config.ingest, opens) as reader:
        identity = scene_identity(scene, files_of(reader))
        return SceneInput(scene=scene, raster=reader.raster, identity=identity, mask=mask)


class _LeftOut:
    """Scenes that cannot be used; in a strict run, the first is an error."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self.problems: dict[str, str] = {}
        """Why, by scene id or name of the file."""

    def add(self, name: str, reason: str) -> None:
        """Leave out a scene; raise InputError in a strict run."""
        if self._strict:
            raise InputError(f"{name}: {reason}")
        log.warning("%s skipped: %s", shown(name), reason, extra=RECORDED)
        self.problems[name] = reason

    def nothing_is_left(self) -> InputError:
        """Return the error if all scenes are left out."""
        name, reason = next(iter(self.problems.items()))
        if len(self.problems) == 1:
            return InputError(f"the only scene found cannot be used: {name}: {reason}")
        number = len(self.problems)
        return InputError(f"none of the {number} scenes found can be used; the first problem: {name}: {reason}")
