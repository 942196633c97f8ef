"""Run one trial in its own process: reads a job from standard input and prints its answer, both as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from s2fast.config import Config
from s2fast.sweeps.case_process import answer, warm_up
from s2fast.truth.copies import Injection
from s2fast.truth.scoring import WRONG_PX, judged, pair_table, run_on
from s2fast.work.meter import Metered


def run_trial(job: dict[str, Any]) -> dict[str, Any]:
    """Run the settings on the copies and return what they found."""
    config = Config.model_validate(job["config"])
    warm_up(config)
    progress = Metered()
    injection = Injection.load(Path(job["injected"]))
    run = run_on(config, injection, job["regions"], Path(job["out"]), progress=progress)
    table = pair_table(run, injection)
    right = table["verified"] & (table["error_px"] <= WRONG_PX)
    pairs = [(bool(ok), round(float(px), 5) if ok else None) for ok, px in zip(right, table["error_px"], strict=True)]
    return {
        "answer": asdict(judged(run, injection)),
        "pairs": pairs,
        "stages": {name: asdict(cost) for name, cost in progress.stages.items()},
    }


def main() -> None:
    """Run one trial."""
    answer(run_trial)
