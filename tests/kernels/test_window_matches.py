"""Every backend of `window_matches` equals its reference, which selects among neighbours found in both directions."""

import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast_kernels.backends import available
from s2fast_kernels.hamming_top2.cases import hard_operands, random_descriptors
from s2fast_kernels.hamming_window_top2_both import WindowRows
from s2fast_kernels.threads import at_most_threads, map_in_threads
from s2fast_kernels.window_matches import BACKENDS, torch_any, window_matches
from s2fast_kernels.window_matches.contract import MatchTest, WindowMatches
from tests.kernels.broken import with_fault

SIZES = st.sampled_from([0, 1, 2, 63, 65, 257])
BACKEND_NAMES = [name for name in available(BACKENDS) if name != "reference"]
COLUMNS = ("start", "query_row", "train_row", "distance", "second")


def assert_equal(got: WindowMatches, wanted: WindowMatches) -> None:
    for name in COLUMNS:
        assert getattr(got, name).dtype == getattr(wanted, name).dtype
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), err_msg=name)


def search_operands(
    n: int, trains: list[int], places: int, radius: float, lattice: bool, distinct: int, seed: int
) -> tuple[list[tuple[WindowRows, WindowRows]], np.ndarray]:
    """Return one query with several trains, some rows of which lie on the edges of strips, and places."""
    rng = np.random.default_rng(seed)
    query, rows, offsets = hard_operands(rng, n, trains, distinct)
    made = []
    for descriptors in (query, *np.split(rows, offsets[1:-1])) if trains else (query,):
        xy = rng.uniform(-20, 20, (len(descriptors), 2))
        # On a lattice, rows lie on the edges of strips, and exactly at the radius.
        xy = np.round(xy) if lattice else xy + 5e6
        made.append(WindowRows.of(np.ascontiguousarray(descriptors), xy, rng.integers(-1, 2, len(xy)), radius))
    away = np.round(rng.uniform(-8, 8, (len(trains), places, 2)))
    away[:, :1] = 0
    return [(made[0], train) for train in made[1:]], away


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKEND_NAMES)
@settings(max_examples=150, deadline=None)
@given(
    n=SIZES,
    trains=st.lists(SIZES, max_size=4),
    places=st.sampled_from([0, 1, 3]),
    radius=st.sampled_from([0.0, 1.0, 5.0, 1e3]),
    ratio=st.sampled_from([0.0, 0.5, 0.8, 0.9, 1.0]),
    most=st.sampled_from([0, 1, 160, 512]),
    mutual=st.booleans(),
    lattice=st.booleans(),
    distinct=st.sampled_from([1, 2, 5, 1 << 20]),
    seed=st.integers(0, 1 << 32),
)
def test_equals_the_reference(
    backend: str,
    n: int,
    trains: list[int],
    places: int,
    radius: float,
    ratio: float,
    most: int,
    mutual: bool,
    lattice: bool,
    distinct: int,
    seed: int,
) -> None:
    pairs, away = search_operands(n, trains, places, radius, lattice, distinct, seed)
    test = MatchTest(ratio, most, mutual)
    wanted = window_matches(pairs, away, test, backend="reference")
    assert_equal(window_matches(pairs, away, test, backend=backend), wanted)


FAULTS = {
    "a dropped word": (
        "_population(pool.words[found] ^ pool.words[lanes.at[to]]).sum(dim=1)",
        "_population(pool.words[found] ^ pool.words[lanes.at[to]])[:, 1:].sum(dim=1)",
    ),
    "a swapped tie": (
        "            best[to] = torch.minimum(best[to], key)",
        "            best[to] = torch.where(key >> 32 <= best[to] >> 32, key, best[to])",
    ),
    "a neighbour too few": ("dx * dx + dy * dy <= lanes.limit[lane]", "dx * dx + dy * dy < lanes.limit[lane]"),
}
"""Faults of the torch backend, as text and its replacement."""


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault: str, tmp_path: Path) -> None:
    pairs, away = search_operands(65, [63, 65], 1, 5.0, lattice=True, distinct=2, seed=3)
    test = MatchTest(1.0, 512, mutual=True)
    wanted = window_matches(pairs, away, test, backend="reference")
    assert_equal(torch_any.window_matches(pairs, away, test), wanted)
    broken = with_fault(torch_any, tmp_path, *FAULTS[fault])
    with pytest.raises(AssertionError):
        assert_equal(broken.window_matches(pairs, away, test), wanted)


