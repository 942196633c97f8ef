"""Which reflectances the grey values of a stretched scene are, by the scaling that its product is known to have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from s2fast.archive.names import ASSET
from s2fast.archive.sensors import names_of
from s2fast.model import Scene

UNKNOWN = "unknown reflectances"
"""Why brightness says nothing of clouds: the scaling of the values is not known."""

NOT_VISIBLE = "not a visible band"
"""Why it says nothing: in other bands, vegetation is as bright as clouds."""

_OFFSET_BASELINE = 400
"""Baseline of Sentinel-2 products from which values have an offset of 1000, unless a catalogue has removed it."""

_UNOFFICIAL = 9999
"""The baseline of products that users generated themselves."""

_PLAUSIBLE = (-0.05, 1.6)
"""Range of the 2nd and 98th percentiles of reflectances; of others, the values are no reflectances of that scaling."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a product stores reflectances: ``scale * value + offset``."""

    scale: float
    """Reflectance of one unit of the stored values."""
    offset: float = 0.0
    """Reflectance of the stored value 0."""

    def of(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return the reflectances of values."""
        return tuple(self.scale * value + self.offset for value in values)


_TEN_THOUSANDTHS = Scaling(1e-4)
_SINCE_2022 = Scaling(1e-4, -0.1)

_SCALINGS: Mapping[tuple[str, str], Scaling] = {
    (r"HLS\.[SL]30", r".*"): _TEN_THOUSANDTHS,
    (r"PS.+", r".*ANALYTIC\w*_SR.*"): _TEN_THOUSANDTHS,
    # Collection 2 at the surface, and at the top of the atmosphere, without the sun's elevation.
    (r"L[CET]0\d", r"L2.*"): Scaling(2.75e-5, -0.2),
    (r"L[CO]0[89]", r"L1.*"): Scaling(2e-5, -0.1),
}
"""Scalings by patterns of the platform, and of level and raster; those of Sentinel-2 depend on the baseline."""

_VISIBLE: Mapping[str, str] = {
    r"S2[A-D]?|HLS\.S30": r"B0[1-4]",
    r"L[CO]0[89]|HLS\.L30": r"(?:SR_)?B0?[1-4]|B0?8",
    r"L[ET]0\d": r"(?:SR_)?B0?[1-3]",
    r"PS.+": r"ANALYTIC.*",
}
"""Names of visible bands, and of files whose first three bands are, by a pattern of the platform."""


def reflectances(
    scene: Scene,
    stretches: Sequence[tuple[float, float]],
    weights: Sequence[float],
    *,
    colour: bool,
    whole_numbers: bool,
) -> tuple[float, float] | str:
    """Return the reflectances of a scene's grey values 1 and 255, or why brightness says nothing of clouds.

    Parameters
    ----------
    scene
        The scene.
    stretches
        For each of its rasters, the values that become 1 and 255: the 2nd and 98th percentiles.
    weights
        Weights of the rasters; empty: equal.
    colour
        Whether its only raster has three bands.
    whole_numbers
        Whether the values are integers, as in all products; others have been converted.

    Examples
    --------
    >>> from s2fast.files.source import Source
    >>> scene = Scene("a", platform="S2A", level="L2A", baseline=509, asset="B04", source=Source.of("/a_B04.jp2"))
    >>> reflectances(scene, [(1100, 4100)], (), colour=False, whole_numbers=True)
    (0.01, 0.31)
    """
    platform = scene.platform or ("S2" if re.fullmatch(r"\d{2}[A-Z]{3}", scene.tile) else "")
    visible = next((names for pattern, names in _VISIBLE.items() if re.fullmatch(pattern, platform)), None)
    if visible is None:
        return UNKNOWN
    found = []
    for asset, stretch in zip(_assets(scene), stretches, strict=True):
        if asset in ("", "TCI"):
            if not colour:
                return UNKNOWN
        elif not any(re.fullmatch(visible, name) for name in names_of(asset, platform)):
            return NOT_VISIBLE
        scaling = _scaling(scene, platform, asset, stretch) if whole_numbers else Scaling(1.0)
        low, high = scaling.of(stretch) if scaling else (0.0, 0.0)
        if not _PLAUSIBLE[0] <= low < high <= _PLAUSIBLE[1]:
            return UNKNOWN
        found.append((low, high))
    low, high = np.average(found, axis=0, weights=weights or None)
    return round(float(low), 6), round(float(high), 6)


def _assets(scene: Scene) -> list[str]:
    """Return the names of a scene's rasters."""
    parsed = (ASSET.match(source.posix.stem) for source in scene.others)
    return [scene.asset, *(((match and (match["band"] or match["other"])) or "").upper() for match in parsed)]


def _scaling(scene: Scene, platform: str, asset: str, stretch: tuple[float, float]) -> Scaling | None:
    """Return the scaling of a raster; None if it is not known."""
    if platform.startswith("S2"):
        return _sentinel(scene.baseline, stretch)
    kind = f"{scene.level} {asset}"
    rows = _SCALINGS.items()
    return next((found for (one, other), found in rows if re.fullmatch(one, platform) and re.match(other, kind)), None)


def _sentinel(baseline: int, stretch: tuple[float, float]) -> Scaling | None:
    """Return the scaling of a Sentinel-2 product; None if it may have an offset or not."""
    has_none = _SINCE_2022.of(stretch)[0] < _PLAUSIBLE[0]  # as its dark ground shows
    if has_none or 0 < baseline < _OFFSET_BASELINE:
        return _TEN_THOUSANDTHS
    return None if baseline in (0, _UNOFFICIAL) else _SINCE_2022
