"""Every backend of `hamming_window_top2_both` equals the windowed search, group by group, once in each direction."""

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s2fast_kernels.backends import available
from s2fast_kernels.hamming_top2.cases import hard_operands, random_descriptors
from s2fast_kernels.hamming_top2.reference import Top2
from s2fast_kernels.hamming_window_top2.reference import hamming_window_top2
from s2fast_kernels.hamming_window_top2_both import BACKENDS, WindowRows, hamming_window_top2_both

SIZES = st.sampled_from([0, 1, 2, 31, 63, 65, 257])
FAR = st.sampled_from([0.0, 1.0, -5.0, 0.3, 4.999999, 13.7, 1e6])
BACKEND_NAMES = available(BACKENDS)


def assert_equal(got: Top2, wanted: Top2) -> None:
    for field in ("index", "best", "second"):
        assert getattr(got, field).dtype == getattr(wanted, field).dtype
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


def one_direction(
    seekers: tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.int64]],
    sought: tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.int64]],
    radius: float,
) -> Top2:
    """The definition: one windowed search a group, on nothing that was ordered before."""
    result = Top2.empty(len(seekers[0]), 1)
    for group in np.unique(seekers[2]):
        rows, others = np.flatnonzero(seekers[2] == group), np.flatnonzero(sought[2] == group)
        found = hamming_window_top2(seekers[0][rows], seekers[1][rows], sought[0][others], sought[1][others], radius)
        chosen = found.index[:, 0] >= 0
        result.index[rows[chosen], 0] = others[found.index[chosen, 0]]
        result.best[rows], result.second[rows] = found.best, found.second
    return result


