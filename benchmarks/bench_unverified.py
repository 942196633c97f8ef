"""Which rule stops each pair of scenes of one ground that a finished run has not verified.

    python -m benchmarks unverified RUN [--json]

The true shift of every pair must be 0, as of ``ukraine``. Pairs without common ground are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import s2fast
from benchmarks.harness import emit, option_parser
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry import shift, witnesses
from s2fast.geometry.evidence import Evidence
from s2fast.geometry.placement import SEARCHED_RADII
from s2fast.stages import keys, verify
from s2fast.stages.blocks_at_once import Shared
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.pairs import wanted_pairs
from s2fast.stages.scenes import scenes_of_thread
from s2fast.stages.verdict_rule import VerdictRule
from s2fast.sweeps.quality import TRUE_PX
from s2fast.verdicts import Verdict
from s2fast_kernels.machine import MIB


def main(argv: Sequence[str]) -> int:
    """Count the pairs by rule, and those whose highest peak is at the truth."""
    parser = option_parser("unverified", __doc__)
    parser.add_argument("run", type=Path)
    options = parser.parse_args(argv)
    run, folder = s2fast.open_run(options.run), RunFolder(str(options.run))
    rule, table = VerdictRule.of(run.record.config), run.pairs().set_index(["query", "train"])
    lost = table[~table["verified"].astype(bool) & (table["verdict"] != Verdict.NO_COMMON_GROUND)]
    pairs = [p for p in wanted_pairs(run.record, folder, keys.verdict_key) if (p.query, p.train) in lost.index]
    shared, rows = Shared(folder, scenes_of_thread(run.record.config.compute.budget_mb * MIB)), []
    for block in verify._with_matched_blocks([pairs], run.record, folder):
        held = verify._read(shared, block)
        for pair, found in zip(block.pairs, held.found.matches, strict=True):
            scenes = held.scenes[pair.query], held.scenes[pair.train]
            matched = MatchedPair.unmatched(pair, *scenes, found.radius_m).with_matches(found)
            name, off_px = stopped_by(rule._evidence(matched, matched.moved_px()), matched.radius_m)
            row = lost.loc[[(pair.query, pair.train)]].iloc[0]
            same = row["query_tile"] == row["train_tile"]
            rows.append({"tile": "one" if same else "strip", "rule": name, "at the truth": off_px <= TRUE_PX})
    for labels, group in pd.DataFrame(rows).groupby(["tile", "rule"]):
        tile, rule_name = map(str, labels)
        counts = {"pairs": len(group), "peak at the truth": int(group["at the truth"].sum())}
        emit({"benchmark": "unverified", "tile": tile, "rule": rule_name, **counts}, as_json=options.json)
    return 0


def stopped_by(evidence: Evidence, radius_m: float) -> tuple[str, float]:
    """Return the first rule that a pair fails, and the length of its highest peak [px of the coarser grid]."""
    searched = SEARCHED_RADII * radius_m / evidence.grid
    moved = (evidence.train_m - evidence.query_m) / evidence.grid
    rows = np.flatnonzero((np.hypot(*moved.T) <= searched) & evidence.on_ground)
    if len(rows) < witnesses.LEAST_WITNESSES:
        return "matches on ground", np.inf
    correlation = witnesses.NeighbourCorrelation.of(evidence.query_m[rows], evidence.size[rows])
    share, near = correlation.shares(), evidence.distance[rows] <= shift.STRICT_BITS
    first, _ = witnesses.highest_peaks(moved[rows], share, searched, witnesses.APART_PX)
    if not near.all():
        strict, _ = witnesses.highest_peaks(moved[rows], correlation.shares(near), searched, witnesses.APART_PX)
        first = min(first, strict, key=lambda peak: peak.log_nfa)
    off_px = float(np.hypot(*first.at))
    if not shift.is_significant(first):
        return ("witnesses" if first.log_nfa + np.log10(2) <= witnesses.MAX_LOG_NFA else "chance"), off_px
    found = shift.Candidates.of(evidence, rows, share, moved, (shift.INLIER_PX / searched) ** 2)
    judged = shift.refined(found, first.at)
    if judged.verified:
        return "rival, prior, pattern or alias", off_px
    return ("spread over the ground" if judged.error <= shift.MOST_ERROR_PX * evidence.grid else "error"), off_px
