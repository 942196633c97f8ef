"""Choose in how many local processes a run works, if its user does not say.

Threads of one process wait for Python's lock: on 16 cores with a GPU, matching and judging 1,128 pairs of real scenes
took one process at least 8.1 s and four 3.6 s (docs/gpu.md). But a process takes two seconds to start, and memory of
its own: on two cores, two processes take as long as one (``python -m benchmarks executors``).
"""

from __future__ import annotations

from collections.abc import Sequence

from s2fast import detectors
from s2fast.config import Config
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.stages.duration import Work
from s2fast.stages.forecast import planned_pairs
from s2fast.stages.levels import levels_of
from s2fast.stages.matching_rule import MatchingRule
from s2fast_kernels.backends import CPU
from s2fast_kernels.machine import available_cores, available_mb

_MOST = 8
"""Four have been tried on one machine."""

_CORES = 2
"""Cores of each process: its threads wait for each other little."""

_LEAST_S = 8.0
"""Least work of a process [CPU s]: a few times what it takes to start."""

_LEAST_SCENES = 4
"""Least number of scenes of a process: the last ones would leave too many processes idle."""

_SHARE = 0.5
"""Share of the available memory that all processes may use."""

_IDLE_MB = 300
"""Memory of a process without work [MiB]."""


def workers_that_pay(record: RunRecord, folder: RunFolder, stages: Sequence[str]) -> int:
    """Return the number of local processes for some stages of a run; 1: this process alone.

    A run on a GPU, or whose threads the settings limit, stays in one process.
    """
    config, scenes = record.config, record.usable
    if config.compute.threads or _devices(config) != {CPU}:
        return 1
    pairs = len(planned_pairs(record, folder))
    work = Work(
        scenes=scenes,
        read=scenes if "ingest" in stages else (),
        extract=scenes if "extract" in stages else (),
        match=pairs if "match" in stages else 0,
        verify=pairs if "verify" in stages else 0,
        levels=levels_of(scenes, config),
    )
    return limited(work.seconds(config), len(scenes), config.compute.budget_mb)


def limited(seconds: float, scenes: int, budget_mb: int) -> int:
    """Return how many processes pay for work [CPU s] on so many scenes, each within a budget of memory [MiB]."""
    by_memory = _SHARE * available_mb() / (budget_mb + _IDLE_MB)
    most = min(_MOST, available_cores() / _CORES, by_memory, seconds / _LEAST_S, scenes / _LEAST_SCENES)
    return max(1, int(most))


def _devices(config: Config) -> set[str]:
    """Return the devices on which a run computes."""
    matching = MatchingRule.of(config.matching, config.compute.device)
    return {detectors.selected_backend(config).device, matching.device}
