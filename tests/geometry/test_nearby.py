"""Points near any point of another set: none is missed, and none far away is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.geometry.nearby import CELLS_OF_REACH, near_any


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
