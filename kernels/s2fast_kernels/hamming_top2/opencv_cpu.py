"""`hamming_top2` with OpenCV: one `batchDistance` call per scene, or several for large scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, Top2

if TYPE_CHECKING:
    import numpy.typing as npt

_MAX_TRAIN_ROWS = 1 << 17
"""Maximum number of train rows per call; OpenCV rejects 262,144 or more."""


def hamming_top2(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], train_offsets: npt.NDArray[np.int64]
) -> Top2:
    """Search each scene with OpenCV's brute-force matcher; see the package for the contract."""
    n, s = len(query), len(train_offsets) - 1
    result = Top2.empty(n, s)
    if n == 0:
        return result
    query_bytes = query.view(np.uint8)
    for scene in range(s):
        for start in range(int(train_offsets[scene]), int(train_offsets[scene + 1]), _MAX_TRAIN_ROWS):
            stop = min(start + _MAX_TRAIN_ROWS, int(train_offsets[scene + 1]))
            k = min(2, stop - start)
            distance, index = cv2.batchDistance(
                query_bytes, train[start:stop].view(np.uint8), cv2.CV_32S, normType=cv2.NORM_HAMMING, K=k
            )
            second = distance[:, 1] if k == 2 else np.full(n, NO_DISTANCE)
            _merge(result, scene, index[:, 0] + (start - train_offsets[scene]), distance[:, 0], second)
    return result


def _merge(
    result: Top2,
    scene: int,
    index: npt.NDArray[np.integer],
    best: npt.NDArray[np.integer],
    second: npt.NDArray[np.integer],
) -> None:
    """Merge the neighbours found in later rows of a scene into those of its earlier rows."""
    old_best, old_second = result.best[:, scene].copy(), result.second[:, scene].copy()
    nearer = best < old_best
    result.index[:, scene] = np.where(nearer, index, result.index[:, scene])
    result.best[:, scene] = np.where(nearer, best, old_best)
    result.second[:, scene] = np.where(nearer, np.minimum(old_best, second), np.minimum(old_second, best))
