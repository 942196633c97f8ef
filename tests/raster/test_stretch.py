import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.raster.stretch import VALUES, auto_stretch, stretch_table


@given(st.integers(0, 65534).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, 65535))))
def test_a_table_is_the_linear_map_rounded(ends: tuple[int, int]) -> None:
    low, high = ends
    table = stretch_table(low, high)
    assert (table.shape, table.dtype, table[0]) == ((VALUES,), np.uint8, 0)
    share = np.clip((np.arange(1, VALUES) - low) / (high - low), 0, 1)
    exact = 1 + 254 * share
    assert np.abs(table[1:] - exact).max() <= 0.5 + 1e-9  # rounded to the nearest, within the float's own rounding
    assert (np.diff(table[1:].astype(int)) >= 0).all()


def test_ends_and_no_data() -> None:
    table = stretch_table(0, 3558)
    assert table[[0, 1, 1779, 3558, 3559, 65535]].tolist() == [0, 1, 128, 255, 255, 255]


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=300))
def test_auto_takes_order_statistics(values: list[int]) -> None:
    counts = np.bincount(values, minlength=VALUES)
    low, high = auto_stretch(counts)
    ordered, wanted_low = sorted(values), sorted(values)[-(-2 * len(values) // 100) - 1]
    wanted_low = min(wanted_low, 65534)
    assert (low, high) == (wanted_low, max(ordered[-(-98 * len(values) // 100) - 1], wanted_low + 1))
    assert stretch_table(low, high)[0] == 0


@pytest.mark.parametrize("value", [1, 500, 65535])
def test_auto_of_one_value_or_none_is_a_stretch(value: int) -> None:
    low, high = auto_stretch(np.bincount([value], minlength=VALUES))
    assert 0 <= low < high <= 65535
    assert auto_stretch(np.zeros(VALUES, np.int64)) == (0, 1)
