from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

import s2fast
from s2fast.config import Matching, load_config
from s2fast.errors import ConfigError, RunFolderError
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Features
from s2fast.pictures.lines import cross_matches
from s2fast.stages import scenes as scenes_module
from s2fast.stages.blocks_at_once import Shared
from s2fast.stages.match import match_unit
from s2fast.stages.matching_rule import Matches, MatchingRule, both_directions, mutual, passing
from s2fast.stages.memory import match_bytes
from s2fast.stages.pairs import Pair, plan_blocks
from s2fast.stages.scenes import SceneCache, load_scenes, threads_that_pay
from s2fast_kernels.akaze import akaze
from s2fast_kernels.akaze.contract import unpack
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.cases import random_descriptors
from s2fast_kernels.machine import MIB
from tests.archives import textured, write_scene
from tests.folders import put_scene, random_features, some_features


def two_views() -> tuple[Features, Features]:
    """Features of two noisy views of one ground."""
    rng = np.random.default_rng(5)
    ground = textured(rng, (300, 400))
    views = [np.clip(ground + rng.normal(0, 6, ground.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    query, train = (akaze(view, backend="opencv") for view in views)
    return query, train


def test_ratio_test_is_opencvs() -> None:
    query, train = two_views()
    knn = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(unpack(query.descriptors), unpack(train.descriptors), k=2)
    wanted = {(best.queryIdx, best.trainIdx) for best, second in knn if best.distance < 0.8 * second.distance}
    top2 = hamming_top2(query.descriptors, train.descriptors, np.array([0, len(train)]))
    rows = np.flatnonzero(passing(top2, Matching(ratio=0.8, mode="exhaustive", max_distance_bits=512))[:, 0])
    assert {(row, top2.index[row, 0]) for row in rows} == wanted
    assert len(wanted) > 50


@pytest.mark.parametrize("backend", ["numba", "faiss"])
@pytest.mark.parametrize("distinct", [None, 9])
def test_mutual_is_opencvs_cross_check(distinct: int | None, backend: str) -> None:
    rng = np.random.default_rng(0)
    query = random_descriptors(rng, 90, distinct)
    trains = [random_descriptors(rng, rows, distinct) for rows in (70, 0, 1, 50)]
    trains[0][:20] = query[30:50]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in trains])])
    train = np.concatenate(trains)
    top2, back = both_directions(query, train, offsets, backend)
    got = mutual(top2, back, offsets)
    for number, rows in enumerate(trains):
        matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        wanted = matcher.match(unpack(query), unpack(rows)) if len(rows) else []
        kept = np.flatnonzero(got[:, number])
        if distinct is None:
            assert sorted((m.queryIdx, m.trainIdx) for m in wanted) == [(row, top2.index[row, number]) for row in kept]
        else:
            # OpenCV leaves the order of ties open: each train row still has one partner at most.
            assert len(set(top2.index[kept, number])) == len(kept)


def test_picture_draws_opencvs_cross_checked_matches() -> None:
    query, train = two_views()
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    wanted = sorted(matcher.match(unpack(query.descriptors), unpack(train.descriptors)), key=lambda m: m.distance)[:20]
    drawn = cross_matches(query, train, 20)
    assert drawn.distance.tolist() == [int(match.distance) for match in wanted]
    nearest = {(m.queryIdx, m.trainIdx) for m in wanted if m.distance < wanted[-1].distance}
    assert nearest <= set(zip(drawn.query_row.tolist(), drawn.train_row.tolist(), strict=True))
    assert len(cross_matches(query, Features.none(), 20).query_row) == 0


def write_scenes(folder: RunFolder, rows: dict[str, int]) -> None:
    folder.create()
    rng = np.random.default_rng(1)
    for scene, count in rows.items():
        put_scene(folder, scene, random_features(rng, count))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exhaustive", "windowed"])
@pytest.mark.parametrize("mutual_too", [False, True])
def test_scenes_with_no_or_one_keypoint_match_nothing(tmp_path: Path, mutual_too: bool, mode: str) -> None:
    folder = RunFolder(tmp_path)
    write_scenes(folder, {"none": 0, "one": 1, "two": 2, "many": 300})
    names = ["none", "one", "two", "many"]
    pairs = tuple(Pair(q, t, f"{q}-{t}") for q in names for t in names if q != t)
    config = load_config(overrides={"matching.mutual": mutual_too, "matching.mode": mode})
    match_unit(pairs, MatchingRule(config.matching, "numba"), 0, str(tmp_path))
    table = folder.matched.rows().set_index(["query", "train"])
    assert len(table) == len(pairs)
    for (query, train), row in table.iterrows():
        if train in ("none", "one") or query == "none":  # random descriptors are far beyond the cap on distance
            assert (row.n_good, row.similarity_pct) == (0, 0.0), (query, train)


