import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast.errors import SceneError
from s2fast.raster.stretch import VALUES, auto_stretch, checked_type, histogram, stretch_table, stretched


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


def without_fill(values: np.ndarray) -> np.ndarray:
    """Return the values that "auto" counts, by its rule on the values themselves."""
    distinct, counts = np.unique(values.astype(float), return_counts=True)
    for end, gap, others in ((0, distinct[:2], distinct[1:]), (-1, distinct[-2:], distinct[:-1])):
        if len(distinct) > 64 and np.ptp(gap) > np.ptp(others) and 100 * counts[end] >= 2 * len(values):
            return values[values != distinct[end]]
    return values


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=300))
def test_auto_takes_order_statistics(values: list[int]) -> None:
    counts = np.bincount(values, minlength=VALUES)
    low, high = auto_stretch(counts)
    values = without_fill(np.array(values)).tolist()
    ordered, wanted_low = sorted(values), sorted(values)[-(-2 * len(values) // 100) - 1]
    wanted_low = min(wanted_low, 65534)
    assert (low, high) == (wanted_low, max(ordered[-(-98 * len(values) // 100) - 1], wanted_low + 1))
    assert stretch_table(low, high)[0] == 0


@pytest.mark.parametrize("value", [1, 500, 65535])
def test_auto_of_one_value_or_none_is_a_stretch(value: int) -> None:
    low, high = auto_stretch(np.bincount([value], minlength=VALUES))
    assert 0 <= low < high <= 65535
    assert auto_stretch(np.zeros(VALUES, np.int64)) == (0, 1)


@pytest.mark.slow
@given(st.integers(-500, 65534).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, 70000))))
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64"])
def test_every_type_is_stretched_as_the_table_does(dtype: str, ends: tuple[int, int]) -> None:
    values = np.arange(VALUES, dtype=np.int64).astype(dtype).reshape(1, 1, -1)
    np.testing.assert_array_equal(stretched(values, *ends)[0, 0], stretch_table(*ends))


def test_what_is_no_number_is_no_data() -> None:
    values = np.array([[[np.nan, np.inf, -np.inf, 0, -0.0, -1, 5]]])
    assert stretched(values, 0.0, 1.0)[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 255]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-6e4, 6e4, width=16), min_size=1, max_size=300), st.sampled_from(["float32", "float64"]))
def test_auto_takes_order_statistics_of_floats(values: list[float], dtype: str) -> None:
    ordered = np.sort(np.array(values, dtype))
    low, high = auto_stretch(histogram(ordered), dtype)
    ordered = without_fill(ordered)
    values = ordered.tolist()
    assert low == ordered[max(-(-2 * len(values) // 100) - 1, 0)]
    wanted = ordered[-(-98 * len(values) // 100) - 1]
    assert high == wanted if wanted > low else low < high


def test_auto_of_integers_with_sign_and_of_long_ones_is_near_their_percentiles() -> None:
    rng = np.random.default_rng(3)
    for dtype, scale in (("int16", 3000), ("int32", 20000), ("float64", 1e-3)):
        values = (rng.normal(0.3, 1, 10_000) * scale).astype(dtype)
        got = auto_stretch(histogram(values), dtype)
        # Bins have 11 significant bits.
        np.testing.assert_allclose(got, np.percentile(values, [2, 98], method="inverted_cdf"), rtol=2**-11)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("uint32", 1e8), ("int64", 1e12), ("float32", 1e-25), ("float32", 1e30), ("float64", 1e20)]
)
def test_auto_follows_values_of_any_size(dtype: str, scale: float) -> None:
    values = (np.random.default_rng(3).uniform(0.2, 1, 10_000) * scale).astype(dtype)
    got = auto_stretch(histogram(values), dtype)
    np.testing.assert_allclose(got, np.percentile(values, [2, 98], method="inverted_cdf"), rtol=2**-11)
    assert np.unique(stretched(values.reshape(1, 1, -1), *got)).size > 200


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("int16", -9999),
        ("int16", 32767),
        ("uint16", 65535),
        ("float32", -3.4e38),
        ("float32", 1e20),
        ("int32", -(2**31)),
    ],
)
def test_auto_does_not_count_a_fill_value_that_no_file_declares(dtype: str, fill: float) -> None:
    ground = np.random.default_rng(3).uniform(200, 4000, 10_000).astype(dtype)
    ends = auto_stretch(histogram(ground), dtype)
    for share in (0.03, 0.5):
        filled = np.concatenate([ground, np.full(int(share * len(ground)), fill, dtype)])
        assert auto_stretch(histogram(filled), dtype) == ends
    # Ground that is much brighter than the rest, but of many values, is ground.
    bright = np.concatenate([ground, np.linspace(20_000, 30_000, 1000).astype(dtype)])
    assert auto_stretch(histogram(bright), dtype)[1] > 20_000


def test_values_beyond_single_precision_are_the_largest() -> None:
    low, high = auto_stretch(histogram(np.array([-1e300, 1, 1e300])), "float64")
    most = float(np.finfo(np.float32).max)
    assert (low, high) == (-most, most)


@pytest.mark.parametrize("dtype", ["complex_int16", "complex64", "complex128", "int8", "bool"])
def test_what_is_no_real_number_of_a_known_length_is_refused(dtype: str) -> None:
    with pytest.raises(SceneError, match=f"scene.tif: pixels are {dtype}; they must be real numbers"):
        checked_type("scene.tif", [dtype])