def check(
    query: tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.int64]],
    train: tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.int64]],
    radius: float,
    away: tuple[float, float],
    backend: str,
) -> tuple[Top2, Top2]:
    ordered = WindowRows.of(*query, radius), WindowRows.of(*train, radius)
    forward, backward = hamming_window_top2_both(*ordered, away=away, backend=backend)
    moved = query[0], query[1] + away, query[2]
    assert_equal(forward, one_direction(moved, train, radius))
    assert_equal(backward, one_direction(train, moved, radius))
    return forward, backward


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKEND_NAMES)
@settings(max_examples=120, deadline=None)
@given(
    n=SIZES,
    m=SIZES,
    groups=st.sampled_from([1, 2, 12]),
    radius=st.sampled_from([0.0, 1e-9, 0.3, 1.0, 5.0, 13.0, 1e3, 1e9]),
    extent=st.sampled_from([(0.0, 0.0), (40.0, 0.0), (0.0, 40.0), (40.0, 40.0), (4.0, 1e5)]),
    # At 1e15 positions are 0.125 apart: most rows near the radius are so by rounding.
    origin=st.sampled_from([(0.0, 0.0), (-20.0, -20.0), (399_960.1, 5_500_020.7), (-1e15, 1e15)]),
    away=st.tuples(FAR, FAR),
    lattice=st.booleans(),
    distinct=st.sampled_from([1, 2, 5, 1 << 20]),
    seed=st.integers(0, 1 << 32),
)
@example(257, 257, 2, 5.0, (40.0, 40.0), (0.0, 0.0), (0.0, -5.0), True, 5, 0)
@example(257, 257, 1, 0.3, (40.0, 0.0), (-1e15, 1e15), (0.3, 0.3), False, 2, 0)
@example(65, 257, 1, 0.0, (4.0, 1e5), (0.0, 0.0), (0.0, 0.0), True, 1, 0)
def test_equals_a_search_of_each_group_in_each_direction(
    backend: str,
    n: int,
    m: int,
    groups: int,
    radius: float,
    extent: tuple[float, float],
    origin: tuple[float, float],
    away: tuple[float, float],
    lattice: bool,
    distinct: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    descriptors = hard_operands(rng, n, [m], distinct)
    sides = []
    for rows in descriptors[:2]:
        xy = rng.uniform(0, 1, (len(rows), 2)) * extent
        group = rng.integers(-1, groups, len(rows))
        sides.append((rows, np.array(origin) + (np.round(xy) if lattice else xy), group))
    check(sides[0], sides[1], radius, away, backend)


@pytest.mark.parametrize("backend", BACKEND_NAMES)
def test_rows_at_exactly_the_radius_on_borders_of_strips_compete(backend: str) -> None:
    # Multiples of a radius of 5 in every direction: every neighbour lies at exactly the radius, on a border.
    across = np.arange(-3.0, 4.0) * 5
    xy = np.array(np.meshgrid(across, across)).reshape(2, -1).T
    rows = random_descriptors(np.random.default_rng(0), 49)
    group = np.zeros(49, np.int64)
    for away in ((0.0, 0.0), (0.0, 5.0), (-5.0, 0.0), (3.0, 4.0), (-10.0, 15.0)):
        forward, _ = check((rows, xy, group), (rows, xy, group), 5.0, away, backend)
        assert (forward.best[:, 0] < 65535).any()


@pytest.mark.parametrize("radius", [0.0, 0.001, 7.0, 1e4], ids=["most strips", "many", "some", "one"])
@pytest.mark.parametrize("groups", [(-3, 4), (-(1 << 40), 1 << 40)], ids=["few groups", "groups far apart"])
def test_rows_are_sorted_by_group_then_strip_then_x(radius: float, groups: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    xy, group = rng.uniform(-300, 300, (500, 2)), rng.integers(*groups, 500)
    found = WindowRows.of(random_descriptors(rng, 500), xy, group, radius)
    strip = np.repeat(np.arange(len(found.strip_group)), np.diff(found.strip_start))
    assert np.array_equal(np.lexsort((found.x, strip)), np.arange(500))
    assert np.array_equal(np.sort(found.row), np.arange(500))
    assert np.array_equal(found.group, group[found.row])
    assert np.array_equal(np.column_stack([found.x, found.y]), xy[found.row])
    low, high = found.strip_y.T
    following = np.diff(found.strip_group) == 0
    assert (np.diff(found.strip_group) >= 0).all()
    assert (low[1:] > high[:-1])[following].all()
    assert (high - low <= max(radius, 1e-9)).all()


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKEND_NAMES)
def test_a_prepared_scene_serves_many_searches(backend: str) -> None:
    rng = np.random.default_rng(1)
    sides = [(random_descriptors(rng, 400), rng.uniform(0, 60, (400, 2)), rng.integers(0, 3, 400)) for _ in range(3)]
    ordered = [WindowRows.of(*side, 7.0) for side in sides]
    copies = [side[0].copy() for side in sides]
    for query, train, away in ((0, 1, (0.0, 0.0)), (0, 2, (20.0, -3.0)), (1, 0, (0.5, 0.0)), (0, 0, (0.0, 0.0))):
        moved = sides[query][0], sides[query][1] + away, sides[query][2]
        forward, backward = hamming_window_top2_both(ordered[query], ordered[train], away=away, backend=backend)
        assert_equal(forward, one_direction(moved, sides[train], 7.0))
        assert_equal(backward, one_direction(sides[train], moved, 7.0))
    for (descriptors, _, _), copy in zip(sides, copies, strict=True):
        np.testing.assert_array_equal(descriptors, copy)


@pytest.mark.slow
def test_many_rows_across_many_strips() -> None:
    rng = np.random.default_rng(2)
    train = random_descriptors(rng, 20_000), rng.uniform(0, 5e4, (20_000, 2)), rng.integers(0, 4, 20_000)
    rows = rng.choice(20_000, 1_000, replace=False)
    query = train[0][rows], train[1][rows] + rng.uniform(-30, 30, (1_000, 2)) - [250.0, 90.0], train[2][rows]
    ordered = WindowRows.of(*query, 900.0), WindowRows.of(*train, 900.0)
    forward, backward = hamming_window_top2_both(*ordered, away=(250.0, 90.0), backend="numba")
    for got, wanted in zip(
        (forward, backward),
        hamming_window_top2_both(*ordered, away=(250.0, 90.0), backend="reference"),
        strict=True,
    ):
        assert_equal(got, wanted)
    np.testing.assert_array_equal(forward.index[:, 0], rows)
    np.testing.assert_array_equal(backward.index[rows, 0], np.arange(1_000))
    assert (backward.second < 65535).any()


@pytest.mark.parametrize("along", [0, 1])
def test_the_cost_grows_with_the_rows_and_not_with_their_square(along: int) -> None:
    # Sixteen times the rows on ground sixteen times as long. Testing all rows of a strip, or all strips, takes 256
    # times the time; larger arrays in slower caches take up to twice their share.
    rng = np.random.default_rng(3)
    operands = []
    for n in (2_000, 32_000):
        extent = np.array([1.0, 1.0])
        extent[along] = n
        sides = [(random_descriptors(rng, n), rng.uniform(0, extent, (n, 2)), np.zeros(n, np.int64)) for _ in range(2)]
        operands.append([WindowRows.of(*side, 1.0) for side in sides])
    best = [np.inf, np.inf]
    for _ in range(7):
        for number, (query, train) in enumerate(operands):
            start = time.process_time()
            hamming_window_top2_both(query, train, backend="numba")
            best[number] = min(best[number], time.process_time() - start)
    assert best[1] < 40 * best[0], f"{best[1] / best[0]:.0f} times as long"


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_groups_of_either_type(dtype: type) -> None:
    rows, xy = random_descriptors(np.random.default_rng(4), 5), np.zeros((5, 2))
    made = WindowRows.of(rows, xy, np.array([3, -2, 3, 7, -2], dtype), 1.0)
    assert len(made) == 5
    np.testing.assert_array_equal(made.group, [-2, -2, 3, 3, 7])
    assert made.group.dtype == np.int64


@pytest.mark.parametrize(
    ("xy", "group", "radius", "message"),
    [
        (np.zeros((2, 2), np.float32), np.zeros(2, np.int64), 1.0, "^xy must be"),
        (np.array([[0.0, 0.0], [np.nan, 0.0]]), np.zeros(2, np.int64), 1.0, "row 1 is not"),
        (np.zeros((2, 2)), np.zeros(3, np.int64), 1.0, r"group must be \(2,\)"),
        (np.zeros((2, 2)), np.zeros(2), 1.0, "got .* float64"),
        (np.zeros((2, 2)), np.zeros(2, np.int64), -1.0, "radius must be"),
    ],
)
def test_refuses_to_order(
    xy: npt.NDArray[np.float64], group: npt.NDArray[np.int64], radius: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        WindowRows.of(np.zeros((2, 8), np.uint64), xy, group, radius)


def test_refuses_to_search() -> None:
    made = [WindowRows.of(np.zeros((2, 8), np.uint64), np.zeros((2, 2)), np.zeros(2, int), r) for r in (1.0, 2.0)]
    with pytest.raises(ValueError, match=r"one radius, got 1\.0 and 2\.0"):
        hamming_window_top2_both(*made)
    with pytest.raises(ValueError, match="away must be two finite numbers"):
        hamming_window_top2_both(made[0], made[0], away=(0.0, np.nan))