@pytest.mark.slow
@given(st.integers(2, 40), st.integers(1, 90_000), st.integers(128, 2048), st.floats(0, 1), st.randoms())
def test_blocks_hold_every_pair_once_and_fit(
    scenes: int, keypoints: int, budget_mb: int, share: float, random: np.random.Generator
) -> None:
    names = [f"s{number:02}" for number in range(scenes)]
    pairs = [Pair(q, t, f"{q}{t}") for i, q in enumerate(names) for t in names[i + 1 :] if random.random() <= share]
    counts = {name: keypoints for name in names if any(name in (pair.query, pair.train) for pair in pairs)}
    budget = budget_mb * MIB
    blocks = plan_blocks(pairs, counts, budget)
    assert sorted((p for block in blocks for p in block), key=lambda p: p.key) == sorted(pairs, key=lambda p: p.key)
    for block in blocks:
        held = {scene for pair in block for scene in (pair.query, pair.train)}
        assert len(held) <= 32
        side = max(len({pair.query for pair in block}), len({pair.train for pair in block}))
        assert match_bytes(keypoints, side) <= budget
    if len(pairs) == scenes * (scenes - 1) // 2:
        groups = -(-scenes // 4)  # of four scenes, where memory holds as many; the last one may be a single scene
        assert len(blocks) >= min(groups * (groups + 1) // 2 - (scenes % 4 == 1), 60)


def test_pair_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="matching scenes of 900000 keypoints may take .* compute.budget_mb is 128"):
        plan_blocks([Pair("a", "b", "ab")], {"a": 900_000, "b": 5}, 128 * MIB)


def test_memory_that_is_just_above_the_budget_is_rounded_up() -> None:
    budget = match_bytes(90_000, 1) // MIB
    with pytest.raises(ConfigError, match=f"may take {budget + 1} MiB and compute.budget_mb is {budget}: raise it"):
        plan_blocks([Pair("a", "b", "ab")], {"a": 90_000, "b": 5}, budget * MIB)


def test_part_drops_only_what_is_not_asked_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_scenes(folder, {"a": 40, "b": 40, "c": 40})
    pairs = (Pair("a", "b", "ab"), Pair("a", "c", "ac"), Pair("b", "c", "bc"))
    everything = {"matching.ratio": 1.0, "matching.mode": "exhaustive", "matching.max_distance_bits": 512}
    match_unit(pairs, MatchingRule.of(load_config(overrides=everything).matching), 0, str(tmp_path))
    before = {(q, t): len(folder.matched.matches(q, t)) for q, t in (("a", "b"), ("a", "c"), ("b", "c"))}
    assert min(before.values()) > 0
    folder.matched.remove_stale({"ab", "bc"}, with_matches=True)
    assert sorted(folder.matched.rows()["key"]) == ["ab", "bc"]
    with pytest.raises(RunFolderError, match="no result for a and c"):
        folder.matched.matches("a", "c")
    assert len(folder.matched.matches("a", "b")) == before["a", "b"]
    folder.matched.remove_stale(set(), with_matches=True)
    assert len(folder.matched.rows()) == 0
    assert not list((tmp_path / "good").iterdir())


def test_keys_of_a_block_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    write_scenes(folder, {"a": 20, "b": 20, "c": 20, "d": 20})
    rule = MatchingRule.of(load_config().matching)
    match_unit((Pair("a", "b", "ab"), Pair("a", "c", "ac")), rule, 0, str(tmp_path))
    (first,) = folder.matched.complete_keys(with_matches=True).items()
    assert first[1] == ["ab", "ac"]
    match_unit((Pair("b", "c", "bc"),), rule, 0, str(tmp_path))
    read: list[str] = []
    once = folder.matched._read_all
    monkeypatch.setattr(folder.matched, "_read_all", lambda blocks, *rest: read.extend(blocks) or once(blocks, *rest))
    found = folder.matched.complete_keys(with_matches=True)
    assert found.pop(first[0]) == first[1]
    assert list(found.values()) == [["bc"]]
    assert read == list(found)
    # A unit of this process writes through the folder that the stage reads: its block is not read again.
    read.clear()
    match_unit((Pair("a", "d", "ad"),), rule, 0, str(tmp_path), shared=Shared(folder, SceneCache()))
    assert ["ad"] in folder.matched.complete_keys(with_matches=True).values()
    assert not read
    # A block without its matches is not complete, also one that was.
    folder.remove(f"good/{first[0]}.parquet")
    assert first[0] not in folder.matched.complete_keys(with_matches=True)
    assert first[0] in folder.matched.complete_keys(with_matches=False)


@pytest.mark.parametrize(
    ("mode", "count", "wanted"), [("windowed", 3_999, 1), ("windowed", 4_000, 2), ("exhaustive", 1, 2)]
)
def test_threads_pay_with_many_keypoints(mode: str, count: int, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes_module, "available_cores", lambda: 2)
    settings = load_config(overrides={"matching.mode": mode}).matching
    assert threads_that_pay([count, count - 1, count + 1], settings) == wanted


RADIUS_M = 50.0
"""Five pixels of 10 m, the default."""


def moved_pair(folder: RunFolder, shift_px: tuple[float, float], **train_options: Any) -> tuple[Features, Features]:
    """A scene, and another with the same keypoints moved, some of them not there."""
    rng = np.random.default_rng(4)
    query = random_features(rng, 300)
    kept = rng.permutation(300)[:200]
    train = some_features(query.xy[kept] + np.array(shift_px, np.float32), query.descriptors[kept])
    folder.create()
    put_scene(folder, "a", query)
    put_scene(folder, "b", train, **train_options)
    return query, train


def near(folder: RunFolder, settings: Matching) -> Matches:
    scenes = load_scenes(folder, {"a", "b"})
    (found,) = MatchingRule(settings, "numba").good_matches([(scenes["a"], scenes["b"])])
    return found


def test_windowed_matches_are_the_exhaustive_ones_nearby(tmp_path: Path) -> None:
    query, train = moved_pair(RunFolder(tmp_path), (1.5, -2.0))
    found = near(RunFolder(tmp_path), Matching())
    rows = {tuple(xy): row for row, xy in enumerate((train.xy - np.float32([1.5, -2.0])).round(3).tolist())}
    wanted = {(row, rows[tuple(xy)]) for row, xy in enumerate(query.xy.round(3).tolist()) if tuple(xy) in rows}
    assert set(zip(found.query_row.tolist(), found.train_row.tolist(), strict=True)) == wanted
    assert len(wanted) > 190
    assert (np.diff(found.query_row) > 0).all()
    assert not found.distance.any()


@pytest.mark.parametrize(("shift", "found"), [((9.8, 0.0), True), ((0.0, -10.2), False)])
def test_window_is_twice_five_pixels_by_default(tmp_path: Path, shift: tuple[float, float], found: bool) -> None:
    moved_pair(RunFolder(tmp_path), shift)
    assert bool(len(near(RunFolder(tmp_path), Matching()).query_row)) is found
    assert bool(len(near(RunFolder(tmp_path), Matching(radius_m=8.0)).query_row)) is False
    assert len(near(RunFolder(tmp_path), Matching(radius_m=60.0)).query_row) > 150


def test_position_is_the_maps_whatever_the_pixel_grids(tmp_path: Path) -> None:
    # The same ground on a grid of 20 m whose corner lies elsewhere: keypoints are half as large in its pixels.
    folder = RunFolder(tmp_path)
    rng = np.random.default_rng(4)
    query = random_features(rng, 300)
    # Pixel centres: ground x is 300,000 + 10 (x + 0.5) in one grid and 299,000 + 20 (x + 0.5) in the other.
    there = (np.float32(10) * (query.xy + np.float32(0.5)) + np.float32(1000)) / np.float32(20) - np.float32(0.5)
    folder.create()
    put_scene(folder, "a", query)
    train = some_features(there, query.descriptors, 2.4)
    put_scene(folder, "b", train, corner=(299_000.0, 5_501_000.0), pixel_m=20.0, shape=(200, 200))
    found = near(folder, Matching(radius_m=1.0))
    assert found.query_row.tolist() == found.train_row.tolist() == list(range(300))


def test_neighbouring_zones_meet_on_the_map(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    query = random_features(np.random.default_rng(4), 300)
    folder.create()
    put_scene(folder, "a", query, corner=(700_000.0, 5_500_000.0))
    to_next = pyproj.Transformer.from_crs("EPSG:32636", "EPSG:32637", always_xy=True)
    x, y = to_next.transform(700_000 + 10 * (query.xy[:, 0] + 0.5), 5_500_000 - 10 * (query.xy[:, 1] + 0.5))
    corner = (float(x.min()) - 100, float(y.max()) + 100)
    there = np.column_stack([(x - corner[0]) / 10 - 0.5, (corner[1] - y) / 10 - 0.5])
    put_scene(folder, "b", some_features(there, query.descriptors), corner=corner, crs="EPSG:32637")
    found = near(folder, Matching(radius_m=1.0))
    assert found.query_row.tolist() == found.train_row.tolist() == list(range(300))


def test_keypoints_of_another_size_do_not_compete(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    query = random_features(np.random.default_rng(4), 50)
    folder.create()
    put_scene(folder, "a", query)
    put_scene(folder, "b", some_features(query.xy, query.descriptors, size=4.8 * 2**0.25))
    assert len(near(folder, Matching()).query_row) == 0


@pytest.mark.parametrize("mutual_too", [False, True])
def test_windowed_rule_is_the_definition_row_by_row(tmp_path: Path, mutual_too: bool) -> None:
    rng = np.random.default_rng(8)
    folder = RunFolder(tmp_path)
    folder.create()
    sides = []
    for name in ("a", "b"):
        xy = rng.uniform(0, 100, (400, 2))
        size = rng.choice([4.8, 9.6], 400)
        features = some_features(xy, random_descriptors(rng, 400, distinct=60))
        features = replace(features, size=size.astype(np.float32))
        put_scene(folder, name, features)
        sides.append(features)
    settings = Matching(mutual=mutual_too, max_distance_bits=250, ratio=0.95)
    found = near(folder, settings)
    wanted = [(row, best) for row, best in by_definition(*sides, settings) if best >= 0]
    assert list(zip(found.query_row.tolist(), found.train_row.tolist(), strict=True)) == wanted
    assert len(wanted) > 20


def by_definition(query: Features, train: Features, settings: Matching) -> list[tuple[int, int]]:
    """The partner of each query row, -1 for none."""

    def nearest(one: Features, row: int, other: Features) -> list[tuple[int, int]]:
        close = np.hypot(*(other.xy - one.xy[row]).astype(float).T * 10) <= 2 * RADIUS_M
        rows = np.flatnonzero(close & (other.size == one.size[row]))
        return sorted((int(np.bitwise_count(other.descriptors[at] ^ one.descriptors[row]).sum()), at) for at in rows)

    partners = []
    for row in range(len(query)):
        near = nearest(query, row, train)
        good = bool(near) and near[0][0] <= settings.max_distance_bits
        good = good and (len(near) == 1 or near[0][0] < settings.ratio * near[1][0])
        if good and settings.mutual:
            good = nearest(train, near[0][1], query)[0][1] == row
        partners.append((row, int(near[0][1]) if good else -1))
    return partners


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["windowed", "exhaustive"])
def test_a_scene_that_the_others_projection_does_not_cover_matches_nothing(tmp_path: Path, mode: str) -> None:
    """A gnomonic map shows half of the Earth; UTM lies on the other side."""
    pixels = np.random.default_rng(0).integers(1, 255, (128, 128), np.uint8)
    gnomonic = pyproj.CRS("+proj=gnom +lat_0=-50 +lon_0=-145 +datum=WGS84 +type=crs").to_wkt()
    for name, crs, origin in (("a", gnomonic, (0.0, 0.0)), ("b", None, None)):
        options = {"crs": crs, "origin": origin} if crs else {}
        write_scene(tmp_path / f"in/{name}.tif", pixels, block=64, **options)
    (pair,) = (
        s2fast.run({"matching": {"mode": mode}}, scenes=tmp_path / "in", out=tmp_path / "out")
        .pairs()
        .to_dict("records")
    )
    assert min(pair["n_query"], pair["n_train"]) > 100
    assert (pair["verified"], pair["overlap_pct"]) == (False, 0)
