"""Independent evidence among matches, and the law of chance."""

import numpy as np
import pytest
from scipy.stats import binom

from s2fast.geometry.witnesses import NeighbourCorrelation, highest_peaks, holds_everywhere, log_tail


def test_matches_of_one_structure_share_one_witness() -> None:
    at = np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [500.0, 0.0]])
    share = NeighbourCorrelation.of(at, np.full(4, 2.4)).shares()
    np.testing.assert_allclose(share, [1 / 3, 1 / 3, 1 / 3, 1], atol=0.01)


def test_large_keypoints_correlate_farther_than_small_ones() -> None:
    at = np.array([[0.0, 0.0], [5.0, 0.0]])
    small, large = (NeighbourCorrelation.of(at, np.full(2, size)).shares().sum() for size in (2.4, 10.0))
    assert 1 < large < small < 2


def test_matches_that_do_not_count_have_no_share() -> None:
    correlation = NeighbourCorrelation.of(np.zeros((3, 2)), np.ones(3))
    np.testing.assert_allclose(correlation.shares(np.array([True, False, True])), [0.5, 0, 0.5])
    assert NeighbourCorrelation.of(np.zeros((0, 2)), np.zeros(0)).shares().shape == (0,)


@pytest.mark.parametrize(("matches", "votes", "chance"), [(50, 7, 0.04), (700, 90, 0.04), (30, 2, 1e-6)])
def test_tail_is_scipys_binomial(matches: int, votes: int, chance: float) -> None:
    assert log_tail(matches, votes, chance) == pytest.approx(binom.logsf(votes - 1, matches, chance) / np.log(10))


def test_tail_at_its_ends() -> None:
    assert log_tail(10, 0, 0.01) == 0
    assert log_tail(10, 10, 0.01) == pytest.approx(-20)
    assert log_tail(9, 10, 0.01) == pytest.approx(-18)


def test_chance_gives_peaks_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(0)
    logs = []
    for _ in range(1000):
        angle, length = rng.uniform(0, 2 * np.pi, 150), 10 * np.sqrt(rng.uniform(0, 1, 150))
        moved = np.column_stack([length * np.cos(angle), length * np.sin(angle)])
        logs.append(highest_peaks(moved, np.ones(150), 10.0, 2.5)[0].log_nfa)
    # Expected at most 100, 10 and 1; not so few that the law is far too strict.
    assert [int(np.sum(np.array(logs) <= level)) for level in (-1, -2, -3)] <= [125, 19, 5]
    assert np.sum(np.array(logs) <= 0) > 100


def test_second_peak_is_outside_the_first() -> None:
    rng = np.random.default_rng(1)
    moved = np.concatenate([rng.normal((3, 0), 0.3, (40, 2)), rng.normal((-4, 1), 0.3, (20, 2))])
    first, second = highest_peaks(moved, np.ones(60), 10.0, 2.5)
    assert first.at == pytest.approx([3, 0], abs=0.5)
    assert second.at == pytest.approx([-4, 1], abs=0.5)
    assert first.votes > second.votes > 15


def test_agreement_must_be_spread() -> None:
    rng = np.random.default_rng(2)
    at = rng.uniform(0, 1000, (400, 2))
    everywhere, corner = rng.uniform(size=400) < 0.3, (at < 300).all(axis=1)
    assert holds_everywhere(at, np.ones(400), everywhere, 0.02)
    assert not holds_everywhere(at, np.ones(400), corner, 0.02)
