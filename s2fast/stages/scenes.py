"""Scenes as input of matching and verification, cached between blocks of pairs."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import TypeAlias

from s2fast.config import Matching
from s2fast.folder.run_folder import RunFolder
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.memory import match_bytes, scene_bytes
from s2fast_kernels.machine import available_cores
from s2fast_kernels.threads import map_in_threads

_LEAST_KEYPOINTS = 4_000
"""Mean number of keypoints of a scene from which threads pay: the compiled steps of a windowed search and of a verdict
are then longer than the steps between them, for which a thread needs Python's lock. With few hundred keypoints, two
threads take longer than one."""

_Key: TypeAlias = tuple[str, str, str | None]
"""Address of a run folder, scene id and content key of the features."""


class SceneCache:
    """Scenes loaded lately, of which neighbouring blocks share many; several threads may use it.

    Parameters
    ----------
    budget_bytes
        Memory for the scenes and for matching a block of them.
    """

    def __init__(self, budget_bytes: int = 0) -> None:
        self.budget_bytes = budget_bytes
        self._loading = threading.Lock()
        self._held: dict[_Key, MatchedScene] = {}
        """Those used last come first."""

    def load(self, folder: RunFolder, names: set[str]) -> dict[str, MatchedScene]:
        """Return scenes by id; load those not held, and evict the least recently used beyond the budget."""
        keys = {name: (folder.address, name, folder.features_key(name)) for name in sorted(names)}
        with self._loading:
            before = self._held
            unread = [name for name, key in keys.items() if key not in before]
            loaded = dict(zip(unread, map_in_threads(lambda name: _load_scene(folder, name), unread), strict=True))
            found = {key: loaded[name] if name in loaded else before.pop(key) for name, key in keys.items()}
            most = max((len(scene.descriptors) for scene in found.values()), default=0)
            left_bytes = self.budget_bytes - match_bytes(most, len(names))
            for key, scene in before.items():
                left_bytes -= scene_bytes(len(scene.descriptors))
                if left_bytes < 0:
                    break
                found[key] = scene
            self._held = found
            # Once the lock is open, another thread may take scenes out.
            return {name: found[key] for name, key in keys.items()}


_own = threading.local()
"""``cache``: see `scenes_of_thread`."""


def scenes_of_thread(budget_bytes: int) -> SceneCache:
    """Return the scenes that units of this thread of a worker load one after another."""
    cache: SceneCache = getattr(_own, "cache", None) or SceneCache()
    cache.budget_bytes, _own.cache = budget_bytes, cache
    return cache


def load_scenes(folder: RunFolder, names: set[str]) -> dict[str, MatchedScene]:
    """Load scenes by id."""
    return SceneCache().load(folder, names)


def threads_that_pay(keypoints: Collection[int], settings: Matching) -> int:
    """Return the greatest number of threads with which to match and verify scenes of so many keypoints."""
    few = settings.mode == "windowed" and sum(keypoints) < _LEAST_KEYPOINTS * len(keypoints)
    return 1 if few else available_cores()


def _load_scene(folder: RunFolder, name: str) -> MatchedScene:
    """Read one scene from the run folder."""
    placement, pattern = folder.placement(name), folder.fixed_pattern(name)
    levels = folder.levels(name)
    return MatchedScene(placement=placement, fixed_pattern=pattern, levels=levels, **folder.described(name))
