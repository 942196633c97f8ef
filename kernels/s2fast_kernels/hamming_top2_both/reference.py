"""Definition of `hamming_top2_both`: search one direction, then the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from s2fast_kernels.hamming_top2.reference import Top2, hamming_top2

if TYPE_CHECKING:
    import numpy.typing as npt


def hamming_top2_both(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], train_offsets: npt.NDArray[np.int64]
) -> tuple[Top2, Top2]:
    """Search forward and backward separately; see the package for the contract."""
    everything = np.array([0, len(query)], np.int64)
    return hamming_top2(query, train, train_offsets), hamming_top2(train, query, everything)