@pytest.mark.parametrize("threads", [1, 2])
def test_trials_are_in_order_and_ascending_whatever_the_threads(threads: int) -> None:
    rng = np.random.default_rng(1)
    descriptors = random_descriptors(rng, 3_000)
    xy, group = rng.uniform(0, 400, (3_000, 2)), rng.integers(0, 3, 3_000)
    query = WindowRows.of(descriptors, xy, group, 5.0)
    parts = [np.sort(rng.choice(3_000, count, replace=False)) for count in (2_000, 0, 500, 1)]
    trains = [WindowRows.of(descriptors[rows], xy[rows] + [3, -1], group[rows], 5.0) for rows in parts]
    away = np.zeros((4, 2, 2))
    away[:, 1] = 100.0
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        pairs = [(query, train) for train in trains]
        found = window_matches(pairs, away, MatchTest(0.9, 100, mutual=True), backend="numba")
    finally:
        numba.set_num_threads(before)
    assert len(found.start) == 9
    for train, rows in enumerate(parts):
        query_row, train_row, distance, _ = found.trial(2 * train)
        np.testing.assert_array_equal(query_row, rows)
        np.testing.assert_array_equal(train_row, np.arange(len(rows)))
        assert not distance.any()
        assert len(found.trial(2 * train + 1)[0]) == 0


def test_items_are_shared_between_threads_and_keep_their_order() -> None:
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    both = threading.Barrier(2, timeout=30)

    def wait(item: int) -> int:
        both.wait()  # fails unless two items are under way at once
        return 10 * item

    try:
        assert map_in_threads(wait, range(4)) == [0, 10, 20, 30]
    finally:
        numba.set_num_threads(before)


def test_an_error_in_any_thread_is_raised_and_ends_the_others() -> None:
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    both, called = threading.Barrier(2, timeout=30), []

    def fail(item: int) -> None:
        called.append(item)
        both.wait()
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("failed")
        time.sleep(0.2)  # by then the other thread has taken all that is left

    try:
        with pytest.raises(ValueError, match="failed"):
            map_in_threads(fail, range(100))
    finally:
        numba.set_num_threads(before)
    assert sorted(called) == [0, 1]


def test_threads_are_limited_for_a_while() -> None:
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    try:
        with at_most_threads(1):
            assert set(map_in_threads(lambda _: threading.current_thread(), range(9))) == {threading.main_thread()}
        with at_most_threads(9):
            assert numba.get_num_threads() == 2
        assert numba.get_num_threads() == 2
    finally:
        numba.set_num_threads(before)


def test_refuses_operands_that_break_the_contract() -> None:
    made = [WindowRows.of(np.zeros((2, 8), np.uint64), np.zeros((2, 2)), np.zeros(2, int), r) for r in (1.0, 2.0)]
    test = MatchTest(0.9, 160, mutual=True)
    with pytest.raises(ValueError, match=r"one radius, got 1\.0 and 2\.0"):
        window_matches([(made[0], made[1])], np.zeros((1, 1, 2)), test)
    same = [(made[0], made[0])]
    with pytest.raises(ValueError, match=r"away must be \(1, places, 2\) float64, got \(1, 2\)"):
        window_matches(same, np.zeros((1, 2)), test)
    with pytest.raises(ValueError, match="away must be finite"):
        window_matches(same, np.full((1, 1, 2), np.inf), test)
