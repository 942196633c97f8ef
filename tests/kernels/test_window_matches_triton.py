"""The Triton kernel gives the reference's bits: on a CUDA device where there is one, and always under the interpreter.

Triton decides when it is imported whether it interprets, so the interpreter runs this file in a process of its own.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from s2fast_kernels.hamming_top2.cases import hard_operands
from s2fast_kernels.hamming_window_top2_both import WindowRows
from s2fast_kernels.window_matches import device_rows, reference, triton_gpu
from s2fast_kernels.window_matches.contract import MatchTest
from tests.kernels.test_window_matches import assert_equal, search_operands

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
SIZES = st.sampled_from([0, 1, 2, 63, 65, 257])

on_a_device = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(),
    reason="no CUDA device; test_under_the_interpreter runs these",
)


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="is this very run")
def test_under_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 skipped" in run.stdout, run.stdout


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
    got = triton_gpu.window_matches(pairs, away, test, device=DEVICE, tiling=triton_gpu.Tiling(128, 4))
    assert_equal(got, reference.window_matches(pairs, away, test))


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize("rows", [16, triton_gpu.TILING.rows])
def test_blocks_and_tiles_join_seamlessly(rows: int) -> None:
    pairs, away = search_operands(65, [63, 0, 130], 2, 5.0, True, 40, seed=3)
    test = MatchTest(0.9, 512, mutual=True)
    got = triton_gpu.window_matches(
        pairs, away, test, device=DEVICE, tiling=triton_gpu.Tiling(rows, triton_gpu.TILING.warps), most=100
    )
    assert len(got.query_row)
    assert_equal(got, reference.window_matches(pairs, away, test))


@on_a_device
@pytest.mark.gpu
def test_scenes_stay_on_the_device_as_long_as_their_rows() -> None:
    query, rows, _ = hard_operands(np.random.default_rng(1), 20, [20], 20)
    before = len(device_rows._kept)
    made = [WindowRows.of(words, np.zeros((20, 2)), np.zeros(20, int), 1.0) for words in (query, rows)]
    found = [device_rows.on_device(side, DEVICE) for side in made]
    triton_gpu.window_matches(
        [(made[0], made[1])], np.zeros((1, 1, 2)), MatchTest(0.9, 160, mutual=True), device=DEVICE
    )
    assert [device_rows.on_device(side, DEVICE) for side in made] == found
    assert len(device_rows._kept) == before + 2
    del made
    assert len(device_rows._kept) == before
