"""Stage 2: extract features from masked tiles: valid keypoints and their descriptors, within the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from s2fast.config import Config
from s2fast.detectors import DetectorInput, MaskSource, detector_of, selected_backend
from s2fast.errors import ConfigError, RunFolderError
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.image.coarser import Coarser, coarser_shape
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.image.interpolated import interpolated_px
from s2fast.image.prepare import clear_cells
from s2fast.model import Features
from s2fast.raster.windows import reduced_shape
from s2fast.report.imagery import thumbnail_of
from s2fast.stages.grids import on_full_grid, on_tile, upscaled_mask_source
from s2fast.stages.held_tile import HeldTile
from s2fast.stages.keys import features_keys, for_scene, preparation, resolved, tile_key
from s2fast.stages.levels import Level, grid_of, levels_of, upsampling, upsampling_of_interpolated
from s2fast.stages.result import StageResult
from s2fast.stages.scenes_at_once import scenes_at_once
from s2fast.work.device_memory import named_device_memory
from s2fast.work.executors import Workplace
from s2fast.work.progress import Progress
from s2fast.work.side_by_side import side_by_side
from s2fast.work.thread_limits import thread_limit
from s2fast.work.units import run_units
from s2fast.work.writer import Writer
from s2fast_kernels.features import Budget
from s2fast_kernels.machine import MIB, available_cores


@dataclass(frozen=True, slots=True)
class Unit:
    """A scene whose features are to be extracted."""

    scene_id: str
    """Its id."""
    key: str
    """Content key of its features."""
    levels: tuple[Level, ...] = ()
    """Coarser grids on which it is searched too."""

    def __str__(self) -> str:
        return self.scene_id


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, extracted: int = 0
) -> StageResult:
    """Extract the features of every scene that has none stored under its key.

    The stage `ingest` of the same run has extracted those of the number `extracted` of scenes.
    """
    selected = selected_backend(record.config)
    backend = selected.name
    wanted = features_keys(record)
    levels = levels_of(record.usable, record.config)
    names = set(_to_extract(record, folder, wanted))
    items = [item for item in record.usable if str(item) in names]
    todo = [Unit(str(item), wanted[str(item)], levels.get(str(item), ())) for item in items]
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
        number = 1
        if workplace.in_process:
            number, _ = at_once(items, record.config, workplace.threads or available_cores(), levels)
        with side_by_side(workplace, number) as place:
            for _ in run_units(place, extract_unit, todo, config, backend, folder.address):
                result.done += 1
                bar.advance()
    _drop_pixels(record, folder, workplace)
    return result


def check_inputs(record: RunRecord, folder: RunFolder) -> None:
    """Check that the run folder holds all scenes as the stage `ingest` writes them under the run's settings.

    Raises
    ------
    RunFolderError
        A scene has no tile under its key, or no pixels to extract its features from.
    """
    _to_extract(record, folder, features_keys(record))


def _to_extract(record: RunRecord, folder: RunFolder, wanted: Mapping[str, str]) -> list[str]:
    """Return the ids of the scenes that have no features under their `wanted` key; see `check_inputs`."""
    for item in record.usable:
        scene_id = item.scene.scene_id
        if folder.tile_key(scene_id) != tile_key(item, record.config, record.regions):
            raise RunFolderError(
                f"{folder} has no tile of the current version of {scene_id} under these settings: run ingest first"
            )
    left = [scene_id for scene_id, key in wanted.items() if folder.features_key(scene_id) != key]
    for scene_id in left:
        if not folder.has_pixels(scene_id):
            raise RunFolderError(
                f"{folder} has no pixels of {scene_id}, whose features are to be extracted again: run ingest first"
            )
    return left


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
    wanted, levels = features_keys(record), levels_of(record.usable, record.config)
    for item in record.usable:
        scene_id = item.scene.scene_id
        shape = reduced_shape(item.raster.shape, record.config.ingest.reduction)
        needed_mb = predicted_bytes(item, record.config, threads, levels.get(scene_id, ())) // MIB
        if needed_mb > budget_mb and folder.features_key(scene_id) != wanted[scene_id]:
            raise ConfigError(
                f"extracting {scene_id}, {shape[0]} x {shape[1]} px, with the {backend} backend may take {needed_mb} "
                f"MiB and compute.budget_mb is {budget_mb}: raise it, reduce the scenes (ingest.reduction), or use "
                "another features.backend or features.detector"
            )


def predicted_bytes(item: SceneInput, config: Config, threads: int, levels: Sequence[Level] = ()) -> int:
    """Predict the peak memory of extracting a scene, on its own grid and on its levels."""
    held = reduced_shape(item.raster.shape, config.ingest.reduction)
    square_px = grid_of(item.raster).square_px
    shape = coarser_shape(held, square_px)
    predicted = partial(
        detector_of(config.features).load().extract_bytes,
        threads=threads,
        backend=selected_backend(config).name,
        masked=item.masked,
    )
    held_px = 1 + item.masked
    # The tile stays in memory while its levels are searched, one after another; so does one with oblong pixels.
    on_levels = [
        held_px * (math.prod(shape) + math.prod(part)) + predicted(part, upsample=level.upsample)
        for level in levels
        for part in [coarser_shape(shape, level.factor)]
    ]
    oblong = 0 if shape == held else held_px * math.prod(held)
    return oblong + max([predicted(shape, upsample=upsampling(shape, config)), *on_levels])


def at_once(
    items: Sequence[SceneInput], config: Config, threads: int, levels: Mapping[str, Sequence[Level]]
) -> tuple[int, int]:
    """Return how many scenes to extract at once in this process; see `scenes_at_once`."""

    def peak_bytes(share: int) -> int:
        return max(predicted_bytes(item, config, share, levels.get(str(item), ())) for item in items)

    return scenes_at_once(items, config, threads, peak_bytes)


def extract_unit(
    unit: Unit,
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
        The scene.
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
    scene_id = unit.scene_id
    folder = RunFolder(out)
    tile = folder.tile(scene_id)
    grid = PixelGrid.of_tile(tile)
    if held is None:
        missing = folder.missing(scene_id) if tile.masked else None
        grey, valid = folder.grey(scene_id), folder.valid_source(scene_id)
    else:
        grey, valid, missing = held.grey, held.valid, held.missing
    with named_device_memory(f"extracting {scene_id}", config.compute):
        found = extract_scene(
            grey,
            valid,
            for_scene(config, tile.mask, by_brightness=not tile.not_by_brightness),
            backend,
            thread_limit(),
            missing,
            unit.levels,
            tile.reflectance,
            grid.square_px,
        )
    features = on_full_grid(found.features, tile.reduction, tile.centre_px)
    kept = features, found.clear, found.fixed, unit.key, backend
    grids = [level.grid_m for level in unit.levels]
    if len(found.on_levels) > len(grids):
        grids.append(found.interpolated * tile.reduction * grid.square_m)
    levels = tuple(zip(grids, found.on_levels, strict=True))
    write = partial(
        folder.write_features, scene_id, *kept, clouds_judged=found.clouds_judged, levels=levels,
        interpolated=found.interpolated,
    )  # fmt: skip
    if writer is None:
        write()
    else:
        writer.submit(write)


@dataclass(frozen=True, slots=True)
class Extracted:
    """Result of extracting one masked tile."""

    features: Features
    """Features with positions on the tile's own grid, in the detector's order; then those of each level."""
    clear: npt.NDArray[np.uint8]
    """The map of clear ground, see `s2fast.image.prepare.clear_cells`."""
    fixed: FixedPattern
    """Measurements that detect patterns fixed to the tile's pixels instead of the ground."""
    clouds_judged: bool
    """Whether clouds were found by brightness, see `s2fast.image.prepare.Prepared`."""
    on_levels: tuple[int, ...] = ()
    """Number of features of each level, which are the last ones; one number more if the tile was also searched on the
    means over the pixels from which it was interpolated."""
    interpolated: int = 1
    """Side of the pixels from which the tile was interpolated [px], see `s2fast.image.interpolated`."""


