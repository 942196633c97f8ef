"""The second look: scenes far from where their georeferencing says, and scenes of other ground."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import s2fast
from s2fast.config import Config, load_config
from s2fast.geometry.shift import find_shift
from s2fast.geometry.witnesses import peaks_of_all
from s2fast.image.fixed_pattern import explained_by_paint, share_noise
from s2fast.model import PairVerdict
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.stages import second_look, voters
from s2fast.stages.keys import verdict_key
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.pairs import Pair
from s2fast.stages.scenes import load_scenes
from s2fast.stages.second_look import looks_again, second_looks
from s2fast.stages.verdict_rule import Steps, VerdictRule
from tests.archives import PIXEL_M, textured, write_scene

Judged: TypeAlias = tuple[PairVerdict, npt.NDArray[np.bool_]]

PLAIN = Steps(explained_by_paint, share_noise, find_shift, peaks_of_all)
"""The steps of a judgement without compiled code."""

SIDE = 400
WEST, NORTH = 600_000.0, 5_600_040.0
MOVED = {"a": (0, 0), "b": (7, 0), "c": (-40, 20), "d": (0, -80)}
"""How far each scene claims to lie from where it does, right and down [px]."""

TITLES = {name: f"S2A_2019040{day}T083601_T36UXA" for day, name in enumerate("abcd", 1)} | {
    "other": "S2A_20190409T083601_T36UXA"
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four scenes of one ground at wrong places, and one of other ground."""
    folder = tmp_path_factory.mktemp("far")
    rng = np.random.default_rng(11)
    ground = textured(rng, (SIDE + 60, SIDE + 60))
    for number, (name, (right, down)) in enumerate(MOVED.items()):
        # Each date sees the ground in other pixels, so that pixels are not alike.
        top, left = 5 * number, 60 - 7 * number
        pixels = ground[top : top + SIDE, left : left + SIDE] + rng.normal(0, 4, (SIDE, SIDE))
        corner = (WEST + PIXEL_M * (left + right), NORTH - PIXEL_M * (top + down))
        write_scene(folder / "in" / f"{TITLES[name]}.tif", np.clip(pixels, 1, 255).astype(np.uint8), corner)
    write_scene(folder / "in" / f"{TITLES['other']}.tif", textured(rng, (SIDE, SIDE)), (WEST + 300, NORTH))
    run_stages(Job(load_config(overrides={"ingest.mask": "none"}), [folder / "in"], None, folder / "out"))
    return folder / "out"


@pytest.mark.slow
def test_scenes_far_from_their_place_are_found_and_others_are_not(finished: Path) -> None:
    run = s2fast.open_run(finished)
    pairs = run.pairs().set_index(["query", "train"])
    for (query, train), row in pairs.iterrows():
        names = [name for title in (query, train) for name, other in TITLES.items() if other == title]
        assert row["looks"] == 2, "none is within five pixels"
        if "other" in names:
            assert not row["verified"]
            continue
        assert row["verified"]
        wanted = PIXEL_M * (np.array(MOVED[names[1]]) - MOVED[names[0]]) * (1, -1)
        np.testing.assert_allclose([row["dx_m"], row["dy_m"]], wanted, atol=0.1 * PIXEL_M)
        assert row["searched_m"] == pytest.approx(0.3 * SIDE * PIXEL_M)
        matches = run.matches(query, train)
        assert matches["inlier"].sum() == row["n_inliers"] > 20
        assert len(matches) == row["n_good"]
        assert row["similarity_pct"] == round(100 * row["n_good"] / row["n_query"], 2)
        inliers = matches[matches["inlier"]]
        assert np.hypot(inliers["dx_m"] - row["dx_m"], inliers["dy_m"] - row["dy_m"]).max() < 2 * PIXEL_M
    # One of either look; those of the first look are not counted where the second found the right displacement.
    assert (run.record.history.counts["null_trials"], run.record.history.counts["null_verified"]) == (6 + 2 * 4, 0)
    page = (finished / "report.html").read_text("utf-8")
    assert "second look, 6 pairs" in page


@pytest.mark.slow
def test_offsets_of_the_series_are_found(finished: Path) -> None:
    scenes = s2fast.open_run(finished).scenes().set_index("scene_id")
    offsets = np.array([MOVED[name] for name in "abcd"]) * PIXEL_M * (1, -1)
    found = scenes.loc[[TITLES[name] for name in "abcd"], ["offset_x_m", "offset_y_m"]].to_numpy()
    np.testing.assert_allclose(found - found[0], offsets - offsets[0], atol=0.1 * PIXEL_M)


def block(finished: Path, config: Config | None = None) -> tuple[VerdictRule, list[MatchedPair]]:
    """Match all pairs of a run near their expected position."""
    rule = VerdictRule.of(config or load_config())
    run = s2fast.open_run(finished)
    scenes = load_scenes(run.folder, set(run.scene_ids))
    keys = [Pair(query, train, "key") for query, train in zip(*map(run.pairs().get, ("query", "train")), strict=True)]
    both = [(scenes[pair.query], scenes[pair.train]) for pair in keys]
    found = rule.matching.good_matches(both)
    return rule, [
        MatchedPair.unmatched(pair, *each, matches.radius_m).with_matches(matches)
        for pair, each, matches in zip(keys, both, found, strict=True)
    ]


def assert_same(got: Iterable[Judged], wanted: Iterable[Judged]) -> None:
    """Compare verdicts and inliers; sums may have been added in another order."""
    for (verdict, inlier), (other, others) in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(inlier, others)
        near = pytest.approx(
            {name: value for name, value in asdict(other).items() if isinstance(value, float)},
            rel=1e-7, abs=1e-9, nan_ok=True,
        )  # fmt: skip
        values = asdict(verdict)
        assert {name: values.pop(name) for name in near.expected} == near
        assert values == {name: value for name, value in asdict(other).items() if name in values}


