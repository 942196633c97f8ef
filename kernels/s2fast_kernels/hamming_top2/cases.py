"""Operands of `hamming_top2`, shared by tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast_kernels.features import WORDS

DESCRIPTOR_BITS = 486
"""Number of bits of an AKAZE descriptor; the last 26 of the 512 bits are zero."""


@dataclass(frozen=True, slots=True)
class Case:
    """Sizes of one call."""

    name: str
    """Name of the case."""

    n: int
    """Number of query rows."""

    scene_rows: tuple[int, ...]
    """Number of train rows of each scene."""

    distinct: int | None = None
    """Number of distinct descriptors from which rows are drawn, for many ties; None: all rows differ."""


ODD_SCENES = Case("odd_scenes", 65, (63, 0, 1, 257, 2, 65))
"""Several scenes of odd sizes, one of them empty."""

CASES = (
    Case("one_row", 1, (1,)),
    Case("two_rows", 2, (2,)),
    Case("no_query", 0, (5,)),
    Case("no_scene", 3, ()),
    Case("empty_scene", 63, (0,)),
    ODD_SCENES,
    Case("odd_queries", 257, (63,)),
    Case("ties", 65, (257, 129), distinct=3),
    Case("all_equal", 33, (65, 1), distinct=1),
    Case("many_scenes", 31, tuple(range(40))),
    Case("several_blocks", 7, (4_200, 2_049), distinct=200),
)


def random_descriptors(rng: np.random.Generator, rows: int, distinct: int | None = None) -> npt.NDArray[np.uint64]:
    """Return random packed descriptors: 486 random bits per row, the rest zero."""
    drawn = rows if distinct is None else min(rows, distinct)
    bits = rng.integers(0, 1 << 64, (drawn, WORDS), dtype=np.uint64)
    bits[:, -1] &= np.uint64((1 << (DESCRIPTOR_BITS - 64 * (WORDS - 1))) - 1)
    if distinct is None or rows == 0:
        return bits
    return bits[rng.integers(0, drawn, rows)]


def operands(case: Case, seed: int = 0) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return query, train and offsets of a case; query rows are drawn from the distribution of the train rows."""
    rng = np.random.default_rng(seed)
    rows = sum(case.scene_rows)
    pool = random_descriptors(rng, case.n + rows, case.distinct)
    offsets = np.concatenate([[0], np.cumsum(case.scene_rows, dtype=np.int64)]).astype(np.int64)
    return np.ascontiguousarray(pool[: case.n]), np.ascontiguousarray(pool[case.n :]), offsets


def hard_operands(
    rng: np.random.Generator, n: int, scene_rows: list[int], distinct: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return random operands with many ties: rows are copies of few distinct ones with at most one bit flipped.

    Some words are all zeros or all ones. All 512 bits are used, not only the 486 of AKAZE.
    """
    rows = n + sum(scene_rows)
    pool = rng.integers(0, 1 << 64, (max(1, min(distinct, rows)), WORDS), dtype=np.uint64)
    for word in rng.integers(0, WORDS, rng.integers(0, WORDS + 1)):
        pool[:, word] = rng.choice(np.array([0, (1 << 64) - 1, 1, 1 << 63], np.uint64))
    drawn = pool[rng.integers(0, len(pool), rows)]
    flips = rng.integers(0, 2, rows, dtype=np.uint64) << rng.integers(0, 64, rows, dtype=np.uint64)
    drawn[np.arange(rows), rng.integers(0, WORDS, rows)] ^= flips
    offsets = np.concatenate([[0], np.cumsum(scene_rows, dtype=np.int64)]).astype(np.int64)
    return np.ascontiguousarray(drawn[:n]), np.ascontiguousarray(drawn[n:]), offsets
