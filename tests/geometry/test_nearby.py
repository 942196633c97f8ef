"""Points near any point of another set: none is missed, and none far away is taken."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.geometry.nearby import CELLS_OF_REACH, near_any


def plain(points: npt.NDArray[np.float64], others: npt.NDArray[np.float64], reach: float) -> npt.NDArray[np.bool_]:
    """Return the same as `near_any`, of finite points."""
    west, low = points.min(axis=0)
    cell = max(reach / CELLS_OF_REACH, np.ptp(points, axis=0).max() / 1024)
    around = int(np.ceil(reach / cell)) + 1
    corner = np.array([west - around * cell, low - around * cell])
    cols, rows = ((points.max(axis=0) - corner) / cell).astype(int) + 1 + around
    column, row = (others - corner).T / cell
    inside = (column >= 0) & (column < cols) & (row >= 0) & (row < rows)
    held = np.zeros((rows, cols), np.uint8)
    held[row[inside].astype(int), column[inside].astype(int)] = 1
    near = cv2.dilate(held, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * around + 1,) * 2))
    column, row = ((points - corner).T / cell).astype(int)
    return near[row, column] != 0


@pytest.mark.parametrize("lattice", [False, True])
@pytest.mark.parametrize("reach", [0.25, 12.5, 200.0, 3000.0])
@pytest.mark.parametrize("counts", [(1, 1), (2, 63), (257, 2), (257, 9)])
def test_compiled_passes_find_the_same_points(counts: tuple[int, int], reach: float, lattice: bool) -> None:
    random = np.random.default_rng(1)
    points, others = random.uniform(-500, 500, (counts[0], 2)), random.uniform(-800, 900, (counts[1], 2))
    if lattice:  # on borders of cells
        points, others = 12.5 * np.rint(points / 12.5), 12.5 * np.rint(others / 12.5)
    wanted = plain(points, others, reach)
    assert np.array_equal(near_any(points, others, reach), wanted)
    turned = np.array(points.T, order="C").T, np.array(others.T, order="C").T  # another layout in memory
    assert np.array_equal(near_any(*turned, reach), wanted)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40), others=st.integers(1, 40), reach=st.floats(0.5, 900))
def test_near_points_are_those_within_reach_up_to_a_few_cells(seed: int, count: int, others: int, reach: float) -> None:
    random = np.random.default_rng(seed)
    points, there = random.uniform(-500, 500, (count, 2)), random.uniform(-1500, 1500, (others, 2))
    apart = np.hypot(*(points[:, None] - there[None]).transpose(2, 0, 1)).min(axis=1)
    near = near_any(points, there, reach)
    assert near[apart <= reach].all()
    cell = max(reach / CELLS_OF_REACH, 1000 / 1024)
    assert not near[apart > reach + 4 * cell].any()


@pytest.mark.parametrize(("points", "others"), [(0, 3), (3, 0), (0, 0)])
def test_without_points_nothing_is_near(points: int, others: int) -> None:
    found = near_any(np.zeros((points, 2)), np.zeros((others, 2)), 1.0)
    assert found.tolist() == [False] * points


def test_points_outside_a_projection_are_near_nothing() -> None:
    points = np.array([[0.0, 0.0], [np.inf, 1.0], [np.nan, 0.0], [5.0, 5.0]])
    assert near_any(points, points, 1.0).tolist() == [True, False, False, True]
    assert near_any(points[:1], points[1:3], 1.0).tolist() == [False]
