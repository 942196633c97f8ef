"""Definition of `hamming_top2` in plain NumPy; all backends must return the same bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast_kernels.features import WORDS

NO_ROW = -1
"""Value of `Top2.index` if the scene is empty."""

NO_DISTANCE = 65535
"""Value of `Top2.best` or `Top2.second` if there is no such neighbour [bits]."""

_TILE_ROWS = 256
"""Query rows compared at once."""


@dataclass(frozen=True, slots=True)
class Top2:
    """The two nearest neighbours of n query rows in each of s train scenes."""

    index: npt.NDArray[np.int32]
    """(n, s) row of the best neighbour within its scene, the lowest of ties; -1 if the scene is empty."""

    best: npt.NDArray[np.uint16]
    """(n, s) distance of the best neighbour [bits]; 65535 if there is none."""

    second: npt.NDArray[np.uint16]
    """(n, s) distance of the second-best neighbour [bits]; 65535 if the scene has fewer than two rows."""

    @classmethod
    def empty(cls, n: int, s: int) -> Top2:
        """Return a result for n query rows and s scenes without any neighbours."""
        return cls(
            index=np.full((n, s), NO_ROW, np.int32),
            best=np.full((n, s), NO_DISTANCE, np.uint16),
            second=np.full((n, s), NO_DISTANCE, np.uint16),
        )


def check_descriptors(name: str, rows: npt.NDArray[np.uint64]) -> None:
    """Raise ValueError unless rows are packed descriptors."""
    if rows.dtype != np.uint64 or rows.ndim != 2 or rows.shape[1] != WORDS:
        raise ValueError(f"{name} must be (rows, {WORDS}) uint64, got {rows.shape} {rows.dtype}")
    if not rows.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous; pass numpy.ascontiguousarray({name})")


def check_operands(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], train_offsets: npt.NDArray[np.int64]
) -> None:
    """Raise ValueError unless the operands satisfy the contract of `hamming_top2`."""
    check_descriptors("query", query)
    check_descriptors("train", train)
    if train_offsets.dtype != np.int64 or train_offsets.ndim != 1 or train_offsets.size < 1:
        raise ValueError(f"train_offsets must be (scenes + 1,) int64, got {train_offsets.shape} {train_offsets.dtype}")
    if train_offsets[0] != 0 or train_offsets[-1] != len(train) or np.any(np.diff(train_offsets) < 0):
        raise ValueError(f"train_offsets must rise from 0 to the number of train rows, {len(train)}")
    if np.any(np.diff(train_offsets) > np.iinfo(np.int32).max):
        raise ValueError(f"a train scene has more rows than an int32 index can address, {np.iinfo(np.int32).max}")


def hamming_top2(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], train_offsets: npt.NDArray[np.int64]
) -> Top2:
    """Compute all distances and keep the two smallest; see the package for the contract."""
    n, s = len(query), len(train_offsets) - 1
    result = Top2.empty(n, s)
    for scene in range(s):
        rows = train[train_offsets[scene] : train_offsets[scene + 1]]
        if len(rows) == 0:
            continue
        for start in range(0, n, _TILE_ROWS):
            tile = slice(start, min(start + _TILE_ROWS, n))
            distance = np.zeros((tile.stop - tile.start, len(rows)), np.uint16)
            for word in range(WORDS):
                distance += np.bitwise_count(query[tile, None, word] ^ rows[None, :, word])
            index = distance.argmin(axis=1)
            result.index[tile, scene] = index
            result.best[tile, scene] = distance[np.arange(len(index)), index]
            if len(rows) > 1:
                distance[np.arange(len(index)), index] = NO_DISTANCE
                result.second[tile, scene] = distance.min(axis=1)
    return result
