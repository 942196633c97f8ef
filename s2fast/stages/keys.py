"""Content keys: the hash of everything that a result depends on.

A stage computes a result only if none is stored under its key. The keys form a chain: the key of a tile depends on the
raster and the polygons, the key of its features on the tile's key and the detector's settings, the key of a pair on the
keys of both scenes' features and the matching settings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from s2fast.config import Config, Matching
from s2fast.detectors import effective_settings, selected_backend
from s2fast.errors import ConfigError
from s2fast.files.limited import read_text
from s2fast.folder.content_key import content_key
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.image.prepare import by_brightness
from s2fast.image.scenes import HOST, selected_preparation
from s2fast.masks.kinds import of_scene
from s2fast.regions.file import RegionFile
from s2fast.report import page
from s2fast.stages.levels import Level, grid_of, levels_of
from s2fast_kernels.backends import Selected

FEATURES = "features, of interpolated scenes also on the means over larger pixels"
"""Name of what is stored with features; another name after a change, so that older features are not reused."""

VERDICTS = "verified, with surroundings and repetitions, second looks at what may match, within scenes"
"""Name of the rule of verdicts; another name after a change, so that older verdicts are not reused."""

_MOST_TURN_DEG = 10.0
"""Greatest angle between grids whose keypoints are matched without orientations: real scenes turned by 18 degrees lose
half their matches, with orientations a quarter [deg]."""

_LIMITS = {"max_polygons", "max_vertices"}
"""Settings of regions that decide whether they are read, not what is read."""


def tile_key(item: SceneInput, config: Config, regions: RegionFile | None) -> str:
    """Return the content key of a scene's tile."""
    settings = config.regions if regions and config.regions.mode != "none" else None
    return content_key(
        "tile",
        item.identity,
        settings.model_dump(exclude=_LIMITS) if settings else None,
        regions.content if regions and settings else None,
        config.ingest.reduction,
        config.ingest.halo_px if settings and settings.mode == "keep" else None,
        "reduced" if item.raster.level > 1 else "full",
        config.ingest.stretch if item.raster.dtype != "uint8" else None,
        *(["reflectances, without a fill value"] if stretched_by_percentiles(item, config) else []),
        *(["masked"] if item.raster.masked else []),
        *(["luma"] if item.raster.luma else []),
        *([["bands", *config.ingest.band_weights]] if item.scene.others else []),
        *([["mask", *item.mask.key(config.ingest)]] if item.mask else []),
    )


def stretched_by_percentiles(item: SceneInput, config: Config) -> bool:
    """Return whether a scene's grey values are percentiles of its own values."""
    return config.ingest.stretch == "auto" and item.raster.dtype != "uint8"


def preparation(config: Config) -> Selected:
    """Return how scenes are prepared: on the detector's device."""
    return selected_preparation(selected_backend(config).device)


def features_key(
    tile: str,
    config: Config,
    backend: str,
    levels: Sequence[Level] = (),
    square_px: tuple[float, float] = (1.0, 1.0),
) -> str:
    """Return the content key of a scene's features; `config` is the result of `for_scene`.

    Pixels prepared on a device may differ from the host's by a grey level, so they have another key. The host's name,
    and the rule of brightness where it is applied, are omitted.
    """
    settings = config.ingest.model_dump(include={"clouds", "contrast", "clahe_clip"})
    prepared = preparation(config).name
    other: list[Any] = [] if prepared == HOST else [f"prepared by {prepared}"]
    if config.ingest.clouds and not by_brightness(config.ingest):
        other.append("not by brightness")
    if not config.features.coarser:
        other.append("no level of an interpolated scene")
    if levels:
        other.append(["levels", *([level.factor, level.upsample] for level in levels)])
    if square_px != (1.0, 1.0):
        other.append(["square pixels", *square_px])
    return content_key(FEATURES, tile, effective_settings(config.features), settings, backend, *other)


