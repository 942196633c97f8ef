"""Runs without a keypoint or without a pair complete."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import s2fast
from s2fast.config import load_config
from s2fast.pipeline import Job, run_stages
from tests.archives import Archive, safe_path, write_scene
from tests.test_pipeline import COLUMNS, run

pytestmark = pytest.mark.slow


def test_scenes_without_a_keypoint_complete(archive: Archive, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    shutil.copytree(archive.scenes, scenes)
    flat = np.full((3, 512, 512), 80, np.uint8)
    write_scene(safe_path(scenes, "36UXA", "20190701T083601"), flat)
    write_scene(safe_path(scenes, "36UXA", "20190702T083601"), np.zeros_like(flat))
    run(Archive(scenes, archive.regions), tmp_path / "out")
    pairs = s2fast.open_run(tmp_path / "out").pairs()
    empty = pairs["query"].str.contains("2019070") | pairs["train"].str.contains("2019070")
    assert empty.sum() == 9
    assert (pairs[empty]["similarity_pct"] == 0).all()


def test_a_single_scene_has_no_pairs(archive: Archive, tmp_path: Path) -> None:
    scene = next(archive.scenes.rglob("*_TCI.jp2"))
    run(Archive(scene, archive.regions), tmp_path / "out")
    assert tables_of_none(tmp_path / "out") == COLUMNS


def tables_of_none(out: Path) -> list[str]:
    pairs = s2fast.open_run(out).pairs()
    assert len(pairs) == 0
    return list(pairs.columns)


def test_scenes_without_a_keypoint_end_well(tmp_path: Path) -> None:
    """Without a prior as with one: no match is no shift, and no error."""
    for name, value in (("black", 0), ("grey", 90)):
        write_scene(tmp_path / f"in/{name}.tif", np.full((64, 64), value, np.uint8))
    for prior, mode in (("none", "exhaustive"), ("map", "windowed")):
        config = load_config(overrides={"verification.prior": prior, "matching.mode": mode})
        out = tmp_path / prior
        run_stages(Job(config, [tmp_path / "in"], None, out))
        pairs = s2fast.open_run(out).pairs()
        assert pairs["n_good"].tolist() == [0]
        assert pairs["verified"].tolist() == [False]
