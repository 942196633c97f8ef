"""Stage 2: extract features from masked tiles: valid keypoints and their descriptors, within the budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from s2fast.config import Config
from s2fast.detectors import DetectorInput, MaskSource, detector_of, selected_backend
from s2fast.errors import ConfigError, RunFolderError
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.image.prepare import clear_cells
from s2fast.model import Features
from s2fast.raster.windows import reduced_shape
from s2fast.report.imagery import thumbnail_of
from s2fast.stages.held_tile import HeldTile
from s2fast.stages.keys import features_keys, for_scene, preparation, resolved, tile_key
from s2fast.stages.memory import MIB
from s2fast.stages.result import StageResult
from s2fast.work.device_memory import named_device_memory
from s2fast.work.executors import Workplace, thread_limit
from s2fast.work.progress import Progress
from s2fast.work.units import run_units
from s2fast.work.writer import Writer
from s2fast_kernels.features import Budget

_LARGE_PX = 4096
"""A scene with a longer side has enough keypoints without being upscaled."""


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, extracted: int = 0
) -> StageResult:
    """Extract the features of every scene that has none stored under its key.

    The stage `ingest` of the same run has extracted those of the number `extracted` of scenes.
    """
    selected = selected_backend(record.config)
    backend = selected.name
    wanted = features_keys(record)
    todo = [unit for unit in wanted.items() if folder.features_key(unit[0]) != unit[1]]
    for item in record.usable:
        scene_id = item.scene.scene_id
        if folder.tile_key(scene_id) != tile_key(item, record.config, record.regions):
            raise RunFolderError(
                f"{folder} has no tile of the current version of {scene_id} under these settings: run ingest first"
            )
    for scene_id, _ in todo:
        if not folder.has_pixels(scene_id):
            raise RunFolderError(
                f"{folder} has no pixels of {scene_id}, whose features are to be extracted again: run ingest first"
            )
    result = StageResult(kept=len(record.usable) - len(todo), backend=backend)
    result.device = workplace.devices(selected.device, record.config.compute.device)
    result.prepared = preparation(record.config).name
    result.kept, result.done = result.kept - extracted, extracted
    if extracted and not todo:
        progress.print_line(f"extract: {extracted} done while they were ingested, {result.kept} up to date")
        _drop_pixels(record, folder, workplace)
        return result
    if todo:
        workplace.wait_for_kernels()
    with progress.stage("extract", len(todo), result.kept) as bar:
        config = resolved(record.config, record.usable)
        for _ in run_units(workplace, extract_unit, todo, config, backend, folder.address):
            result.done += 1
            bar.advance()
    _drop_pixels(record, folder, workplace)
    return result


def _drop_pixels(record: RunRecord, folder: RunFolder, workplace: Workplace) -> None:
    """Remove the pixels of all scenes, which have their features now, unless the run keeps them."""
    if record.config.output.keep_pixels:
        return
    left = [item.scene.scene_id for item in record.usable if folder.has_files_of_pixels(item.scene.scene_id)]
    for _ in run_units(workplace, drop_unit, left, folder.address):
        pass


def drop_unit(scene_id: str, out: str) -> None:
    """Replace the pixels of a scene's tile by a thumbnail."""
    folder = RunFolder(out)
    folder.drop_pixels(scene_id, thumbnail_of(folder.grey(scene_id)) if folder.has_pixels(scene_id) else None)


def check_budget(record: RunRecord, folder: RunFolder, threads: int) -> None:
    """Check that all scenes to extract fit into ``compute.budget_mb``.

    Raises
    ------
    ConfigError
        The predicted peak memory of a scene exceeds the budget.
    """
    budget_mb = record.config.compute.budget_mb
    backend = selected_backend(record.config).name
    wanted = features_keys(record)
    for item in record.usable:
        scene_id = item.scene.scene_id
        shape = reduced_shape(item.raster.shape, record.config.ingest.reduction)
        needed_mb = predicted_bytes(item, record.config, threads) // MIB
        if needed_mb > budget_mb and folder.features_key(scene_id) != wanted[scene_id]:
            raise ConfigError(
                f"extracting {scene_id}, {shape[0]} x {shape[1]} px, with the {backend} backend may take {needed_mb} "
                f"MB and compute.budget_mb is {budget_mb}: raise it, reduce the scenes (ingest.reduction), or use "
                "another features.backend or features.detector"
            )


def predicted_bytes(item: SceneInput, config: Config, threads: int) -> int:
    """Predict the peak memory of extracting a scene."""
    shape = reduced_shape(item.raster.shape, config.ingest.reduction)
    predicted = detector_of(config.features).load().extract_bytes
    backend = selected_backend(config).name
    return predicted(shape, threads, backend=backend, upsample=upsampling(shape, config), masked=item.masked)


