"""Compare a run's verdicts on the copies with the known truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.config import Config
from s2fast.files.replacing import replacing
from s2fast.geometry.nulls import NullRate
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.pipeline import STAGES, run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast.truth.copies import Injection, Moved
from s2fast.truth.intervals import FEWEST, median_interval
from s2fast.verdicts import is_verified
from s2fast.work.progress import Progress

WRONG_PX = 2.0
"""A moved pair whose shift is further than this from what is known was verified falsely [px]."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Results on copies of the scenes. Values are None without verification, or where nothing was verified."""

    pairs: int
    """Pairs with a moved scene."""
    verified: int | None = None
    """Those of them that were verified, and whose unmoved pair was."""
    verified_pct: float | None = None
    """Their share [%]."""
    error_px: float | None = None
    """Distance of the difference between the moved and the unmoved pair's shift from the known move: median [px]."""
    error_low_px: float | None = None
    """Lower end of the median's 95 % confidence interval [px]; None also with fewer than six verified pairs."""
    error_high_px: float | None = None
    """Upper end [px]."""
    error_95_px: float | None = None
    """The same, 95th percentile [px]."""
    within_pct: float | None = None
    """Share of the components, east and north, of these differences that lie within twice the moved pair's stated
    error [%]."""
    unrelated: int = 0
    """Pairs of different ground at one place."""
    unrelated_verified: int | None = None
    """Those of them that were verified."""
    wrong_shifts: int | None = None
    """Moved pairs that were verified with a difference of more than 2 px from the known move."""
    false: int | None = None
    """Both together: false verifications."""
    false_pct: float | None = None
    """Their share of all pairs of different ground and with a moved scene [%]."""
    false_low_pct: float | None = None
    """Lower end of the share's 95 % confidence interval [%]."""
    false_high_pct: float | None = None
    """Upper end [%]."""
    null_trials: int | None = None
    """Trials at wrong offsets in the same run."""
    null_verified: int | None = None
    """Trials that were verified nevertheless."""


def answer_of(config: Config, injection: Injection, regions: str | None, out: Path, workers: int) -> Answer:
    """Run a job on the copies, in a run folder of its own, and hold its answers against what is known."""
    return judged(run_on(config, injection, regions, out, workers), injection)


def run_on(
    config: Config,
    injection: Injection,
    regions: str | None,
    out: Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> Run:
    """Run a job on the copies."""
    out.parent.mkdir(parents=True, exist_ok=True)
    listed = out.with_name(f"{out.name}.csv")
    # Replaced, not changed: folders of cases that run side by side share it by hard links.
    with replacing(listed) as partial:
        pd.DataFrame(injection.pairs, columns=["query", "train"]).to_csv(partial, index=False)
    changed = {
        "matching": config.matching.model_copy(update={"pairs": "file", "pairs_file": str(listed)}),
        "output": config.output.model_copy(update={"keep_matches": "none"}),
    }
    job = Job(config.model_copy(update=changed), injection.files, regions, out)
    # Ingestion by itself: a run of both reads and extracts in one pass, whose cost could not be told apart.
    for stages in (["ingest"], [name for name in STAGES if name != "ingest"]):
        run_stages(job, stages=stages, workers=workers, progress=progress)
    return Run(out)


def judged(run: Run, injection: Injection) -> Answer:
    """Hold a finished run against what is known."""
    pairs = run.pairs()
    moved_pairs = 2 * len(injection.same)
    if pairs["verified"].isna().all():
        return Answer(moved_pairs, unrelated=len(injection.unrelated))
    table = pair_table(run, injection)
    verified = table[table["verified"]]
    wrong = verified["error_px"] > WRONG_PX
    right = verified[~wrong]
    names = {frozenset(pair) for pair in injection.unrelated}
    is_unrelated = np.array([frozenset(pair) in names for pair in zip(pairs["query"], pairs["train"], strict=True)])
    unrelated = pairs[is_unrelated & (pairs["overlap_pct"] > 0)]
    falsely = int(is_verified(unrelated).sum())
    false, trials = falsely + int(wrong.sum()), len(unrelated) + moved_pairs
    rate, null = NullRate(trials, false), run.record.history.null_rate
    low, high = rate.interval
    least, most = median_interval(right["error_px"].tolist()) if len(right) >= FEWEST else (None, None)
    return Answer(
        pairs=moved_pairs,
        verified=len(right),
        verified_pct=round(100 * len(right) / moved_pairs, 2),
        error_px=rounded(right["error_px"].median()) if len(right) else None,
        error_low_px=None if least is None else rounded(least),
        error_high_px=None if most is None else rounded(most),
        error_95_px=rounded(np.percentile(right["error_px"], 95)) if len(right) else None,
        within_pct=round(50 * float(right["within"].mean()), 2) if len(right) else None,
        unrelated=len(unrelated),
        unrelated_verified=falsely,
        wrong_shifts=int(wrong.sum()),
        false=false,
        false_pct=rounded(100 * rate.rate),
        false_low_pct=rounded(100 * low),
        false_high_pct=rounded(100 * high),
        null_trials=null.trials if null else None,
        null_verified=null.verified if null else None,
    )


def pair_table(run: Run, injection: Injection) -> pd.DataFrame:
    """Return one row per pair with a moved scene.

    Returns
    -------
    pandas.DataFrame
        ``fixed`` and ``moved``: scene ids; ``verified``: whether both it and the unmoved pair were; ``error_px``:
        distance of the difference of their shifts from the known move, NaN if not verified; ``within``: how many of its
        two components, 0 to 2, lie within twice the stated error.
    """
    rows: dict[frozenset[str], Any] = {
        frozenset((str(row.query), str(row.train))): row for row in run.pairs().itertuples()
    }
    grids = {str(item): PixelGrid.of_raster(item.raster) for item in run.record.usable}
    copies = {copy.scene_id: copy for copy in injection.moved}
    found = []
    for one, other in injection.same:
        for fixed, scene in ((one, other), (other, one)):
            copy = copies[scene]
            name = Path(copy.path).stem
            still, moved = rows.get(frozenset((fixed, scene))), rows.get(frozenset((fixed, name)))
            row = {"fixed": fixed, "moved": scene, "verified": False, "error_px": np.nan, "within": 0}
            if still is not None and moved is not None and bool(still.verified) and bool(moved.verified):
                was_m, is_m = (_shift_m(pair, fixed) for pair in (still, moved))
                off_m = is_m - was_m - _known_m(copy, grids[scene], grids[fixed])
                within = int((np.abs(off_m) <= 2 * float(moved.shift_error_m)).sum())
                row |= {"verified": True, "error_px": float(np.hypot(*off_m)) / grids[scene].pixel_m, "within": within}
            found.append(row)
    return pd.DataFrame(found)


def _shift_m(pair: Any, fixed: str) -> npt.NDArray[np.float64]:
    """Return a pair's shift, from the fixed scene to the other: east and north [m]."""
    shift_m = np.array([pair.dx_m, pair.dy_m], np.float64)
    return shift_m if pair.query == fixed else -shift_m


def _known_m(copy: Moved, grid: PixelGrid, fixed: PixelGrid) -> npt.NDArray[np.float64]:
    """Return how far the copy shows the middle of the common ground from where the scene does: east and north [m]."""
    one, other = fixed.box_on(grid.metric), grid.box
    middle = (np.maximum(one[0], other[0]) + np.minimum(one[1], other[1])) / 2
    by_px = copy.move.at(grid.from_map(middle[None], grid.metric))[0] + np.array(copy.header_px)
    return np.asarray(grid.px_m @ by_px)


def rounded(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
