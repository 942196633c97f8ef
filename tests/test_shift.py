"""The displacement most matches share, and when to believe it."""

import cv2
import numpy as np
import pytest
from scipy.stats import binom

from s2fast.shift import (
    INLIER_PX,
    LEAST_SIMILAR,
    MAX_LOG_NFA,
    biweight_mean,
    find_shift,
    find_similarity,
    fullest_spot,
    log_false_alarms,
)

GRID, SEARCHED = 10.0, 50.0


def matches(
    rng: np.random.Generator, true: int, wrong: int, shift: tuple[float, float] = (12.0, -7.0), noise: float = 3.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Displacements, places and sizes: some around a shift, others anywhere in the disc searched."""
    angle, length = rng.uniform(0, 2 * np.pi, wrong), SEARCHED * np.sqrt(rng.uniform(0, 1, wrong))
    anywhere = np.column_stack([length * np.cos(angle), length * np.sin(angle)])
    moved = np.concatenate([rng.normal(shift, noise, (true, 2)), anywhere])
    order = rng.permutation(true + wrong)
    return moved[order], rng.uniform(0, 1e5, (true + wrong, 2)), np.full(true + wrong, 4.8, np.float32)


def test_shift_is_found_among_wrong_matches() -> None:
    moved, at, size = matches(np.random.default_rng(0), 60, 200)
    shift = find_shift(moved, at, size, GRID, searched=SEARCHED)
    assert shift.verified
    assert np.hypot(shift.dx - 12, shift.dy + 7) < 4 * shift.error
    off = np.hypot(moved[:, 0] - shift.dx, moved[:, 1] - shift.dy)
    np.testing.assert_array_equal(shift.inlier, off < INLIER_PX * GRID)


def test_stated_error_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    off = []
    for _ in range(300):
        shift = find_shift(*matches(rng, 80, 40), GRID, searched=SEARCHED)
        off += [abs(shift.dx - 12) / shift.error, abs(shift.dy + 7) / shift.error]
    # 600 draws: one standard deviation of a share of 68 % is 1.9 %, of 95 % it is 0.9 %. The wrong matches among the
    # true ones and the least error make it a little too large.
    assert 0.62 < np.mean(np.array(off) < 1) < 0.80
    assert 0.92 < np.mean(np.array(off) < 2) < 0.99


def test_chance_is_believed_less_often_than_stated() -> None:
    rng = np.random.default_rng(2)
    logs = []
    for _ in range(400):
        moved, _, _ = matches(rng, 0, int(rng.integers(2, 300)))
        chance = (GRID / SEARCHED) ** 2
        _, votes, tried = fullest_spot(moved, GRID, chance)
        logs.append(log_false_alarms(len(moved), votes, chance, tried))
        assert not find_shift(moved, moved, np.ones(len(moved), np.float32), GRID, searched=SEARCHED).significant
    # Expected at most 40, 4 and 0.4.
    assert [int(np.sum(np.array(logs) <= level)) for level in (-1, -2, -3)] <= [52, 9, 3]
    assert np.sum(np.array(logs) <= 0) > 20


@pytest.mark.parametrize(("matches", "votes", "chance"), [(2, 2, 0.04), (50, 7, 0.04), (700, 90, 0.04), (30, 30, 1e-6)])
def test_false_alarms_are_scipys_binomial(matches: int, votes: int, chance: float) -> None:
    wanted = np.log10(matches) + binom.logsf(votes - 2, matches - 1, chance) / np.log(10)
    assert log_false_alarms(matches, votes, chance, matches) == pytest.approx(wanted)


def test_a_spot_at_the_rim_is_suspect() -> None:
    moved, at, size = matches(np.random.default_rng(3), 100, 50, (SEARCHED - 4, 0.0))
    shift = find_shift(moved, at, size, GRID, searched=SEARCHED)
    assert shift.significant
    assert shift.at_rim
    assert not shift.verified


def test_matches_of_one_spot_on_the_ground_are_one_witness() -> None:
    moved, at, size = matches(np.random.default_rng(4), 60, 20)
    shift = find_shift(moved, 5 + at / 1e5, size, GRID, searched=SEARCHED)
    assert shift.significant
    assert np.isnan(shift.error)
    assert not shift.verified


def test_small_keypoints_count_more() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0]])
    middle, _, _ = biweight_mean(points, np.array([9.0, 1.0]), np.array([0.4, 0.0]), 100.0)
    assert middle[0] == pytest.approx(0.1, abs=0.01)


def test_far_points_do_not_count_at_all() -> None:
    points = np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [5.0, 5.0]])
    middle, weight, _ = biweight_mean(points, np.ones(4), np.array([0.5, 0.5]), 1.5)
    np.testing.assert_allclose(middle, [1 / 30, 1 / 30], atol=1e-3)
    assert weight[3] == 0


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_matches_are_no_shift(count: int) -> None:
    shift = find_shift(np.zeros((count, 2)), np.zeros((count, 2)), np.ones(count, np.float32), GRID, searched=SEARCHED)
    assert not shift.significant
    assert np.isnan([shift.dx, shift.dy, shift.error]).all()
    assert shift.inlier.tolist() == [False] * count


def test_matches_beyond_what_was_searched_do_not_count() -> None:
    moved, at, size = matches(np.random.default_rng(5), 40, 0, (200.0, 0.0))
    assert not find_shift(moved, at, size, GRID, searched=SEARCHED).significant
    everywhere = find_shift(moved, at, size, GRID, ground=1e10)
    assert everywhere.verified
    assert everywhere.dx == pytest.approx(200, abs=3)


def test_many_agreeing_matches_are_found_from_some_of_them() -> None:
    moved, at, size = matches(np.random.default_rng(6), 4000, 1000)
    shift = find_shift(moved, at, size, GRID, searched=SEARCHED)
    assert np.hypot(shift.dx - 12, shift.dy + 7) < 4 * shift.error


@pytest.mark.parametrize(("angle", "scale"), [(0, 1.0), (30, 1.0), (170, 2.0)])
def test_similarity_of_turned_scenes(angle: float, scale: float) -> None:
    rng = np.random.default_rng(7)
    here = 5e6 + rng.uniform(0, 1e4, (120, 2))
    centre = np.array([5_005_000.0, 5_005_000.0])
    turn = cv2.getRotationMatrix2D((0, 0), angle, scale)[:, :2]
    there = (here - centre) @ turn.T + centre + [300.0, -80.0] + rng.normal(0, 2, here.shape)
    there[:50] = 5e6 + rng.uniform(0, 1e4, (50, 2))
    shift = find_similarity(here, there, centre, GRID)
    assert shift.verified
    assert np.hypot(shift.dx - 300, shift.dy + 80) < 4 * shift.error
    assert shift.inlier[50:].mean() > 0.95
    assert shift.inlier[:50].mean() < 0.1


def test_no_similarity_in_a_mirror_or_by_chance() -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        here = rng.uniform(0, 1e5, (300, 2))
        for there in (here * [-1, 1], rng.uniform(0, 1e5, (300, 2))):
            assert not find_similarity(here, there, np.zeros(2), GRID).significant
    assert not find_similarity(here[: LEAST_SIMILAR - 1], here[: LEAST_SIMILAR - 1], np.zeros(2), GRID).significant


def test_the_bound_is_what_the_readme_says() -> None:
    assert MAX_LOG_NFA == -6
