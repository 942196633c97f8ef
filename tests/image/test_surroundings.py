"""Scenes of different ground agree where something is drawn on both, and not around it."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from s2fast.image.fixed_pattern import FixedPattern, common_blocks, explained_by_pattern
from s2fast.image.surroundings import Squares, grounds_differ
from tests.image.test_fixed_pattern import SIDE, fixed, picture

Drawing = tuple[np.ndarray, np.ndarray]
"""(rows, cols) opacity from 0 to 1 and (k, 2) corners of what is drawn [px]."""


def ground(seed: int) -> np.ndarray:
    """Return ground with structures of all sizes, which have nothing in common with the grid of pixels."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), sigma) for sigma in (16, 6, 2.5, 1)]
    return 110 + sum(9 * layer / layer.std() for layer in layers)


def shapes(rng: np.random.Generator) -> Drawing:
    """Return filled shapes with soft edges."""
    mask, corners = np.zeros((SIDE, SIDE), np.uint8), []
    for centre in rng.integers(20, SIDE - 20, (25, 2)):
        points = centre + rng.integers(-18, 19, (3, 2))
        cv2.fillPoly(mask, [points.astype(np.int32)], 255)
        # Rows of points along the edges, as a detector would find them.
        corners += [a + (b - a) * part for a, b in zip(points, np.roll(points, 1, 0), strict=True) for part in (0, 0.5)]
    return cv2.GaussianBlur(mask / 255, (0, 0), 0.8), np.array(corners)


