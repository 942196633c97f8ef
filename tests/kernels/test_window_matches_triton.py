"""The Triton kernel gives the bits of the reference, on a CUDA device and under the interpreter."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from s2fast_kernels.hamming_top2.cases import hard_operands
from s2fast_kernels.hamming_window_top2_both import WindowRows
from s2fast_kernels.window_matches import reference, resident, triton_gpu
from s2fast_kernels.window_matches.contract import MatchTest
from tests.kernels.broken import with_fault
from tests.kernels.interpreter import INTERPRETED, on_a_device
from tests.kernels.test_window_matches import assert_equal, search_operands

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
SIZES = st.sampled_from([0, 1, 2, 31, 33, 65] if INTERPRETED else [0, 1, 2, 63, 65, 257])
TILING = triton_gpu.Tiling(32, 1) if INTERPRETED else triton_gpu.Tiling(128, 4)
"""Rows of less than a tile, and of several; the interpreter's time goes with the number of rows."""


@on_a_device
@pytest.mark.gpu
@settings(max_examples=25, deadline=None)
@given(
    n=SIZES,
    trains=st.lists(SIZES, max_size=3),
    places=st.sampled_from([0, 1, 3]),
    radius=st.sampled_from([0.0, 1.0, 5.0]),
    ratio=st.sampled_from([0.0, 0.8, 0.9, 1.0]),
    most=st.sampled_from([0, 1, 160, 512]),
    mutual=st.booleans(),
    lattice=st.booleans(),
    distinct=st.sampled_from([1, 2, 5, 1 << 20]),
    seed=st.integers(0, 1 << 32),
)
def test_equals_the_reference(
    n: int,
    trains: list[int],
    places: int,
    radius: float,
    ratio: float,
    most: int,
    mutual: bool,
    lattice: bool,
    distinct: int,
    seed: int,
) -> None:
    pairs, away = search_operands(n, trains, places, radius, lattice, distinct, seed)
    test = MatchTest(ratio, most, mutual)
    got = triton_gpu.window_matches(pairs, away, test, device=DEVICE, tiling=TILING)
    assert_equal(got, reference.window_matches(pairs, away, test))


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize(
    ("n", "trains", "radius"), [(257, [63, 0, 65], 5.0), (65, [257, 1, 2], 0.0), (63, [257], 0.0), (1, [257], 1e3)]
)
def test_rows_of_whole_tiles_and_one_more(n: int, trains: list[int], radius: float) -> None:
    pairs, away = search_operands(n, trains, 1, radius, lattice=True, distinct=90, seed=9)
    test = MatchTest(1.0, 512, mutual=True)
    got = triton_gpu.window_matches(pairs, away, test, device=DEVICE, tiling=triton_gpu.Tiling(64, 2))
    assert len(got.query_row)
    assert_equal(got, reference.window_matches(pairs, away, test))


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize("rows", [16, triton_gpu.TILING.rows])
def test_blocks_and_tiles_join_seamlessly(rows: int) -> None:
    pairs, away = search_operands(35, [33, 0, 70], 2, 5.0, True, 20, seed=3)
    test = MatchTest(0.9, 512, mutual=True)
    got = triton_gpu.window_matches(
        pairs, away, test, device=DEVICE, tiling=triton_gpu.Tiling(rows, triton_gpu.TILING.warps), most=50
    )
    assert len(got.query_row)
    assert_equal(got, reference.window_matches(pairs, away, test))


FAULTS = {
    "a dropped word": (
        "distance = tl.sum(_population(own_words ^ others), axis=1)",
        "distance = tl.sum(tl.where(word[None, :] > 0, _population(own_words ^ others), 0), axis=1)",
    ),
    "a swapped tie": (
        "            best = tl.minimum(best, key)",
        "            best = tl.where((key >> ROW_BITS) <= (best >> ROW_BITS), key, best)",
    ),
}
"""Faults of the kernel, as text and its replacement."""


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault: str, tmp_path: Path) -> None:
    pairs, away = search_operands(33, [31, 33], 1, 5.0, lattice=True, distinct=2, seed=4)
    test = MatchTest(1.0, 512, mutual=True)
    wanted = reference.window_matches(pairs, away, test)
    assert_equal(triton_gpu.window_matches(pairs, away, test, device=DEVICE), wanted)
    broken = with_fault(triton_gpu, tmp_path, *FAULTS[fault])
    with pytest.raises(AssertionError):
        assert_equal(broken.window_matches(pairs, away, test, device=DEVICE), wanted)


@on_a_device
@pytest.mark.gpu
def test_scenes_stay_on_the_device_as_long_as_their_rows() -> None:
    query, rows, _ = hard_operands(np.random.default_rng(1), 20, [20], 20)
    before = len(resident._kept)
    made = [WindowRows.of(words, np.zeros((20, 2)), np.zeros(20, int), 1.0) for words in (query, rows)]
    found = [resident.on_device(side, DEVICE) for side in made]
    triton_gpu.window_matches(
        [(made[0], made[1])], np.zeros((1, 1, 2)), MatchTest(0.9, 160, mutual=True), device=DEVICE
    )
    assert [resident._kept[id(side), DEVICE] for side in made] == found
    assert len(resident._kept) == before + 2
    del made
    assert len(resident._kept) == before
