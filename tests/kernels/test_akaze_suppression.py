"""Suppression on sorted lists decides as a scan over masks does, however the candidates lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast_kernels.akaze.candidates import Candidates, by_level, survivors
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.numba_suppress import row_starts, same_level
from s2fast_kernels.akaze.scales import levels

SIDE = 160
OCTAVES = levels(AkazeSettings(octaves=2, layers=2), (SIDE, SIDE))
FLAT = [level for octave in OCTAVES for level in octave]


def first_hit(mask: np.ndarray, y: int, x: int, radius: int) -> tuple[int, int] | None:
    for i in range(max(y - radius, 0), min(y + radius, mask.shape[0])):
        for j in range(max(x - radius, 0), min(x + radius, mask.shape[1])):
            if mask[i, j] and (i - y) ** 2 + (j - x) ** 2 <= radius * radius:
                return i, j
    return None


def scan_masks(maps: list[np.ndarray]) -> list[np.ndarray]:
    """Say who survives the way OpenCV does it; maps hold responses, 0 where there is no candidate."""
    masks = []
    for level, response in zip(FLAT, maps, strict=True):
        mask = np.zeros(response.shape, bool)
        for y, x in np.argwhere(response):
            hit = first_hit(mask, y, x, level.radius)
            if hit is not None:
                if response[y, x] <= response[hit]:
                    continue
                mask[hit] = False
            mask[y, x] = True
        masks.append(mask)
    for i in range(1, len(FLAT)):
        ratio = 1 << FLAT[i].octave - FLAT[i - 1].octave
        for y, x in np.argwhere(masks[i]):
            hit = first_hit(masks[i - 1], y * ratio, x * ratio, FLAT[i].radius * ratio)
            if hit is not None and maps[i][y, x] > maps[i - 1][hit]:
                masks[i - 1][hit] = False
    for i in range(len(FLAT) - 2, -1, -1):
        ratio = 1 << FLAT[i + 1].octave - FLAT[i].octave
        for y, x in np.argwhere(masks[i]):
            hit = first_hit(masks[i + 1], y // ratio, x // ratio, FLAT[i + 1].radius)
            if hit is not None and maps[i][y, x] > maps[i + 1][hit]:
                masks[i + 1][hit] = False
    return masks


def random_maps(seed: int, share: float, ties: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = []
    for level in FLAT:
        # A corner of the image is enough; crowded, so that chains of decisions form.
        response = np.zeros((SIDE >> level.octave, SIDE >> level.octave), np.float32)
        corner = response[: 40 >> level.octave, : 40 >> level.octave]
        corner[:] = rng.integers(1, ties + 1, corner.shape) * (rng.random(corner.shape) < share)
        maps.append(response)
    return maps


def as_candidates(maps: list[np.ndarray]) -> Candidates:
    parts = []
    for level, response in zip(FLAT, maps, strict=True):
        y, x = np.nonzero(response)
        parts.append(
            Candidates.make(
                level.index, y.astype(np.int32), x.astype(np.int32), response[y, x],
                np.zeros((len(y), 2), np.float32), np.ones(len(y), bool),
            )
        )  # fmt: skip
    return Candidates.concatenate(parts)


def alive_in(candidates: Candidates) -> list[np.ndarray]:
    """Survivors of all levels, from two windows that both hold some of the candidates."""
    half, later = candidates.take(slice(0, None, 2)), candidates.take(slice(len(candidates) // 2, None))
    rest = candidates.take(slice(1, None, 2))
    return survivors(by_level([half, rest, later], FLAT), FLAT, SIDE)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1), ties=st.sampled_from([1, 3, 1000]))
def test_lists_decide_as_masks(seed: int, share: float, ties: int) -> None:
    maps = random_maps(seed, share, ties)
    wanted = np.concatenate([mask[response > 0] for mask, response in zip(scan_masks(maps), maps, strict=True)])
    np.testing.assert_array_equal(np.concatenate(alive_in(as_candidates(maps))), wanted)


def test_the_order_of_visits_matters() -> None:
    """The oracle can tell: scanning from the other corner decides otherwise."""
    response = random_maps(0, 0.5, 3)[0]
    y, x = (axis.astype(np.int32) for axis in np.nonzero(response))
    radius = FLAT[0].radius
    forward = same_level(y, x, row_starts(y, SIDE), response[y, x], radius)
    back_y, back_x = y.max() - y[::-1], x.max() - x[::-1]
    backward = same_level(back_y, back_x, row_starts(back_y, SIDE), response[y, x][::-1].copy(), radius)[::-1]
    np.testing.assert_array_equal(
        forward, scan_masks([response, *(np.zeros_like(m) for m in random_maps(0, 0, 1)[1:])])[0][y, x]
    )
    assert np.any(forward != backward)


def test_unique_keeps_the_described_one() -> None:
    candidates = as_candidates(random_maps(1, 0.2, 1000))
    described = candidates.take(np.arange(len(candidates)))
    described.row[:] = np.arange(len(described))
    both = Candidates.concatenate([candidates, described])
    shuffled = both.take(np.random.default_rng(0).permutation(len(both)))
    unique = shuffled.unique()
    np.testing.assert_array_equal(unique.row, described.row)
    np.testing.assert_array_equal(unique.response, candidates.response)


@pytest.mark.parametrize("count", [0, 1])
def test_few_candidates(count: int) -> None:
    candidates = as_candidates(random_maps(1, 0.2, 1000)).take(slice(0, count))
    assert np.concatenate(alive_in(candidates)).tolist() == [True] * count
