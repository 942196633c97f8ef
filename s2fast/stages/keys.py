"""Content keys: a hash per result of everything that it depends on.

A stage computes a result only if none is stored under its key. The chain: raster and polygons make the key of a tile, a
tile's key and the detector's settings that of its features, two scenes' features and the rule that of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s2fast.config import Config, Matching
from s2fast.detectors import acting, backend_name
from s2fast.errors import ConfigError
from s2fast.folder.content_key import content_key
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.regions.file import RegionFile
from s2fast.report import page


def tile_key(item: SceneInput, config: Config, regions: RegionFile | None) -> str:
    """Content key of a scene's tile."""
    settings = config.regions if regions and config.regions.mode != "none" else None
    return content_key(
        "tile",
        item.identity,
        settings.model_dump() if settings else None,
        regions.content if regions and settings else None,
        config.ingest.reduction,
        config.ingest.halo_px if settings and settings.mode == "keep" else None,
        "reduced" if item.raster.level > 1 else "full",
        config.ingest.stretch if item.raster.dtype == "uint16" else None,
        *(["masked"] if item.raster.masked else []),
    )


def features_key(tile: str, config: Config, backend: str) -> str:
    """Content key of a scene's features; `config` as `resolved` gives it."""
    preparation = config.ingest.model_dump(include={"clouds", "contrast", "clahe_clip"})
    return content_key("features", tile, acting(config.features), preparation, backend)


def resolved(config: Config, scenes: Sequence[SceneInput]) -> Config:
    """Settle what the run's scenes decide together: whether orientations are estimated."""
    if config.features.upright != "auto":
        return config
    north_up = all(item.raster.north_up for item in scenes)
    return config.model_copy(update={"features": config.features.model_copy(update={"upright": north_up})})


def features_keys(record: RunRecord) -> dict[str, str]:
    """Content key of every scene's features under the run's settings, by scene id, in the run's order."""
    backend = backend_name(record.config.features)
    config = resolved(record.config, record.usable)
    return {
        item.scene.scene_id: features_key(tile_key(item, record.config, record.regions), config, backend)
        for item in record.usable
    }


def pair_key(query_key: str, train_key: str, config: Config) -> str:
    """Content key of a pair's matches, from its features' keys and the settings."""
    rule = config.matching.model_dump(exclude={"backend", "pairs", "pairs_file"})
    if config.matching.mode == "exhaustive":
        del rule["radius_m"]
    return content_key("pair", query_key, train_key, rule)


def verdict_key(query_key: str, train_key: str, config: Config) -> str:
    """Content key of a pair's verdict, from its features' keys and the settings."""
    verification = config.verification.model_dump() if config.verification.enabled else None
    matched = pair_key(query_key, train_key, config)
    return content_key("verified", matched, verification, config.matching.radius_m, config.output.keep_matches)


def tables_key(record: RunRecord) -> str:
    """Content key of the tables and the page: all that the pairs' results and the list of scenes depend on."""
    config = record.config
    pairs = verdict_key("", "", config), pairs_chosen(config.matching)
    return content_key("tables", page.looks(), features_keys(record), *pairs)


def pairs_chosen(settings: Matching) -> Any:
    """Return what the choice of pairs depends on besides the scenes, as a JSON value."""
    if settings.pairs != "file":
        return settings.pairs
    try:
        return Path(settings.pairs_file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"matching.pairs_file: cannot read {settings.pairs_file}: {error}") from error
