"""Quality of a run's results where the truth is known: matches, verdicts and shifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely

from s2fast.geometry.pixel_grid import pixel_side, to_ground
from s2fast.model import Raster
from s2fast.results import Run
from s2fast.sweeps.data import Truth
from s2fast.verdicts import is_verified

TRUE_PX = 2.0
"""A match, or a pair's shift, is true if it lies within this distance of the known displacement [px]."""

MATCHABLE = 6
"""Minimum number of true matches of a usable pair."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of a run over all pairs."""

    pairs_with_ground: int
    """Pairs whose scenes share ground."""
    matches: int
    """Matches kept of all pairs."""
    true_matches: int
    """Matches at the known displacement."""
    precision_pct: float
    """Share of true matches [%]."""
    matchable_pct: float
    """Share of pairs with common ground that have at least six true matches [%]."""
    similarity_auc: float | None
    """AUC of similarity as a classifier of pairs of one tile against pairs of two tiles; None without both."""
    verified_pairs: int | None
    """Pairs verified with the true shift; None if verification has not run."""
    false_verifications: int | None
    """Pairs verified with a wrong shift, or without common ground."""
    shift_error_px: float | None
    """Median distance of the verified pairs' shifts from the truth [px]; None without any."""


def quality(run: Run, truth: Truth) -> Quality:
    """Compare a run with the truth.

    Parameters
    ----------
    run
        A finished run that kept its matches.
    truth
        The known displacements.
    """
    rasters = {item.scene.scene_id: item.raster for item in run.record.usable}
    ground = {name: shapely.Polygon(raster.outline()) for name, raster in rasters.items()}
    pairs = run.pairs()
    shared = {
        (query, train): rasters[query].crs_wkt == rasters[train].crs_wkt
        and bool(ground[query].intersection(ground[train]).area > 0)
        for query, train in zip(pairs["query"], pairs["train"], strict=True)
    }
    matches, true, matchable = _matches(run, truth, rasters, shared)
    with_ground = sum(shared.values())
    same = pairs["query_tile"] == pairs["train_tile"]
    verified, false, error_px = _verdicts(
        pairs, truth, shared, {name: pixel_side(raster.transform) for name, raster in rasters.items()}
    )
    return Quality(
        pairs_with_ground=with_ground,
        matches=matches,
        true_matches=true,
        precision_pct=round(100 * true / max(matches, 1), 2),
        matchable_pct=round(100 * matchable / max(with_ground, 1), 2),
        similarity_auc=area_under_curve(pairs["similarity_pct"], same),
        verified_pairs=verified,
        false_verifications=false,
        shift_error_px=error_px,
    )


def _matches(
    run: Run, truth: Truth, rasters: dict[str, Raster], shared: dict[tuple[str, str], bool]
) -> tuple[int, int, int]:
    """Count matches, true ones, and pairs with enough true ones."""
    ground_xy = {name: to_ground(run.features(name).xy, raster.transform) for name, raster in rasters.items()}
    matches = true = matchable = 0
    for table in run.folder.verified.match_tables():
        for names, rows in table.groupby(["query", "train"], observed=True):
            query, train = map(str, names)
            matches += len(rows)
            if not shared[query, train]:
                continue
            moved = ground_xy[train][rows["train_row"]] - ground_xy[query][rows["query_row"]]
            error_m = np.hypot(*(moved - truth.shift_m(query, train)).T)
            hits = int((error_m <= TRUE_PX * pixel_side(rasters[query].transform)).sum())
            true, matchable = true + hits, matchable + (hits >= MATCHABLE)
    return matches, true, matchable


def _verdicts(
    pairs: pd.DataFrame, truth: Truth, shared: dict[tuple[str, str], bool], pixel_m: dict[str, float]
) -> tuple[int | None, int | None, float | None]:
    """Return the numbers of true and false verified pairs, and the median error of the true ones [px]."""
    judged = pairs[pairs["verified"].notna()]
    if judged.empty:
        return None, None, None
    errors_px: list[float] = []
    false = 0
    verified = judged[is_verified(judged)]
    shifts_m = verified[["dx_m", "dy_m"]].to_numpy(np.float64)
    for query, train, found_m in zip(verified["query"], verified["train"], shifts_m, strict=True):
        error_px = float(np.hypot(*(found_m - truth.shift_m(query, train)))) / pixel_m[query]
        if shared[query, train] and error_px <= TRUE_PX:
            errors_px.append(error_px)
        else:
            false += 1
    return len(errors_px), false, round(float(np.median(errors_px)), 4) if errors_px else None


def area_under_curve(score: pd.Series[float], positive: pd.Series[bool]) -> float | None:
    """Return the probability that a positive scores above a negative, ties counted half; None without both."""
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return None
    rank = float(score.rank()[positive].sum())
    return round((rank - count * (count + 1) / 2) / (count * others), 3)
