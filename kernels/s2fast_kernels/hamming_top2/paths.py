"""The two ways in which numba kernels compare rows, and the choice between them for this processor."""

from __future__ import annotations

from numba.core.registry import cpu_target

from s2fast_kernels.hamming_top2 import lanes, lookups


def features() -> frozenset[str]:
    """Return the instruction sets that numba compiles for, such as ``"+avx2"``."""
    return frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


LOOKUPS = {"+avx2"} <= features() and "+avx512bitalg" not in features()
"""Whether bits are counted by table lookups: there is no instruction that counts the bits of vectors' words."""

PATH = (
    "AVX2, table lookups"
    if LOOKUPS
    else "AVX-512, counts of vectors"
    if "+avx512bitalg" in features()
    else "counts as LLVM compiles them"
)
"""How rows are compared, in words."""

TOGETHER = lookups.TOGETHER if LOOKUPS else lanes.TOGETHER
TRAIN_ROWS = lookups.TRAIN_ROWS if LOOKUPS else lanes.ROWS
query_space = lookups.query_space if LOOKUPS else lanes.query_space
encode_group = lookups.encode_group if LOOKUPS else lanes.encode_group
encode_queries = lookups.encode_queries if LOOKUPS else lanes.encode_queries
compare_block = lookups.compare_block if LOOKUPS else lanes.compare_block
compare_block_both = lookups.compare_block_both if LOOKUPS else lanes.compare_block_both
