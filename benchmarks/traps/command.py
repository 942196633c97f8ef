"""Verification tried where it has been wrong, and how often it still is.

    python -m benchmarks traps [--data DIR] [--only KIND ...] [--share S] [--seed N] [--every] [--json]

One line a kind: trials, verdicts, and how many were verified wrongly, with the 95 % interval of that rate; `--every`
prints a line a trial. A trial is wrong if different ground is verified, or if a verified shift is farther from the
truth than 1 px and three stated errors. DIR holds ``ukraine``, ``arosics``, ``paris`` and ``lebanon``; without it only
kinds on synthetic ground run. Constants of the rule were chosen on tile 36UYA.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import emit, option_parser
from benchmarks.traps.kinds import KINDS, SYNTHETIC, Trial
from benchmarks.traps.scenes import PIXEL_M, photographs
from s2fast.geometry.nulls import NullRate


def main(argv: Sequence[str]) -> int:
    """Run the kinds of trials and print what came out."""
    parser = option_parser("traps", __doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=list(KINDS), nargs="+", default=list(KINDS))
    parser.add_argument("--share", type=float, default=1.0, help="share of the trials to run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", action="store_true", help="print every trial")
    options = parser.parse_args(argv)
    pictures = photographs(options.data) if options.data.exists() else {}
    for name in options.only:
        record: dict[str, Any] = {"benchmark": "traps", "kind": name}
        if not pictures and name not in SYNTHETIC:
            emit(record | {"skipped": f"{options.data} is not there"}, as_json=options.json)
            continue
        trials = []
        start = time.perf_counter()
        for trial in KINDS[name](pictures, np.random.default_rng(options.seed), options.share):
            trials.append(trial)
            if options.every:
                emit(record | told(trial), as_json=options.json)
        seconds = round(time.perf_counter() - start, 1)
        emit(record | summary(trials) | {"seconds": seconds}, as_json=options.json)
    return 0


def told(trial: Trial) -> dict[str, Any]:
    """Return one trial as a record."""
    judged = trial.judgement
    shift = None if np.isnan(judged.dx) else [round(judged.dx / PIXEL_M, 2), round(-judged.dy / PIXEL_M, 2)]
    return {
        "trial": trial.name,
        "verdict": judged.verdict,
        "model": judged.model,
        "shift px": shift,
        "truth px": None if trial.truth_px is None else [round(value, 2) for value in trial.truth_px],
        "wrong": trial.wrong,
    }


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the count of verdicts and the rate of wrong ones."""
    wrong = NullRate(max(len(trials), 1), sum(trial.wrong for trial in trials))
    low, high = wrong.interval
    found = [trial for trial in trials if trial.judgement.verified and trial.truth_px is not None and not trial.wrong]
    record: dict[str, Any] = {
        "trials": len(trials),
        **dict(sorted(Counter(trial.judgement.verdict for trial in trials).items())),
        "models": dict(Counter(trial.judgement.model for trial in trials if trial.judgement.verified)),
        "wrong": wrong.verified,
        "wrong %": round(100 * wrong.rate, 3),
        "interval %": [round(100 * low, 3), round(100 * high, 3)],
    }
    if found:
        off = np.array([trial.off_xy_px for trial in found]) / np.array(
            [[trial.judgement.error / PIXEL_M] for trial in found]
        )
        record["within 2 stated errors %"] = round(100 * float((np.abs(off) <= 2).mean()), 1)
    return record
