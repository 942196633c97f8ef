"""Finding a picture stays within its budget of memory, however many scenes there are."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from s2fast.detectors import DetectorInput
from s2fast.errors import ConfigError, InputError, cli_wording
from s2fast.retrieval import picture as pictures
from s2fast.retrieval.finder import Finder
from s2fast.retrieval.index import Index
from s2fast.retrieval.memory import candidate_bytes, index_bytes, kept_bytes, search_bytes
from s2fast.retrieval.picture import read_image
from s2fast.retrieval.votes import vote
from s2fast_kernels.machine import MIB
from tests.indexed import Indexed
from tests.retrieval import peaks
from tests.retrieval.conftest import picture
from tests.stages.peaks import measured

BUDGET_MB = 128
KEYPOINTS = 60_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_below_the_budget_whatever_the_archive(tmp_path: Path) -> None:
    dense, many = measured(peaks.finding, tmp_path, KEYPOINTS, BUDGET_MB)
    # All candidates together take 100 MB as they are read, and several times as much as they are compared.
    assert 20 * KEYPOINTS * 84 > 0.7 * BUDGET_MB * MIB
    assert dense < candidate_bytes(KEYPOINTS) + kept_bytes(BUDGET_MB) + index_bytes(22)
    assert dense < BUDGET_MB * MIB
    assert many < search_bytes(500, 64, 64 * 500, mapped=True) + kept_bytes(BUDGET_MB) + index_bytes(256)


def test_votes_do_not_depend_on_how_many_scenes_are_compared_at_once(indexed: Indexed) -> None:
    index = Index(indexed.index)
    query = index.scene(1).take(np.arange(80))
    whole, parts = vote(index, query), vote(index, query, at_once=3)
    assert (whole.scenes == parts.scenes).all()
    assert (whole.places, whole.dates) == (parts.places, parts.dates)


@pytest.mark.slow
def test_what_exceeds_the_budget_says_how_much_it_takes(
    indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(indexed.index)
    with pytest.raises(
        ConfigError, match=r"searching .*index, 4 scenes, may take 4\d MiB and budget_mb is 32: raise it"
    ):
        Finder(index, budget_mb=32)
    finder = Finder(index, keypoints=700, budget_mb=128)
    rng = np.random.default_rng(0)
    large = picture(rng.integers(1, 255, (4000, 4000)).astype(np.uint8))
    with pytest.raises(InputError, match=r"finding keypoints in 4000 x 4000 px may take \d+ MiB and budget_mb is 128"):
        finder.locate(large)
    asked: list[int] = []
    scan = tmp_path / "scan.bmp"
    scan.write_bytes(b"")
    import cv2

    cv2.imwrite(str(scan), large.grey[:500, :900])
    read_image(str(scan), asked.append)
    assert 500 * 900 < asked[0] < 70 * MIB
    monkeypatch.setattr("s2fast.retrieval.finder.candidate_bytes", lambda _: 1 << 40)
    with pytest.raises(ConfigError, match=r"comparing S2A_\w+, \d+ keypoints, may take"):
        finder.judge(large, index.scene(0), finder.votes(index.scene(0)))


def test_a_picture_is_described_within_the_memory_of_the_device(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def no_memory(scene: DetectorInput, *_: object) -> None:
        given.append(scene.device_bytes)
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 1.21 GiB")

    monkeypatch.setattr(pictures, "device_budget_bytes", lambda device, budget: (device, budget))
    monkeypatch.setattr(importlib.import_module("s2fast.detectors.akaze"), "extract", no_memory)
    grey = np.random.default_rng(0).integers(1, 255, (100, 100), np.uint8)
    with cli_wording(), pytest.raises(ConfigError) as one:
        finder.locate(picture(grey))
    assert str(one.value) == (
        "picture: finding keypoints: the GPU is out of memory: end other programs there, or use --device cpu"
    )
    assert given == [("cpu", "auto")]
