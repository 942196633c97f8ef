"""`hamming_top2` with FAISS: one `knn_hamming` call per scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

from s2fast_kernels.hamming_top2.reference import Top2

if TYPE_CHECKING:
    import numpy.typing as npt


def hamming_top2(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], train_offsets: npt.NDArray[np.int64]
) -> Top2:
    """Search each scene with FAISS's heap variant; see the package for the contract."""
    n, s = len(query), len(train_offsets) - 1
    result = Top2.empty(n, s)
    if n == 0:
        return result
    query_bytes = query.view(np.uint8)
    for scene in range(s):
        rows = train[train_offsets[scene] : train_offsets[scene + 1]]
        if len(rows) == 0:
            continue
        k = min(2, len(rows))
        distance, index = faiss.knn_hamming(query_bytes, rows.view(np.uint8), k, variant="hc")
        result.best[:, scene] = distance[:, 0]
        if k == 2:
            result.second[:, scene] = distance[:, 1]
            # FAISS does not order neighbours at equal distances.
            tied = distance[:, 0] == distance[:, 1]
            result.index[:, scene] = np.where(tied, _lowest_row(query, rows, tied, distance[:, 0]), index[:, 0])
        else:
            result.index[:, scene] = index[:, 0]
    return result


def _lowest_row(
    query: npt.NDArray[np.uint64],
    rows: npt.NDArray[np.uint64],
    tied: npt.NDArray[np.bool_],
    distance: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    """Return the lowest row at the given distance for tied queries, since FAISS may return any rows of a tie."""
    first = np.zeros(len(query), np.int32)
    for row in np.flatnonzero(tied):
        bits = np.bitwise_count(rows ^ query[row]).sum(axis=1, dtype=np.int32)
        first[row] = np.argmax(bits == distance[row])
    return first
