"""Run one case in its own process: reads a job from standard input and prints its row, both as JSON.

Separate processes keep the memory of cases apart, and a case that dies does not affect others.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from s2fast.config import Config
from s2fast.errors import S2FastError
from s2fast.files.temporary import remove_folders
from s2fast.pipeline import STAGES, run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast.sweeps.data import load_truth
from s2fast.sweeps.kept_pairs import keep_pairs
from s2fast.sweeps.quality import quality
from s2fast.sweeps.without_truth import found_in
from s2fast.truth.copies import Injection
from s2fast.truth.scoring import answer_of
from s2fast.work.collection import resume_collection
from s2fast.work.compilation import MODULES
from s2fast.work.meter import Metered
from s2fast.work.thread_limits import limit_threads
from s2fast_kernels.hamming_top2.cases import ODD_SCENES, operands
from s2fast_kernels.operations import CALLED


def warm_up(config: Config) -> None:
    """Load the compiled kernels and libraries that a run calls, so that this is not measured."""
    for module in MODULES:
        importlib.import_module(module)
    for operation in CALLED:
        # The default job's kernels are loaded with their modules; those of the exhaustive search in their first call.
        if operation.name.startswith("hamming_top2") and config.matching.mode == "exhaustive":
            search = getattr(importlib.import_module(f"s2fast_kernels.{operation.name}"), operation.name)
            if config.matching.backend in ("auto", *(row.name for row in operation.backends)):
                search(*operands(ODD_SCENES), backend=config.matching.backend)
    resume_collection()  # suspended by `run_alone`


def run_case(job: dict[str, Any]) -> dict[str, Any]:
    """Run all stages on the scenes and return the row."""
    limit_threads(job.get("threads", 0))
    config = Config.model_validate(job["config"])
    warm_up(config)
    progress = Metered()
    wanted = Job(config, job["scenes"], job["regions"], job["out"])
    # Ingest apart, so that reading and extraction have their own costs.
    for stages in (["ingest"], [name for name in STAGES if name != "ingest"]):
        run_stages(wanted, stages=stages, workers=job["workers"], progress=progress)
    run = Run(job["out"])
    history = run.record.history
    if job.get("kept"):
        keep_pairs(run, Path(job["kept"]))
    pairs = run.pairs()
    comparisons = int((pairs["n_query"] * pairs["n_train"]).sum())
    return {
        "stages": {name: asdict(cost) for name, cost in progress.stages.items()},
        "backends": {name: stage.backend for name, stage in history.stages.items() if stage.backend},
        "problems": len(history.problems),
        # A run with windows does not count its comparisons.
        "counts": {**history.counts, "comparisons": comparisons if config.matching.mode == "exhaustive" else None},
        "found": asdict(found_in(run)),
        "quality": asdict(quality(run, load_truth(job["truth"]))) if job["truth"] else {},
        "injected": _injected(config, job) if job.get("injected") else {},
    }


def _injected(config: Config, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results on copies of the scenes; the stages of this run are not part of the case's costs."""
    # Within the case's run folder, with which it is shared and removed.
    out = Path(job["out"], "injected")
    return asdict(answer_of(config, Injection.load(Path(job["injected"])), job["regions"], out, job["workers"]))


def answer(run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read a job, run it and print its row; on an error print the reason last, to standard error."""
    row_file = os.fdopen(os.dup(1), "w")
    # Redirect the output of libraries to stderr, so that it does not mix with the row.
    os.dup2(2, 1)
    job = json.loads(sys.stdin.read())
    threading.Thread(target=_end_with, args=(job["lifeline"],), daemon=True).start()
    try:
        row = run(job)
    except S2FastError as error:
        sys.exit(f"\n{error}")
    row_file.write(f"{json.dumps(row)}\n")
    row_file.flush()


def _end_with(lifeline: int) -> None:
    """End this process when the sweep that started it ends, even if it is killed."""
    os.read(lifeline, 1)
    remove_folders()
    os._exit(1)


def main() -> None:
    """Run one case."""
    answer(run_case)


if __name__ == "__main__":
    main()
