"""The sketch of a search on one-bit products computes distances, and compiles without spills."""

import numpy as np
import pytest

from benchmarks import static_one_bit
from benchmarks.static_code import GPUS
from s2fast_kernels.hamming_top2 import reference
from s2fast_kernels.hamming_top2.cases import hard_operands


def test_keys_of_its_lanes_give_the_two_nearest_rows() -> None:
    query, train, offsets = hard_operands(np.random.default_rng(3), 16, [64], 40)
    weights = static_one_bit.weights(train)
    best, second = np.full((2, 16, 8), 2**31 - 1)
    for tile, found in static_one_bit.products(query, train):
        key = weights[8 * tile : 8 * tile + 8] - (found << (static_one_bit.KEY_BITS + 1))
        second = np.minimum(second, np.maximum(best, key))
        best = np.minimum(best, key)
    # The end of the kernel: add the queries' own bits, and reduce the columns, the lowest first.
    best, second = (np.moveaxis(keys, 1, 0) for keys in (best, second))
    own = np.bitwise_count(query).sum(axis=1).astype(np.int64)
    mask = (1 << static_one_bit.KEY_BITS) - 1
    distances, rows = (best >> static_one_bit.KEY_BITS) + own, (best & mask) * 8 + np.arange(8)[:, None]
    wide = np.sort(
        np.concatenate([distances << 32 | rows, ((second >> static_one_bit.KEY_BITS) + own) << 32 | mask]), axis=0
    )
    wanted = reference.hamming_top2(query, train, offsets)
    np.testing.assert_array_equal(wide[0] & 0xFFFFFFFF, wanted.index[:, 0])
    np.testing.assert_array_equal(wide[0] >> 32, wanted.best[:, 0])
    np.testing.assert_array_equal(wide[1] >> 32, wanted.second[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("gpu", [gpu for gpu in GPUS if static_one_bit.has_one_bit(gpu)], ids=lambda gpu: gpu.name)
def test_it_compiles_to_one_bit_products_without_spills(gpu: static_one_bit.Gpu) -> None:
    pytest.importorskip("triton")
    report = static_one_bit.report_one_bit(gpu)
    assert report.problems() == []
    assert report.tensor_instructions == 16
    assert 3 <= report.min_max < 3.2
    # What bounds it: the update of the two smallest keys, or as much the products.
    assert report.rate_apart < report.rate_overlapped
