"""Areas that were painted with a noise of their own in each scene are no evidence; lakes do not hide true pairs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.traps.scenes import judged, scene
from s2fast.image.fixed_pattern import common_blocks, explained_by_pattern
from s2fast.image.patches import excess_error
from s2fast.image.shared_areas import Areas, _away_from, agreement, only_edges_agree
from tests.image.test_surroundings import fixed

SIDE = 200


def ground(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), sigma) for sigma in (12, 4, 1.5, 0.8)]
    return np.asarray(110 + sum(14 * layer / layer.std() for layer in layers))


def polygons(seed: int, count: int = 40) -> np.ndarray:
    rng, mask = np.random.default_rng(seed), np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(count):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        reach = rng.uniform(4, 15) * rng.uniform(0.6, 1, (7, 1))
        corners = rng.uniform(0, SIDE, 2) + reach * np.column_stack([np.cos(angles), np.sin(angles)])
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask > 0


def filled(grey: np.ndarray, kept: np.ndarray, seed: int, level: float = 100, sigma: float = 1) -> np.ndarray:
    """Paint what is not kept, with the noise of this scene."""
    noise = np.random.default_rng(seed).normal(0, sigma, grey.shape)
    return np.clip(np.rint(np.where(kept, grey, level + noise)), 1, 255).astype(np.uint8)


def seasons(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one ground on two dates."""
    one, other, third = (ground(number) - 110 for number in (seed, seed + 500, seed + 900))
    return 110 + one + 0.4 * other, 110 + one + 0.4 * third


def explained(one: np.ndarray, other: np.ndarray) -> bool:
    query, train = fixed(one), fixed(other)
    return only_edges_agree(query.areas, train.areas, common_blocks(query, train))


@pytest.mark.slow
@pytest.mark.parametrize("level", [30, 100, 200])
def test_unrelated_scenes_with_one_painted_outline_are_not_verified(level: float) -> None:
    for seed in range(4):
        kept = polygons(seed)
        parts = [filled(ground(number), kept, number, level) for number in (seed + 10, seed + 20)]
        assert explained(*parts)
        assert not judged(*map(scene, parts)).verified


@pytest.mark.slow
def test_one_ground_inside_painted_outlines_stays_verified() -> None:
    for seed in range(4):
        kept = polygons(seed)
        parts = [filled(grey, kept, number) for number, grey in enumerate(seasons(seed))]
        assert not explained(*parts)
        assert judged(*map(scene, parts)).verified


def test_a_lake_or_a_coast_does_not_hide_a_true_pair() -> None:
    lake = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(lake, (110, 90), (70, 50), 20, 0, 360, 1, -1)
    coast = np.add.outer(np.arange(SIDE), 20 * np.sin(np.arange(SIDE) / 9)) < 150
    for water in (lake > 0, coast):
        parts = [filled(grey, ~water, number, 90, 2) for number, grey in enumerate(seasons(3))]
        query, train = map(fixed, parts)
        blocks = common_blocks(query, train)
        even = [part.areas.even[at] for part, at in zip((query, train), blocks, strict=True)]
        assert np.count_nonzero(even[0] & even[1]) >= 0.7 * np.count_nonzero(even[0] | even[1])
        assert not only_edges_agree(query.areas, train.areas, blocks)
        assert judged(*map(scene, parts)).verified


def test_scenes_that_share_no_area_are_not_examined() -> None:
    assert not explained(*(np.clip(ground(seed), 1, 255).astype(np.uint8) for seed in (1, 2)))
    assert not explained(*(filled(ground(seed), polygons(seed), seed) for seed in (1, 2)))


def test_too_little_ground_to_compare_is_not_trusted() -> None:
    kept = np.zeros((SIDE, SIDE), np.bool_)
    kept[40:49, 60:69] = True
    assert explained(*(filled(grey, kept, number) for number, grey in enumerate(seasons(0))))


def test_only_inliers_at_rest_are_explained() -> None:
    kept = polygons(0)
    query, train = (fixed(filled(ground(number), kept, number)) for number in (10, 20))
    at, moved = np.float32([[50, 50], [90, 70], [120, 30]]), np.zeros((3, 2), np.float32)
    assert explained_by_pattern(query, train, at, moved)
    assert not explained_by_pattern(query, train, at, moved + np.float32([0, 2]))