def outlines(rng: np.random.Generator) -> Drawing:
    """Return anti-aliased lines."""
    mask, corners = np.zeros((SIDE, SIDE), np.uint8), []
    for start, end in rng.integers(0, SIDE, (12, 2, 2)):
        cv2.line(mask, start.tolist(), end.tolist(), 255, 1, cv2.LINE_AA)
        corners += [start + (end - start) * part for part in np.linspace(0, 1, 1 + int(np.hypot(*(end - start)) // 8))]
    return mask / 255, np.array(corners)


def dust(rng: np.random.Generator) -> Drawing:
    """Return faint blurred spots."""
    at = rng.integers(8, SIDE - 8, (60, 2))
    mask = np.zeros((SIDE, SIDE), np.float32)
    for spot in at:
        cv2.circle(mask, spot.tolist(), 4, 1.0, -1)
    return 0.4 * cv2.GaussianBlur(mask, (0, 0), 1.2), at


def drawn(one: np.ndarray, other: np.ndarray, drawing: Drawing, value: float) -> bool:
    """Return whether the ground around a drawing on two pictures is found to differ."""
    opacity, corners = drawing
    query, train = (fixed(picture(grey * (1 - opacity) + value * opacity)) for grey in (one, other))
    return differ(query, train, corners)


def differ(query: FixedPattern, train: FixedPattern, at: np.ndarray) -> bool:
    return grounds_differ(query.squares, train.squares, common_blocks(query, train), at.astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("value", [20.0, 255.0])
@pytest.mark.parametrize("draw", [shapes, outlines, dust])
def test_different_ground_under_one_drawing_differs(draw: Callable[..., Drawing], value: float) -> None:
    found = [drawn(ground(seed), ground(seed + 100), draw(np.random.default_rng(seed)), value) for seed in range(1, 9)]
    assert np.mean(found) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("draw", [shapes, outlines, dust])
def test_ground_that_moved_under_a_drawing_differs(draw: Callable[..., Drawing]) -> None:
    found = [
        drawn(ground(seed), np.roll(ground(seed), (7, 9), (0, 1)), draw(np.random.default_rng(seed)), 255)
        for seed in range(1, 9)
    ]
    assert np.mean(found) > 0.8


def changed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one ground on two dates: half of it is inverted, and changes of their own hide the rest."""
    same, rng = ground(0) - 110, np.random.default_rng(seed)
    half = np.where(cv2.GaussianBlur(rng.normal(size=same.shape), (0, 0), 12) > 0, 1, -1)
    one, other = (0.8 * same * sign + (ground(number) - 110) for sign, number in ((1, seed + 1), (half, seed + 50)))
    return 110 + one, 110 + other


@pytest.mark.slow
@pytest.mark.parametrize("draw", [shapes, outlines, dust])
def test_one_ground_agrees_with_either_sign(draw: Callable[..., Drawing]) -> None:
    for seed in range(8):
        assert not drawn(*changed(seed), draw(np.random.default_rng(seed)), 255)


def test_calm_sea_around_an_island_is_not_compared() -> None:
    rng = np.random.default_rng(0)
    sea = [20 + cv2.GaussianBlur(rng.normal(0, 4, (SIDE, SIDE)), (0, 0), 1) for _ in range(2)]
    island = np.zeros((SIDE, SIDE), np.float32)
    cv2.circle(island, (200, 200), 60, 1, -1)
    query, train = (fixed(picture(np.where(island > 0, ground(0), waves))) for waves in sea)
    coast = 200 + 58 * np.column_stack([np.cos(np.arange(0, 6.28, 0.1)), np.sin(np.arange(0, 6.28, 0.1))])
    assert not differ(query, train, coast)


def test_too_little_ground_proves_nothing() -> None:
    opacity, corners = shapes(np.random.default_rng(0))
    pictures = [picture(ground(seed) * (1 - opacity) + 20 * opacity) for seed in (1, 101)]
    query, train = map(fixed, pictures)
    assert differ(query, train, corners)
    assert not differ(*(fixed(grey[:128, :128]) for grey in pictures), corners)
    assert not differ(query, train, corners[:0])
    assert not differ(query, fixed(np.full((SIDE, SIDE), 100, np.uint8)), corners)
    assert not differ(query, fixed(pictures[1][:60, :60]), corners)


def test_only_drawings_at_rest_are_explained() -> None:
    opacity, corners = shapes(np.random.default_rng(0))
    query, train = (fixed(picture(ground(seed) * (1 - opacity) + 20 * opacity)) for seed in (1, 101))
    at, moved = corners.astype(np.float32), np.zeros((len(corners), 2), np.float32)
    assert explained_by_pattern(query, train, at, moved)
    assert not explained_by_pattern(query, train, at, moved + np.float32([0, 2]))


def test_ground_that_is_turned_is_not_compared() -> None:
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 4, 1)
    query, train = fixed(picture(ground(0))), fixed(picture(cv2.warpAffine(ground(0), turn, (SIDE, SIDE))))
    half = np.random.default_rng(0).uniform(20, SIDE - 20, (40, 2))
    at = np.concatenate([half, SIDE - half]).astype(np.float32)
    moved = (at @ turn[:, :2].T + turn[:, 2] - at).astype(np.float32)
    assert explained_by_pattern(query, train, at, moved)
    assert not explained_by_pattern(query, train, None, moved)


def test_squares_have_no_slope_and_one_length() -> None:
    down, right = np.mgrid[:64, :64]
    blocks = np.stack([100 + down + right, np.clip(ground(0)[:64, :64], 0, 255)]).astype(np.uint8)
    squares = Squares.of(blocks, np.array([[0, 0], [64, 128]], np.int32))
    assert squares.shape.shape == (2, 64, 64)
    np.testing.assert_allclose(squares.variance[0], 0, atol=1e-3)
    np.testing.assert_allclose((squares.shape[1] ** 2).sum(axis=1), 1, rtol=1e-5)
    # The last square of the second block, by a fit of its plane.
    pixels = blocks[1, 56:, 56:].astype(float)
    plane = np.column_stack([np.ones(64), *np.mgrid[:8, :8].reshape(2, -1)])
    left = pixels.ravel() - plane @ np.linalg.lstsq(plane, pixels.ravel())[0]
    np.testing.assert_allclose(squares.shape[1, -1], left / np.linalg.norm(left), atol=1e-5)
    np.testing.assert_allclose(squares.variance[1, -1], left @ left / 64, rtol=1e-4)
    assert squares.place.tolist() == [[0, 0], [1, 2]]
