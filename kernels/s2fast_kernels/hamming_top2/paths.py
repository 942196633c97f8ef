"""The two ways in which numba kernels compare rows, and the choice between them for this processor."""

from __future__ import annotations

from numba.core.registry import cpu_target

from s2fast_kernels.hamming_top2 import lanes, lookups


def features() -> frozenset[str]:
    """Return the instruction sets that numba compiles for, such as ``"+avx2"``."""
    return frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


LOOKUPS = "+avx2" in features() and "+avx512bitalg" not in features()
"""Whether bits are counted by table lookups: no instruction counts the bits of the words of vectors."""


def _path() -> str:
    if LOOKUPS:
        return "AVX2, table lookups"
    return "AVX-512, counts of vectors" if "+avx512bitalg" in features() else "counts as LLVM compiles them"


PATH = _path()
"""How rows are compared, in words."""

_way = lookups if LOOKUPS else lanes

TOGETHER = _way.TOGETHER
TRAIN_ROWS = lookups.TRAIN_ROWS if LOOKUPS else lanes.ROWS
query_space = _way.query_space
encode_group = _way.encode_group
encode_queries = _way.encode_queries
compare_block = _way.compare_block
compare_block_both = _way.compare_block_both