def test_scenes_without_common_blocks_are_not_examined() -> None:
    small = fixed(np.full((60, 60), 100, np.uint8))
    assert small.areas.even.shape == (0, 64, 64)
    assert not only_edges_agree(small.areas, small.areas, common_blocks(small, small))


def test_patches_have_no_slope_and_one_length() -> None:
    down, right = np.mgrid[:64, :64]
    blocks = np.stack([100 + down + right, np.clip(ground(0)[:64, :64], 0, 255)]).astype(np.uint8)
    areas = Areas.of(blocks)
    assert not areas.seen[0].any()
    np.testing.assert_allclose((areas.shape[1] ** 2).sum(axis=1)[areas.seen[1]], 1, rtol=1e-5)
    pixels = blocks[1, 60:, 60:].astype(float)
    plane = np.column_stack([np.ones(16), *np.mgrid[:4, :4].reshape(2, -1)])
    left = pixels.ravel() - plane @ np.linalg.lstsq(plane, pixels.ravel())[0]
    np.testing.assert_allclose(areas.shape[1, -1], left / np.linalg.norm(left), atol=1e-4)


def test_the_agreement_of_a_scene_with_itself_is_complete() -> None:
    own = fixed(np.clip(ground(1), 1, 255).astype(np.uint8))
    blocks = common_blocks(own, own)
    count, excess, score = agreement(own.areas, own.areas, blocks, own.areas.seen[blocks[0]])
    assert count > 1000
    assert excess > 0.49
    assert score > 50


@pytest.mark.parametrize("share", [0.0, 0.002, 0.02, 1.0])
def test_patches_away_from_even_pixels_have_a_margin(share: float) -> None:
    even = np.random.default_rng(5).random((3, 64, 64)) < share
    wide = np.pad(even, ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (8, 8), axis=(1, 2))[:, ::4, ::4]
    np.testing.assert_array_equal(_away_from(even), ~windows.any(axis=(3, 4)).reshape(3, 256))


def lakes(seed: int, width_px: float = 6, share: float = 0.3) -> np.ndarray:
    """Return where small round areas are left, beside which the ground has even areas of its own."""
    height = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(400, 400)), (0, 0), width_px)
    return np.asarray(height < np.quantile(height, 1 - share))


def partly_calm(seed: int, cell_px: int = 10) -> np.ndarray:
    """Return ground with calm parts, which are even though nobody painted them."""
    rng = np.random.default_rng(seed)
    rough, place = (cv2.GaussianBlur(rng.normal(size=(400, 400)), (0, 0), sigma) for sigma in (1.2, cell_px))
    return np.asarray(110 + 20 * rough / rough.std() * (place > -0.3 * place.std()) + rng.normal(0, 0.5, place.shape))


@pytest.mark.slow
def test_painted_areas_between_even_ground_are_no_evidence() -> None:
    for seed in range(3):
        kept = lakes(seed)
        parts = [filled(partly_calm(number), kept, number, 30) for number in (seed + 10, seed + 20)]
        areas = [fixed(part).areas for part in parts]
        both, either = areas[0].even & areas[1].even, areas[0].even | areas[1].even
        assert np.count_nonzero(both) < 0.7 * np.count_nonzero(either)
        assert explained(*parts)
        assert not judged(*map(scene, parts)).verified


@pytest.mark.slow
def test_one_ground_between_painted_areas_stays_verified() -> None:
    for seed in range(3):
        kept, ground = lakes(seed), partly_calm(seed + 10)
        changed = ground + 0.4 * (partly_calm(seed + 30) - 110)
        parts = [filled(part, kept, number, 30) for number, part in enumerate((ground, changed))]
        assert not explained(*parts)
        assert judged(*map(scene, parts)).verified


def test_ground_that_may_agree_enough_is_accepted() -> None:
    """Few patches leave open whether the ground agrees as much as it must."""
    part = np.s_[:192, :192]
    kept, ground, other = (found[part] for found in (lakes(2), partly_calm(12), partly_calm(32)))
    parts = [filled(grey, kept, number, 30) for number, grey in enumerate((ground, 0.2 * (ground - 110) + other))]
    query, train = map(fixed, parts)
    blocks = common_blocks(query, train)
    apart = query.areas.apart[blocks[0]] & train.areas.apart[blocks[1]]
    count, excess, _ = agreement(query.areas, train.areas, blocks, apart)
    assert 0.1 - 2 * excess_error(count) < excess < 0.1
    assert not explained(*parts)
