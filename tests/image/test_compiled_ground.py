"""The compiled loops over sampled blocks agree with plain NumPy; correlations differ in the last digits only."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast.image import compiled_ground, patches, shared_areas, surroundings
from s2fast.image.fixed_pattern import FixedPattern, common_blocks
from s2fast.image.surroundings import grounds_differ
from tests.image import test_shared_areas, test_surroundings
from tests.image.test_fixed_pattern import SIDE, fixed, picture


def correlate(
    query: npt.NDArray[np.float32],
    train: npt.NDArray[np.float32],
    here: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
    found: npt.NDArray[np.float32],
) -> None:
    one, other = query[here], train[there]
    for number, row in enumerate(found):
        row[:] = np.abs(np.einsum("ij,ij->i", one, np.roll(other, len(here) * number // len(found), axis=0)))


def flag_counts(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    here: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
) -> tuple[int, int, int]:
    one, other = query[here].view(np.bool_), train[there].view(np.bool_)
    return np.count_nonzero(one), np.count_nonzero(other), np.count_nonzero(one & other)


def mark_near(inlier_px: npt.NDArray[np.float32], reach_px: int, side: int, near: npt.NDArray[np.uint8]) -> None:
    shifts = np.array([-reach_px, 0, reach_px]) + 0.5
    column, row = np.floor((inlier_px.T[:, :, None] + shifts) / side).astype(np.int64)
    row, column = np.broadcast_arrays(row[:, :, None], column[:, None])
    inside = (row >= 0) & (column >= 0) & (row < near.shape[0]) & (column < near.shape[1])
    near[row[inside], column[inside]] = 1


PLAIN = {"correlate": correlate, "flag_counts": flag_counts, "mark_near": mark_near}


def unit_vectors(rng: np.random.Generator, count: int, pixels: int) -> np.ndarray:
    found = rng.normal(size=(count, pixels))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    count=st.sampled_from([1, 2, 7, 8, 9, 63, 65, 257]),
    pixels=st.sampled_from([1, 16, 64]),
    seed=st.integers(0, 1 << 32),
)
def test_correlations_are_those_of_the_plain_version(count: int, pixels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    operands = [*(unit_vectors(rng, 300, pixels) for _ in range(2)), *rng.integers(0, 300, (2, count))]
    found, wanted = np.full((2, 8, count), np.nan, np.float32)
    compiled_ground.correlate(*operands, found)
    correlate(*operands, wanted)
    # At most 64 products, whose absolute values sum to at most 1, are added up in another order.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=64 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("count", [1, 9, 65])
def test_the_excess_is_a_mean_rank(count: int) -> None:
    rng = np.random.default_rng(count)
    query, train = (unit_vectors(rng, 6 * 25, 16).reshape(6, 25, 16) for _ in range(2))
    train[1:5] += query[:4]
    blocks = np.arange(4), np.arange(1, 5)
    chosen = np.sort(rng.choice(100, count, replace=False))
    one, other = (part[at].reshape(-1, 16)[chosen] for part, at in zip((query, train), blocks, strict=True))
    found = np.empty((8, count), np.float32)
    correlate(one, other, np.arange(count), np.arange(count), found)
    excess, score = patches.excess_agreement(query, train, blocks, chosen)
    assert excess == pytest.approx((found[1:].ravel() < found[0][:, None]).mean() - 0.5, abs=1e-9)
    assert score == pytest.approx(excess / patches.excess_error(count))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    count=st.sampled_from([0, 1, 65, 257]),
    rows=st.sampled_from([1, 8, 24]),
    columns=st.sampled_from([1, 16]),
    seed=st.integers(0, 1 << 32),
)
def test_the_same_squares_are_near_inliers(count: int, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = rng.uniform(-20, 8 * max(rows, columns) + 20, (count, 2))
    at[::2] = np.rint(2 * at[::2]) / 2  # a square's border lies at half pixels
    found, wanted = np.zeros((2, rows, columns), np.uint8)
    compiled_ground.mark_near(at.astype(np.float32), 6, 8, found)
    mark_near(at.astype(np.float32), 6, 8, wanted)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("common", [0, 1, 5])
@pytest.mark.parametrize("words", [0, 1, 512])
def test_flags_are_counted(common: int, words: int) -> None:
    rng = np.random.default_rng(words)
    query, train = ((rng.random((7, 8 * words)) < share).view(np.uint64) for share in (0.1, 0.6))
    operands = query, train, *rng.integers(0, 7, (2, common))
    assert compiled_ground.flag_counts(*operands) == flag_counts(*operands)


def pairs() -> list[tuple[FixedPattern, FixedPattern, np.ndarray]]:
    """Return scenes with painted areas or drawings, and inliers."""
    areas, drawn = test_shared_areas, test_surroundings
    found = []
    for seed in range(4):
        kept, rng = areas.polygons(seed), np.random.default_rng(seed)
        for grounds in ([areas.ground(seed + 10), areas.ground(seed + 20)], areas.seasons(seed)):
            query, train = (fixed(areas.filled(grey, kept, number)) for number, grey in enumerate(grounds))
            found.append((query, train, rng.uniform(0, areas.SIDE, (30, 2))))
        opacity, corners = drawn.shapes(rng)
        for grounds in ([drawn.ground(seed), drawn.ground(seed + 100)], drawn.changed(seed)):
            query, train = (fixed(picture(grey * (1 - opacity) + 255 * opacity)) for grey in grounds)
            found.append((query, train, corners))
    return found


@pytest.mark.slow
def test_scenes_are_judged_as_by_the_plain_version(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed: list[tuple[float, float]] = []
    measured = patches.excess_agreement

    def noted(*operands: np.ndarray) -> tuple[float, float]:
        agreed.append(measured(*operands))
        return agreed[-1]

    for module in (shared_areas, surroundings):
        monkeypatch.setattr(module, "excess_agreement", noted)

    def judged() -> list[tuple[bool, bool]]:
        found = []
        for query, train, at in scenes:
            blocks = common_blocks(query, train)
            edges = shared_areas.only_edges_agree(query.areas, train.areas, blocks)
            found.append((edges, grounds_differ(query.squares, train.squares, blocks, at.astype(np.float32))))
        return found

    scenes = pairs()
    compiled, of_compiled = judged(), agreed.copy()
    agreed.clear()
    for name, plain in PLAIN.items():
        monkeypatch.setattr(compiled_ground, name, plain)
    assert judged() == compiled
    assert {edges for edges, _ in compiled} == {differ for _, differ in compiled} == {False, True}
    assert len(agreed) > len(scenes) / 2
    # A correlation that differs in the last digit may change its rank by a few among some thousand.
    np.testing.assert_allclose([excess for excess, _ in of_compiled], [excess for excess, _ in agreed], atol=1e-5)
    np.testing.assert_allclose([score for _, score in of_compiled], [score for _, score in agreed], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_squares_are_chosen_by_place_and_contrast(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []

    def noted(query: object, train: object, blocks: object, numbers: np.ndarray) -> tuple[float, float]:
        chosen.append(numbers)
        return 0.5, 10.0

    monkeypatch.setattr(surroundings, "excess_agreement", noted)
    monkeypatch.setattr(surroundings, "_LEAST_SQUARES", 10)
    rng = np.random.default_rng(seed)
    query, train = (fixed(picture(test_surroundings.ground(number))) for number in (seed, seed + 100))
    query, train = (part_of(pattern, rng.random(len(pattern.sample)) < 0.8) for pattern in (query, train))
    at = rng.uniform(-20, SIDE + 20, (12, 2)).astype(np.float32)
    here, there = common_blocks(query, train)
    assert not grounds_differ(query.squares, train.squares, (here, there), at)

    contrast = query.squares.variance[here] * train.squares.variance[there]
    seen = np.minimum(query.squares.variance[here], train.squares.variance[there]) > 3
    first = query.sample_at[here][:, None] // 8
    rows, columns = np.moveaxis(first + np.stack(np.mgrid[:8, :8], -1).reshape(-1, 2), 2, 0)
    near = np.zeros((rows.max() + 1, columns.max() + 1), np.uint8)
    mark_near(at, 6, 8, near)
    around = cv2.dilate(near, np.ones((7, 7), np.uint8)) > near
    seen &= around[rows, columns]
    np.testing.assert_array_equal(chosen[0], np.flatnonzero(seen & (contrast <= np.quantile(contrast[seen], 0.7))))


def part_of(pattern: FixedPattern, kept: np.ndarray) -> FixedPattern:
    return FixedPattern(pattern.outline, pattern.core, pattern.sample[kept], pattern.sample_at[kept])
