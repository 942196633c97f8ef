"""The check's statistics: they find slower code and nothing else, on simulated rounds."""

import math

import numpy as np
import pytest

from benchmarks.check import statistics
from benchmarks.check.statistics import Interval, Verdict, interval, is_quiet, judge, log_ratio


def rounds(rng: np.random.Generator, slower: float, noise: float, count: int) -> list[float]:
    """Log ratios as a shared machine gives them: most rounds a little off, one in ten far off."""
    heavy = np.where(rng.random(count) < 0.1, 4.0, 1.0)
    return list(math.log(slower) + noise * heavy * rng.standard_normal(count))


@pytest.mark.parametrize(("slower", "least", "most"), [(1.0, 0, 1), (1.15, 57, 60), (1.30, 57, 60)])
def test_of_sixty_checks_the_right_ones_are_red(slower: float, least: int, most: int) -> None:
    rng = np.random.default_rng(3)
    control, noise, count = Interval(1.0, 0.99, 1.01, 16), 0.03, 16
    found = [judge(control, interval(rounds(rng, slower, noise, count))) for _ in range(60)]
    assert least <= found.count(Verdict.SLOWER) <= most


def test_a_machine_that_cannot_tell_gives_no_pass() -> None:
    rng = np.random.default_rng(4)
    noisy = interval(rounds(rng, 1.0, 0.2, 16))
    assert not is_quiet(noisy)
    assert judge(noisy, interval(rounds(rng, 1.0, 0.01, 16))) is Verdict.NOISY
    assert judge(Interval(1.0, 0.99, 1.01, 8), noisy) is Verdict.NOISY
    assert judge(Interval(1.0, 0.99, 1.01, 8), None) is Verdict.NOISY


def test_a_control_that_differs_is_not_quiet_however_narrow() -> None:
    assert is_quiet(Interval(1.0, 0.99, 1.01, 8))
    assert not is_quiet(Interval(1.06, 1.055, 1.065, 8))
    assert not is_quiet(Interval(0.94, 0.935, 0.945, 8))


def test_noise_excuses_no_regression() -> None:
    wide = Interval(1.6, 1.2, 2.1, 8)
    assert not wide.narrow
    assert judge(Interval(1.0, 0.99, 1.01, 8), wide) is Verdict.SLOWER


def test_faster_differs_from_no_slower() -> None:
    quiet = Interval(1.0, 0.99, 1.01, 8)
    assert judge(quiet, Interval(0.8, 0.79, 0.81, 8)) is Verdict.FASTER
    assert judge(quiet, Interval(1.02, 1.0, 1.04, 8)) is Verdict.SAME


def test_one_bad_round_moves_little() -> None:
    values = [0.0, 0.001, -0.001, 0.002, -0.002, 0.001, 0.0, 2.0]
    found = interval(values)
    assert 0.99 < found.low <= found.ratio <= found.high < 1.01


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    truth = [interval(rounds(rng, 1.1, 0.03, 16)) for _ in range(100)]
    # 95 of 100 are promised; percentiles of few rounds give a little less.
    assert sum(found.low <= 1.1 <= found.high for found in truth) >= 84


def test_equal_rounds_have_an_interval_of_no_width() -> None:
    assert interval([0.0] * 8) == Interval(1.0, 1.0, 1.0, 8)


def test_a_round_compares_the_faster_calls() -> None:
    # One call of head met a busy neighbour.
    assert log_ratio([2.0, 2.1], [9.0, 4.0]) == math.log(2)


def test_the_widest_interval_leaves_room_between_fifteen_per_cent_and_the_bar() -> None:
    assert statistics.SLOWER * statistics.WIDEST**2 < 1.15