def extract_scene(
    grey: npt.NDArray[np.uint8],
    valid: MaskSource,
    config: Config,
    backend: str,
    threads: int = 0,
    missing: npt.NDArray[np.bool_] | None = None,
    levels: Sequence[Level] = (),
    reflectance: tuple[float, float] | None = None,
    square_px: tuple[float, float] = (1.0, 1.0),
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
    levels
        Coarser grids on which it is searched too; map, clouds and blocks of pixels are those of its own grid.
    reflectance
        See `s2fast.model.TileInfo.reflectance`.
    square_px
        See `s2fast.geometry.pixel_grid.PixelGrid.square_px`: oblong pixels are averaged to square ones, on which
        keypoints look as they do in other scenes.

    Returns
    -------
    Extracted
    """
    shape, side, square = grey.shape, interpolated_px(grey), None
    if square_px != (1.0, 1.0):
        square = Coarser.of(grey, valid, missing, square_px)
        grey, valid, missing = square.grey, square.valid, square.missing
    grids = [(level.factor, level.upsample) for level in levels]
    # Means over square pixels do not follow the lattice of oblong ones.
    if square is None and (enlarged := upsampling_of_interpolated(side, grey.shape, levels, config)):
        grids.append((float(side), enlarged))
    parts = []
    for factor, enlarged in grids:
        copy = Coarser.of(grey, valid, missing, factor)
        found = _extract(copy.grey, copy.valid, config, backend, threads, copy.missing, enlarged, reflectance)
        parts.append(replace(found, features=on_tile(found.features, copy.factor)))
    # Last, since it may modify the tile.
    own = _extract(grey, valid, config, backend, threads, missing, upsampling(grey.shape, config), reflectance, shape)
    found = _joined(replace(own, interpolated=side), parts)
    return found if square is None else replace(found, features=on_tile(found.features, square.factor))


def _joined(own: Extracted, parts: Sequence[Extracted]) -> Extracted:
    """Return what was found on a scene's own grid, with the features of its levels behind its own."""
    if not parts:
        return own
    every = [own, *parts]
    joined = {
        entry.name: np.concatenate([getattr(part.features, entry.name) for part in every]) for entry in fields(Features)
    }
    of_rows = {name: np.concatenate([getattr(part.fixed, name) for part in every]) for name in ("outline", "core")}
    return replace(
        own,
        features=Features(**joined),
        fixed=replace(own.fixed, **of_rows),
        on_levels=tuple(len(part.features) for part in parts),
    )


def _extract(
    grey: npt.NDArray[np.uint8],
    valid: MaskSource,
    config: Config,
    backend: str,
    threads: int,
    missing: npt.NDArray[np.bool_] | None,
    factor: int,
    reflectance: tuple[float, float] | None,
    cells_of: tuple[int, ...] | None = None,
) -> Extracted:
    """Find the features of one grid, enlarged by a factor; see `extract_scene`, and `clear_cells` for `cells_of`."""
    settings = config.features
    painted = config.regions.mode == "zero"
    shape = factor * grey.shape[0], factor * grey.shape[1]
    prepared = preparation(config).load()(grey, missing, config, factor, reflectance)
    # A painted scene keeps all keypoints, also those on the polygons' outlines, except those on missing pixels.
    wanted = None if painted and missing is None else upscaled_mask_source(valid, prepared.clear, factor)
    budget = None
    if settings.max_per_scene:
        budget = Budget(settings.max_per_scene, factor * settings.cell_px or None)
    scene = DetectorInput(prepared.pixels, shape, wanted, budget, painted, prepared.device_bytes)
    features = detector_of(settings).load().extract(scene, settings, backend, threads, config.compute.device)
    features = on_full_grid(features, 1 / factor, (1 / factor - 1) / 2)
    fixed = FixedPattern.of(prepared.filled(), prepared.clear, prepared.flat(), features.xy, features.size)
    return Extracted(features, clear_cells(prepared.clear, cells_of), fixed, prepared.clouds_judged)
