"""Thumbnails: drawn once from the file, kept, and the same however they are made."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast import pipeline
from s2fast.config import load_config
from s2fast.files.source import Source
from s2fast.folder.record import RunRecord, SceneInput, load_record
from s2fast.folder.run_folder import RunFolder
from s2fast.planning import Job
from s2fast.report import thumbnails
from s2fast.report.imagery import stretched
from s2fast.report.thumbnails import SIDE_PX, Thumbnails, data_url, drawn_ahead, keep_thumbnails, thumbnail_unit
from s2fast.work.executors import open_workplace
from s2fast_kernels.machine import available_cores
from tests.archives import Archive
from tests.judged import Judged


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(1, 1), (1, 2), (2, 3), (7, 13), (30, 40, 3), (101, 101)]),
    values=st.sampled_from([(0, 256), (0, 1), (0, 2), (254, 256), (100, 103), (0, 4)]),
)
def test_stretch_by_counting_equals_that_by_sorting(seed: int, shape: tuple[int, ...], values: tuple[int, int]) -> None:
    image = np.random.default_rng(seed).integers(*values, shape).astype(np.uint8)
    expected = np.zeros(image.shape, np.uint8)
    if (image > 0).any():
        low, high = np.percentile(image[image > 0], (1, 99))
        spread = np.clip((image - low) * (254 / max(high - low, 1.0)) + 1, 1, 255)
        expected = np.where(image > 0, spread, 0).astype(np.uint8)
    np.testing.assert_array_equal(stretched(image), expected)
    # 16-bit pictures are sorted.
    np.testing.assert_array_equal(stretched(image.astype(np.uint16)), expected)


@pytest.fixture(scope="module")
def run(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, RunFolder]:
    out = tmp_path_factory.mktemp("thumbnails") / "run"
    shutil.copytree(judged.plain, out)
    folder = RunFolder(out)
    record = load_record(folder)
    assert record is not None
    return record, folder


@pytest.mark.slow
def test_a_second_report_decodes_nothing(run: tuple[RunRecord, RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    record, folder = run
    item, *others = record.usable
    first = keep_thumbnails(item, folder.address, masked=True)
    decoded: list[SceneInput] = []
    draw = thumbnails._drawn

    def noted(item: SceneInput, folder: RunFolder, side_px: int, **options: bool) -> Thumbnails:
        decoded.append(item)
        return draw(item, folder, side_px, **options)

    monkeypatch.setattr(thumbnails, "_drawn", noted)
    with open_workplace() as workplace:
        shown = thumbnails.thumbnails(record.usable, folder, workplace, masked=True)
        assert decoded == []
        assert shown[item.scene.scene_id] == first
        # A damaged picture, and one of an earlier tile, are drawn again.
        files = [folder.read(f"thumbnails/{at.scene.scene_id}.json") for at in record.usable]
        damaged = files[0].replace(b"image/jpeg;base64,/", b"image/jpeg;base64,x", 1)
        folder.write(f"thumbnails/{item.scene.scene_id}.json", damaged)
        folder.write(f"thumbnails/{others[0].scene.scene_id}.json", files[0])
        assert thumbnails.thumbnails(record.usable, folder, workplace, masked=True) == shown
    assert {at.scene.scene_id for at in decoded} == {item.scene.scene_id, others[0].scene.scene_id}
    assert [folder.read(f"thumbnails/{at.scene.scene_id}.json") for at in record.usable] == files


@pytest.mark.slow
@pytest.mark.skipif(available_cores() < 2, reason="one core: nothing is drawn beside other work")
def test_a_run_draws_beside_its_stages(one_tile: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, match = RunFolder(tmp_path / "run"), pipeline.match.run
    seen: list[int] = []

    def late(record: RunRecord, *rest: Any, **options: Any) -> Any:
        deadline = time.monotonic() + 60
        while len(folder.names("thumbnails")) < len(record.usable) and time.monotonic() < deadline:
            time.sleep(0.02)
        seen.append(len(folder.names("thumbnails")))
        return match(record, *rest, **options)

    monkeypatch.setattr(pipeline.match, "run", late)
    job = Job(load_config(), [one_tile.scenes], one_tile.regions, folder.address)
    assert [len(pipeline.run_stages(job).usable)] == seen


@pytest.mark.slow
def test_small_scenes_are_drawn_ahead(run: tuple[RunRecord, RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    record, folder = run
    folder.remove("thumbnails")
    with open_workplace() as workplace, drawn_ahead(record.usable, folder, workplace, 2, masked=True) as calls:
        drawn = [call.result() for call in calls]
    assert len(drawn) == len(record.usable)
    for item, pictures in zip(record.usable, drawn, strict=True):
        assert keep_thumbnails(item, folder.address, masked=True) == pictures
    monkeypatch.setattr(thumbnails, "_AHEAD_PX", 1000)
    with open_workplace() as workplace, drawn_ahead(record.usable, folder, workplace, 2, masked=True) as calls:
        assert calls == []


def test_a_scene_in_grey_is_not_kept_and_told_once(
    run: tuple[RunRecord, RunFolder], caplog: pytest.LogCaptureFixture
) -> None:
    record, folder = run
    item = record.usable[0]
    lost = item.model_copy(update={"scene": replace(item.scene, source=Source.of("/nowhere/at_all.tif"))})
    folder.remove("thumbnails")
    with caplog.at_level(logging.WARNING), open_workplace() as workplace:
        shown = thumbnails.thumbnails([lost], folder, workplace, masked=True)[item.scene.scene_id]
    assert not shown.in_colour
    assert len(caplog.records) == 1
    assert "thumbnails" not in {name.partition("/")[0] for name in folder.list_files()}


def test_pages_of_many_scenes_shrink_what_is_kept(run: tuple[RunRecord, RunFolder]) -> None:
    record, folder = run
    item = record.usable[0]
    whole, small = (thumbnail_unit(item, side, folder.address, True) for side in (SIDE_PX, 100))

    def image(url: str) -> np.ndarray:  # type: ignore[type-arg]
        data = np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8)
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))

    assert max(image(small.scene).shape[:2]) == max(image(small.tile or "").shape[:2]) == 100
    assert image(small.scene).ndim == image(whole.scene).ndim
    expected = cv2.resize(image(whole.tile or ""), image(small.tile or "").shape[::-1], interpolation=cv2.INTER_AREA)
    assert small.tile == data_url(expected.astype(np.uint8))
    assert json.loads(folder.read(f"thumbnails/{item.scene.scene_id}.json"))["pictures"]["tile"] == whole.tile


def test_only_runs_with_regions_draw_the_masked_tile(
    run: tuple[RunRecord, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, folder = run
    item = record.usable[0]
    folder.remove("thumbnails")
    masked = keep_thumbnails(item, folder.address, masked=True)
    folder.remove("thumbnails")
    monkeypatch.setattr(RunFolder, "grey", None)  # the stored tile is not read
    with open_workplace() as workplace:
        plain = thumbnails.thumbnails([item], folder, workplace, masked=False)[item.scene.scene_id]
    assert plain == replace(masked, tile=None)
    assert thumbnail_unit(item, 100, folder.address, False).tile is None
