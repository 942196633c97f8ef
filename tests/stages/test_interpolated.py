"""Scenes on a grid finer than they were seen: their common lattice must not pass for a shift of the ground."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import s2fast
from s2fast.config import load_config
from s2fast.stages.matched import Matched
from s2fast.stages.pairs import Pair
from s2fast.stages.scenes import load_scenes
from s2fast.stages.verdict_rule import VerdictRule
from tests.archives import PIXEL_M, textured, write_scene

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


def test_the_stated_error_covers_the_pull_of_the_lattices(scenes: Path, tmp_path: Path) -> None:
    run = s2fast.run(scenes=scenes, out=tmp_path / "out")
    pair = run.pairs().iloc[0]
    assert pair["verified"]
    off = float(np.hypot(*(pair[["dx_m", "dy_m"]].to_numpy(float) - AWAY_M)))
    assert 0.3 * PIXEL_M < off < 2 * pair["shift_error_m"], "else the lattices do not pull"
    assert pair["shift_error_m"] == pytest.approx(LARGER * PIXEL_M / np.sqrt(8), rel=0.01)
    assert [run.folder.placement(name).interpolated for name in run.scene_ids] == [LARGER] * 2
    assert "the pixels of 2 scenes were interpolated from larger ones" in " ".join(run.record.history.warnings)


def test_a_single_interpolated_scene_is_judged_as_ever(scenes: Path, tmp_path: Path) -> None:
    run = s2fast.open_run(s2fast.run(scenes=scenes, out=tmp_path / "out").folder.address)
    rule = VerdictRule.of(load_config())
    one, other = load_scenes(run.folder, set(run.scene_ids)).values()
    sharp = replace(other, placement=replace(other.placement, interpolated=1))
    errors = []
    for train in (other, sharp):
        (matches,) = rule.matching.good_matches([(one, train)])
        pair = Matched.unmatched(Pair("s0", "s1", ""), one, train, matches.radius_m).with_matches(matches)
        errors.append(rule.verdicts([pair])[0][0].shift_error_m)
    assert errors[1] < 0.2 * errors[0]
