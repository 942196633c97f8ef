"""The forecast of the budget excludes no keypoint that is kept, and admits few others."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast_kernels.akaze.forecast import Forecast
from s2fast_kernels.akaze.jobs import Rect
from s2fast_kernels.akaze.octaves import nonzero_rectangle
from s2fast_kernels.features import Budget

SHAPE = (300, 420)
WEAKEST = 1e-3


def keypoints(seed: int, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return keypoints of which many are equally strong."""
    rng = np.random.default_rng(seed)
    xy = (rng.random((number, 2)) * (SHAPE[1] - 1, SHAPE[0] - 1)).astype(np.float32)
    return xy, (WEAKEST * np.exp2(rng.integers(0, 40, number) / 8)).astype(np.float32)


@pytest.mark.parametrize("cell_px", [None, 32, 100])
@given(seed=st.integers(0, 1 << 30), number=st.integers(0, 400), kept=st.integers(1, 60), parts=st.integers(1, 5))
def test_it_excludes_none_that_is_selected(cell_px: int | None, seed: int, number: int, kept: int, parts: int) -> None:
    xy, response = keypoints(seed, number)
    budget = Budget(kept, cell_px)
    forecast = Forecast(budget, SHAPE, WEAKEST)
    pieces = np.array_split(np.arange(number), parts)
    admitted = np.concatenate([forecast.admit(xy[piece], response[piece], certain=True) for piece in pieces])
    assert admitted[budget.select(xy, response, SHAPE)].all()


def test_uncertain_ones_exclude_no_others() -> None:
    xy, response = keypoints(0, 200)
    forecast = Forecast(Budget(10), SHAPE, WEAKEST)
    for _ in range(3):
        assert forecast.admit(xy, response, certain=False).all()


@pytest.mark.parametrize("cell_px", [None, 64])
def test_it_admits_those_with_fewer_stronger_ones_than_turns(cell_px: int | None) -> None:
    xy, response = keypoints(1, 3000)
    budget = Budget(70, cell_px)
    forecast = Forecast(budget, SHAPE, WEAKEST)
    forecast.admit(xy, response, certain=True)
    cell, eighths = budget.cells(xy, SHAPE), np.floor(np.round(np.log2(response / WEAKEST) * 8))
    stronger = ((cell[None] == cell[:, None]) & (eighths[None] > eighths[:, None])).sum(axis=1)
    _, counts = np.unique(cell, return_counts=True)
    turns = next(turn for turn in range(1, 3001) if np.minimum(counts, turn).sum() >= budget.keypoints)
    admitted = forecast.admit(xy, response, certain=False)
    # A bin may hold two neighbouring eighths, whose order is then not known.
    assert admitted[stronger < turns].all()
    assert np.count_nonzero(admitted) < 1.5 * np.count_nonzero(stronger < turns)


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    seed=st.integers(0, 1 << 30),
    share=st.sampled_from([0.02, 0.2, 1]),
)
def test_the_rectangle_of_nonzero_pixels_begins_and_ends_at_even_ones(
    rows: int, columns: int, seed: int, share: float
) -> None:
    block = (np.random.default_rng(seed).random((rows, columns)) < share).astype(np.uint8)
    y, x = block.nonzero()
    expected = None
    if len(y):
        expected = Rect(*(2 * int(edge) for edge in (y.min() // 2, y.max() // 2 + 1, x.min() // 2, x.max() // 2 + 1)))
    assert nonzero_rectangle(block) == expected
