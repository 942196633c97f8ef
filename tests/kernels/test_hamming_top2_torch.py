"""`torch_any` gives the reference's bits with every product, on the CPU and on the accelerator torch finds."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from s2fast_kernels.device_memory import DeviceMemoryError, at_most_bytes
from s2fast_kernels.hamming_top2 import reference, torch_any
from s2fast_kernels.hamming_top2.cases import CASES, Case, hard_operands, operands


@pytest.mark.slow
@pytest.mark.parametrize("product", ["int8", "float16", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_product_equals_reference(case: Case, product: torch_any.Product) -> None:
    got = torch_any.hamming_top2(*operands(case), device=torch.device("cpu"), product=product)
    wanted = reference.hamming_top2(*operands(case))
    for field in ("index", "best", "second"):
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


@pytest.mark.parametrize("product", ["int8", "float32"])
def test_tiles_join_seamlessly(product: torch_any.Product) -> None:
    case = hard_operands(np.random.default_rng(4), 1_050, [4_200, 1], 300)
    got = torch_any.hamming_top2(*case, device=torch.device("cpu"), product=product)
    wanted = reference.hamming_top2(*case)
    for field in ("index", "best", "second"):
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


def test_a_device_that_is_too_small_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(torch_any, "_key_space", fail)
    case = hard_operands(np.random.default_rng(4), 3, [4], 30)
    with at_most_bytes(5 << 20), pytest.raises(DeviceMemoryError, match=r"^cpu has less free memory than the 5 MiB "):
        torch_any.hamming_top2(*case, device=torch.device("cpu"), product="float32")


@pytest.fixture
def unmeasured() -> Iterator[None]:
    torch_any.default_product.cache_clear()
    yield
    torch_any.default_product.cache_clear()


@pytest.mark.usefixtures("unmeasured")
def test_the_selected_product_is_the_fastest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_any.default_product(torch.device("mps")) == "float16"
    assert torch_any.default_product(torch.device("cuda")) == "int8"
    asked = []

    def slow_int8(_device: torch.device, product: torch_any.Product, *rows: int) -> float:
        asked.append((product, *rows))
        return {"int8": 1.75, "float32": 0.046}[product]

    # As on a processor without VNNI: measured once, not in every call, and not with a whole tile.
    monkeypatch.setattr(torch_any, "_trial_s", slow_int8)
    assert [torch_any.default_product(torch.device("cpu")) for _ in range(3)] == ["float32"] * 3
    assert asked == [("int8", 128, 512), ("float32", 128, 512)] * 2


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("fastest", ["int8", "float32"])
def test_whole_tiles_decide_between_products_that_are_near(
    fastest: torch_any.Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = itertools.count()

    def near(_device: torch.device, product: torch_any.Product, query_rows: int, _train_rows: int) -> float:
        # The other product is faster in small trials, and every third search is disturbed.
        wins = (product == fastest) == (query_rows == 512)
        return (0.8 if wins else 1.0) * (9.0 if next(rounds) % 3 == 0 else 1.0)

    monkeypatch.setattr(torch_any, "_trial_s", near)
    assert torch_any.default_product(torch.device("cpu")) == fastest


@pytest.mark.usefixtures("unmeasured")
def test_trials_run_on_one_thread_and_leave_torchs_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before, during = torch.get_num_threads(), set()
    keys = torch_any._tile_keys

    def watched(*operands: Any) -> torch.Tensor:
        during.add(torch.get_num_threads())
        return keys(*operands)

    monkeypatch.setattr(torch_any, "_tile_keys", watched)
    torch.set_num_threads(2)
    try:
        torch_any.default_product(torch.device("cpu"))
        assert (during, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("slow", ["int8", "float32"])
def test_the_trial_finds_a_product_that_is_slower(slow: torch_any.Product, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = torch_any._tile_keys

    def unlike(*operands: Any) -> torch.Tensor:
        if operands[4] == slow:
            for _ in range(20):
                keys(*operands)
            return keys(*operands)
        # The other multiplies nothing: without VNNI and AMX, int8 is slower than twenty float32 products.
        return torch.zeros(operands[2], operands[3], dtype=operands[5].dtype)

    monkeypatch.setattr(torch_any, "_tile_keys", unlike)
    assert torch_any.default_product(torch.device("cpu")) != slow


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("product", ["int8", "float16", "float32"])
def test_cuda_equals_reference(product: torch_any.Product) -> None:
    case = hard_operands(np.random.default_rng(5), 1_050, [4_200, 0, 1, 65], 300)
    got = torch_any.hamming_top2(*case, device=torch.device("cuda"), product=product)
    wanted = reference.hamming_top2(*case)
    for field in ("index", "best", "second"):
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)
