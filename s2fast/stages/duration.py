"""Predict the time of a run's work, and warn before one that takes more than a day."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from s2fast.config import Config
from s2fast.errors import option
from s2fast.folder.record import SceneInput
from s2fast.geometry.pixel_grid import pixel_side
from s2fast.raster.windows import reduced_shape
from s2fast.stages.levels import Level, upsampling
from s2fast_kernels.machine import available_cores

_READING_S = 0.073
_EXTRACTING_S = 0.11
"""CPU seconds per 1e6 pixels, as docs/cost.md measured them."""

_READING_SCENE_S, _EXTRACTING_SCENE_S = 0.033, 0.06
_EXTRACTING_KEYPOINT_S = 0.0031e-3
_COMPARING_S = 0.65e-9
"""CPU seconds of a comparison of two keypoints, of all pairs of a query's and a train's."""

_CANDIDATE_S = 0.0098e-6
"""CPU seconds of a comparison within a window."""

_WINDOW_KEYPOINT_S = 0.00012e-3
"""CPU seconds of a keypoint of either scene, matched within windows: search and preparation."""

_VERIFYING_S, _VERIFYING_MATCH_S = 0.0012, 0.0028e-3
_GOOD = 0.2
"""Assumed share of keypoints with a good match."""

_REPORTING_S = 0.0125
"""CPU seconds per 1e6 pixels: the thumbnail."""

_REPORTING_SCENE_S = 0.13

_KEYPOINTS = 1_660
"""Keypoints per 1e6 pixels of a scene without a limit, 200,000 of a tile."""

_RADIUS_PX = 5
"""``matching.radius_m = 0`` [px]."""

_LEAST_PIXEL, _DEGREE_M = 0.01, 111_000.0
"""Smaller pixels are degrees, of this length [m]."""

_DAY_S = 86_400

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do."""

    scenes: Sequence[SceneInput] = ()
    """Scenes of the pairs."""
    read: Sequence[SceneInput] = ()
    """Scenes to ingest."""
    extract: Sequence[SceneInput] = ()
    """Scenes to extract features of."""
    match: int = 0
    """Pairs to match."""
    verify: int = 0
    """Pairs to verify."""
    report: Sequence[SceneInput] = ()
    """Scenes of a report to write."""
    levels: Mapping[str, Sequence[Level]] = field(default_factory=dict)
    """Coarser grids on which scenes are searched too, by scene id."""

    def seconds(self, config: Config) -> float:
        """Predict the CPU seconds. Polygons may leave less to read, and fewer keypoints."""
        reading = sum(_megapixels(item) * _READING_S + _READING_SCENE_S for item in self.read)
        extracting = sum(_extracting(item, config, self.levels.get(str(item), ())) for item in self.extract)
        reporting = sum(_megapixels(item) * _REPORTING_S + _REPORTING_SCENE_S for item in self.report)
        return reading + extracting + self._pair_seconds(config) + reporting

    def _pair_seconds(self, config: Config) -> float:
        if not self.scenes or not (self.match or self.verify):
            return 0.0
        each = sum(keypoints(item, config) for item in self.scenes) / len(self.scenes)
        verifying = self.verify * (_VERIFYING_S + _GOOD * each * _VERIFYING_MATCH_S)
        if config.matching.mode == "exhaustive":
            return verifying + self.match * each**2 * _COMPARING_S
        share = sum(_searched(item, config.matching.radius_m) for item in self.scenes) / len(self.scenes)
        return verifying + self.match * (each**2 * share * _CANDIDATE_S + 2 * each * _WINDOW_KEYPOINT_S)


def keypoints(item: SceneInput, config: Config) -> float:
    """Predict the number of keypoints of a scene on its own grid."""
    return _keypoints(_megapixels(item) / config.ingest.reduction**2, config)


def _keypoints(megapixels: float, config: Config) -> float:
    most = megapixels * _KEYPOINTS
    return min(most, config.features.max_per_scene or most)


def _extracting(item: SceneInput, config: Config, levels: Sequence[Level]) -> float:
    """Predict the CPU seconds of extracting a scene's features, on its own grid and on its levels."""
    reduction, own = config.ingest.reduction, _megapixels(item)
    enlarged = upsampling(reduced_shape(item.raster.shape, reduction), config)
    grids = [(float(reduction), enlarged), *((reduction * level.factor, level.upsample) for level in levels)]
    return sum(
        own * (times / factor) ** 2 * _EXTRACTING_S
        + _EXTRACTING_SCENE_S
        + _keypoints(own / factor**2, config) * _EXTRACTING_KEYPOINT_S
        for factor, times in grids
    )


def _megapixels(item: SceneInput) -> float:
    return math.prod(item.raster.shape) / 1e6


def _searched(item: SceneInput, radius_m: Literal["auto"] | float) -> float:
    """Return the share of a scene that is searched for a keypoint, 0 to 1: up to twice the radius."""
    side = pixel_side(item.raster.transform)
    pixel_m = side * (_DEGREE_M if side < _LEAST_PIXEL else 1)
    radius_px = radius_m / pixel_m if isinstance(radius_m, float) and radius_m else _RADIUS_PX
    return min(1.0, math.pi * (2 * radius_px) ** 2 / math.prod(item.raster.shape))


def warn_of_days(seconds: float) -> None:
    """Warn of scenes that may take the cores of this machine more than a day."""
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
