"""Scenes in memory: crops of real imagery and synthetic ground, with preparation, AKAZE, matching and verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyproj
import rasterio

from s2fast.config import Config, load_config
from s2fast.geometry.evidence import Judgement
from s2fast.geometry.placement import Placement
from s2fast.stages.extract import extract_scene
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import Pair
from s2fast.stages.verdict_rule import VerdictRule

Grey = npt.NDArray[np.uint8]

PIXEL_M = 10.0
"""Side of a pixel in all trials [m]: only ratios matter."""

_CORNER = (500_000.0, 5_600_000.0)

_WKT = pyproj.CRS("EPSG:32636").to_wkt()

PRIOR = load_config(overrides={"features.upright": True})
"""The default for north-up scenes."""

AUTO = load_config(overrides={"features.upright": True, "matching.radius_m": "auto"})
"""The default with a radius that is widened until a shift is found."""

NO_PRIOR = load_config(
    overrides={
        "features.upright": True,
        "matching.mode": "exhaustive",
        "verification.prior": "none",
        "matching.max_distance_bits": 120,
    }
)
"""The profile of docs/verification.md for unreliable georeferencing."""

ANY_ANGLE = load_config(
    overrides={
        "features.upright": False,
        "matching.mode": "exhaustive",
        "verification.prior": "none",
        "matching.max_distance_bits": 120,
    }
)
"""The same for scenes rotated by any angle."""

PAINTED = load_config(overrides={"features.upright": True, "regions.mode": "zero"})
"""Polygons painted black."""

NOTEBOOK = load_config(Path(__file__).parents[2] / "configs" / "notebook.toml", {"features.backend": "numba"})
"""The notebook's settings with our AKAZE backend, which finds the same keypoints."""


@cache
def photographs(data: Path) -> Mapping[str, Grey]:
    """Read the real imagery: one grey picture per file, by tile and date, or by site."""
    found = {}
    for path in sorted((data / "ukraine").rglob("*_TCI.jp2")):
        found[f"{path.name[1:6]} {path.name[7:15]}"] = _grey(path)
    for folder in ("arosics", "lebanon", "paris"):
        for path in sorted((data / folder).glob("*.jp2")):
            found[f"{folder} {path.name[:3]}"] = _grey(path)
    return found


def _grey(path: Path) -> Grey:
    with rasterio.open(path) as source:
        bands = source.read()
    if bands.dtype == np.uint16:
        low, high = np.percentile(bands[0][bands[0] > 0], [2, 98])
        grey = np.clip(1 + (bands[0].astype(np.float64) - low) * 254 / (high - low), 1, 255)
        return np.where(bands[0] == 0, 0, grey).astype(np.uint8)
    return np.asarray(bands[0] if len(bands) == 1 else cv2.cvtColor(np.moveaxis(bands[:3], 0, 2), cv2.COLOR_RGB2GRAY))


def scene(grey: Grey, config: Config = PRIOR, moved_px: tuple[float, float] = (0.0, 0.0)) -> MatchedScene:
    """Extract a picture's features.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The picture; 0 where there is no data or it is painted.
    config
        Settings.
    moved_px
        Displacement of the georeferencing, right and down [px].
    """
    painted = config.regions.mode == "zero"
    valid = np.ones(grey.shape, np.bool_) if painted else grey != 0
    found = extract_scene(grey.copy(), lambda rows, columns: valid[rows, columns], config, "numba")
    right, down = moved_px
    transform = (PIXEL_M, 0.0, _CORNER[0] + PIXEL_M * right, 0.0, -PIXEL_M, _CORNER[1] - PIXEL_M * down)
    shape = grey.shape[0], grey.shape[1]
    placement = Placement(_WKT, transform, shape, 1, found.clear, found.interpolated, bool(found.on_levels))
    features, levels = found.features, tuple((placement.seen_m, number) for number in found.on_levels)
    return MatchedScene(features.descriptors, features.xy, features.size, found.fixed, placement, levels)


def at(found: MatchedScene, right: float, down: float) -> MatchedScene:
    """Return a scene whose georeferencing is moved right and down [px]."""
    a, b, c, d, e, f = found.placement.transform
    placement = replace(found.placement, transform=(a, b, c + a * right, d, e, f + e * down))
    return replace(found, placement=placement)


def judged(query: MatchedScene, train: MatchedScene, config: Config = PRIOR) -> Judgement:
    """Match and verify two scenes as a run does."""
    rule = VerdictRule(MatchingRule(config.matching, "numba"), config.verification)
    (found,) = rule.matching.good_matches([(query, train)])
    pair = Pair("query", "train", "")
    return rule.judge(MatchedPair(pair, query, train, found.query_row, found.train_row, found.distance, found.radius_m))


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of one photograph."""

    name: str
    """The photograph."""
    corner: tuple[int, int]
    """Its first row and column."""
    grey: Grey
    """Pixels."""

    @property
    def ground(self) -> tuple[str, tuple[int, int]]:
        """Identifies the ground: dates of one tile show the same ground."""
        return self.name.split()[0], self.corner


def crops(pictures: Mapping[str, Grey], size: int, each: int, rng: np.random.Generator) -> list[Crop]:
    """Return up to `each` random grid squares per picture, with at most 10 % of the pixels missing."""
    found = []
    for name, grey in pictures.items():
        corners = [
            (row, col)
            for row in range(0, grey.shape[0] - size + 1, size)
            for col in range(0, grey.shape[1] - size + 1, size)
        ]
        kept = 0
        for number in rng.permutation(len(corners)):
            row, col = corners[number]
            part = grey[row : row + size, col : col + size]
            if kept < each and np.count_nonzero(part) >= 0.9 * part.size:
                found.append(Crop(name, (row, col), part))
                kept += 1
    return found
