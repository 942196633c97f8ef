"""The compiled search for the shift judges as the plain one does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast.geometry import compiled_fit, compiled_shares, compiled_shift, shift, standard_errors, witnesses
from s2fast.geometry.evidence import Judgement
from tests.geometry.test_shift import GRID, RADIUS, SIDE, evidence, with_columns

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
"""Sums are added in another order: of some thousand terms, that changes the last four of sixteen digits at most."""


def assert_same(got: Judgement, wanted: Judgement) -> None:
    assert (got.verdict, got.model) == (wanted.verdict, wanted.model)
    np.testing.assert_array_equal(got.inlier, wanted.inlier)
    for name in ("dx", "dy", "error", "witnesses"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), **TOLERANCE, err_msg=name)
    assert (got.rival is None) == (wanted.rival is None)
    if got.rival is not None:
        np.testing.assert_array_equal(got.rival, wanted.rival)
    assert (got.affinity is None) == (wanted.affinity is None)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    true=st.sampled_from([0, 1, 5, 6, 7, 20, 80, 400]),
    wrong=st.sampled_from([0, 1, 5, 30, 200, 900]),
    length=st.sampled_from([0.0, 14.0, 49.0, 52.0, 80.0]),
    noise=st.sampled_from([0.0, 1.0, 3.0, 9.0, 20.0]),
    turned_deg=st.sampled_from([0.0, 0.0, 0.02, 0.2, 1.0]),
    away=st.sampled_from([(0.0, 0.0), (900.0, -300.0)]),
    places=st.sampled_from(["spread", "spread", "lattice", "line", "point", "clusters"]),
    second=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_judges_as_the_plain_version(
    true: int,
    wrong: int,
    length: float,
    noise: float,
    turned_deg: float,
    away: tuple[float, float],
    places: str,
    second: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    found = evidence(rng, true, wrong, (length, 0.0), noise, turned_deg)
    count, moved = len(found), found.train_m - found.query_m
    if second:
        moved[: true // 2] += [20.0, -35.0]
    here = found.query_m.copy()
    if places == "lattice":
        here = 640.0 * np.rint(here / 640.0)
    elif places == "line":
        here[:, 1] = 5.5e6
    elif places == "point":
        here[:] = here[:1]
    elif places == "clusters":
        here = here[rng.integers(0, max(1, count // 8), count)] + rng.normal(0, 30, (count, 2)) if count else here
    found = with_columns(
        found,
        query_m=here,
        train_m=here + moved + away,
        size=rng.choice([24.0, 28.5, 48.0, 96.0, 400.0], count),
        distance=rng.integers(0, 160, count).astype(np.uint16) if seed % 3 else found.distance,
        on_ground=rng.random(count) < rng.choice([0.3, 0.9, 1.0]),
    )
    expected = np.array(away) if any(away) else None
    assert_same(compiled_shift.find_shift(found, RADIUS, expected), shift.find_shift(found, RADIUS, expected))


@pytest.mark.parametrize("verdict", ["verified", "not verified", "prior suspect", "ambiguous", "not enough ground"])
def test_every_verdict_is_among_the_compared(verdict: str) -> None:
    rng = np.random.default_rng(5)
    found = evidence(rng, 100, 60, (80.0, 0.0) if verdict == "prior suspect" else (12.0, -7.0))
    if verdict == "not verified":
        found = evidence(rng, 0, 100)
    elif verdict == "ambiguous":
        moved = found.train_m.copy()
        moved[:50] += [30.0, 30.0]
        found = with_columns(found, train_m=moved)
    elif verdict == "not enough ground":
        found = with_columns(found, on_ground=np.arange(len(found)) < 5)
    judged = compiled_shift.find_shift(found, RADIUS)
    assert judged.verdict == verdict
    assert_same(judged, shift.find_shift(found, RADIUS))


def test_a_turned_scene_is_the_plain_versions() -> None:
    found = evidence(np.random.default_rng(9), 900, 300, (12.0, -7.0), turned_deg=0.08)
    judged = compiled_shift.find_shift(found, RADIUS)
    assert judged.affinity is not None
    assert_same(judged, shift.find_shift(found, RADIUS))


def test_the_plain_version_never_votes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "find_shift", None)
    rng = np.random.default_rng(10)
    for _ in range(50):
        assert compiled_shift.find_shift(evidence(rng, 100, 100), RADIUS).verdict == "verified"
    turned = evidence(rng, 900, 300, (12.0, -7.0), turned_deg=0.08)
    assert compiled_shift.find_shift(turned, RADIUS).affinity is not None


@settings(max_examples=60, deadline=None)
@given(
    true=st.sampled_from([0, 1, 40, 300]),
    wrong=st.sampled_from([0, 1, 60, 400]),
    searched=st.sampled_from([0.5, 40.0, 103.0, 1_000.0]),
    unit=st.sampled_from([GRID, 4 * GRID]),
    away=st.sampled_from([(0.0, 0.0), (33.0, -21.0), (1e5, 0.0)]),
    seed=st.integers(0, 1 << 32),
)
def test_peaks_of_all_are_the_plain_ones(
    true: int, wrong: int, searched: float, unit: float, away: tuple[float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    found = evidence(rng, true, wrong, (33.0, -21.0), 3.0)
    found = with_columns(found, on_ground=rng.random(len(found)) < 0.5, size=rng.choice([24.0, 96.0], len(found)))
    got, wanted = (part.peaks_of_all(found, unit, searched, np.array(away)) for part in (compiled_shift, witnesses))
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one.at, other.at)
        np.testing.assert_allclose([one.votes, one.log_nfa], [other.votes, other.log_nfa], rtol=1e-6, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    count=st.sampled_from([1, 2, 7, 100, 700]),
    half=st.sampled_from([1, 4, 40, 57, 511, 512, 700]),
    weights=st.sampled_from([[1.0], [0.1, 0.3, 1.0], [1e-3, 0.7]]),
    seed=st.integers(0, 1 << 32),
)
def test_votes_are_opencvs_bit_for_bit(count: int, half: int, weights: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    moved = rng.uniform(-1, 1, (count, 2)) * half * witnesses.BIN_PX
    share, searched = rng.choice(weights, count), half * witnesses.BIN_PX
    wanted = witnesses.highest_peaks(moved, share, searched, 2.5)
    got = compiled_shift.highest_peaks(moved, share, searched, 2.5)
    for one, other in zip(got, wanted, strict=True):
        assert (one.at.tolist(), one.votes, one.log_nfa) == (other.at.tolist(), other.votes, other.log_nfa)


@settings(max_examples=100, deadline=None)
@given(
    count=st.sampled_from([1, 2, 9, 300]),
    extent=st.sampled_from([(0.0, 0.0), (50.0, 0.0), (300.0, 200.0), (1e5, 1e5)]),
    reach=st.sampled_from([0.0, 6.0, 40.0, 1e4]),
    seed=st.integers(0, 1 << 32),
)
def test_every_pair_of_neighbours_is_counted_once(
    count: int, extent: tuple[float, float], reach: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    at = np.array([4e5, 5.5e6]) + np.rint(rng.uniform(0, 1, (count, 2)) * extent)
    size, near = rng.choice([2.0, 3.0, 12.0], count), rng.random(count) < 0.6
    squared = ((at[:, None] - at) ** 2).sum(axis=2)
    both = np.where(squared <= reach**2, 1 / (1 + squared / (1.25**2 * size[:, None] * size)), 0.0)
    np.fill_diagonal(both, 0.0)
    every, strict = compiled_shares.shares(at, size, near, reach, 1.25)
    np.testing.assert_allclose(every, 1 / (1 + both.sum(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(strict, np.where(near, 1 / (1 + both @ near), 0.0), rtol=1e-12)


def test_the_error_is_the_plain_one() -> None:
    rng = np.random.default_rng(3)
    at = rng.uniform(-2_000, 2_000, (200, 2))
    points, counted = rng.normal(0, 1, (200, 2)), rng.random(200) * (rng.random(200) < 0.8)
    among = counted > 0
    ones, weight = np.ones((np.count_nonzero(among), 1)), counted[among]
    error = standard_errors.standard_errors(at[among] / GRID, ones, weight, points[among], np.eye(1))
    found = compiled_shift._error(1.0, *compiled_fit.scatter(at, points, counted, np.zeros(2), GRID, 64.0))
    np.testing.assert_allclose(found, error[0], rtol=1e-12)


def test_squares_too_far_apart_to_be_numbered_are_the_plain_versions() -> None:
    found = evidence(np.random.default_rng(3), 200, 50)
    far = np.where(np.arange(len(found)) % 3 == 0, 1.0, 0.0)[:, None] * [9e8, -7e8]
    found = with_columns(found, query_m=found.query_m + far, train_m=found.train_m + far)
    assert compiled_fit.scatter(found.query_m, far, np.ones(len(found)), np.zeros(2), GRID, 64.0)[0] < 0
    judged = compiled_shift.find_shift(found, RADIUS)
    assert judged.verdict == "verified"
    assert_same(judged, shift.find_shift(found, RADIUS))


def test_blocks_are_the_plain_ones_with_ties() -> None:
    rng = np.random.default_rng(4)
    for count in (0, 1, 3, 8, 50, 333):
        at = np.rint(rng.uniform(0, SIDE / 1000, (count, 2)))
        share, agrees = rng.random(count), rng.random(count) < 0.5
        votes, counts = compiled_fit.votes_of_blocks(at, share, agrees, 3)
        blocks = list(witnesses._blocks(at, np.arange(count), 8))
        np.testing.assert_allclose(counts, [share[block].sum() for block in blocks], rtol=1e-12)
        np.testing.assert_allclose(votes, [share[block][agrees[block]].sum() for block in blocks], rtol=1e-12)


def test_assert_same_sees_a_difference() -> None:
    judged = shift.find_shift(evidence(np.random.default_rng(0), 60, 200), RADIUS)
    for other in (
        replace(judged, dx=judged.dx * (1 + 1e-7)),
        replace(judged, inlier=~judged.inlier),
        replace(judged, verdict="ambiguous"),
    ):
        with pytest.raises(AssertionError):
            assert_same(other, judged)


def test_evidence_without_matches_is_not_verified() -> None:
    none = evidence(np.random.default_rng(0), 0, 0)
    assert_same(compiled_shift.find_shift(none, RADIUS), shift.find_shift(none, RADIUS))
