"""The Triton kernels give the bits of the reference, on a CUDA device and under the interpreter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast_kernels.backends import BackendError, resolve
from s2fast_kernels.device_memory import DeviceMemoryError, at_most_bytes
from s2fast_kernels.hamming_top2 import BACKENDS, reference, triton_gpu
from s2fast_kernels.hamming_top2.cases import CASES, Case, hard_operands, operands, random_descriptors
from s2fast_kernels.hamming_top2.reference import Top2
from tests.kernels.interpreter import INTERPRETED, on_a_device

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
SMALL = triton_gpu.Tiling(16, 64, 4, 1, peel=True)
SIZES = st.sampled_from([0, 1, 2, 15, 16, 17, 63, 65])


def assert_equal(got: Top2, wanted: Top2) -> None:
    for field in ("index", "best", "second"):
        assert getattr(got, field).dtype == getattr(wanted, field).dtype
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_reference(case: Case) -> None:
    got = triton_gpu.hamming_top2(*operands(case), device=DEVICE, tiling=SMALL, chunk_rows=96)
    assert_equal(got, reference.hamming_top2(*operands(case)))


@on_a_device
@pytest.mark.gpu
@settings(max_examples=8, deadline=None)
@given(
    n=SIZES,
    scene_rows=st.lists(SIZES, max_size=4),
    distinct=st.sampled_from([1, 2, 5, 1 << 20]),
    seed=st.integers(0, 1 << 32),
    peel=st.booleans(),
)
def test_equals_reference_on_hard_operands(n: int, scene_rows: list[int], distinct: int, seed: int, peel: bool) -> None:
    case = hard_operands(np.random.default_rng(seed), n, scene_rows, distinct)
    tiling = triton_gpu.Tiling(16, 16, 4, 1, peel)
    assert_equal(
        triton_gpu.hamming_top2(*case, device=DEVICE, tiling=tiling, chunk_rows=32), reference.hamming_top2(*case)
    )


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize(
    "tiling", sorted(set(triton_gpu.TILINGS.values()), key=repr) if INTERPRETED else [None], ids=repr
)
def test_equals_reference_as_tiled_for_an_architecture(tiling: triton_gpu.Tiling | None) -> None:
    case = hard_operands(np.random.default_rng(6), 130, [65, 1, 64], 90)
    assert_equal(triton_gpu.hamming_top2(*case, device=DEVICE, tiling=tiling), reference.hamming_top2(*case))


@on_a_device
@pytest.mark.gpu
def test_panels_join_seamlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_gpu, "_TRAIN_PANEL", 50)
    monkeypatch.setattr(triton_gpu, "_QUERY_PANEL", 20)
    case = hard_operands(np.random.default_rng(7), 45, [20, 30, 0, 10, 51, 1, 0], 30)
    got = triton_gpu.hamming_top2(*case, device=DEVICE, tiling=SMALL, chunk_rows=32)
    assert_equal(got, reference.hamming_top2(*case))


@on_a_device
@pytest.mark.gpu
def test_index_beyond_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    tiling = None
    if INTERPRETED:
        # The interpreter's time goes with the number of programs and steps.
        monkeypatch.setattr(triton_gpu, "_EXPAND_ROWS", 2048)
        tiling = triton_gpu.Tiling(16, 1024, 4, 1, peel=True)
    train = random_descriptors(np.random.default_rng(8), 66_000)
    train[65_900] = train[65_600]
    query = train[[0, 65_535, 65_600, 65_999]]
    got = triton_gpu.hamming_top2(query, train, np.array([0, len(train)]), device=DEVICE, tiling=tiling)
    np.testing.assert_array_equal(got.index[:, 0], [0, 65_535, 65_600, 65_999])
    np.testing.assert_array_equal(got.best, 0)
    assert got.second[2, 0] == 0


@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="asks what happens without a device")
def test_without_a_device_the_backend_gives_the_reason() -> None:
    with pytest.raises(
        BackendError, match=r"backend 'triton' cannot run here: (no GPU driver|there is a GPU driver, but torch)"
    ):
        resolve(BACKENDS, "triton")
    assert resolve(BACKENDS).name == "numba"


def test_scenes_share_panels_and_only_long_ones_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_gpu, "_TRAIN_PANEL", 50)
    panels = triton_gpu._Panels.of(np.cumsum([0, 20, 30, 0, 10, 70, 1, 0]), 32, 1 << 40)
    assert panels.offsets.tolist() == [0, 20, 50, 50, 60, 110, 130, 131, 131]
    assert panels.scene.tolist() == [0, 1, 2, 3, 4, 4, 5, 6]
    assert panels.panels == [(0, 3), (3, 4), (4, 5), (5, 8)]
    assert panels.queries == triton_gpu._QUERY_PANEL


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize("limit", [40_000, 100_000])
def test_a_small_device_gives_the_same_bits(limit: int) -> None:
    case = hard_operands(np.random.default_rng(7), 45, [20, 30, 0, 10, 90, 1, 0], 30)
    panels = triton_gpu._Panels.of(case[2], 32, limit)
    assert len(panels.panels) > 2  # scenes are cut, and for the smaller device queries too
    assert (panels.queries < 45) == (limit == 40_000)
    with at_most_bytes(limit):
        got = triton_gpu.hamming_top2(*case, device=DEVICE, tiling=SMALL, chunk_rows=32)
    assert_equal(got, reference.hamming_top2(*case))


@on_a_device
@pytest.mark.gpu
def test_a_device_that_is_too_small_is_one_line() -> None:
    case = hard_operands(np.random.default_rng(7), 5, [20], 30)
    with at_most_bytes(600), pytest.raises(DeviceMemoryError, match=r"^a search needs more of .* than the 0 MiB .*$"):
        triton_gpu.hamming_top2(*case, device=DEVICE, tiling=SMALL)


@pytest.mark.parametrize(("capability", "like"), [(80, 80), (86, 80), (90, 90), (103, 100), (121, 120)])
def test_an_unknown_architecture_is_tiled_like_the_one_before(capability: int, like: int) -> None:
    assert triton_gpu.tiling_of(capability) == triton_gpu.TILINGS[like]


def test_an_architecture_without_int8_products_is_refused() -> None:
    with pytest.raises(ValueError, match=r"8\.0 or newer, got 7\.0"):
        triton_gpu.tiling_of(70)
