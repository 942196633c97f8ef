"""Stage 2: masked tiles to features: AKAZE on each scene, only keypoints that may count, within the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from s2fast import ingest
from s2fast.config import Config, FeatureSettings
from s2fast.errors import ConfigError, RunFolderError
from s2fast.executors import Workplace, available_cores, limit_threads, run_units
from s2fast.memory import MIB, extract_bytes
from s2fast.model import Features
from s2fast.progress import Progress
from s2fast.record import RunRecord
from s2fast.stage import StageResult
from s2fast.store import RunFolder, content_key
from s2fast.windows import reduced_shape
from s2fast_kernels.akaze import BACKENDS, ENGINES, AkazeSettings, Budget, akaze, akaze_windowed
from s2fast_kernels.backends import resolve

WINDOWED = {engine.name for engine in ENGINES}
"""Backends that compute a scene window by window."""

MaskSource = Callable[[slice, slice], npt.NDArray[np.bool_]]
"""(rows, columns) -> that part of a bool image."""

_SPECK_PX = 5
"""Black areas narrower than this have data."""


def key(tile_key: str, settings: FeatureSettings, backend: str) -> str:
    """Content key of a scene's features."""
    return content_key("features", tile_key, settings.model_dump(exclude={"backend"}), backend)


def wanted_keys(record: RunRecord) -> dict[str, str]:
    """Content key of every scene's features under the run's settings, by scene id, in the run's order."""
    backend = resolve(BACKENDS, record.config.features.backend).name
    return {
        item.scene.scene_id: key(ingest.key(item, record.config, record.regions), record.config.features, backend)
        for item in record.usable
    }


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, strict: bool = False
) -> StageResult:
    """Extract the features of every scene that has none under the same key."""
    del strict  # a scene that can be ingested can be extracted
    backend = resolve(BACKENDS, record.config.features.backend).name
    todo = [unit for unit in wanted_keys(record).items() if folder.features_key(unit[0]) != unit[1]]
    for item in record.usable:
        scene_id = item.scene.scene_id
        if folder.tile_key(scene_id) != ingest.key(item, record.config, record.regions):
            raise RunFolderError(
                f"{folder} has no tile of {scene_id} as it is now, under these settings: run ingest first"
            )
    _check_budget(record, {scene_id for scene_id, _ in todo}, backend, workplace.threads or available_cores())
    result = StageResult(kept=len(record.usable) - len(todo), backend=backend)
    with progress.stage("extract", len(todo), result.kept) as bar:
        for _ in run_units(workplace, extract_unit, todo, record.config, backend, folder.address):
            result.done += 1
            bar.advance()
    return result


def _check_budget(record: RunRecord, todo: set[str], backend: str, threads: int) -> None:
    """Refuse what would not fit into ``compute.budget_mb``."""
    budget_mb = record.config.compute.budget_mb
    for item in record.usable:
        if item.scene.scene_id not in todo:
            continue
        shape = reduced_shape(item.raster.shape, record.config.ingest.reduction)
        needed_mb = extract_bytes(shape, threads, windowed=backend in WINDOWED) // MIB
        if needed_mb > budget_mb:
            raise ConfigError(
                f"extracting {item.scene.scene_id}, {shape[0]} x {shape[1]} px, with the {backend} backend may take "
                f"{needed_mb} MB and compute.budget_mb is {budget_mb}: raise it, or use another features.backend"
            )


def extract_unit(unit: tuple[str, str], config: Config, backend: str, out: str, threads: int) -> None:
    """Extract one scene's features, given its id and their key."""
    limit_threads(threads)
    scene_id, features_key = unit
    folder = RunFolder(out)
    tile = folder.tile_attributes(scene_id)
    features = extract_scene(folder.grey(scene_id), folder.valid_source(scene_id), config, backend, threads)
    features = on_full_grid(features, tile["reduction"], tile["centre_px"])
    folder.write_features(scene_id, features, features_key, backend)


