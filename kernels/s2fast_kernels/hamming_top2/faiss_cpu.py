"""`hamming_top2` with FAISS: one `knn_hamming` call per scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

from s2fast_kernels.hamming_top2.reference import Top2

if TYPE_CHECKING:
    import numpy.typing as npt

_NEIGHBOURS = 8
"""Neighbours searched to resolve a tie; random descriptors rarely have more at one distance."""


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
            result.index[:, scene] = index[:, 0]
            if tied.any():
                result.index[tied, scene] = _lowest_rows(query[tied], rows, distance[tied, 0])
        else:
            result.index[:, scene] = index[:, 0]
    return result


def _lowest_rows(
    query: npt.NDArray[np.uint64], rows: npt.NDArray[np.uint64], best: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """Return the lowest row at the distance `best` of every query, since FAISS may return any rows of a tie.

    More neighbours are searched: if the last of them is farther, all rows of the tie are among them.
    """
    k = min(_NEIGHBOURS, len(rows))
    distance, index = faiss.knn_hamming(query.view(np.uint8), rows.view(np.uint8), k, variant="hc")
    lowest: npt.NDArray[np.int64] = np.where(distance == best[:, None], index, len(rows)).min(axis=1)
    if k < len(rows):
        for row in np.flatnonzero(distance[:, -1] == best):
            bits = np.bitwise_count(rows ^ query[row]).sum(axis=1, dtype=np.int32)
            lowest[row] = np.argmax(bits == best[row])
    return lowest
