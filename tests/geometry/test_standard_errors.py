"""Standard errors of fits with correlated residuals."""

import numpy as np
import pytest

from s2fast.geometry.standard_errors import standard_errors


def test_the_error_of_a_mean_covers_it_in_95_of_100_cases() -> None:
    # Matches within a square of 64 px share most of their error, and there are few squares.
    rng = np.random.default_rng(0)
    square = np.repeat(np.arange(9), 20)
    at = np.column_stack([64.0 * (square % 3), 64.0 * (square // 3)]) + rng.uniform(1, 63, (180, 2))
    ones = np.ones(180)
    within = []
    for _ in range(1500):
        off = rng.normal(0, 1, (9, 2))[square] + rng.normal(0, 0.3, (180, 2))
        mean = off.mean(axis=0)
        (error,) = standard_errors(at, ones[:, None], ones, off - mean, np.array([[1 / 180]]))
        within += list(np.abs(mean) <= 2 * error)
    assert np.mean(within) == pytest.approx(0.95, abs=0.025)


def test_the_errors_of_a_trend_cover_it_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(0)
    square = np.repeat(np.arange(16), 10)
    within = []
    for _ in range(1000):
        at = np.column_stack([64.0 * (square % 4), 64.0 * (square // 4)]) + rng.uniform(1, 63, (160, 2))
        design = np.column_stack([np.ones(160), at - at.mean(axis=0)])
        off = rng.normal(0, 0.5, (16, 2))[square] + rng.normal(0, 0.3, (160, 2))
        bread = np.linalg.inv(design.T @ design)
        solution = bread @ design.T @ off
        errors = standard_errors(at, design, np.ones(160), off - design @ solution, bread)
        within.append((np.abs(solution) <= 2 * errors[:, None]).mean(axis=1))
    assert np.mean(within, axis=0) == pytest.approx([0.95] * 3, abs=0.04)


def test_one_square_tells_nothing_of_a_mean() -> None:
    at = np.random.default_rng(0).uniform(1, 63, (50, 2))
    found = standard_errors(at, np.ones((50, 1)), np.ones(50), np.ones((50, 2)), np.array([[1 / 50]]))
    assert np.isnan(found).all()
