"""Stage 1: convert scenes and regions to masked tiles in Zarr, reading each needed block once and no others.

If the run extracts too, and memory allows it, a scene's features are extracted while its tile is in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from s2fast.archive.reflectance import reflectances
from s2fast.config import Config, Ingest
from s2fast.detectors import selected_backend
from s2fast.errors import ConfigError, SceneError
from s2fast.folder.record import RunRecord, SceneInput, check_unchanged
from s2fast.folder.run_folder import RunFolder
from s2fast.folder.tile_indexes import keep_index, kept_index
from s2fast.masks.kinds import SHAPES
from s2fast.masks.read import is_classification, open_mask
from s2fast.model import TileInfo
from s2fast.raster.band_files import open_bands
from s2fast.raster.codestream import Codestream, Parts
from s2fast.raster.prefetch import reading_ahead
from s2fast.raster.reader import LumaReader, Reader, indexed_reader, open_raster, reduce_any
from s2fast.raster.windows import chunk_shape, reduced, reduced_shape
from s2fast.regions.file import RegionFile
from s2fast.regions.mask import place_regions
from s2fast.report.imagery import thumbnail_of
from s2fast.stages import extract
from s2fast.stages.held_tile import HeldTile, held_bytes, valid_bytes
from s2fast.stages.keys import features_keys, preparation, resolved, stretched_by_percentiles, tile_key
from s2fast.stages.levels import Level, levels_of
from s2fast.stages.memory import ingest_bytes
from s2fast.stages.result import StageResult
from s2fast.stages.scenes_at_once import scenes_at_once
from s2fast.stages.used_pixels import needed_windows, read_requests, used
from s2fast.stages.verdict_rule import LEAST_COMMON_PCT
from s2fast.work.ahead import ahead
from s2fast.work.executors import Workplace
from s2fast.work.progress import Progress
from s2fast.work.side_by_side import side_by_side
from s2fast.work.thread_limits import limit_threads
from s2fast.work.units import run_units
from s2fast.work.writer import Writer
from s2fast_kernels.backends import CPU
from s2fast_kernels.machine import MIB, available_cores

MOST_AHEAD = 4
"""Scenes that are read, or wait, while the features of another are extracted on a GPU."""

OpenRaster = Callable[..., AbstractContextManager[Reader]]

LEAST_LEFT = LEAST_COMMON_PCT / 100
"""Share of a scene's ground that a mask found by "auto" must leave: on less, no pair can be verified."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A scene to ingest."""

    item: SceneInput
    """The scene."""
    features_key: str = ""
    """Content key of its features if they are extracted when it is ingested; empty: it is only ingested."""
    levels: tuple[Level, ...] = ()
    """Coarser grids on which it is searched too."""

    def __str__(self) -> str:
        return str(self.item)


@dataclass(frozen=True, slots=True)
class Ingested:
    """Outcome of one unit."""

    problem: SceneError | None = None
    """Why the scene cannot be used; None: it was ingested."""
    extracted_s: float | None = None
    """Wall time of the extraction [s]; None: its features were not extracted."""


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, extracts: bool = False
) -> StageResult:
    """Ingest every scene that has no tile stored under its key.

    Parameters
    ----------
    record, folder, workplace, progress
        As for all stages.
    extracts
        Whether to extract a scene's features at once, from its pixels in memory, if ``compute.budget_mb`` allows it;
        `StageResult.ahead` counts these scenes.
    """
    config, wanted = record.config, features_keys(record)
    levels = levels_of(record.usable, config)
    threads = workplace.threads or available_cores()
    todo = []
    for item in record.usable:
        if is_up_to_date(item, record, folder, wanted):
            continue
        unit = Unit(item, wanted[item.scene.scene_id], levels.get(item.scene.scene_id, ()))
        only_pixels = _has_tile(item, record, folder) and _has_features(item, folder, wanted)
        held = extracts and not only_pixels and _fits_at_once(unit, record, threads)
        todo.append(unit if held else Unit(item))
    result = StageResult(kept=len(record.usable) - len(todo), strict=record.asked.strict)
    if any(unit.features_key for unit in todo):
        workplace.wait_for_kernels()
    with progress.stage("ingest", len(todo), result.kept) as bar:
        context = resolved(config, record.usable), record.regions, folder.address
        depth, _ = scenes_ahead(todo, record, threads) if workplace.in_process else (0, 0)
        number, _ = at_once(todo, record, threads) if workplace.in_process else (1, 0)
        with side_by_side(workplace, number) as place:
            if depth:
                limit_threads(workplace.threads)
                units = _ingested_ahead(todo, *context, depth)
            else:
                units = run_units(place, ingest_unit, todo, *context)
            for unit, done in units:
                result.count(unit.item.scene.scene_id, done.problem)
                if done.extracted_s is not None:
                    result.ahead += 1
                    result.ahead_s += done.extracted_s / place.slots
                bar.advance()
    result.problems = {name: result.problems[name] for name in map(str, record.usable) if name in result.problems}
    return result


