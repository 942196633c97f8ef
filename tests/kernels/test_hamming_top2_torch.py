"""`torch_any` gives the reference's bits with either product, on the CPU and on the accelerator torch finds."""

import numpy as np
import pytest
import torch

from s2fast_kernels.hamming_top2 import reference, torch_any
from s2fast_kernels.hamming_top2.cases import CASES, Case, hard_operands, operands


@pytest.mark.parametrize("product", ["int8", "half"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_either_product_equals_reference(case: Case, product: torch_any.Product) -> None:
    got = torch_any.hamming_top2(*operands(case), device=torch.device("cpu"), product=product)
    wanted = reference.hamming_top2(*operands(case))
    for field in ("index", "best", "second"):
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


@pytest.mark.parametrize("product", ["int8", "half"])
def test_tiles_join_seamlessly(product: torch_any.Product) -> None:
    case = hard_operands(np.random.default_rng(4), 1_050, [4_200, 1], 300)
    got = torch_any.hamming_top2(*case, device=torch.device("cpu"), product=product)
    wanted = reference.hamming_top2(*case)
    for field in ("index", "best", "second"):
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


def test_the_selected_product_is_exact() -> None:
    assert torch_any.default_product(torch.device("cpu")) == "int8"
    assert torch_any.default_product(torch.device("mps")) == "half"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("product", ["int8", "half"])
def test_cuda_equals_reference(product: torch_any.Product) -> None:
    case = hard_operands(np.random.default_rng(5), 1_050, [4_200, 0, 1, 65], 300)
    got = torch_any.hamming_top2(*case, device=torch.device("cuda"), product=product)
    wanted = reference.hamming_top2(*case)
    for field in ("index", "best", "second"):
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)
