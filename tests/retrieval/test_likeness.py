"""Pairs by likeness: each scene with those that its keypoints resemble most."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from s2fast.config import load_config
from s2fast.errors import ConfigError
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast.retrieval import likeness
from s2fast.retrieval.index import Keypoints
from s2fast.retrieval.likeness import SIMILAR_JSON, most_similar, similar_pairs
from s2fast_kernels.hamming_top2.cases import random_descriptors
from tests.archives import Archive
from tests.folders import put_scene, random_features, some_features
from tests.indexed import ORIENTED, Indexed


def alike(rng: np.random.Generator, groups: list[int]) -> list[Keypoints]:
    """Scenes of the groups that show one ground each, with some bits of each keypoint flipped."""
    grounds = {group: random_descriptors(rng, 120) for group in set(groups)}
    found = []
    for group in groups:
        flips = random_descriptors(rng, 120) & random_descriptors(rng, 120) & random_descriptors(rng, 120)
        flat = np.zeros(120, np.float32)
        found.append(Keypoints(np.zeros((120, 2), np.float32), flat + 5, flat, grounds[group] ^ flips))
    return found


def test_scenes_of_one_ground_are_chosen() -> None:
    scenes = alike(np.random.default_rng(0), [0, 1, 0, 1, 0, 1])
    assert most_similar(scenes, 2) == [(0, 2), (0, 4), (1, 3), (1, 5), (2, 4), (3, 5)]


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = alike(np.random.default_rng(1), [0, 0, 1, 2, 1, 0, 2])
    whole = most_similar(scenes, 3)
    monkeypatch.setattr(likeness, "_BLOCK", 2)
    assert most_similar(scenes, 3) == whole
    assert len(most_similar(scenes, 100)) == 21


def test_the_pairs_are_kept_until_features_or_settings_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, folder = np.random.default_rng(2), RunFolder(tmp_path)
    ground = random_features(rng, 80)
    for name in "abcd":
        put_scene(
            folder, name, some_features(ground.xy, ground.descriptors) if name in "bd" else random_features(rng, 80)
        )
    config = load_config(None, {"matching.pairs": "similar", "matching.similar": 1})
    keys = {name: f"key of {name}" for name in "abcd"}
    pairs = similar_pairs(folder, keys, config)
    assert ("b", "d") in pairs
    assert len(pairs) < 6
    calls = []

    def counted(scenes: list[Keypoints], count: int, device: str) -> list[tuple[int, int]]:
        calls.append(count)
        return most_similar(scenes, count, device)

    monkeypatch.setattr(likeness, "most_similar", counted)
    assert similar_pairs(folder, keys, config) == pairs
    assert calls == []
    assert len(similar_pairs(folder, keys, load_config(None, {"matching.similar": 3}))) == 6
    similar_pairs(folder, keys | {"d": "another"}, config)
    assert calls == [3, 1]
    (tmp_path / SIMILAR_JSON).write_text(json.dumps({"key": "x", "pairs": []}))
    assert similar_pairs(folder, keys, config) == pairs
    small = config.model_copy(update={"compute": config.compute.model_copy(update={"budget_mb": 1})})
    with pytest.raises(ConfigError, match="raise it"):
        similar_pairs(folder, {"a": "other"}, small)
    # Their keypoints take 1722 MiB, the votes of all for all others 3051.
    many = {f"scene {number}": "key" for number in range(20_000)}
    with pytest.raises(ConfigError, match=r"takes 4774 MiB for 20000 scenes and compute.budget_mb is 2048"):
        similar_pairs(folder, many, config)


@pytest.mark.slow
def test_a_run_compares_the_similar_pairs_only(archive: Archive, indexed: Indexed, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(indexed.out, out)
    settings = {"matching.pairs": "similar", "matching.similar": 1, "verification.prior": "none"}
    settings |= {"matching.mode": "exhaustive"}
    record = run_stages(Job(load_config(None, ORIENTED | settings), [str(archive.scenes)], None, out))
    pairs = Run(out).pairs()
    assert len(pairs) < 6
    tiles = ["36UXA", "36UYA"]
    assert {(q[-5:], t[-5:]) for q, t in zip(pairs["query"], pairs["train"], strict=True)} >= {(t, t) for t in tiles}
    assert pairs["verified"].all()
    assert record.history.counts["pairs"] == len(pairs)
