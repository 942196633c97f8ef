"""The ways to count bits whose rates are bounds count the bits that differ."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from llvmlite import binding

from benchmarks import counting

HAS_AVX2 = platform.machine() in ("x86_64", "AMD64") and bool(binding.get_host_cpu_features().get("avx2"))

VECTOR, WORD = (np.arange(32) % 8, np.arange(32) + 8), (np.arange(128) % 8, np.arange(128) + 64)
"""Places of the operands that are compared, of 32 and of 8 bytes."""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_AVX2, reason="no AVX2 on this processor")
@pytest.mark.parametrize(
    ("way", "size", "places", "sums_of"),
    [
        ("shuffles and vpsadbw", 32, VECTOR, np.uint64),
        ("carry-save adders, then shuffles", 32, VECTOR, np.uint8),
        ("popcnt of 64 bits", 8, WORD, np.uint64),
    ],
)
def test_what_is_counted_are_the_differing_bits(
    way: str, size: int, places: tuple[np.ndarray, np.ndarray], sums_of: type
) -> None:
    memory, sums = counting.operands()
    rows = memory.reshape(-1, size)
    wanted = int(np.bitwise_count(rows[places[0]] ^ rows[places[1]]).sum())
    work = counting.compiled(counting.WAYS[way])
    assert work(memory, sums, 1) == 16
    assert int(sums.view(sums_of).sum(dtype=np.int64)) == wanted > 1_000
    assert work(memory, sums, 2) == 2 * 16
