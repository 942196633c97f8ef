"""The check's statistics: they find slower code and nothing else, on simulated pairs of processes."""

import math

import numpy as np
import pytest

from benchmarks.check import statistics
from benchmarks.check.statistics import FEWEST, Interval, Verdict, interval, log_ratio


def pairs(rng: np.random.Generator, slower: float, scatter: float, count: int) -> list[float]:
    """Log ratios as a shared machine gives them: each pair of processes has its own, and one in eight is far off."""
    heavy = np.where(rng.random(count) < 0.125, 4.0, 1.0)
    return list(math.log(slower) + scatter * heavy * rng.standard_normal(count))


def sampled(rng: np.random.Generator, slower: float, scatter: float, most: int) -> Interval:
    """Sample as `timing.time_cases` does: until the interval is narrow, or the budget is used up."""
    values = pairs(rng, slower, scatter, FEWEST)
    while len(values) < most and not interval(values).narrow:
        values += pairs(rng, slower, scatter, 1)
    return interval(values)


@pytest.mark.parametrize("scatter", [0.01, 0.03, 0.1, 0.3])
def test_no_scatter_accuses_equal_code(scatter: float) -> None:
    rng = np.random.default_rng(3)
    found = [sampled(rng, 1.0, scatter, 10).verdict for _ in range(1000)]
    # Fifty checks of twenty intervals each.
    assert found.count(Verdict.SLOWER) <= 1


@pytest.mark.parametrize(("slower", "scatter"), [(1.15, 0.01), (1.15, 0.015), (1.3, 0.03)])
def test_slower_code_is_found(slower: float, scatter: float) -> None:
    rng = np.random.default_rng(4)
    found = [sampled(rng, slower, scatter, 10).verdict for _ in range(200)]
    assert found.count(Verdict.SLOWER) >= 192
    # What is not found is not passed either.
    assert found.count(Verdict.SAME) <= 2


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    missed = {True: 0, False: 0}
    for _ in range(2000):
        for stops in missed:
            found = sampled(rng, 1.1, 0.02, 10) if stops else interval(pairs(rng, 1.1, 0.02, 8))
            missed[stops] += not found.low <= 1.1 <= found.high
    # 2 of 2000 are allowed by the confidence.
    assert missed[False] <= 2
    # Stopping when the interval is narrow favours intervals that are narrow by chance, but no verdict.
    assert missed[True] <= 6


def test_rounds_do_not_stand_in_for_processes() -> None:
    # Two processes differ by 10 % for as long as they live: one pair, however many rounds, is no evidence.
    one = interval([math.log(1.1)])
    assert one.verdict is Verdict.NOISY
    assert (one.low, one.processes) < (1.0, 2)


@pytest.mark.parametrize("count", [1, 2, FEWEST - 1])
def test_too_few_processes_give_no_verdict(count: int) -> None:
    assert interval([math.log(1.2)] * count).verdict is Verdict.NOISY
    assert interval([math.log(1.2)] * FEWEST).verdict is Verdict.SLOWER


def test_an_interval_of_two_far_apart_is_still_numbers() -> None:
    found = interval([-300.0, 300.0])
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
    found = interval([0.0, 0.001, -0.001, 0.002, -0.002, 0.001, 0.0, 0.5])
    assert found.verdict is Verdict.NOISY


def test_equal_pairs_have_an_interval_of_no_width() -> None:
    assert interval([0.0] * 8) == Interval(1.0, 1.0, 1.0, 8)


def test_a_round_compares_the_faster_calls() -> None:
    # One call of head met a busy neighbour.
    assert log_ratio([2.0, 2.1], [9.0, 4.0]) == math.log(2)


def test_the_widest_interval_leaves_room_between_fifteen_per_cent_and_the_bar() -> None:
    assert statistics.SLOWER * statistics.WIDEST**1.5 < 1.15
