"""The verdict over pairs of scenes, and how the run keeps it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from s2fast.config import Config, load_config
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Features
from s2fast.stages import verdict_rule
from s2fast.stages.match import match_unit
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import Pair
from s2fast.stages.scenes import load_scenes
from s2fast.stages.verdict_rule import VerdictRule, wrong_offsets
from s2fast.stages.verify import Block, verify_unit
from s2fast_kernels.hamming_top2.cases import random_descriptors
from tests.folders import put_scene, random_features, some_features

SHIFT_PX = (1.5, -2.25)
CENTRES = (300_000.0, 5_500_000.0)


def moved(features: Features, rng: np.random.Generator, shift_px: tuple[float, float], share: float = 0.3) -> Features:
    """A share of the keypoints, a little displaced, among as many that are only here."""
    kept = rng.permutation(len(features))[: int(share * len(features))]
    xy = features.xy[kept] + np.array(shift_px) + rng.normal(0, 0.25, (len(kept), 2))
    alone = random_features(rng, len(features) - len(kept))
    return some_features(
        np.concatenate([xy, alone.xy]), np.concatenate([features.descriptors[kept], alone.descriptors])
    )


def judged(out: Path, config: Config, *scenes: tuple[str, Features, dict[str, Any]]) -> pd.Series:  # type: ignore[type-arg]
    """Match and verify two scenes; the row of the pair."""
    folder = RunFolder(out)
    folder.create()
    for name, features, options in scenes:
        put_scene(folder, name, features, **options)
    pair = Pair(scenes[0][0], scenes[1][0], "key")
    matching = MatchingRule(config.matching, "numba")
    match_unit((pair,), matching, 0, str(out))
    block = folder.matched.rows()["block"][0]
    rule = VerdictRule(matching, config.verification)
    verify_unit(Block((replace(pair, key="verified"),), (block,)), config, rule, str(out))
    row: pd.Series = folder.verified.rows().iloc[0]  # type: ignore[type-arg]
    return row


def shifted_pair(shift_px: tuple[float, float] = SHIFT_PX, seed: int = 0) -> tuple[Features, Features]:
    rng = np.random.default_rng(seed)
    query = random_features(rng, 400)
    return query, moved(query, rng, shift_px)


@pytest.mark.parametrize("mode", ["windowed", "exhaustive"])
def test_shifted_scenes_are_verified_with_their_shift(tmp_path: Path, mode: str) -> None:
    query, train = shifted_pair()
    config = load_config(overrides={"matching.mode": mode})
    row = judged(tmp_path, config, ("a", query, {}), ("b", train, {}))
    assert row["verified"]
    assert row["verdict"] == "verified"
    # Pixels run down, metres north.
    assert (row["dx_px"], row["dy_px"]) == pytest.approx(SHIFT_PX, abs=0.1)
    assert (row["dx_m"], row["dy_m"]) == pytest.approx((10 * SHIFT_PX[0], -10 * SHIFT_PX[1]), abs=1.0)
    assert row["shift_error_m"] < 0.6
    assert row["n_inliers"] >= 110
    assert row["overlap_pct"] == 100
    assert (row["null_trials"], row["null_verified"]) == (1, 0)
    matches = RunFolder(tmp_path).verified.matches("a", "b")
    assert matches["inlier"].sum() == row["n_inliers"]
    assert len(matches) == row["n_good"]
    off = train.xy[matches["train_row"]] - query.xy[matches["query_row"]] - np.array([row["dx_px"], row["dy_px"]])
    np.testing.assert_array_equal(matches["inlier"], np.hypot(*off.T) < 1.5)


def test_unrelated_scenes_are_not_verified(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    scenes = [("a", random_features(rng, 400), {}), ("b", random_features(rng, 400), {})]
    row = judged(tmp_path, load_config(), *scenes)
    assert not row["verified"]
    assert row["verdict"] == "not verified"
    # What chance explains is not given out for a shift.
    assert np.isnan([row["dx_m"], row["dy_px"], row["shift_error_m"]]).all()
    assert row["n_inliers"] == 0
    assert not RunFolder(tmp_path).verified.matches("a", "b")["inlier"].any()


@pytest.mark.slow
def test_a_shift_beyond_the_radius_is_prior_suspect_and_reported(tmp_path: Path) -> None:
    query, train = shifted_pair((6.4, 0.0))
    once = load_config(overrides={"verification.second_look_px": 0})
    row = judged(tmp_path, once, ("a", query, {}), ("b", train, {}))
    assert (bool(row["verified"]), row["verdict"], row["looks"]) == (False, "prior suspect", 1)
    assert (row["dx_px"], row["searched_m"]) == (pytest.approx(6.4, abs=0.1), pytest.approx(50))
    wider = judged(
        tmp_path / "wider", load_config(overrides={"matching.radius_m": 80.0}), ("a", query, {}), ("b", train, {})
    )
    assert wider["verdict"] == "verified"
    twice = judged(tmp_path / "twice", load_config(), ("a", query, {}), ("b", train, {}))
    assert (twice["verdict"], twice["looks"]) == ("verified", 2)
    assert twice["dx_px"] == pytest.approx(6.4, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("radius_m", [550.0, 1e9])
def test_a_radius_of_the_scenes_size_finds_the_shift_and_its_nulls_do_not(tmp_path: Path, radius_m: float) -> None:
    query, train = shifted_pair((40.0, -20.0))
    config = load_config(overrides={"matching.radius_m": radius_m, "verification.nulls": 5})
    row = judged(tmp_path, config, ("a", query, {}), ("b", train, {}))
    assert (row["verdict"], row["dx_px"]) == ("verified", pytest.approx(40, abs=0.2))
    side_m = np.sqrt(RunFolder(tmp_path).placement("a").area_m2)
    assert row["searched_m"] == pytest.approx(min(radius_m, 0.3 * side_m))
    assert (row["null_trials"], row["null_verified"]) == (5, 0)


def test_scenes_apart_have_no_common_ground_and_are_tried_as_if_they_lay_together(tmp_path: Path) -> None:
    query, train = shifted_pair((0.0, 0.0))
    row = judged(tmp_path, load_config(), ("a", query, {}), ("b", train, {"corner": (400_000.0, 5_500_000.0)}))
    assert (row["overlap_pct"], row["verdict"], row["null_trials"]) == (0, "no common ground", 1)
    assert not row["verified"]


def test_wrong_offsets_are_far_enough_and_always_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    folder = RunFolder(tmp_path)
    folder.create()
    put_scene(folder, "a", random_features(rng, 5), shape=(4000, 4000))
    put_scene(folder, "b", random_features(rng, 5), shape=(4000, 4000))
    scenes = load_scenes(folder, {"a", "b"})
    none = np.zeros(0, np.int32)

    def offsets(*pair: str) -> np.ndarray:
        matched = MatchedPair(Pair(*pair), scenes["a"], scenes["b"], none, none, none.astype(np.uint16), 50.0)
        return np.array(wrong_offsets(matched, 50, 100.0))

    away = offsets("a", "b", "")
    assert len(away) == 50
    length = np.hypot(*away.T)
    assert length.min() >= 8 * 50
    assert length.max() <= 40 * 50
    np.testing.assert_array_equal(away, offsets("a", "b", "other"))
    assert (away != offsets("b", "a", "")).any()


def test_nulls_are_counted_where_chance_fools_the_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query, train = shifted_pair()
    monkeypatch.setattr(verdict_rule, "wrong_offsets", lambda *_: [np.zeros(2), np.array([900.0, 0.0])])
    row = judged(tmp_path, load_config(), ("a", query, {}), ("b", train, {}))
    # The first offset is the right one.
    assert (row["null_trials"], row["null_verified"]) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["inliers", "good", "none"])
def test_matches_are_kept_as_asked(tmp_path: Path, keep: str) -> None:
    query, train = shifted_pair()
    row = judged(tmp_path, load_config(overrides={"output.keep_matches": keep}), ("a", query, {}), ("b", train, {}))
    matches = RunFolder(tmp_path).verified.matches("a", "b")
    assert len(matches) == {"inliers": row["n_inliers"], "good": row["n_good"], "none": 0}[keep]
    if keep == "inliers":
        assert matches["inlier"].all()


def test_without_verification_there_is_no_verdict(tmp_path: Path) -> None:
    query, train = shifted_pair()
    row = judged(tmp_path, load_config(overrides={"verification.enabled": False}), ("a", query, {}), ("b", train, {}))
    assert row["verified"] is None or pd.isna(row["verified"])
    assert (row["verdict"], row["overlap_pct"], row["null_trials"]) == ("", 100, 0)
    matches = RunFolder(tmp_path).verified.matches("a", "b")
    assert len(matches) == row["n_good"] > 0
    assert matches["inlier"].isna().all()


@pytest.mark.slow
@pytest.mark.parametrize("shift_px", [(3.0, 1.0), (0.0, -30.0), (-30.0, 25.0)])
def test_radius_auto_finds_shifts_near_and_far(tmp_path: Path, shift_px: tuple[float, float]) -> None:
    query, train = shifted_pair(shift_px)
    row = judged(tmp_path, load_config(overrides={"matching.radius_m": "auto"}), ("a", query, {}), ("b", train, {}))
    assert row["verdict"] == "verified"
    assert (row["dx_px"], row["dy_px"]) == pytest.approx(shift_px, abs=0.2)
    assert np.hypot(*shift_px) * 10 < row["searched_m"] <= 600


def test_radius_auto_keeps_the_least_where_nothing_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    scenes = [("a", random_features(rng, 400), {}), ("b", random_features(rng, 400), {})]
    row = judged(tmp_path, load_config(overrides={"matching.radius_m": "auto"}), *scenes)
    assert (row["verdict"], row["searched_m"]) == ("not verified", pytest.approx(50))


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
def test_without_a_prior_and_without_matches_nothing_is_verified(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    scenes = [("a", random_features(rng, count), {}), ("b", random_features(rng, count), {})]
    row = judged(tmp_path, load_config(overrides=GLOBAL), *scenes)
    assert (bool(row["verified"]), row["n_good"]) == (False, 0)


GLOBAL = {"matching.mode": "exhaustive", "verification.prior": "none"}


def test_without_a_prior_any_shift_is_found(tmp_path: Path) -> None:
    query, train = shifted_pair((70.0, -40.0))
    row = judged(tmp_path, load_config(overrides=GLOBAL), ("a", query, {}), ("b", train, {}))
    assert row["verdict"] == "verified"
    assert (row["dx_px"], row["dy_px"]) == pytest.approx((70, -40), abs=0.1)
    assert (row["null_trials"], row["null_verified"]) == (1, 0)


def test_without_a_prior_scenes_may_be_turned(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    query = random_features(rng, 300)
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    train = some_features((query.xy - 99.5) @ turn.T + 99.5 + [3.0, 4.0], query.descriptors)
    row = judged(tmp_path, load_config(overrides=GLOBAL), ("a", query, {}), ("b", train, {}))
    assert row["verdict"] == "verified"
    # The shift is the query's centre's.
    assert (row["dx_px"], row["dy_px"]) == pytest.approx((3, 4), abs=0.1)
    assert (row["null_trials"], row["null_verified"]) == (1, 0)


def test_without_a_prior_unrelated_scenes_are_not_verified(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    # Few distinct descriptors: many good matches, all wrong.
    scenes = [
        (name, some_features(random_features(rng, 400).xy, random_descriptors(rng, 400)), {}) for name in ("a", "b")
    ]
    config = load_config(overrides=GLOBAL | {"matching.max_distance_bits": 512, "matching.ratio": 1.0})
    row = judged(tmp_path, config, *scenes)
    assert row["n_good"] > 50
    assert not row["verified"]
