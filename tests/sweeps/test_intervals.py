"""Repeated measurements: intervals that cover the truth, and fronts on which noise makes no case better."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.sweeps.columns import SHOWN, best_of, front_of
from s2fast.sweeps.competing import competing
from s2fast.sweeps.grid import Plot
from s2fast.sweeps.intervals import NOISE, difference, interval
from s2fast.sweeps.pareto import honest_front

times = st.lists(st.floats(0.1, 100), min_size=3, max_size=20)


@given(times)
def test_an_interval_holds_the_median(values: list[float]) -> None:
    low, high = interval(values)
    assert low - 1e-9 <= median(values) <= high + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 4, 5, 6, 8, 12])
def test_an_interval_misses_the_truth_as_rarely_as_it_says(count: int) -> None:
    rng = np.random.default_rng(count)
    missed = 0
    for _ in range(2000):
        low, high = interval(rng.normal(10, 1, count).tolist())
        missed += not low <= 10 <= high
    # 5 % of 2,000 are 100, with a standard error of 10.
    assert missed <= 130
    assert missed >= 3


def timed(*seconds: float | None, **more: Any) -> dict[str, Any]:
    known = [value for value in seconds if value is not None]
    row = {"status": "ok", "label": "", "seconds": median(known), **more}
    return row if len(seconds) == 1 else {**row, "runs.seconds": json.dumps(seconds)}


def test_what_a_round_does_to_both_cases_cancels() -> None:
    load = [0.0, 8.0, 3.0, 20.0, 1.0, 11.0]
    quick, slow = timed(*(10 + each for each in load)), timed(*(10.5 + each for each in load))
    assert difference(slow, quick, "seconds") == pytest.approx(0.5)
    assert difference(quick, slow, "seconds") == pytest.approx(-0.5)
    # In another order of rounds the same figures say nothing.
    assert difference(timed(*(10.5 + each for each in reversed(load))), quick, "seconds") == 0


def test_fewer_than_three_common_rounds_are_one_measurement_with_its_usual_noise() -> None:
    assert difference(timed(1.0), timed(1.0 + NOISE / 2), "seconds", NOISE) == 0
    assert difference(timed(1.0), timed(1.5), "seconds", NOISE) == pytest.approx(-0.5)
    assert difference(timed(1.0, 1.0), timed(1.5, 1.5), "seconds", NOISE) == pytest.approx(-0.5)
    assert difference(timed(1.0, None, 1.0), timed(1.02, None, 1.02), "seconds", NOISE) == 0


points = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6)), min_size=1, max_size=12)


@given(points)
def test_without_noise_the_front_is_what_nothing_beats(found: list[tuple[int, int]]) -> None:
    costs, gains = [cost for cost, _ in found], [gain for _, gain in found]
    beaten = {
        at
        for at, (cost, gain) in enumerate(found)
        if any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in found)
    }
    kept = honest_front(costs, gains, lambda a, b: costs[a] - costs[b], lambda a, b: gains[a] - gains[b])
    assert sorted(kept) == sorted(set(range(len(found))) - beaten)
    assert [costs[at] for at in kept] == sorted(costs[at] for at in kept)


@given(points)
def test_with_noise_the_front_leaves_out_just_what_one_on_it_beats(found: list[tuple[int, int]]) -> None:
    costs, gains = [float(cost) for cost, _ in found], [gain for _, gain in found]

    def cost_difference(a: int, b: int) -> float:
        apart = costs[a] - costs[b]
        return 0 if abs(apart) <= 0.3 * max(costs[a], costs[b]) else apart

    def beats(by: int, at: int) -> bool:
        cheaper, better = -cost_difference(by, at), gains[by] - gains[at]
        return cheaper >= 0 and better >= 0 and cheaper + better > 0

    kept = honest_front(costs, gains, cost_difference, lambda a, b: gains[a] - gains[b])
    assert not any(beats(by, at) for by in kept for at in kept)
    assert all(any(beats(by, at) for by in kept) for at in set(range(len(found))) - set(kept))


def test_a_case_that_gains_less_by_less_than_the_noise_and_costs_less_takes_the_place() -> None:
    costs, gains = [10.0, 5.0, 9.8], [100.0, 99.0, 98.0]

    def gain_difference(a: int, b: int) -> float:
        return 0 if abs(gains[a] - gains[b]) <= 5 else gains[a] - gains[b]

    assert honest_front(costs, gains, lambda a, b: costs[a] - costs[b], gain_difference) == [1]


def test_a_chain_of_small_steps_does_not_leave_only_its_end() -> None:
    costs, gains = [540.0, 580.0, 620.0, 660.0, 700.0, 740.0], [10, 15, 20, 31, 36, 41]

    def cost_difference(a: int, b: int) -> float:
        apart = costs[a] - costs[b]
        return 0 if abs(apart) <= NOISE * max(costs[a], costs[b]) else apart

    assert honest_front(costs, gains, cost_difference, lambda a, b: gains[a] - gains[b]) == [1, 3, 5]


def test_a_difference_within_its_interval_is_no_better_place() -> None:
    gain = "found.verified_pairs"
    quick, noisy = timed(10, 12, 11, 10.5, **{gain: 40}), timed(10.2, 11.7, 11.3, 10.4, **{gain: 40})
    better = timed(10.1, 12.2, 11.1, 10.4, **{gain: 41})
    slow = timed(21, 23, 22, 21.5, **{gain: 45})
    # The first two cannot be told apart. The third is slower by nothing that was measured, and gains more.
    assert set(front_of([quick, noisy], Plot())) == {0, 1}
    assert front_of([quick, noisy, better, slow], Plot()) == [2, 3]
    # One measurement each, and the usual noise: 5 % are none, 30 % are.
    assert front_of([timed(10.0, **{gain: 40}), timed(10.5, **{gain: 41})], Plot()) == [1]
    assert front_of([timed(10.0, **{gain: 40}), timed(13.0, **{gain: 41})], Plot()) == [0, 1]


def test_a_wide_interval_makes_no_case_the_best() -> None:
    best, other = timed(10, 10.1, 9.9, 10.05), timed(12, 12.1, 11.9, 12.05)
    wide = timed(5, 30, 20, 7)
    (column,) = (column for column in SHOWN if column.name == "seconds")
    assert difference(wide, best, "seconds") == 0
    # The last cannot be told from the first, but it took longer than one that can.
    assert best_of([best, other, wide], column) == {0}
    assert best_of([best, wide, timed(15, 14, 14.5, 14.2)], column) == {0, 1}


@given(points)
def test_the_cases_that_compete_are_those_no_noise_could_rule_out(found: list[tuple[int, int]]) -> None:
    rows = [timed(float(cost), **{"found.verified_pairs": gain}) for cost, gain in found]
    every = range(len(found))
    ruled_out = {
        at for at in every for by in every if found[by][0] * 1.5 < found[at][0] and found[by][1] >= found[at][1]
    }
    assert competing(rows, [Plot()]) == set(every) - ruled_out


def test_without_a_plot_over_time_all_finished_cases_compete() -> None:
    rows = [timed(1.0, peak_mb=1), timed(9.0, peak_mb=1), {"status": "failed", "label": "", "seconds": None}]
    assert competing(rows, [Plot(cost="peak_mb")]) == {0, 1}
    # Nor is there one if no case has the gain.
    assert competing(rows, [Plot()]) == {0, 1}
