"""Compiled recognition of fixed patterns agrees with the plain one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast.image import compiled_pattern, fixed_pattern
from s2fast.image.fixed_pattern import FixedPattern
from tests.image.test_fixed_pattern import fixed, ground, noise, picture


def pattern(rng: np.random.Generator, rows: int, levels: int, cells: int) -> FixedPattern:
    """Draw a pattern without blocks; few levels and few painted cells agree by chance."""
    bits = rng.integers(0, 1 << 64, (cells, rows), dtype=np.uint64) if cells else np.zeros((1, rows), np.uint64)
    core = rng.integers(0, levels, (rows, 25)).astype(np.uint8)
    return FixedPattern(np.bitwise_and.reduce(bits), core, np.zeros((0, 64, 64), np.uint8), np.zeros((0, 2), np.int32))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    rows=st.sampled_from([1, 2, 65, 257]),
    matches=st.sampled_from([0, 1, 63, 300]),
    levels=st.sampled_from([1, 2, 4, 30, 256]),
    cells=st.sampled_from([0, 1, 2, 4]),
    copied=st.sampled_from([0.0, 0.1, 0.49, 0.51, 1.0]),
    at_rest=st.sampled_from([0.0, 0.5, 1.0]),
    with_positions=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_paint_explains_the_same_matches(
    rows: int, matches: int, levels: int, cells: int, copied: float, at_rest: float, with_positions: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query, train = (pattern(rng, rows, levels, cells) for _ in range(2))
    same = rng.random(rows) < copied
    train.core[same] = query.core[same]
    chosen = rng.integers(0, rows, (2, matches)).astype(np.int32)
    chosen[1] = np.where(rng.random(matches) < 0.7, chosen[0], chosen[1])
    reach = np.where(rng.random((matches, 1)) < at_rest, 1.0, 4.0)
    moved = np.rint(8 * rng.uniform(-reach, reach, (matches, 2))).astype(np.float32) / np.float32(8)
    operands = query, train, *chosen, moved if with_positions else None, rows
    np.testing.assert_array_equal(
        compiled_pattern.explained_by_paint(*operands), fixed_pattern.explained_by_paint(*operands)
    )


@pytest.mark.parametrize("painted_blocks", [False, True])
def test_copies_are_no_overlay(painted_blocks: bool) -> None:
    rng = np.random.default_rng(3)
    grey = picture(ground(0))
    query = fixed(grey, rng.uniform(20, 300, (80, 2)))
    other = grey.copy()
    other[:200] = picture(ground(1))[:200] if painted_blocks else other[:200]
    train = fixed(other, rng.uniform(20, 300, (80, 2)))
    train.core[:60] = query.core[:60]
    rows, moved = np.arange(80, dtype=np.int32), np.zeros((80, 2), np.float32)
    wanted = fixed_pattern.explained_by_paint(query, train, rows, rows, moved, 80)
    np.testing.assert_array_equal(compiled_pattern.explained_by_paint(query, train, rows, rows, moved, 80), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("side", [400, 200, 100])
@pytest.mark.parametrize("shared", [0.0, 0.3, 0.6, 1.0, 2.0])
def test_noise_is_shared_or_not_as_in_the_plain_version(
    shared: float, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = shared * noise(np.random.default_rng(9))
    query, train = (fixed(picture(ground(seed) + common)) for seed in (0, 1))
    train = fixed(picture(ground(1) + common)[:, :side])
    seen: dict[str, np.ndarray] = {}
    for name, share_noise in (("plain", fixed_pattern.share_noise), ("compiled", compiled_pattern.share_noise)):
        decided = fixed_pattern.is_noise
        with monkeypatch.context() as patch:
            patch.setattr(
                fixed_pattern, "is_noise", lambda found, name=name: bool(seen.setdefault(name, found) is found)
            )
            decided_here = share_noise(query, train)
        assert decided_here == (name in seen)
        assert share_noise(query, train) == (name in seen and decided(seen[name]))
    assert seen.keys() in ({"plain", "compiled"}, set())
    if seen:
        # The plain version adds up some thousand float32 numbers.
        np.testing.assert_allclose(seen["compiled"], seen["plain"], atol=2e-4)