def for_scene(config: Config, mask: str, *, by_brightness: bool = True) -> Config:
    """Return the settings for a scene with a kind of mask, whose ``ingest.mask`` is "bright" or "none".

    `by_brightness` is whether brightness says anything of clouds, see `TileInfo.not_by_brightness`; content keys of
    features need not know it, since they depend on the tile's.
    """
    settings = of_scene(config.ingest, mask)
    return config.model_copy(
        update={"ingest": settings if by_brightness else settings.model_copy(update={"mask": "none"})}
    )


def resolved(config: Config, scenes: Sequence[SceneInput]) -> Config:
    """Return the settings with ``features.upright = "auto"`` resolved: True if all scenes are north-up.

    Grids of different CRSs may be turned against each other on the ground, as of polar projections beside UTM.
    """
    if config.features.upright != "auto":
        return config
    upright = all(item.raster.north_up for item in scenes)
    if upright and len({item.raster.crs_wkt for item in scenes}) > 1:
        turns = np.array([turn for item in scenes if math.isfinite(turn := grid_of(item.raster).turn_deg)])
        upright = not (np.abs((turns - turns[:1] + 180) % 360 - 180) > _MOST_TURN_DEG).any()
    return config.model_copy(update={"features": config.features.model_copy(update={"upright": upright})})


def features_keys(record: RunRecord) -> dict[str, str]:
    """Return the content keys of all scenes' features under the run's settings, by scene id, in the run's order.

    They are unique: files that have the same name, size and time in several folders, or one name in several folders of
    a zip, are told apart by their scene ids.
    """
    backend = selected_backend(record.config).name
    config = resolved(record.config, record.usable)
    levels = levels_of(record.usable, config)
    found = {
        item.scene.scene_id: features_key(
            tile_key(item, record.config, record.regions),
            for_scene(config, item.mask_kind),
            backend,
            levels.get(item.scene.scene_id, ()),
            grid_of(item.raster).square_px,
        )
        for item in record.usable
    }
    times = Counter(found.values())
    return {name: key if times[key] == 1 else content_key(key, name) for name, key in found.items()}


def pair_key(query_key: str, train_key: str, config: Config) -> str:
    """Return the content key of a pair's matches, from the keys of its features and the settings."""
    rule = config.matching.model_dump(exclude={"backend", "pairs", "pairs_file", "similar"})
    if config.matching.mode == "exhaustive":
        del rule["radius_m"]
    limited = ["within scenes"] if rule.get("radius_m", "auto") not in (0, "auto") else []
    return content_key("pair, by levels of equal pixels", query_key, train_key, rule, *limited)


def verdict_key(query_key: str, train_key: str, config: Config) -> str:
    """Return the content key of a pair's verdict, from the keys of its features and the settings."""
    verification = config.verification.model_dump() if config.verification.enabled else None
    if verification and (config.matching.mode == "exhaustive" or config.matching.radius_m != 0):
        del verification["second_look_px"]  # they have none
    matched = pair_key(query_key, train_key, config)
    return content_key(VERDICTS, matched, verification, config.matching.radius_m, config.output.keep_matches)


def tables_key(record: RunRecord) -> str:
    """Return the content key of the tables and the report page, which depend on all scenes and results of pairs."""
    config = record.config
    pairs = verdict_key("", "", config), pair_selection(config.matching)
    fixed = [record.reference] if record.reference else []
    return content_key("tables", page.assets_hash(), features_keys(record), *pairs, *fixed)


def pair_selection(settings: Matching) -> Any:
    """Return everything besides the scenes that determines the pairs to compare, as a JSON value."""
    if settings.pairs == "similar":
        return [settings.pairs, settings.similar]
    if settings.pairs != "file":
        return settings.pairs
    try:
        return read_text(settings.pairs_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"matching.pairs_file: cannot read {settings.pairs_file}: {error}") from error
