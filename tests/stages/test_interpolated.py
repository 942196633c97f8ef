"""Scenes on a grid finer than they were seen: their common lattice must not pass for a shift of the ground."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import s2fast
from s2fast.config import load_config
from s2fast.report.findings import _warning_of_interpolation
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.pairs import Pair
from s2fast.stages.scenes import load_scenes
from s2fast.stages.verdict_rule import VerdictRule
from tests.archives import PIXEL_M, textured, write_scene

pytestmark = pytest.mark.slow

SIDE, LARGER = 600, 3
AWAY_M = (0.7 * PIXEL_M, -0.4 * PIXEL_M)
WEST, NORTH = 600_000.0, 5_600_040.0


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ground seen on pixels of 30 m, a third of a pixel apart, on grids of 10 m."""
    folder = tmp_path_factory.mktemp("interpolated")
    random = np.random.default_rng(5)
    # Sharper than these pixels.
    ground = textured(random, (SIDE + 20, SIDE + 20))
    for number in range(2):
        first = 7 * number
        seen = ground[first : first + SIDE, first : first + SIDE] + random.normal(0, 6, (SIDE, SIDE))
        larger = cv2.resize(seen.astype(np.float32), (SIDE // LARGER,) * 2, interpolation=cv2.INTER_AREA)
        grid = cv2.resize(larger, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        corner = (WEST + PIXEL_M * first + number * AWAY_M[0], NORTH - PIXEL_M * first + number * AWAY_M[1])
        write_scene(folder / f"s{number}.tif", np.clip(np.rint(grid), 1, 255).astype(np.uint8), corner)
    return folder


@pytest.fixture(scope="module")
def run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> s2fast.Run:
    """A run of both scenes."""
    return s2fast.run(scenes=scenes, out=tmp_path_factory.mktemp("run") / "out")


def off_m(run: s2fast.Run) -> float:
    """Return the error of the pair's shift [m]."""
    return float(np.hypot(*(run.pairs()[["dx_m", "dy_m"]].to_numpy(float)[0] - AWAY_M)))


@pytest.mark.parametrize("mode", ["windowed", "exhaustive"])
def test_two_interpolated_scenes_are_matched_on_their_own_pixels(
    scenes: Path, run: s2fast.Run, tmp_path: Path, mode: str
) -> None:
    if mode == "exhaustive":
        run = s2fast.run({"matching.mode": mode}, scenes=scenes, out=tmp_path / "out")
    pair = run.pairs().iloc[0]
    assert pair["verified"]
    assert pair["shift_error_m"] < 0.05 * LARGER * PIXEL_M
    assert off_m(run) < 2 * pair["shift_error_m"]
    placements = [run.folder.placement(name) for name in run.scene_ids]
    assert [(placement.interpolated, placement.averaged) for placement in placements] == [(LARGER, True)] * 2
    levels = [run.folder.levels(name) for name in run.scene_ids]
    np.testing.assert_allclose([grid_m for ((grid_m, _),) in levels], LARGER * PIXEL_M, rtol=0.01)
    assert (pair["n_query"], pair["n_train"]) == tuple(number for ((_, number),) in levels)
    (warning,) = run.record.history.warnings
    assert warning.endswith("; pairs of scenes with equally large ones are matched on means over them")
    beside_another = _warning_of_interpolation(dict(zip(run.scene_ids, placements, strict=True)), 3)
    assert beside_another.startswith(f"{warning}, but with other scenes they match badly")
    matches = run.matches(*run.scene_ids)
    assert matches["query_row"].min() >= run.folder.keypoints("s0") - levels[0][0][1]


def test_without_this_level_the_stated_error_covers_the_pull_of_the_lattices(scenes: Path, tmp_path: Path) -> None:
    run = s2fast.run({"features.coarser": False}, scenes=scenes, out=tmp_path / "out")
    pair = run.pairs().iloc[0]
    assert pair["verified"]
    assert 0.3 * PIXEL_M < off_m(run) < 2 * pair["shift_error_m"], "else the lattices do not pull"
    assert pair["shift_error_m"] == pytest.approx(LARGER * PIXEL_M / np.sqrt(8), rel=0.01)
    assert [run.folder.placement(name).averaged for name in run.scene_ids] == [False] * 2
    (warning,) = run.record.history.warnings
    assert "pulls the shifts of pairs of them, whose stated errors are large: resample them" in warning
    assert "matched on means" not in warning


def test_an_interpolated_scene_beside_one_of_other_pixels_is_matched_on_its_grid(run: s2fast.Run) -> None:
    rule = VerdictRule.of(load_config())
    one, other = load_scenes(run.folder, set(run.scene_ids)).values()
    own = [slice(0, len(scene.descriptors) - scene.levels[0][1]) for scene in (one, other)]
    sharp, of_2 = (
        replace(other, placement=replace(other.placement, interpolated=side, averaged=side > 1)) for side in (1, 2)
    )
    errors = []
    for train in (sharp, of_2):
        (matches,) = rule.matching.good_matches([(one, train)])
        pair = MatchedPair.unmatched(Pair("s0", "s1", ""), one, train, matches.radius_m).with_matches(matches)
        assert [one.rows_for(train), train.rows_for(one)] == own
        errors.append(rule.verdicts([pair])[0][0].shift_error_m)
    # Pixels of two sizes have no grid in common on which there is no lattice.
    assert errors[0] < 0.2 * errors[1]
