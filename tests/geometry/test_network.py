"""Offsets of many scenes from the shifts of many pairs."""

import itertools

import numpy as np
import pytest

from s2fast.geometry import network as network_module
from s2fast.geometry.network import closures, solve, triangle_gaps

Shifts = tuple[np.ndarray, np.ndarray, np.ndarray]


def shifts_of(offset: np.ndarray, rng: np.random.Generator, noise: float) -> Shifts:
    """All pairs of scenes with known offsets."""
    query, train = np.array(list(itertools.combinations(range(len(offset)), 2))).T
    return query, train, offset[train] - offset[query] + rng.normal(0, noise, (len(query), 2))


def test_offsets_are_those_of_the_scenes() -> None:
    rng = np.random.default_rng(0)
    offset = rng.normal(0, 8, (12, 2))
    query, train, shift = shifts_of(offset, rng, 0.5)
    network = solve(12, query, train, shift, np.full(len(query), 0.5))
    wanted = offset - np.median(offset, axis=0)
    # Against the mean of twelve scenes that are all compared: the square root of 11 / 144, times 0.5.
    assert network.error == pytest.approx(np.full(12, 0.138), rel=0.25)
    assert np.abs(network.offset - wanted).max() < 5 * 0.138
    assert not network.disagrees.any()
    np.testing.assert_allclose(
        network.residual, np.hypot(*(shift - network.offset[train] + network.offset[query]).T), atol=1e-9
    )


def test_least_squares_are_numpys_where_no_pair_is_an_outlier() -> None:
    rng = np.random.default_rng(1)
    query, train, shift = shifts_of(rng.normal(0, 8, (6, 2)), rng, 0.01)
    network = solve(6, query, train, shift, np.full(len(query), 0.5))
    design = np.zeros((len(query), 6))
    design[np.arange(len(query)), train], design[np.arange(len(query)), query] = 1, -1
    wanted = np.linalg.lstsq(design, shift, rcond=None)[0]
    np.testing.assert_allclose(network.offset, wanted - np.median(wanted, axis=0), atol=1e-4)


def test_the_covariance_is_the_pseudo_inverse_of_the_normal_equations() -> None:
    rng = np.random.default_rng(4)
    query, train, shift = shifts_of(rng.normal(0, 8, (5, 2)), rng, 0.01)
    error = rng.uniform(0.2, 0.8, len(query))
    network = solve(5, query, train, shift, error)
    design = np.zeros((len(query), 5))
    design[np.arange(len(query)), train], design[np.arange(len(query)), query] = 1, -1
    np.testing.assert_allclose(network.covariance, np.linalg.pinv(design.T @ (design / error[:, None] ** 2)), atol=1e-9)


def test_wrong_pairs_do_not_bend_the_network() -> None:
    rng = np.random.default_rng(2)
    offset = rng.normal(0, 8, (12, 2))
    query, train, shift = shifts_of(offset, rng, 0.3)
    wrong = rng.choice(len(query), 7, replace=False)
    shift[wrong] += rng.choice([-40, 40], (7, 2))
    network = solve(12, query, train, shift, np.full(len(query), 0.3))
    assert np.abs(network.offset - (offset - np.median(offset, axis=0))).max() < 1.0
    assert set(np.argsort(network.residual)[-7:]) == set(wrong)


def test_a_scene_that_contradicts_all_others_is_named() -> None:
    rng = np.random.default_rng(3)
    query, train, shift = shifts_of(rng.normal(0, 8, (10, 2)), rng, 0.3)
    own = (query == 4) | (train == 4)
    shift[own] += rng.normal(0, 30, (own.sum(), 2))
    network = solve(10, query, train, shift, np.full(len(query), 0.3))
    assert network.disagrees.tolist() == [number == 4 for number in range(10)]
    assert np.nanargmax(closures(10, query, train, shift)) == 4


def test_scenes_that_nothing_ties_to_the_series_have_no_offset() -> None:
    query, train = np.array([0, 1, 4]), np.array([1, 2, 5])
    network = solve(7, query, train, np.ones((3, 2)), np.ones(3))
    assert np.isfinite(network.offset[:3]).all()
    assert np.isnan(network.offset[3:]).all()
    assert np.isnan(network.residual).tolist() == [False, False, True]


def test_no_pair_is_no_network() -> None:
    none = np.zeros(0, np.intp)
    network = solve(3, none, none, np.zeros((0, 2)), np.zeros(0))
    assert np.isnan(network.offset).all()
    assert not network.disagrees.any()


def test_closure_is_the_gap_of_a_triangle() -> None:
    query, train = np.array([0, 0, 1, 0]), np.array([1, 2, 2, 3])
    shift = np.array([[1.0, 0.0], [3.0, 4.0], [2.0, 0.0], [9.0, 9.0]])
    # Once around 0, 1, 2: (1, 0) + (2, 0) - (3, 4).
    gaps = closures(4, query, train, shift)
    np.testing.assert_allclose(gaps[:3], 4.0)
    assert np.isnan(gaps[3])


def test_the_gaps_of_triangles_are_those_of_every_three_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    query, train, shift = shifts_of(rng.normal(0, 8, (7, 2)), rng, 0.5)
    kept = rng.random(len(query)) < 0.8
    query, train, shift = query[kept], train[kept], shift[kept]
    known = {(a, b): d for a, b, d in zip(query.tolist(), train.tolist(), shift, strict=True)}
    wanted = [
        float(np.hypot(*(known[a, b] + known[b, c] - known[a, c])))
        for a, b, c in itertools.combinations(range(7), 3)
        if {(a, b), (b, c), (a, c)} <= set(known)
    ]
    assert 0 < len(wanted) < 35
    np.testing.assert_allclose(triangle_gaps(7, query, train, shift), wanted)
    # The direction in which a pair is named does not matter.
    np.testing.assert_allclose(triangle_gaps(7, train, query, -shift), wanted)
    monkeypatch.setattr(network_module, "_MOST_SCENES", 3)
    assert len(triangle_gaps(7, query, train, shift)) == ({(0, 3), (3, 6), (0, 6)} <= set(known))


@pytest.mark.parametrize("scenes", [0, 1, 2])
def test_two_scenes_make_no_triangle(scenes: int) -> None:
    none = np.empty(0, np.intp)
    assert triangle_gaps(scenes, none, none, np.empty((0, 2))).shape == (0,)
