"""`hamming_top2_both` equals `hamming_top2` called once in each direction."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast_kernels.backends import available
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.cases import CASES, Case, hard_operands, operands
from s2fast_kernels.hamming_top2.reference import Top2
from s2fast_kernels.hamming_top2_both import BACKENDS, hamming_top2_both

SIZES = st.sampled_from([0, 1, 2, 31, 63, 65, 257])


def assert_equal(got: Top2, wanted: Top2) -> None:
    for field in ("index", "best", "second"):
        assert getattr(got, field).dtype == getattr(wanted, field).dtype
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


@pytest.mark.parametrize("backend", available(BACKENDS))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_two_calls(case: Case, backend: str) -> None:
    query, train, offsets = operands(case)
    forward, backward = hamming_top2_both(query, train, offsets, backend=backend)
    assert_equal(forward, hamming_top2(query, train, offsets, backend="reference"))
    assert_equal(backward, hamming_top2(train, query, np.array([0, len(query)]), backend="reference"))


@settings(max_examples=60, deadline=None)
@given(
    n=SIZES,
    scene_rows=st.lists(SIZES, max_size=5),
    distinct=st.sampled_from([1, 2, 5, 1 << 20]),
    seed=st.integers(0, 1 << 32),
)
def test_numba_equals_reference_on_hard_operands(n: int, scene_rows: list[int], distinct: int, seed: int) -> None:
    case = hard_operands(np.random.default_rng(seed), n, scene_rows, distinct)
    for got, wanted in zip(
        hamming_top2_both(*case, backend="numba"), hamming_top2_both(*case, backend="reference"), strict=True
    ):
        assert_equal(got, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("threads", sorted({1, numba.config.NUMBA_NUM_THREADS}))
def test_panels_and_threads_join_seamlessly(threads: int) -> None:
    # More rows than one panel holds, several tiles of queries a thread, copies on either side of every seam.
    rng = np.random.default_rng(3)
    query, train, offsets = hard_operands(rng, 700, [100_000, 0, 190_000], 250)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(threads)
        forward, backward = hamming_top2_both(query, train, offsets, backend="numba")
    finally:
        numba.set_num_threads(before)
    assert_equal(forward, hamming_top2(query, train, offsets, backend="numba"))
    assert_equal(backward, hamming_top2(train, query, np.array([0, len(query)]), backend="numba"))


def test_refuses_what_hamming_top2_refuses() -> None:
    with pytest.raises(ValueError, match="train_offsets must rise"):
        hamming_top2_both(np.zeros((2, 8), np.uint64), np.zeros((2, 8), np.uint64), np.array([0, 1]))
