"""What a run's results show by themselves, where no truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from s2fast.geometry.network import triangle_gaps
from s2fast.results import Run
from s2fast.truth.scoring import rounded
from s2fast.verdicts import is_verified


@dataclass(frozen=True, slots=True)
class Found:
    """Results of a run over all pairs. Values are None without verification, or where nothing was verified."""

    pairs_with_ground: int
    """Pairs whose scenes share clear ground."""
    good_matches: int
    """Good matches of all pairs."""
    verified_pairs: int | None = None
    """Verified pairs."""
    verified_pct: float | None = None
    """Share of the pairs with common ground that are verified [%]."""
    inliers: int | None = None
    """Matches of the verified pairs that agree with their shift."""
    null_trials: int | None = None
    """Trials at wrong offsets, none of which should be verified."""
    null_verified: int | None = None
    """Trials that were verified nevertheless."""
    null_pct: float | None = None
    """Their share [%]."""
    null_low_pct: float | None = None
    """Lower end of the share's 95 % confidence interval [%]."""
    null_high_pct: float | None = None
    """Upper end [%]."""
    stated_error_m: float | None = None
    """Median standard error that the verified pairs state for their shifts [m]."""
    triples: int | None = None
    """Triples of scenes of one tile all of whose pairs are verified."""
    closure_m: float | None = None
    """Median over the triples of the length of the sum of the shifts from a to b, b to c and c to a, which would be 0
    without errors [m]."""
    closure_95_m: float | None = None
    """The same, 95th percentile [m]."""
    agreeing_pct: float | None = None
    """Share of the scenes whose shifts agree with the other scenes of their tile; of tiles with two scenes or more
    [%]."""


def found_in(run: Run) -> Found:
    """Summarise the results of a finished run."""
    pairs = run.pairs()
    with_ground, good = int((pairs["overlap_pct"] > 0).sum()), int(pairs["n_good"].sum())
    if pairs["verified"].isna().all():
        return Found(with_ground, good)
    verified = pairs[is_verified(pairs)]
    null = run.record.history.null_rate
    scenes = run.scenes()
    gaps = _closures(scenes, verified)
    return Found(
        pairs_with_ground=with_ground,
        good_matches=good,
        verified_pairs=len(verified),
        verified_pct=round(100 * len(verified) / max(with_ground, 1), 2),
        inliers=int(verified["n_inliers"].sum()),
        null_trials=null.trials if null else None,
        null_verified=null.verified if null else None,
        null_pct=rounded(100 * null.rate) if null else None,
        null_low_pct=rounded(100 * null.low) if null else None,
        null_high_pct=rounded(100 * null.high) if null else None,
        stated_error_m=rounded(verified["shift_error_m"].median()) if len(verified) else None,
        triples=len(gaps),
        closure_m=rounded(np.median(gaps)) if len(gaps) else None,
        closure_95_m=rounded(np.percentile(gaps, 95)) if len(gaps) else None,
        agreeing_pct=_agreeing_pct(scenes),
    )


def _closures(scenes: pd.DataFrame, verified: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the closure errors of all triples of each tile [m]; a pair with rotation or scale has no single shift."""
    straight = verified[verified["model"] == "shift"]
    found = [np.empty(0)]
    for _, names in scenes.groupby("tile")["scene_id"]:
        rows = straight[straight["query"].isin(names) & straight["train"].isin(names)]
        ids = pd.Index(names)
        found.append(
            triangle_gaps(
                len(ids),
                ids.get_indexer(pd.Index(rows["query"])),
                ids.get_indexer(pd.Index(rows["train"])),
                rows[["dx_m", "dy_m"]].to_numpy(np.float64),
            )
        )
    return np.concatenate(found)


def _agreeing_pct(scenes: pd.DataFrame) -> float | None:
    several = scenes[scenes.groupby("tile")["scene_id"].transform("size") > 1]
    agreeing = several["offset_x_m"].notna() & ~several["disagrees"].astype(bool)
    return round(100 * float(agreeing.mean()), 2) if len(several) else None