@pytest.mark.slow
def test_the_plain_steps_give_the_same_second_look(finished: Path) -> None:
    rule, pairs = block(finished)
    verdicts = rule.verdicts(pairs)
    plain = replace(rule, steps=PLAIN)
    assert_same(plain.verdicts(pairs), verdicts)
    got, wanted = second_looks(plain, pairs, verdicts), second_looks(rule, pairs, verdicts)
    assert list(got) == list(wanted) == list(range(10))
    assert_same(*([(look.verdict, look.inlier) for look in looks.values()] for looks in (got, wanted)))


@pytest.mark.slow
def test_parts_of_a_block_give_what_the_whole_gives(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, pairs = block(finished)
    verdicts = rule.verdicts(pairs)
    whole = second_looks(rule, pairs, verdicts)
    monkeypatch.setattr(second_look, "MOST_ROWS", 1)
    parts = second_looks(rule, pairs, verdicts)
    assert list(parts) == list(whole) == list(range(10))
    for number, look in whole.items():
        # Equal with NaN: Python 3.13 compares dataclasses field by field, without regard to identity.
        assert repr(parts[number].verdict) == repr(look.verdict)
        np.testing.assert_array_equal(parts[number].inlier, look.inlier)


@pytest.mark.slow
def test_turned_scenes_are_never_verified(finished: Path) -> None:
    rule, pairs = block(finished)
    wrong = [replace(pair, train=second_look._turned(pair.train)) for pair in pairs]
    looks = second_looks(rule, wrong, rule.verdicts(wrong))
    assert len(looks) == 10
    assert not any(look.verdict.verified for look in looks.values())
    # Turned twice, the trial is the pair itself: it is verified, so the trials can fail.
    alarms = pd.Series([look.verdict.null_verified for look in looks.values()])
    assert alarms.sum() == 6


@pytest.mark.slow
def test_more_displacements_ask_for_more_agreement(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, pairs = block(finished)
    monkeypatch.setattr(second_look, "MAX_LOG_NFA", -300.0)
    assert not any(look.verdict.verified for look in second_looks(rule, pairs, rule.verdicts(pairs)).values())


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, True),
        ({"verification.second_look_px": 0}, False),
        ({"verification.enabled": False}, False),
        ({"matching.radius_m": 50.0}, False),
        ({"matching.radius_m": "auto"}, False),
        ({"matching.mode": "exhaustive"}, False),
    ],
)
def test_settings_of_the_users_have_no_second_look(settings: dict[str, object], *, wanted: bool) -> None:
    config = load_config(overrides=settings)
    assert looks_again(VerdictRule.of(config)) == wanted
    other = config.model_copy(update={"verification": config.verification.model_copy(update={"second_look_px": 90})})
    assert (verdict_key("a", "b", other) != verdict_key("a", "b", config)) == (
        wanted or "verification.second_look_px" in settings
    )


@pytest.mark.slow
def test_the_largest_keypoints_near_the_other_scene_vote(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voters, "MOST_COARSE", 60)
    _, pairs = block(finished)
    pair = pairs[0]
    left = np.flatnonzero(pair.train.xy[:, 0] < SIDE / 8)
    columns = {name: getattr(pair.train, name)[left] for name in ("descriptors", "xy", "size")}
    sliver = replace(pair, train=replace(pair.train, **columns))
    reach, whole = 20 * PIXEL_M, voters.Whole()
    query, train = voters.voters(sliver, reach, whole)
    assert len(query.xy_m) == len(train.xy_m) == 60
    apart = np.hypot(*(pair.query.on_own_map[:, None] - sliver.train.on_map_of(pair.query)).transpose(2, 0, 1))
    beside = np.hypot(*(query.xy_m[:, None] - sliver.train.on_own_map).transpose(2, 0, 1))
    assert beside.min(axis=1).max() < 2 * reach
    assert query.size_m.min() >= np.sort(pair.query.size_m[apart.min(axis=1) <= reach])[-60]
    # The largest of the whole scene lie elsewhere, and those of scenes that see the same ground are chosen once.
    both = voters.voters(pair, 1000 * reach, whole)
    assert not np.isin(both[0].size_m, query.size_m).all()
    assert both == voters.voters(pair, 1000 * reach, whole)
    # They are searched as the scenes with these keypoints alone would be.
    for own, scene in zip(both, (pair.query, pair.train), strict=True):
        rows = np.sort(np.argsort(-scene.size, kind="stable")[:60])
        alone = replace(scene, descriptors=scene.descriptors[rows], xy=scene.xy[rows], size=scene.size[rows])
        wanted = alone.prepared(1000 * reach, pair.query, slice(0, 60))
        for name in ("descriptors", "x", "y", "row", "radius", "strip_group", "strip_start", "strip_y"):
            np.testing.assert_array_equal(getattr(own.search, name), getattr(wanted, name), err_msg=name)
        np.testing.assert_array_equal(own.xy_m, alone.on_map_of(pair.query))
        np.testing.assert_array_equal(own.size_m, alone.size_m)


@given(count=st.integers(1, 3000), most=st.sampled_from([2, 60, 10_000]), seed=st.integers(0, 1 << 32))
def test_of_equal_sizes_the_first_are_chosen(count: int, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = rng.integers(0, most, rng.integers(0, 3000)).astype(np.float32)
    wanted = np.sort(np.argsort(-size, kind="stable")[:count])
    np.testing.assert_array_equal(voters._largest(size, count), wanted)
