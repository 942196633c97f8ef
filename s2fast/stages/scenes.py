"""Scenes as input of matching and verification, cached between blocks of pairs."""

from __future__ import annotations

import threading

from s2fast.folder.run_folder import RunFolder
from s2fast.stages.matching_rule import MatchedScene
from s2fast.stages.memory import match_bytes, scene_bytes
from s2fast_kernels.threads import map_in_threads

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


def _load_scene(folder: RunFolder, name: str) -> MatchedScene:
    """Read one scene from the run folder."""
    placement, pattern = folder.placement(name), folder.fixed_pattern(name)
    return MatchedScene(placement=placement, fixed_pattern=pattern, **folder.described(name))