def extract_scene(
    grey: npt.NDArray[np.uint8], valid: MaskSource, config: Config, backend: str, threads: int = 0
) -> Features:
    """Find the features of one masked tile.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The tile's pixels.
    valid
        ``valid(rows, columns)``, two slices, returns that part of a bool image: True where a keypoint may lie.
    config
        The run's settings.
    backend
        Name of an AKAZE backend. Those that work in windows compute only windows that matter, and take one contrast
        factor from the valid pixels; OpenCV always computes the whole image.
    threads
        Windows under way at once; 0: one a core. The result does not depend on it.

    Returns
    -------
    Features
        Positions on the tile's own grid. Sorted by (level, y, x); the ``opencv`` backend keeps OpenCV's order.
    """
    settings = config.features
    akaze_settings = AkazeSettings(settings.threshold, settings.octaves, settings.layers, settings.upright)
    budget = Budget(settings.max_per_scene, settings.cell_px or None) if settings.max_per_scene else None
    # A painted scene keeps all its keypoints, those of the polygons' outlines too.
    wanted = None if config.regions.mode == "zero" else clear_of_nodata(grey, valid, settings.nodata_px)
    if backend in WINDOWED:
        return akaze_windowed(
            lambda rows, columns: grey[rows, columns],
            grey.shape,
            settings=akaze_settings,
            valid=wanted,
            budget=budget,
            threads=threads or None,
            backend=backend,
        )
    found = akaze(grey, settings=akaze_settings, backend=backend)
    if wanted is not None and len(found):
        x, y = np.rint(found.xy).astype(np.intp).T
        found = found.take(wanted(slice(0, grey.shape[0]), slice(0, grey.shape[1]))[y, x])
    return found if budget is None else found.take(budget.select(found.xy, found.response, grey.shape))


def clear_of_nodata(grey: npt.NDArray[np.uint8], valid: MaskSource, nodata_px: int) -> MaskSource:
    """Narrow where a keypoint may lie to pixels clear of areas without data.

    The edge of a swath is the strongest edge in a scene, and lies elsewhere on every date.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The tile's pixels; 0 where there is no data.
    valid
        See `extract_scene`.
    nodata_px
        How far to keep from no data, along rows and columns [px]; 0: `valid` as it is.

    Returns
    -------
    MaskSource
        A function like `valid`; the same whatever parts it is asked for.
    """
    if nodata_px == 0:
        return valid
    reach = nodata_px + 2 * (_SPECK_PX // 2)

    def part(rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
        top, left = max(0, rows.start - reach), max(0, columns.start - reach)
        no_data = (grey[top : rows.stop + reach, left : columns.stop + reach] == 0).view(np.uint8)
        # A single black pixel is a dark roof or water, not the edge of the data.
        no_data = cv2.morphologyEx(no_data, cv2.MORPH_OPEN, np.ones((_SPECK_PX, _SPECK_PX), np.uint8))
        near = cv2.dilate(no_data, np.ones((2 * nodata_px + 1, 2 * nodata_px + 1), np.uint8))
        inner = near[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        clear: npt.NDArray[np.bool_] = valid(rows, columns) & (inner == 0)
        return clear

    return part


def on_full_grid(features: Features, reduction: int, centre_px: float) -> Features:
    """Move features of a reduced tile to the scene's full-resolution grid, pixel centres at integers.

    Parameters
    ----------
    features
        On the tile's own grid.
    reduction
        Full-resolution pixels a side of one of the tile's.
    centre_px
        Where the centre of the tile's first pixel lies on the full-resolution grid [px]: ``(reduction - 1) / 2`` for
        means, 0 for a level of a JPEG 2000 wavelet.
    """
    if reduction == 1:
        return features
    xy = features.xy.astype(np.float64) * reduction + centre_px
    return replace(features, xy=xy.astype(np.float32), size=features.size * np.float32(reduction))
