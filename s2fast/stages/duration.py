"""Predict the time of a run from its scenes' headers, and warn before one that takes more than a day."""

from __future__ import annotations

import logging

from s2fast.errors import DamageError, option
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.stages.keys import tile_key
from s2fast_kernels.machine import available_cores

_READING_S = 0.073
_EXTRACTING_S = 0.11
"""CPU seconds per 1e6 pixels, as docs/cost.md measured them."""

_DAY_S = 86_400

log = logging.getLogger(__name__)


def predicted_seconds(record: RunRecord, folder: RunFolder) -> float:
    """Predict the CPU seconds of reading the scenes that are not up to date, and of extracting their features.

    Polygons may leave less to read. Matching depends on keypoints that are not known yet.
    """
    reduction = record.config.ingest.reduction
    pixels = sum(
        item.raster.shape[0] * item.raster.shape[1] for item in record.usable if not _is_read(item, record, folder)
    )
    return pixels / 1e6 * (_READING_S + _EXTRACTING_S / reduction**2)


def _is_read(item: SceneInput, record: RunRecord, folder: RunFolder) -> bool:
    try:
        return folder.tile_key(item.scene.scene_id) == tile_key(item, record.config, record.regions)
    except DamageError:
        return False  # the run mends it


def warn_of_days(record: RunRecord, folder: RunFolder) -> None:
    """Warn of scenes that may take the cores of this machine more than a day."""
    seconds = predicted_seconds(record, folder)
    cores = available_cores()
    if seconds > _DAY_S * cores:
        log.warning(
            "reading the scenes and extracting their features may take %.0f core hours, %.1f days on this machine's %d "
            "cores: reduce the scenes (ingest.reduction), or use more machines (%s)",
            seconds / 3600,
            seconds / cores / _DAY_S,
            cores,
            option("scheduler"),
        )
