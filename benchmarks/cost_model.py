"""Rates fitted to measured runs, and what jobs of any size would take at them: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

STAGE_UNITS: Mapping[str, tuple[str, ...]] = {
    "ingest": ("scenes", "Mpx"),
    "extract": ("scenes", "Mpx", "1e3 keypoints"),
    "match": ("blocks", "pairs", "1e9 comparisons"),
    "windowed search": ("searches", "1e3 rows", "1e6 candidates"),
    "window preparation": ("scenes", "1e3 keypoints"),
    "verify": ("pairs", "1e3 good matches"),
    "report": ("scenes", "pairs"),
}
"""What each stage's cost is linear in."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A cost as a sum of rates times units, none negative."""

    rates: dict[str, float]
    """Cost of one unit, by unit."""
    residuals_pct: list[float]
    """(fitted - measured) / measured of every run, in the runs' order [%]."""

    def cost(self, units: Mapping[str, float]) -> float:
        """Sum up the rates for so many units."""
        return sum(rate * units[name] for name, rate in self.rates.items())


def fit(names: Sequence[str], runs: Sequence[Mapping[str, float]], costs: Sequence[float]) -> Fit:
    """Fit rates to measured costs by least squares of the relative errors, none below 0.

    Parameters
    ----------
    names
        Units the cost is linear in.
    runs
        Units of every run.
    costs
        What every run cost, all above 0.

    Examples
    --------
    >>> round(fit(["pairs"], [{"pairs": 2}, {"pairs": 4}], [1.0, 2.0]).rates["pairs"], 6)
    0.5
    """
    measured = np.asarray(costs, float)
    units = np.array([[run[name] for name in names] for run in runs], float)
    # Columns of one size: the solver's stopping rule is absolute.
    scale = np.maximum(np.abs(units / measured[:, None]).max(axis=0), 1e-300)
    solved, _ = nnls(units / measured[:, None] / scale, np.ones(len(measured)))
    rates = solved / scale
    residuals = 100 * (units @ rates / measured - 1)
    return Fit({name: float(rate) for name, rate in zip(names, rates, strict=True)}, [float(r) for r in residuals])


@dataclass(frozen=True, slots=True)
class Workload:
    """A job to compute the cost of."""

    name: str
    """In words."""
    scenes: int
    """Acquisitions of one tile."""
    pairs: int
    """Pairs matched."""
    blocks: int
    """Blocks of pairs, each a unit of work with files of its own."""
    mpx: float = 10980 * 10980 / 1e6
    """Pixels read of a scene [1e6]."""
    keypoints: int = 5000
    """Keypoints kept of a scene."""
    candidates: float = 20.0
    """Windowed: train keypoints of a query's size within the radius of its position."""
    good: int = 500
    """Good matches of a pair."""

    def units(self) -> dict[str, float]:
        """Count what the stages work on."""
        return {
            "scenes": self.scenes,
            "Mpx": self.scenes * self.mpx,
            "1e3 keypoints": self.scenes * self.keypoints / 1e3,
            "blocks": self.blocks,
            "pairs": self.pairs,
            "1e9 comparisons": self.pairs * self.keypoints**2 / 1e9,
            # One search serves both directions.
            "searches": self.pairs,
            "1e3 rows": 2 * self.pairs * self.keypoints / 1e3,
            "1e6 candidates": self.pairs * self.keypoints * self.candidates / 1e6,
            "1e3 good matches": self.pairs * self.good / 1e3,
        }


def tile_pairs(tiles: int, dates: int) -> int:
    """Pairs of scenes of one tile each.

    Examples
    --------
    >>> tile_pairs(1, 73), tile_pairs(50, 73)
    (2628, 131400)
    """
    return tiles * dates * (dates - 1) // 2


def core_hours(job: Workload, fits: Mapping[str, Fit], *, windowed: bool) -> dict[str, float]:
    """CPU-core hours of every stage of a job.

    Parameters
    ----------
    job
        What to compute.
    fits
        By stage, "windowed search" and "window preparation".
    windowed
        Whether a search looks near a query's position only: "match" then is what blocks and pairs cost, and instead
        of the comparisons the windowed searches, with every scene's rows prepared once.
    """
    units = job.units()
    windows = ("windowed search", "window preparation")
    hours = {stage: found.cost(units) / 3600 for stage, found in fits.items() if stage not in windows}
    if windowed:
        around = fits["match"].cost({**units, "1e9 comparisons": 0.0})
        hours["match"] = (around + sum(fits[name].cost(units) for name in windows)) / 3600
    return hours
