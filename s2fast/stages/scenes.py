"""Scenes as input of matching and verification, cached between blocks of pairs."""

from __future__ import annotations

import threading
from collections.abc import Collection

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

_cached = threading.local()


def load_scenes(folder: RunFolder, names: set[str], budget_bytes: int = 0) -> dict[str, MatchedScene]:
    """Load scenes, reusing those cached by earlier blocks; evict the least recently used beyond the memory budget."""
    before: dict[tuple[str, str, str | None], MatchedScene] = getattr(_cached, "scenes", {})
    keys = {name: (folder.address, name, folder.features_key(name)) for name in sorted(names)}
    unread = [name for name, key in keys.items() if key not in before]
    loaded = dict(zip(unread, map_in_threads(lambda name: _load_scene(folder, name), unread), strict=True))
    found = {key: loaded[name] if name in loaded else before.pop(key) for name, key in keys.items()}
    most = max((len(scene.descriptors) for scene in found.values()), default=0)
    left_bytes = budget_bytes - match_bytes(most, len(names))
    for key, scene in before.items():
        left_bytes -= scene_bytes(len(scene.descriptors))
        if left_bytes < 0:
            break
        found[key] = scene
    _cached.scenes = found
    return {name: found[key] for name, key in keys.items()}


def threads_that_pay(scenes: Collection[MatchedScene], settings: Matching) -> int:
    """Return the greatest number of threads with which to match and verify scenes."""
    keypoints = sum(len(scene.descriptors) for scene in scenes)
    few = settings.mode == "windowed" and keypoints < _LEAST_KEYPOINTS * len(scenes)
    return 1 if few else available_cores()


def _load_scene(folder: RunFolder, name: str) -> MatchedScene:
    """Read one scene from the run folder."""
    placement, pattern = folder.placement(name), folder.fixed_pattern(name)
    levels = folder.levels(name)
    return MatchedScene(placement=placement, fixed_pattern=pattern, levels=levels, **folder.described(name))
