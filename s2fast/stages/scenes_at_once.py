"""How many scenes to work on at once in this process: one small scene keeps few threads busy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from s2fast.config import Config
from s2fast.folder.record import SceneInput
from s2fast.raster.windows import reduced_shape
from s2fast.stages.keys import preparation
from s2fast_kernels.backends import CPU
from s2fast_kernels.machine import MIB

_PX_PER_THREAD = 1 << 24
"""Pixels of a scene that keep a thread busy: about eight windows of extraction, beside what one thread does alone."""


def scenes_at_once(
    items: Sequence[SceneInput], config: Config, threads: int, peak_bytes: Callable[[int], int]
) -> tuple[int, int]:
    """Return how many scenes to extract at once on the CPU, and the memory that they take together [bytes].

    The memory is 0 if it is one after another: scenes that are large keep all threads busy.

    Parameters
    ----------
    items
        The scenes to extract.
    config
        The run's settings; ``compute.budget_mb`` limits the memory.
    threads
        Threads of this process, which the scenes share.
    peak_bytes
        Predicts the largest peak memory of one of the scenes, given its number of threads.
    """
    if len(items) > 1 and preparation(config).device == CPU:
        largest = max(math.prod(reduced_shape(item.raster.shape, config.ingest.reduction)) for item in items)
        most = min(len(items), threads, threads * _PX_PER_THREAD // max(1, largest))
        for number in range(most, 1, -1):
            needed = number * peak_bytes(threads // number)
            if needed <= config.compute.budget_mb * MIB:
                return number, needed
    return 1, 0
