"""Scenes that cannot be used are named and left out of a run, or end a strict one."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import s2fast
from s2fast.config import load_config
from s2fast.errors import InputError, SceneError
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from tests.archives import Archive, safe_path, textured, write_scene
from tests.test_pipeline import run, tables


@pytest.fixture
def broken(one_tile: Archive, tmp_path: Path) -> tuple[Archive, list[str]]:
    """An archive with two good scenes, one truncated, one without a CRS, one of 16 bit."""
    archive = Archive(shutil.copytree(one_tile.scenes, tmp_path / "scenes"), one_tile.regions)
    good = next(archive.scenes.rglob("T36UXA_20190427T083601_TCI.jp2"))
    truncated = safe_path(archive.scenes, "36UXA", "20190501T083601")
    truncated.parent.mkdir(parents=True)
    truncated.write_bytes(good.read_bytes()[:-40_000])
    pixels = np.full((1, 256, 256), 90, np.uint8)
    write_scene(safe_path(archive.scenes, "36UXA", "20190502T083601"), pixels, crs=None)
    write_scene(safe_path(archive.scenes, "36UXA", "20190503T083601"), pixels.astype(np.uint16))
    return archive, [f"S2A_2019050{day}T083601_T36UXA" for day in (1, 2, 3)]


@pytest.mark.slow
def test_broken_scenes_are_named_and_skipped(
    broken: tuple[Archive, list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive, names = broken
    with caplog.at_level(logging.WARNING):
        record = run(archive, tmp_path / "out")
    assert sorted(record.history.problems) == names
    for name, cause in zip(names, ("truncated", "no CRS", "uint16"), strict=True):
        assert cause in record.history.problems[name]
        assert any(name in message and cause in message for message in caplog.messages)
    assert len(tables(tmp_path / "out")[0]) == 1
    again = run(archive, tmp_path / "out")
    assert sorted(again.history.problems) == names
    with pytest.raises(InputError, match="was left out of the run"):
        s2fast.open_run(tmp_path / "out").features(names[0])


@pytest.mark.slow
def test_stages_one_by_one_leave_the_broken_out(broken: tuple[Archive, list[str]], tmp_path: Path) -> None:
    for stage in ("ingest", "extract", "match", "verify", "report"):
        assert sorted(run(broken[0], tmp_path / "out", stages=[stage]).history.problems) == broken[1]
    assert len(tables(tmp_path / "out")[0]) == 1


def test_strict_stops_at_the_first_broken_scene(broken: tuple[Archive, list[str]], tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="it is truncated"):
        run(broken[0], tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()


def test_only_broken_scenes_is_an_error(tmp_path: Path) -> None:
    write_scene(tmp_path / "scenes" / "a.tif", np.ones((64, 64), np.uint16), block=16)
    with pytest.raises(InputError, match="the only scene found cannot be used: a: .*a.tif: pixels are uint16"):
        run_stages(Job(load_config(), [tmp_path / "scenes"], None, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_scenes_without_a_keypoint_are_named(tmp_path: Path) -> None:
    nothing: dict[str, np.ndarray[Any, Any]] = {
        "zeros": np.zeros((200, 200), np.uint8),
        "gaps": np.full((200, 200), np.nan, np.float32),
    }
    for name, pixels in nothing.items():
        write_scene(tmp_path / "scenes" / f"{name}.tif", pixels)
    write_scene(tmp_path / "scenes" / "ground.tif", textured(np.random.default_rng(1), (200, 200)))
    done = s2fast.run({"ingest.stretch": "auto"}, scenes=tmp_path / "scenes", out=tmp_path / "out")
    (warning,) = done.record.history.warnings
    assert warning.startswith("no keypoint was found in 2 scenes: gaps, zeros; they have no data")


@pytest.mark.slow
def test_a_reference_with_which_nothing_matches_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ground, other = (textured(rng, (200, 200)) for _ in range(2))
    for name, pixels in (("a", ground), ("b", ground), ("other", other)):
        write_scene(tmp_path / "scenes" / f"{name}.tif", pixels)
    settings = {"features.upsample": 1}
    for reference, told in (("other", True), ("a", False)):
        done = s2fast.run(settings, scenes=tmp_path / "scenes", out=tmp_path / reference, reference=reference)
        warnings = [text for text in done.record.history.warnings if "the reference" in text]
        assert len(warnings) == told, done.pairs()
        if told:
            assert warnings[0].startswith("no pair with the reference other is verified, so that no offset relative")
            assert done.scenes()["offset_x_m"].isna().all()


@pytest.mark.parametrize("named", ["scenes", "reference", "regions"])
def test_an_empty_path_is_not_the_current_folder(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scene(tmp_path / "a.tif", textured(np.random.default_rng(1), (64, 64)))
    monkeypatch.chdir(tmp_path)
    paths: dict[str, Any] = {"scenes": "a.tif", named: ""}
    with pytest.raises(InputError, match="a path or an address is empty"):
        s2fast.run(out=tmp_path / "out", **paths)
