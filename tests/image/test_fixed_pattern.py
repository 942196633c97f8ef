"""Features fixed to the pixels of two scenes instead of the ground."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from s2fast.image.fixed_pattern import (
    FixedPattern,
    common_blocks,
    explained_by_paint,
    explained_by_pattern,
    share_noise,
    share_stripes,
)
from s2fast.image.painted import flat

SIDE = 400

AT = np.random.default_rng(5).uniform(0, SIDE, (20, 2)).astype(np.float32)
"""Positions of inliers."""


def ground(seed: int) -> np.ndarray:
    """Return ground with structures of all sizes."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(0, 12, (side, side)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for side in (8, 32, 128)
    ]
    return 110 + sum(layers) + cv2.GaussianBlur(rng.normal(0, 12, (SIDE, SIDE)), (0, 0), 0.8)


def picture(grey: np.ndarray) -> np.ndarray:
    return np.clip(grey, 1, 255).astype(np.uint8)


def fixed(grey: np.ndarray, xy: np.ndarray | None = None, clear: np.ndarray | None = None) -> FixedPattern:
    xy = np.zeros((0, 2)) if xy is None else xy
    clear = np.ones(grey.shape, np.bool_) if clear is None else clear
    found = FixedPattern.of(grey, clear, flat(grey), xy.astype(np.float32), np.full(len(xy), 3, np.float32))
    # Outlines have tests of their own.
    return replace(found, outline=np.zeros_like(found.outline))


def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 12, (SIDE, SIDE))


def columns(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 8, (1, SIDE))


def rows(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 8, (SIDE, 1))


@pytest.mark.parametrize("pattern", [noise, columns, rows])
def test_a_pattern_of_pixels_is_no_ground(pattern) -> None:
    shared = pattern(np.random.default_rng(9))
    one, other = (fixed(picture(ground(seed) + shared)) for seed in (0, 1))
    assert explained_by_pattern(one, other, AT, np.zeros((20, 2), np.float32))
    # Elsewhere than at rest it is ground that agrees.
    assert not explained_by_pattern(one, other, AT, np.full((20, 2), 4, np.float32))
    assert not explained_by_pattern(one, other, AT[:0], np.zeros((0, 2), np.float32))


@pytest.mark.parametrize("pattern", [noise, columns, rows])
def test_each_scene_has_a_pattern_of_its_own_and_the_ground_is_one(pattern) -> None:
    one, other = (fixed(picture(ground(0) + 0.5 * pattern(np.random.default_rng(seed)))) for seed in (0, 1))
    assert not explained_by_pattern(one, other, AT, np.zeros((20, 2), np.float32))


def test_copies_are_no_pattern() -> None:
    one = fixed(picture(ground(0)))
    assert not explained_by_pattern(one, one, AT, np.zeros((20, 2), np.float32))


def test_stripes_lie_across_one_axis() -> None:
    shared = columns(np.random.default_rng(9))
    one, other = (fixed(picture(ground(seed) + shared)) for seed in (0, 1))
    assert share_stripes(one, other, 1)
    assert not share_stripes(one, other, 0)
    # Any shift along the stripes fits them.
    assert explained_by_pattern(one, other, AT, np.tile(np.float32([0, 7]), (20, 1)))


def test_blocks_are_compared_where_both_scenes_are_clear() -> None:
    shared = noise(np.random.default_rng(9))
    left, right = np.ones((2, SIDE, SIDE), np.bool_)
    left[:, 200:], right[:, :200] = False, False
    one, other = picture(ground(0) + shared), picture(ground(1) + shared)
    assert share_noise(fixed(one, clear=left), fixed(other, clear=left))
    assert not share_noise(fixed(one, clear=left), fixed(other, clear=right))


def test_scenes_of_different_shapes_have_blocks_in_common() -> None:
    shared = noise(np.random.default_rng(9))
    one, other = picture(ground(0) + shared), picture(ground(1) + shared)[:300, :390]
    assert share_noise(fixed(one), fixed(other))
    small, large = (fixed(np.ones((side, side), np.uint8)).sample_at for side in (500, 1100))
    assert (len(small), len(large)) == (49, 25)
    assert {tuple(corner) for corner in large} >= {(256, 0), (1024, 1024)}


