"""Every backend of `hamming_window_top2` equals the search with everything outside the radius removed."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast_kernels.backends import available
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.cases import hard_operands, random_descriptors
from s2fast_kernels.hamming_top2.reference import Top2
from s2fast_kernels.hamming_window_top2 import BACKENDS, hamming_window_top2

SIZES = st.sampled_from([0, 1, 2, 31, 63, 65, 257])


def assert_equal(got: Top2, wanted: Top2) -> None:
    for field in ("index", "best", "second"):
        assert getattr(got, field).dtype == getattr(wanted, field).dtype
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


def positions(
    rng: np.random.Generator, rows: int, extent: tuple[float, float], lattice: bool
) -> npt.NDArray[np.float64]:
    """Positions far from the origin, as map coordinates are; on a lattice many lie at exactly the radius."""
    xy = rng.uniform(0, 1, (rows, 2)) * extent
    return np.array([399_960.0, 6_200_040.0]) + (np.round(xy) if lattice else xy)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    n=SIZES,
    m=SIZES,
    radius=st.sampled_from([0.0, 1e-9, 1.0, 5.0, 13.0, 1e3, 1e9]),
    extent=st.sampled_from([(0.0, 0.0), (40.0, 0.0), (0.0, 40.0), (40.0, 40.0), (4.0, 1e5)]),
    lattice=st.booleans(),
    distinct=st.sampled_from([1, 2, 5, 1 << 20]),
    seed=st.integers(0, 1 << 32),
)
def test_numba_equals_reference(
    n: int, m: int, radius: float, extent: tuple[float, float], lattice: bool, distinct: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query, train, _ = hard_operands(rng, n, [m], distinct)
    # Some queries lie outside the extent of the train rows.
    query_xy = positions(rng, n, extent, lattice) + rng.choice([0.0, -7.0, 50.0], (n, 1))
    operands = query, query_xy, train, positions(rng, m, extent, lattice), radius
    assert_equal(hamming_window_top2(*operands, backend="numba"), hamming_window_top2(*operands, backend="reference"))


@pytest.mark.parametrize("backend", available(BACKENDS))
def test_an_unbounded_radius_is_the_whole_search(backend: str) -> None:
    rng = np.random.default_rng(0)
    query, train, offsets = hard_operands(rng, 120, [700], 40)
    query_xy, train_xy = positions(rng, 120, (99.0, 9.0), False), positions(rng, 700, (99.0, 9.0), False)
    wanted = hamming_top2(query, train, offsets, backend="reference")
    assert_equal(hamming_window_top2(query, query_xy, train, train_xy, 1e6, backend=backend), wanted)


@pytest.mark.parametrize("backend", available(BACKENDS))
def test_the_radius_itself_is_inside(backend: str) -> None:
    train = np.zeros((3, 8), np.uint64)
    train[0, 0], train[1, 0], train[2, 0] = 0b0, 0b1, 0b111
    train_xy = np.array([[3.0, 4.000001], [3.0, 4.0], [0.0, -5.0]])
    top2 = hamming_window_top2(np.zeros((1, 8), np.uint64), np.zeros((1, 2)), train, train_xy, 5.0, backend=backend)
    assert (top2.index[0, 0], top2.best[0, 0], top2.second[0, 0]) == (1, 1, 3)


@pytest.mark.slow
def test_many_rows_across_many_cells() -> None:
    rng = np.random.default_rng(1)
    train = random_descriptors(rng, 70_000)
    train_xy = positions(rng, 70_000, (1e5, 1e5), False)
    rows = rng.choice(70_000, 300, replace=False)
    query_xy = train_xy[rows] + rng.uniform(-30, 30, (300, 2))
    operands = train[rows], query_xy, train, train_xy, 900.0
    got = hamming_window_top2(*operands, backend="numba")
    assert_equal(got, hamming_window_top2(*operands, backend="reference"))
    np.testing.assert_array_equal(got.index[:, 0], rows)
    assert (got.second < 65535).any()


@pytest.mark.parametrize(
    ("query_xy", "radius", "message"),
    [
        (np.zeros((2, 2), np.float32), 1.0, "query_xy must be"),
        (np.zeros((3, 2)), 1.0, r"query_xy must be \(2, 2\)"),
        (np.array([[0.0, 0.0], [np.nan, 0.0]]), 1.0, "row 1 is not"),
        (np.zeros((2, 2)), -1.0, "radius must be"),
        (np.zeros((2, 2)), np.inf, "radius must be"),
    ],
)
def test_refuses(query_xy: npt.NDArray[np.float64], radius: float, message: str) -> None:
    descriptors = np.zeros((2, 8), np.uint64)
    with pytest.raises(ValueError, match=message):
        hamming_window_top2(descriptors, query_xy, descriptors, np.zeros((2, 2)), radius)
