"""Several blocks of pairs are matched and verified at once in one process, with the results of one after another."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2fast.config import load_config
from s2fast.errors import RunFolderError
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import run_stages
from s2fast.planning import Job, plan
from s2fast.stages import match, scenes, verify
from s2fast.stages.blocks_at_once import block_bytes, blocks_at_once
from s2fast.stages.forecast import forecast
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.memory import match_bytes, scene_bytes
from s2fast.stages.pairs import block_side
from s2fast.stages.scenes import SceneCache
from s2fast_kernels import hamming_top2
from s2fast_kernels.machine import MIB
from tests.archives import Archive
from tests.folders import put_scene, random_features
from tests.test_pipeline import digests

SETTINGS = {
    "ingest.halo_px": 64,
    "features.backend": "opencv",
    "features.upsample": 1,
    "features.max_per_scene": 500,
    "verification.nulls": 1,
}

WAIT_S = 60.0
"""How long units wait for each other until the test fails [s]."""


def with_mode(mode: str, device: str = "cpu") -> MatchingRule:
    return MatchingRule(load_config(overrides={"matching.mode": mode}).matching, "numba", device)


@pytest.mark.parametrize(
    ("mode", "device", "keypoints", "threads", "wanted"),
    [
        ("windowed", "cpu", 20_000, 2, 2),
        ("windowed", "cpu", 20_000, 16, 2),
        ("windowed", "cpu", 20_000, 1, 1),
        ("windowed", "cpu", 500, 2, 1),
        ("exhaustive", "cpu", 20_000, 2, 1),
        ("windowed", "cuda:0", 500, 1, 2),
        ("exhaustive", "cuda:0", 20_000, 2, 2),
    ],
)
def test_two_blocks_where_threads_pay_or_a_device_would_wait(
    mode: str, device: str, keypoints: int, threads: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "available_cores", lambda: 16)
    compute = load_config().compute
    assert blocks_at_once([keypoints] * 48, with_mode(mode, device), compute, threads) == wanted


def test_blocks_at_once_fit_into_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "available_cores", lambda: 2)
    keypoints, compute = [300, 20_000, *[20_000] * 46], load_config().compute
    needed = block_bytes(keypoints)
    assert needed == match_bytes(20_000, block_side(48))
    assert block_bytes([20_000, 20_000]) == match_bytes(20_000, 2)
    for budget_mb, wanted in ((-(-2 * needed // MIB), 2), (2 * needed // MIB, 1), (1, 1)):
        tight = compute.model_copy(update={"budget_mb": budget_mb})
        assert blocks_at_once(keypoints, with_mode("windowed"), tight, 2) == wanted


def run(archive: Archive, out: Path, stages: list[str], threads: int = 2) -> RunRecord:
    config = load_config(overrides=SETTINGS | {"compute.threads": threads})
    return run_stages(Job(config, [archive.scenes], archive.regions, out), stages=stages)


@pytest.fixture(scope="module")
def extracted(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("extracted") / "out"
    run(archive, out, ["ingest", "extract"])
    return out


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair per block, for which threads pay."""
    monkeypatch.setattr("s2fast.stages.pairs._MIN_SIDE", 1)
    monkeypatch.setattr(scenes, "_LEAST_KEYPOINTS", 1)
    monkeypatch.setattr(scenes, "available_cores", lambda: 2)


