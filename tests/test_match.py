from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.config import Matching, load_config
from s2fast.errors import ConfigError
from s2fast.match import Pair, both_directions, good_matches, key, match_unit, mutual, plan_blocks
from s2fast.memory import MIB, match_bytes
from s2fast.model import Features
from s2fast.report.chosen import cross_matches
from s2fast.store import RunFolder
from s2fast_kernels.akaze import akaze
from s2fast_kernels.akaze.contract import unpack
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.cases import random_descriptors
from tests.archives import textured


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
    rows = np.flatnonzero(good_matches(top2, Matching(ratio=0.8))[:, 0])
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
    for place, rows in enumerate(trains):
        matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        wanted = matcher.match(unpack(query), unpack(rows)) if len(rows) else []
        kept = np.flatnonzero(got[:, place])
        if distinct is None:
            assert sorted((m.queryIdx, m.trainIdx) for m in wanted) == [(row, top2.index[row, place]) for row in kept]
        else:
            # OpenCV leaves the order of ties open: each train row still has one partner at most.
            assert len(set(top2.index[kept, place])) == len(kept)


def test_picture_draws_opencvs_cross_checked_matches() -> None:
    query, train = two_views()
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    wanted = sorted(matcher.match(unpack(query.descriptors), unpack(train.descriptors)), key=lambda m: m.distance)[:20]
    drawn = cross_matches(query, train, 20)
    assert drawn.distance.tolist() == [int(match.distance) for match in wanted]
    nearest = {(m.queryIdx, m.trainIdx) for m in wanted if m.distance < wanted[-1].distance}
    assert nearest <= set(zip(drawn.query_row.tolist(), drawn.train_row.tolist(), strict=True))
    assert len(cross_matches(query, Features.none(), 20).query_row) == 0


def write_descriptors(folder: RunFolder, rows: dict[str, int]) -> None:
    folder.create()
    rng = np.random.default_rng(1)
    for scene, count in rows.items():
        none = Features.none()
        features = Features(
            np.zeros((count, 2), np.float32),
            *(np.zeros(count, getattr(none, name).dtype) for name in ("size", "angle", "response", "level")),
            random_descriptors(rng, count),
        )
        folder.write_features(scene, features, f"key of {scene}", "opencv")


@pytest.mark.parametrize("mutual_too", [False, True])
def test_scenes_with_no_or_one_keypoint_match_nothing(tmp_path: Path, mutual_too: bool) -> None:
    folder = RunFolder(tmp_path)
    write_descriptors(folder, {"none": 0, "one": 1, "two": 2, "many": 300})
    names = ["none", "one", "two", "many"]
    pairs = tuple(Pair(q, t, f"{q}-{t}") for q in names for t in names if q != t)
    match_unit(pairs, load_config(overrides={"matching.mutual": mutual_too}), "numba", str(tmp_path), 0)
    table = folder.pair_parts().set_index(["query", "train"])
    assert len(table) == len(pairs)
    for (query, train), row in table.iterrows():
        if train in ("none", "one") or query == "none":
            assert (row.n_good, row.similarity_pct) == (0, 0.0), (query, train)


@given(st.integers(2, 40), st.integers(1, 200_000), st.integers(128, 2048), st.floats(0, 1), st.randoms())
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
        assert len(blocks) >= min(len(pairs), 60)


def test_pair_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="matching scenes of 900000 keypoints may take .* compute.budget_mb is 128"):
        plan_blocks([Pair("a", "b", "ab")], {"a": 900_000, "b": 5}, 128 * MIB)


def test_key_depends_on_features_and_rule() -> None:
    base = key("a", "b", load_config())
    assert key("b", "a", load_config()) != base
    for override in ({"matching.ratio": 0.7}, {"matching.mutual": False}, {"output.keep_matches": "none"}):
        assert key("a", "b", load_config(overrides=override)) != base
    for override in ({"matching.backend": "faiss"}, {"compute.budget_mb": 512}, {"features.threshold": 0.1}):
        assert key("a", "b", load_config(overrides=override)) == base


def test_part_drops_only_what_is_not_asked_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_descriptors(folder, {"a": 40, "b": 40, "c": 40})
    pairs = (Pair("a", "b", "ab"), Pair("a", "c", "ac"), Pair("b", "c", "bc"))
    match_unit(pairs, load_config(overrides={"matching.ratio": 1.0}), "auto", tmp_path, 0)
    before = {(q, t): len(folder.matches(q, t)) for q, t in (("a", "b"), ("a", "c"), ("b", "c"))}
    assert min(before.values()) > 0
    folder.settle_parts({"ab", "bc"}, with_matches=True)
    assert sorted(folder.pair_parts()["key"]) == ["ab", "bc"]
    assert len(folder.matches("a", "c")) == 0
    assert len(folder.matches("a", "b")) == before["a", "b"]
    folder.settle_parts(set(), with_matches=True)
    assert len(folder.pair_parts()) == 0
    assert not list((tmp_path / "matches").iterdir())
