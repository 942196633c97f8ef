"""Scenes on a grid finer than they were seen: their common lattice must not pass for a shift of the ground."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import s2fast
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


def off_by_errors(run: s2fast.Run) -> float:
    """Return how far the only pair's shift is from the truth, in stated errors."""
    pair = run.pairs().iloc[0]
    assert pair["verified"]
    return float(np.hypot(*(pair[["dx_m", "dy_m"]].to_numpy(float) - AWAY_M)) / pair["shift_error_m"])


def test_a_shift_is_the_grounds_not_the_lattices(scenes: Path, tmp_path: Path) -> None:
    run = s2fast.run(scenes=scenes, out=tmp_path / "out")
    assert off_by_errors(run) < 2
    assert [run.folder.interpolated(name) for name in run.scene_ids] == [LARGER] * 2
    assert run.folder.placement("s0").grid_m == pytest.approx(LARGER * PIXEL_M)
    assert run.folder.placement("s0").pixel_m == pytest.approx(PIXEL_M)
    assert "the pixels of 2 scenes were interpolated from larger ones" in " ".join(run.record.history.warnings)
    assert run.pairs()["n_query"][0] == len(run.features("s0").xy) > 100
    # On the grids as they are, the lattices pull the shift towards theirs.
    plain = s2fast.run(scenes=scenes, out=tmp_path / "plain", overrides={"features.coarser": False})
    assert off_by_errors(plain) > 4
    assert plain.folder.interpolated("s0") == 1
