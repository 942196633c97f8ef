"""The settings that are searched, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s2fast.config import Config

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two ends."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether factors count, not differences."""


SPACE: Mapping[str, Range | tuple[Any, ...]] = {
    "features.threshold": Range(0.00003, 0.003, log=True),
    "ingest.contrast": ("clahe", "none"),
    "features.max_per_scene": (5000, 10_000, 20_000, 40_000),
    "matching.radius_m": (0.0, "auto"),
    "matching.ratio": Range(0.7, 0.97),
    "ingest.reduction": (1, 2),
    "ingest.clouds": (True, False),
}
"""Settings and their values. The search radius is never less than the default: copies are moved by little, and scenes
that are off by more would go unnoticed."""


def searched(base: Config) -> dict[str, Range | tuple[Any, ...]]:
    """Return the settings to search on top of a configuration, whose own values are among them."""
    found = dict(SPACE)
    if base.features.detector != "akaze":
        del found["features.threshold"]  # of AKAZE only
    if base.ingest.mask not in ("auto", "none"):
        del found["ingest.clouds"]  # without clouds there is no mask
    if base.matching.mode == "exhaustive":
        del found["matching.radius_m"]  # "auto" needs windows
    for key, values in found.items():
        value = value_of(base, key)
        if isinstance(values, tuple) and value not in values:
            found[key] = (value, *values)
        elif isinstance(values, Range):
            found[key] = Range(min(values.low, value), max(values.high, value), values.log)
    return found


def value_of(config: Config, key: str) -> Any:
    """Return the value of a dotted key."""
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def rounded(values: Range | tuple[Any, ...], value: Any) -> Any:
    """Round a number of a range to what a person would write, two significant digits, but not out of the range."""
    return min(max(float(f"{value:.2g}"), values.low), values.high) if isinstance(values, Range) else value
