"""The check's statistics: they find slower code and nothing else, on simulated pairs of processes."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.check import statistics
from benchmarks.check.statistics import FEWEST, Interval, Verdict, intervals, log_ratio

FloatArray = npt.NDArray[np.float64]

CASES = 9
"""Cases of a simulated check."""


def pairs(rng: np.random.Generator, scatter: float, count: int, scatters_differ: float = 0.5) -> FloatArray:
    """Log ratios of equal code, (case, pair), as a shared machine gives them.

    Each pair of processes has its own, one in eight is far off, and some cases scatter more than others.
    """
    heavy = np.where(rng.random((CASES, count)) < 0.125, 4.0, 1.0)
    own = scatter * np.exp(scatters_differ * rng.standard_normal((CASES, 1)))
    return own * heavy * rng.standard_normal((CASES, count))


def check(rng: np.random.Generator, scatter: float, most: int, first_is: float = 1.0) -> list[Interval]:
    """Sample as `timing.time_cases` does: until all intervals are narrow, or the budget is used up."""
    values = pairs(rng, scatter, most)
    values[0] += math.log(first_is)
    count = FEWEST
    while count < most and not all(found.narrow for found in intervals(list(values[:, :count]))):
        count += 1
    return intervals(list(values[:, :count]))


def of_one(values: Sequence[float]) -> Interval:
    """Return the interval of a check with one case."""
    return intervals([values])[0]


@pytest.mark.slow
@pytest.mark.parametrize("scatter", [0.01, 0.03, 0.1, 0.3])
def test_no_scatter_accuses_equal_code(scatter: float) -> None:
    rng = np.random.default_rng(3)
    red = sum(any(found.verdict is Verdict.SLOWER for found in check(rng, scatter, 8)) for _ in range(500))
    assert red <= 2


@pytest.mark.parametrize(("slower", "scatter", "least"), [(1.15, 0.01, 190), (1.15, 0.015, 180), (1.3, 0.03, 180)])
def test_slower_code_is_found(slower: float, scatter: float, least: int) -> None:
    rng = np.random.default_rng(4)
    found = [check(rng, scatter, 8, slower)[0].verdict for _ in range(200)]
    assert found.count(Verdict.SLOWER) >= least
    # What is not found is not passed either.
    assert found.count(Verdict.SAME) <= 1


@pytest.mark.parametrize("count", [FEWEST, 8])
def test_the_interval_covers_the_truth_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(5)
    checks = [intervals(list(pairs(rng, 0.02, count))) for _ in range(1000)]
    missed = sum(not found.low <= 1.0 <= found.high for one in checks for found in one)
    # 9 of 9000 are promised.
    assert missed <= 15


@pytest.mark.slow
def test_stopping_when_narrow_favours_no_verdict() -> None:
    rng = np.random.default_rng(6)
    checks = [found for _ in range(1000) for found in check(rng, 0.02, 10)]
    assert sum(not found.low <= 1.0 <= found.high for found in checks) <= 15
    assert {found.processes for found in checks} >= {FEWEST, 10}


def test_a_case_that_scatters_more_than_the_others_is_not_taken_for_quiet() -> None:
    rng = np.random.default_rng(7)
    values = pairs(rng, 0.01, FEWEST, scatters_differ=0.0)
    loud = 20 * values[0]
    together = intervals([loud, *values[1:]])[0]
    assert together.verdict is Verdict.NOISY
    # The others' scatter is added to a case's own where its own is small by chance, never subtracted.
    silent = intervals([np.zeros(FEWEST), *values[1:]])[0]
    assert silent.high > 1.005


def test_rounds_do_not_stand_in_for_processes() -> None:
    # Two processes differ by 10 % for as long as they live: one pair, however many rounds, is no evidence.
    one = of_one([math.log(1.1)])
    assert one.verdict is Verdict.NOISY
    assert (one.low, one.processes) < (1.0, 2)


@pytest.mark.parametrize("count", [1, 2, FEWEST - 1])
def test_too_few_processes_give_no_verdict(count: int) -> None:
    assert of_one([math.log(1.2)] * count).verdict is Verdict.NOISY
    assert of_one([math.log(1.2)] * FEWEST).verdict is Verdict.SLOWER


def test_an_interval_of_two_far_apart_is_still_numbers() -> None:
    found = of_one([-300.0, 300.0])
    assert (found.low, found.high) == (pytest.approx(0.01), pytest.approx(100.0))


def test_noise_excuses_no_regression() -> None:
    wide = Interval(1.6, 1.2, 2.1, 8)
    assert not wide.narrow
    assert wide.verdict is Verdict.SLOWER


def test_faster_differs_from_no_slower_and_both_from_noise() -> None:
    assert Interval(0.8, 0.79, 0.81, 8).verdict is Verdict.FASTER
    assert Interval(1.02, 1.0, 1.04, 8).verdict is Verdict.SAME
    assert Interval(1.02, 0.9, 1.14, 8).verdict is Verdict.NOISY


def test_one_bad_pair_accuses_nobody() -> None:
    found = of_one([0.0, 0.001, -0.001, 0.002, -0.002, 0.001, 0.0, 0.5])
    assert found.verdict is Verdict.NOISY


def test_equal_pairs_have_an_interval_of_no_width() -> None:
    assert of_one([0.0] * 8) == Interval(1.0, 1.0, 1.0, 8)


def test_a_round_compares_the_faster_calls() -> None:
    # One call of head met a busy neighbour.
    assert log_ratio([2.0, 2.1], [9.0, 4.0]) == math.log(2)


def test_the_widest_interval_leaves_room_between_fifteen_per_cent_and_the_bar() -> None:
    assert statistics.SLOWER * statistics.WIDEST**1.5 < 1.15
