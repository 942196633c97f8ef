"""Measured peaks of memory of finding a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from s2fast.folder.run_folder import RunFolder
from s2fast.retrieval.build import write_segment
from s2fast.retrieval.finder import Finder
from s2fast.retrieval.index import Contents, Entry, Index, Keypoints, Made, write_contents
from s2fast.retrieval.picture import Image
from s2fast_kernels.features import Features
from tests.folders import put_scene, random_features
from tests.stages.peaks import forget_peak, memory

_AT_ONCE = 64
"""Scenes in a segment of the index."""

_WITH_FEATURES = 22
"""Scenes whose features are stored: more than are compared."""


def finding(folder: Path, keypoints: int, budget_mb: int) -> tuple[int, int]:
    """Measure finding a picture in few scenes with many keypoints, and in many scenes with few."""
    _find(folder / "warm", _WITH_FEATURES, 500, budget_mb)  # what is loaded and compiled is not counted
    dense = _find(folder / "dense", _WITH_FEATURES, keypoints, budget_mb)
    return dense, _find(folder / "many", 256, 500, budget_mb)


def _find(folder: Path, scenes: int, keypoints: int, budget_mb: int) -> int:
    image = Image("picture", np.ones((200, 200), np.uint8), np.zeros((200, 200), bool), (200, 200))
    shown = random_features(np.random.default_rng(0), 400)
    query = Keypoints(shown.xy, shown.size, shown.angle, shown.descriptors)
    _write_index(folder, shown, scenes, keypoints)
    resident = forget_peak()
    finder = Finder(Index(str(folder / "index")), keypoints=500, budget_mb=budget_mb)
    found = finder.judge(image, query, finder.votes(query))
    assert found.place is not None
    assert len(found.candidates) == 20
    return memory("VmHWM") - resident


def _write_index(folder: Path, shown: Features, scenes: int, keypoints: int) -> None:
    """Write an index of scenes that all contain the keypoints of the picture."""
    out, to = RunFolder(folder / "out"), str(folder / "index")
    out.create()
    made = Made(
        detector="akaze", octaves=4, layers=4, threshold=0.001, upright=False, contrast="none", clahe_clip=1.0,
        per_scene=500,
    )  # fmt: skip
    contents = Contents(made=made, complete=True, runs=[str(folder / "out")], crs=["EPSG:32636"])
    for first in range(0, scenes, _AT_ONCE):
        entries, parts = [], []
        for number in range(first, min(scenes, first + _AT_ONCE)):
            others = random_features(np.random.default_rng(1 + number), keypoints)
            fields = ("xy", "size", "angle", "response", "level", "descriptors")
            whole = Features(*(np.concatenate([getattr(shown, f), getattr(others, f)]) for f in fields))
            if number < _WITH_FEATURES:
                put_scene(out, f"S{number}", whole)
            parts.append(whole.take(np.arange(500)))
            entry = Entry(
                scene_id=f"S{number}", run=0, key=f"key of S{number}", rows=500, tile=f"T{number}", crs=0,
                transform=(10, 0, 3e5, 0, -10, 55e5), shape=(200, 200),
            )  # fmt: skip
            entries.append(entry)
        contents.segments.append(write_segment(to, entries, parts, 500))
    write_contents(to, contents)
