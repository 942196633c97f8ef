"""Match or verify several blocks of pairs at once in this process.

If one block followed another, most threads would wait while scenes are prepared, votes gathered and tables written;
and on a GPU, the device while a block is verified.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from s2fast.config import Compute
from s2fast.folder.run_folder import RunFolder
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.memory import match_bytes
from s2fast.stages.pairs import block_side
from s2fast.stages.scenes import SceneCache, threads_that_pay
from s2fast.work.executors import Workplace
from s2fast.work.side_by_side import side_by_side
from s2fast_kernels.backends import CPU
from s2fast_kernels.machine import MIB, available_cores

_MOST = 2
"""More threads would wait for each other: what runs between kernels needs Python's lock."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the units of this process share."""

    folder: RunFolder
    """The run folder, which remembers the keys of the pairs written through it."""
    scenes: SceneCache
    """Scenes of the blocks before."""


@contextmanager
def blocks_side_by_side(
    workplace: Workplace, folder: RunFolder, keypoints: Collection[int], rule: MatchingRule, compute: Compute
) -> Iterator[tuple[Workplace, Shared | None]]:
    """Yield a workplace for units that match or verify a block, and what they share; None in other processes.

    Parameters
    ----------
    workplace, folder
        Where the run computes, and its folder.
    keypoints, rule, compute
        See `blocks_at_once`.
    """
    if not workplace.in_process:
        yield workplace, None
        return
    number = blocks_at_once(keypoints, rule, compute, workplace.threads or available_cores())
    with side_by_side(workplace, number) as place:
        yield place, Shared(folder, SceneCache(compute.budget_mb * MIB // number))


def blocks_at_once(keypoints: Collection[int], rule: MatchingRule, compute: Compute, threads: int) -> int:
    """Return how many blocks to match or verify at once in this process.

    Parameters
    ----------
    keypoints
        Number of keypoints of every scene.
    rule
        Rule by which pairs are matched. Exhaustive search on the CPU uses all cores by itself.
    compute
        The run's settings; ``budget_mb`` limits the memory.
    threads
        Threads of this process, which the blocks share.
    """
    busy = rule.settings.mode == "windowed" and min(threads, threads_that_pay(keypoints, rule.settings)) > 1
    if not busy and rule.device == CPU:
        return 1
    return max(1, min(_MOST, compute.budget_mb * MIB // block_bytes(keypoints)))


def block_bytes(keypoints: Collection[int]) -> int:
    """Predict the peak memory of matching the largest block of a run [bytes], if no budget limits it."""
    return match_bytes(max(keypoints, default=0), min(len(keypoints), block_side(len(keypoints))))