@pytest.mark.parametrize("shares", [(0.0, 0.5), (0.5, 0.0), (0.1, 0.9), (0.5, 0.5), (1.0, 1.0)])
def test_common_blocks_have_equal_places(shares: tuple[float, float]) -> None:
    rng, whole = np.random.default_rng(3), fixed(np.ones((600, 400), np.uint8))
    query, train = (
        FixedPattern(whole.outline, whole.core, whole.sample[kept], whole.sample_at[kept])
        for kept in (rng.random(len(whole.sample)) < share for share in shares)
    )
    _, here, there = np.intersect1d(query.place, train.place, return_indices=True)
    found = common_blocks(query, train)
    assert [part.dtype for part in found] == [np.int64, np.int64]
    np.testing.assert_array_equal(found, [here, there])


def test_identical_pixels_at_equal_positions_are_an_overlay() -> None:
    one, other = picture(ground(0)), picture(ground(1))
    for grey in (one, other):
        cv2.putText(grey, "s2fast", (100, 200), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2)
    written = np.argwhere((one == 255) & (other == 255))[::7, ::-1]
    bare = np.column_stack([np.full(40, 30), np.arange(20, 60)])
    xy = np.concatenate([written, bare, np.column_stack([np.arange(300), np.full(300, 390)])])
    rows = np.arange(len(written) + 40, dtype=np.int32)
    at_rest = np.zeros((len(rows), 2), np.float32)
    found = explained_by_paint(fixed(one, xy), fixed(other, xy), rows, rows, at_rest, len(xy))
    assert found[: len(written)].mean() > 0.8
    assert not found[len(written) :].any()
    assert not explained_by_paint(fixed(one, xy), fixed(other, xy), rows, rows, at_rest + 3, len(xy)).any()
    assert not explained_by_paint(fixed(one, xy), fixed(other, xy), rows, rows, None, len(xy)).any()


def test_copies_keep_their_matches() -> None:
    one = picture(ground(0))
    xy = np.random.default_rng(0).uniform(10, 390, (300, 2))
    rows = np.arange(300, dtype=np.int32)
    assert not explained_by_paint(fixed(one, xy), fixed(one, xy), rows, rows, np.zeros((300, 2), np.float32), 300).any()


def test_dark_stable_ground_is_no_overlay() -> None:
    dark = 30 + (ground(0) - 110) / 20
    rng = np.random.default_rng(0)
    one, other = (picture(dark + rng.normal(0, 1.0, dark.shape)) for _ in range(2))
    xy = rng.uniform(10, 390, (2000, 2))
    rows = np.arange(2000, dtype=np.int32)
    at_rest = np.zeros((2000, 2), np.float32)
    assert explained_by_paint(fixed(one, xy), fixed(other, xy), rows, rows, at_rest, len(xy)).mean() < 0.02


def test_of_copies_what_is_painted_shows_ground_too() -> None:
    xy = np.random.default_rng(4).uniform(10, SIDE - 10, (200, 2))
    rows, rest = np.arange(200, dtype=np.int32), np.zeros((200, 2), np.float32)

    def painted(grey: np.ndarray) -> FixedPattern:
        grey = picture(grey)
        grey[:, ::20] = grey[::20] = 0
        found = FixedPattern.of(
            grey, np.ones(grey.shape, np.bool_), flat(grey), xy.astype(np.float32), np.full(200, 3.0)
        )
        assert found.outline.any()
        return found

    one, copy, other = painted(ground(0)), painted(ground(0)), painted(ground(1))
    assert not explained_by_paint(one, copy, rows, rows, rest, 200).any()
    assert explained_by_paint(one, other, rows, rows, rest, 200).mean() > 0.9
    # The same shapes and as many identical keypoints, but ground that differs where both scenes show it.
    writing = replace(other, core=one.core)
    assert explained_by_paint(one, writing, rows, rows, rest, 200).mean() > 0.9
