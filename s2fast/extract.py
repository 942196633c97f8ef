"""Stage 2: masked tiles to features: AKAZE on each scene, only keypoints that may count, within the budget."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from s2fast import ingest
from s2fast.config import Config, FeatureSettings
from s2fast.errors import RunFolderError, SceneError
from s2fast.executors import Workplace, limit_threads, run_units
from s2fast.model import Features
from s2fast.progress import Progress
from s2fast.record import RunRecord
from s2fast.stage import StageResult
from s2fast.store import RunFolder, content_key
from s2fast_kernels.akaze import BACKENDS, AkazeSettings, akaze
from s2fast_kernels.backends import resolve


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
    backend = resolve(BACKENDS, record.config.features.backend).name
    todo = [unit for unit in wanted_keys(record).items() if folder.features_key(unit[0]) != unit[1]]
    for item in record.usable:
        scene_id = item.scene.scene_id
        if folder.tile_key(scene_id) != ingest.key(item, record.config, record.regions):
            raise RunFolderError(
                f"{folder} has no tile of {scene_id} as it is now, under these settings: run ingest first"
            )
    result = StageResult(kept=len(record.usable) - len(todo), backend=backend)
    with progress.stage("extract", len(todo), result.kept) as bar:
        for unit, problem in run_units(workplace, extract_unit, todo, record.config, backend, folder.address):
            result.count(unit[0], problem, strict=strict)
            bar.advance()
    return result


def extract_unit(unit: tuple[str, str], config: Config, backend: str, out: str, threads: int) -> SceneError | None:
    """Extract one scene's features, given its id and their key."""
    limit_threads(threads)
    scene_id, features_key = unit
    folder = RunFolder(out)
    reduction = int(folder.tile_attributes(scene_id)["reduction"])
    features = extract_scene(folder.grey(scene_id), folder.valid(scene_id), config, backend)
    folder.write_features(scene_id, on_full_grid(features, reduction), features_key, backend)
    return None


def extract_scene(grey: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_], config: Config, backend: str) -> Features:
    """Find the features of one masked tile.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The tile's pixels.
    valid : (rows, cols) bool
        True where a keypoint may lie.
    config
        The run's settings.
    backend
        Name of an AKAZE backend.

    Returns
    -------
    Features
        In the backend's order, positions on the tile's own grid.
    """
    settings = config.features
    wanted = AkazeSettings(settings.threshold, settings.octaves, settings.layers, settings.upright)
    found = akaze(grey, settings=wanted, backend=backend)
    if config.regions.mode != "zero":
        found = found.take(allowed(found.xy, grey, valid, settings.nodata_px))
    if settings.max_per_scene:
        found = found.take(within_budget(found.xy, found.response, settings.max_per_scene, settings.cell_px))
    return found


def allowed(
    xy: npt.NDArray[np.float32], grey: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_], nodata_px: int
) -> npt.NDArray[np.bool_]:
    """Say which keypoints lie on valid pixels and clear of areas without data: (n,) bool.

    The edge of a swath is the strongest edge in a scene, and lies elsewhere on every date.
    """
    if not len(xy):
        return np.zeros(0, np.bool_)
    x, y = np.rint(xy).astype(np.intp).T
    kept: npt.NDArray[np.bool_] = valid[y, x]
    if nodata_px:
        # A single black pixel is a dark roof or water, not the edge of the data.
        empty = cv2.morphologyEx((grey == 0).view(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        near = cv2.dilate(empty, np.ones((2 * nodata_px + 1, 2 * nodata_px + 1), np.uint8))
        kept &= near[y, x] == 0
    return kept


def within_budget(
    xy: npt.NDArray[np.float32], response: npt.NDArray[np.float32], budget: int, cell_px: int
) -> npt.NDArray[np.intp]:
    """Choose at most `budget` keypoints: the strongest, or the strongest of each ground cell in turn.

    Parameters
    ----------
    xy : (n, 2) float32
        Positions [px].
    response : (n,) float32
        Strength; of equally strong keypoints the earlier row comes first.
    budget
        How many to keep.
    cell_px
        Side of a square cell [px]; 0: one cell.

    Returns
    -------
    (k,) intp
        Chosen rows, rising.
    """
    order = np.argsort(-response, kind="stable")
    if cell_px:
        cells = np.unique(xy[order].astype(np.int64) // cell_px, axis=0, return_inverse=True)[1].reshape(-1)
        by_cell = np.argsort(cells, kind="stable")
        starts = np.r_[0, np.flatnonzero(np.diff(cells[by_cell])) + 1]
        lengths = np.diff(np.r_[starts, len(cells)])
        turn = np.empty(len(cells), np.intp)
        # A keypoint's turn is its rank within its cell; every cell's first comes before any cell's second.
        turn[by_cell] = np.arange(len(cells)) - np.repeat(starts, lengths)
        order = order[np.argsort(turn, kind="stable")]
    return np.sort(order[:budget])


def on_full_grid(features: Features, reduction: int) -> Features:
    """Move features of a reduced tile to the scene's full-resolution grid, pixel centres at integers."""
    if reduction == 1:
        return features
    xy = (features.xy.astype(np.float64) + 0.5) * reduction - 0.5
    return replace(features, xy=xy.astype(np.float32), size=features.size * np.float32(reduction))