def extract_unit(
    unit: tuple[str, str],
    config: Config,
    backend: str,
    out: str,
    held: HeldTile | None = None,
    writer: Writer | None = None,
) -> None:
    """Extract one scene's features.

    Parameters
    ----------
    unit
        Id of the scene and content key of its features.
    config
        The run's settings, the result of `resolved`.
    backend
        Name of a backend of the detector.
    out
        Address of the run folder.
    held
        The tile in memory, which may be modified; None: read it from the run folder.
    writer
        Writes the features later; None: they are written when this returns.
    """
    scene_id, features_key = unit
    folder = RunFolder(out)
    tile = folder.tile(scene_id)
    if held is None:
        missing = folder.missing(scene_id) if tile.masked else None
        grey, valid = folder.grey(scene_id), folder.valid_source(scene_id)
    else:
        grey, valid, missing = held.grey, held.valid, held.missing
    with named_device_memory(f"extracting {scene_id}", config.compute):
        found = extract_scene(grey, valid, for_scene(config, tile.mask), backend, thread_limit(), missing)
    features = on_full_grid(found.features, tile.reduction, tile.centre_px)
    kept = features, found.clear, found.fixed, features_key, backend
    write = partial(folder.write_features, scene_id, *kept, clouds_judged=found.clouds_judged)
    if writer is None:
        write()
    else:
        writer.submit(write)


@dataclass(frozen=True, slots=True)
class Extracted:
    """Result of extracting one masked tile."""

    features: Features
    """Features with positions on the tile's own grid, in the detector's order."""
    clear: npt.NDArray[np.uint8]
    """The map of clear ground, see `s2fast.image.prepare.clear_cells`."""
    fixed: FixedPattern
    """Measurements that detect patterns fixed to the tile's pixels instead of the ground."""
    clouds_judged: bool
    """Whether clouds were found by brightness, see `s2fast.image.prepare.Prepared`."""


def extract_scene(
    grey: npt.NDArray[np.uint8],
    valid: MaskSource,
    config: Config,
    backend: str,
    threads: int = 0,
    missing: npt.NDArray[np.bool_] | None = None,
) -> Extracted:
    """Find the features of one masked tile.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The tile's pixels; may be modified.
    valid
        ``valid(rows, columns)`` takes two slices and returns that part of a bool image: True at valid keypoint
        positions.
    config
        The scene's settings: the run's, the result of `resolved`, changed by `s2fast.stages.keys.for_scene`.
    backend
        Name of a backend of the detector.
    threads
        Number of threads; 0: one per core. The result does not depend on it.
    missing : (rows, cols) bool or None
        True where the file declares a pixel missing; None: the file declares none.

    Returns
    -------
    Extracted
    """
    settings = config.features
    painted = config.regions.mode == "zero"
    factor = upsampling(grey.shape, config)
    shape = factor * grey.shape[0], factor * grey.shape[1]
    prepared = preparation(config).load()(grey, missing, config, factor)
    # A painted scene keeps all keypoints, also those on the polygons' outlines, except those on missing pixels.
    wanted = None if painted and missing is None else upscaled_mask_source(valid, prepared.clear, factor)
    budget = None
    if settings.max_per_scene:
        budget = Budget(settings.max_per_scene, factor * settings.cell_px or None)
    scene = DetectorInput(prepared.pixels, shape, wanted, budget, painted, prepared.device_bytes)
    features = detector_of(settings).load().extract(scene, settings, backend, threads, config.compute.device)
    features = on_full_grid(features, 1 / factor, (1 / factor - 1) / 2)
    fixed = FixedPattern.of(prepared.filled(), prepared.clear, prepared.flat(), features.xy, features.size)
    return Extracted(features, clear_cells(prepared.clear), fixed, prepared.clouds_judged)


def upsampling(shape: tuple[int, ...], config: Config) -> int:
    """Return the factor by which a tile of this shape is upscaled for the detector."""
    wanted = config.features.upsample
    return (1 if max(shape) > _LARGE_PX else 2) if wanted == "auto" else wanted


def upscaled_mask_source(valid: MaskSource, clear: npt.NDArray[np.bool_], factor: int) -> MaskSource:
    """Return a function that returns windows of the mask of valid keypoint positions, on the upscaled grid."""
    if factor == 1:
        return lambda rows, columns: valid(rows, columns) & clear[rows, columns]

    def part(rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
        half = [slice(axis.start // 2, -(-axis.stop // 2)) for axis in (rows, columns)]
        small = valid(half[0], half[1]) & clear[half[0], half[1]]
        large = small.repeat(2, axis=0).repeat(2, axis=1)
        top, left = rows.start - 2 * half[0].start, columns.start - 2 * half[1].start
        return large[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]

    return part


def on_full_grid(features: Features, reduction: float, centre_px: float) -> Features:
    """Convert features from the grid of a reduced or upscaled tile to the original grid; pixel centres are at integers.

    Parameters
    ----------
    features
        Features on the tile's own grid.
    reduction
        Side of a pixel of the tile in pixels of the original grid.
    centre_px
        Position on the original grid of the centre of the tile's first pixel [px]: ``(reduction - 1) / 2`` for means
        and upscaling, 0 for a level of a JPEG 2000 wavelet.
    """
    if reduction == 1:
        return features
    xy = features.xy.astype(np.float64) * reduction + centre_px
    return replace(features, xy=xy.astype(np.float32), size=features.size * np.float32(reduction))