class Together:
    """Calls a stage's unit when two threads are about to call it at once; fails if they never are."""

    def __init__(self, unit: Any) -> None:
        self._unit, self._both = unit, threading.Barrier(2)
        self.threads, self.budgets = set[int](), set[int]()

    def __call__(self, *given: Any) -> None:
        self.threads.add(threading.get_ident())
        self.budgets.add(given[-1].scenes.budget_bytes)
        self._both.wait(WAIT_S)
        self._unit(*given)


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
def test_two_blocks_at_once_give_what_one_after_another_gives(
    archive: Archive, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, found = tmp_path / "in turn", tmp_path / "at once"
    for out in (wanted, found):
        shutil.copytree(extracted, out)
    run(archive, wanted, ["match", "verify"], threads=1)
    assert len(list((wanted / "verified").iterdir())) == 6
    matching = Together(match.match_unit)
    monkeypatch.setattr(match, "match_unit", matching)
    run(archive, found, ["match", "verify"])
    assert len(matching.threads) == 2
    assert matching.budgets == {load_config().compute.budget_mb * MIB // 2}
    assert digests(found) == digests(wanted)
    # Verified alone, from what is stored.
    shutil.rmtree(found / "verified")
    shutil.rmtree(found / "matches")
    verifying = Together(verify.verify_unit)
    monkeypatch.setattr(verify, "verify_unit", verifying)
    run(archive, found, ["verify"])
    assert len(verifying.threads) == 2
    assert verifying.budgets == matching.budgets
    assert digests(found) == digests(wanted)


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
def test_an_error_of_a_block_is_raised_and_what_others_have_written_stays(
    archive: Archive, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(extracted, out)
    unit, left = match.match_unit, iter(range(6))

    def fail_at_third(*given: Any) -> None:
        if next(left) == 2:
            raise RunFolderError("disk full")
        unit(*given)

    monkeypatch.setattr(match, "match_unit", fail_at_third)
    with pytest.raises(RunFolderError, match="disk full"):
        run(archive, out, ["match", "verify"])
    kept = set(RunFolder(out).verified.rows()["key"])
    assert 1 <= len(kept) < 6
    monkeypatch.undo()
    run(archive, out, ["match", "verify"])
    assert kept < set(RunFolder(out).verified.rows()["key"])


def test_the_forecast_counts_blocks_at_once_in_this_process_only(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "available_cores", lambda: 2)
    config = load_config(overrides={"features.max_per_scene": 50_000})
    record, folder = plan(Job(config, [archive.scenes], archive.regions, tmp_path / "out")), RunFolder(tmp_path)
    needed = block_bytes([50_000] * 4)
    assert forecast(record, folder, ["match"], 1, 2).memory_mb == 2 * needed // MIB
    assert forecast(record, folder, ["match"], 2, 1).memory_mb == needed // MIB


def stored(tmp_path: Path, names: str, keypoints: int) -> RunFolder:
    folder, rng = RunFolder(tmp_path), np.random.default_rng(0)
    folder.create()
    for name in names:
        put_scene(folder, name, random_features(rng, keypoints))
    return folder


def test_threads_share_scenes_which_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, read, both = stored(tmp_path, "abcd", 50), list[str](), threading.Barrier(2)
    load = scenes._load_scene

    def counted(folder: RunFolder, name: str) -> MatchedScene:
        read.append(name)
        return load(folder, name)

    monkeypatch.setattr(scenes, "_load_scene", counted)
    cache = SceneCache(1 << 30)

    def loaded(names: set[str]) -> dict[str, MatchedScene]:
        both.wait(WAIT_S)
        return cache.load(folder, names)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(loaded, ({"a", "b", "c"}, {"b", "c", "d"}))
    assert sorted(read) == ["a", "b", "c", "d"]
    assert one["b"] is other["b"]


def test_scenes_beyond_the_budget_are_dropped_the_least_recently_used_first(tmp_path: Path) -> None:
    keypoints = 12_000  # so many that matching one takes more than another scene
    folder = stored(tmp_path, "abc", keypoints)
    cache = SceneCache(match_bytes(keypoints, 1) + scene_bytes(keypoints))
    first = cache.load(folder, {"a"})["a"]
    second = cache.load(folder, {"b"})["b"]
    assert cache.load(folder, {"a"})["a"] is first
    cache.load(folder, {"c"})
    assert cache.load(folder, {"a"})["a"] is first
    assert cache.load(folder, {"b"})["b"] is not second


def test_scenes_dropped_by_another_thread_are_returned_to_the_first(tmp_path: Path) -> None:
    folder, cache = stored(tmp_path, "ab", 50), SceneCache()

    class OtherThreadNext:
        """A lock that another thread takes as soon as the first has left it."""

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            cache._loading = threading.Lock()
            cache.load(folder, {"b"})

    cache._loading = OtherThreadNext()  # type: ignore[assignment]
    assert set(cache.load(folder, {"a", "b"})) == {"a", "b"}


@pytest.mark.parametrize("mutual", [True, False])
def test_exhaustive_searches_on_a_device_take_turns(
    mutual: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would take the device's memory."""
    found = SceneCache().load(stored(tmp_path, "ab", 50), {"a", "b"})
    search, inside, most = hamming_top2.hamming_top2, list[int](), list[int]()

    def counted(*operands: Any, backend: str, device: str) -> Any:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.1)
        result = search(*operands, backend=backend)
        inside.pop()
        return result

    monkeypatch.setattr(hamming_top2, "hamming_top2", counted)
    rule = with_mode("exhaustive", "cuda:0")
    rule = replace(rule, settings=rule.settings.model_copy(update={"mutual": mutual}), backend="torch")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: list(rule.good_matches([(found["a"], found["b"])])), range(2))
    assert set(most) == {1}
    assert len(most) == (4 if mutual else 2)
    assert np.array_equal(one[0].query_row, other[0].query_row)