def is_up_to_date(item: SceneInput, record: RunRecord, folder: RunFolder, features: Mapping[str, str]) -> bool:
    """Return whether a scene need not be ingested; `features` are the content keys of all scenes' features."""
    if not _has_tile(item, record, folder):
        return False
    needs_pixels = record.config.output.keep_pixels or not _has_features(item, folder, features)
    return not needs_pixels or folder.has_pixels(item.scene.scene_id)


def _has_tile(item: SceneInput, record: RunRecord, folder: RunFolder) -> bool:
    """Return whether a scene's tile is stored under its key."""
    return folder.tile_key(item.scene.scene_id) == tile_key(item, record.config, record.regions)


def _has_features(item: SceneInput, folder: RunFolder, features: Mapping[str, str]) -> bool:
    """Return whether a scene's features are stored under their key."""
    return folder.features_key(item.scene.scene_id) == features[item.scene.scene_id]


def scenes_ahead(todo: Sequence[Unit], record: RunRecord, threads: int) -> tuple[int, int]:
    """Return how many scenes to read while features of another are extracted on a GPU, and the memory needed [bytes].

    Both are 0 if one scene is read after another, as on the CPU. ``compute.budget_mb`` limits the tiles in memory.
    """
    units = [unit for unit in todo if unit.features_key]
    if len(units) < 2 or preparation(record.config).device == CPU:
        return 0, 0
    needed = [_peaks(unit, record, threads) for unit in units]
    reading, extracting, held = (max(column) for column in zip(*needed, strict=True))
    left = record.config.compute.budget_mb * MIB - reading - extracting
    depth = int(max(0, min(MOST_AHEAD, left // held)))
    return depth, (reading + extracting + depth * held if depth else 0)


def at_once(todo: Sequence[Unit], record: RunRecord, threads: int) -> tuple[int, int]:
    """Return how many scenes to ingest and extract at once in this process; see `scenes_at_once`."""
    units = [unit for unit in todo if unit.features_key]
    if any(unit.item.mask_kind == SHAPES for unit in units):
        # While polygons are read, GDAL has no drivers of rasters, where pyogrio and rasterio share it.
        return 1, 0

    def peak_bytes(share: int) -> int:
        peaks = [(*_peaks(unit, record, threads), _peaks(unit, record, share)[1]) for unit in units]
        return max(max(reading + held, extracting) for reading, _, held, extracting in peaks)

    return scenes_at_once([unit.item for unit in units], record.config, threads, peak_bytes)


def _peaks(unit: Unit, record: RunRecord, threads: int) -> tuple[int, int, int]:
    """Predict the memory of reading a scene, of extracting its features, and of its tile [bytes]."""
    item = unit.item
    shape = reduced_shape(item.raster.shape, record.config.ingest.reduction)
    extracting = extract.predicted_bytes(item, record.config, threads, unit.levels) + valid_bytes(shape)
    return predicted_bytes(item, record, threads), extracting, held_bytes(shape, masked=item.masked)


def _ingested_ahead(
    todo: Sequence[Unit], config: Config, regions: RegionFile | None, out: str, depth: int
) -> Iterator[tuple[Unit, Ingested]]:
    """Read and write scenes in another thread while those before are extracted; write features in a third."""
    with closing(Writer()) as writer:
        read = partial(_read_unit, config=config, regions=regions, out=out)
        for unit, (held, problem) in ahead(todo, read, depth):
            yield unit, Ingested(problem) if held is None else _extracted(unit, config, out, held, writer)


def _fits_at_once(unit: Unit, record: RunRecord, threads: int) -> bool:
    """Return whether ``compute.budget_mb`` allows to keep the scene's tile in memory until its features are found."""
    reading, extracting, held = _peaks(unit, record, threads)
    return max(reading + held, extracting) <= record.config.compute.budget_mb * MIB


def check_budget(record: RunRecord, folder: RunFolder, threads: int) -> None:
    """Check that the windows of all scenes to ingest fit into ``compute.budget_mb``.

    Raises
    ------
    ConfigError
        The predicted peak memory of a scene exceeds the budget.
    """
    config = record.config
    for item in record.usable:
        needed_mb = predicted_bytes(item, record, threads) // MIB
        if needed_mb <= config.compute.budget_mb:
            continue
        if folder.tile_key(item.scene.scene_id) != tile_key(item, config, record.regions):
            rows, cols = item.raster.block
            raise ConfigError(
                f"ingesting {item.scene.scene_id}, stored in blocks of {rows} x {cols} px, may take {needed_mb} MiB "
                f"and compute.budget_mb is {config.compute.budget_mb}: raise it, or store the scene in smaller blocks "
                "(gdal_translate -co TILED=YES)"
            )


def predicted_bytes(item: SceneInput, record: RunRecord, threads: int) -> int:
    """Predict the peak memory of ingesting a scene."""
    config = record.config
    auto_stretch, reduction = config.ingest.stretch == "auto", config.ingest.reduction
    options = {"masked": record.uses_regions, "auto_stretch": auto_stretch, "clouds": item.mask is not None}
    return ingest_bytes(item.raster, reduction, threads=threads, **options)


def ingest_unit(unit: Unit, config: Config, regions: RegionFile | None, out: str) -> Ingested:
    """Ingest one scene, and extract its features if the unit has their key; return a SceneError of its file.

    `config` is the result of `s2fast.stages.keys.resolved`.
    """
    held, problem = _read_unit(unit, config, regions, out)
    return Ingested(problem) if held is None else _extracted(unit, config, out, held)


def _read_unit(
    unit: Unit, config: Config, regions: RegionFile | None, out: str
) -> tuple[HeldTile | None, SceneError | None]:
    """Ingest one scene; return its tile if its features are to be extracted, or why the scene cannot be used."""
    item = unit.item
    held = None
    if unit.features_key:
        shape = reduced_shape(item.raster.shape, config.ingest.reduction)
        held = HeldTile(shape, valid_outside=_valid_outside(config, regions), with_missing=item.masked)
    try:
        ingest_scene(item, config, regions, RunFolder(out), held=held)
    except SceneError as error:
        return None, error
    return held, None


def _extracted(unit: Unit, config: Config, out: str, held: HeldTile, writer: Writer | None = None) -> Ingested:
    """Extract the features of a tile in memory."""
    start = time.perf_counter()
    features = extract.Unit(unit.item.scene.scene_id, unit.features_key, unit.levels)
    extract.extract_unit(features, config, selected_backend(config).name, out, held, writer)
    return Ingested(extracted_s=time.perf_counter() - start)


def _valid_outside(config: Config, regions: RegionFile | None) -> bool:
    """Return whether keypoints are kept outside the polygons: along their outlines, on both sides, if it is painted."""
    return regions is not None and config.regions.mode == "zero"


def ingest_scene(
    item: SceneInput,
    config: Config,
    regions: RegionFile | None,
    folder: RunFolder,
    open_raster: OpenRaster = open_raster,
    *,
    held: HeldTile | None = None,
    use_mask: bool = True,
) -> None:
    """Write one scene's masked tile: its pixels and the mask of valid keypoint positions; fill `held` with the same.

    Without ``output.keep_pixels``, the pixels are not written if they are held: else extraction must find them. If
    ``ingest.mask`` is "auto" and the scene's mask is no classification or leaves too little ground for any verdict, or
    if `use_mask` is false, the scene is treated as one without a mask.
    """
    if use_mask and config.ingest.mask == "auto" and item.mask:
        use_mask = is_classification(item.mask, config.ingest)
    with_pixels = config.output.keep_pixels or held is None
    mode = config.regions.mode if regions else "none"
    reduction = config.ingest.reduction
    placed = place_regions(regions, config.regions, item.raster) if regions and mode != "none" else None
    chunks = chunk_shape(item.raster.block, reduction)
    windows = needed_windows(item, chunks, placed, config.ingest.halo_px * reduction if mode == "keep" else 0)
    index = kept_index(folder, item) if _is_indexed(item) else None
    opened = _opened(item, config.ingest, open_raster, index)
    clouds = open_mask(item.mask, item.raster, config.ingest) if item.mask and use_mask else nullcontext()
    ground = left = 0
    with reading_ahead(opened) as ahead, clouds as mask:
        if ahead.reader.raster != item.raster:
            raise SceneError(f"{item.scene.source} has changed since the run began: run again")
        tile = folder.tile_writer(
            item.scene.scene_id,
            tile_key(item, config, regions),
            reduced_shape(item.raster.shape, reduction),
            (chunks[0] // reduction, chunks[1] // reduction),
            valid_outside=_valid_outside(config, regions),
            with_missing=item.masked,
            with_pixels=with_pixels,
        )
        for (window, wanted), (grey, has_data) in ahead.windows(read_requests(windows, placed, mode, reduction)):
            inside = wanted
            if inside is None and placed:
                inside = reduce_any(placed.mask(window), reduction)
            part = used(item, window, grey, has_data, inside, mode, mask)
            ground, left = ground + part.ground, left + part.left
            tile.write(reduced(window, reduction), part.grey, part.valid, part.missing)
            if held is not None:
                held.write(reduced(window, reduction), part.grey, part.valid, part.missing)
        # The stretch scans the whole scene: skip it when no window was read.
        info = _tile_info(item, config, ahead.reader if windows else None, len(windows), uses_mask=use_mask)
        if mask is not None and mask.elsewhere and item.mask is not None:
            info = replace(info, mask_elsewhere=f"{item.mask.source}: {mask.elsewhere}")
        if index is None and windows and _is_indexed(item) and isinstance(ahead.reader, LumaReader):
            keep_index(folder, item, ahead.reader.tiles.index)
    if left < LEAST_LEFT * ground and config.ingest.mask == "auto":
        ingest_scene(item, config, regions, folder, open_raster, held=held, use_mask=False)
        return
    if ground and not left and item.mask:
        raise SceneError(f"{item.scene.source}: the mask {item.mask.source} leaves no pixel of it: name the right file")
    check_unchanged(item)
    tile.finish(info, None if with_pixels or held is None else thumbnail_of(held.grey))


def _opened(
    item: SceneInput, settings: Ingest, open_raster: OpenRaster, index: tuple[Codestream, Parts] | None
) -> AbstractContextManager[Reader]:
    """Return a reader of a scene, to be opened; `index` has the places of its tiles, None: they are not known."""
    if index is not None:
        return nullcontext(indexed_reader(item.scene.source, settings, item.raster, index))
    if not item.raster.crs_wkt:
        open_raster = partial(open_raster, georeferenced=False)
    return open_bands((item.scene.source, *item.scene.others), settings, open_raster)


def _tile_info(
    item: SceneInput, config: Config, reader: Reader | None, windows_read: int, *, uses_mask: bool
) -> TileInfo:
    """Return the metadata of a scene's tile; `reader` is None if no window was read."""
    scene, reduction = item.scene, config.ingest.reduction
    known: tuple[float, float] | str = ""
    if reader and stretched_by_percentiles(item, config):
        known = _reflectances(item, reader, config.ingest)
    return TileInfo(
        source=scene.source.name,
        platform=scene.platform,
        sensing_time=scene.sensing_time.isoformat() if scene.sensing_time else None,
        tile=scene.tile,
        crs=item.raster.crs_wkt,
        transform=item.raster.transform,
        full_shape=item.raster.shape,
        reduction=reduction,
        decode="reduced" if item.raster.level > 1 else "full",
        centre_px=item.raster.level_centre_px if item.raster.level > 1 else (reduction - 1) / 2,
        stretch=reader.stretch if reader else None,
        windows_read=windows_read,
        masked=item.masked,
        mask=item.mask_kind if uses_mask else "",
        mask_unused="" if uses_mask else item.mask_kind,
        reflectance=None if isinstance(known, str) else known,
        not_by_brightness=known if isinstance(known, str) else "",
    )


def _reflectances(item: SceneInput, reader: Reader, settings: Ingest) -> tuple[float, float] | str:
    """Return the reflectances of the grey values 1 and 255, or why brightness says nothing of clouds."""
    whole = np.dtype(item.raster.dtype).kind in "iu"
    weights = settings.band_weights if item.scene.others else ()
    return reflectances(item.scene, reader.stretches, weights, colour=reader.colour, whole_numbers=whole)


def _is_indexed(item: SceneInput) -> bool:
    """Return whether the places of a file's tiles are kept; on disk, they are found faster than read."""
    return item.raster.luma and item.scene.source.is_remote
