"""The configuration: immutable models, loaded from TOML, with overrides of single keys."""

from s2fast.config.loading import PROFILES, dotted_keys, load_config, profile_text
from s2fast.config.models import (
    LEAST_DEVICE_MB,
    Compute,
    Config,
    FeatureSettings,
    Ingest,
    Matching,
    Output,
    Regions,
    Verification,
)

__all__ = [
    "LEAST_DEVICE_MB",
    "PROFILES",
    "Compute",
    "Config",
    "FeatureSettings",
    "Ingest",
    "Matching",
    "Output",
    "Regions",
    "Verification",
    "dotted_keys",
    "load_config",
    "profile_text",
]
