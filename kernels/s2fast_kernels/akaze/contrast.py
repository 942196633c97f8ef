"""Contrast factor: the gradient below which diffusion is hardly inhibited, a quantile of the image's gradients.

OpenCV sorts gradient magnitudes into 300 equal bins up to the largest, and returns the upper edge of the bin in which
70 % of the gradients outside bin 0 are reached. The largest is known only at the end, so OpenCV needs two passes. Here
one pass counts squared magnitudes by the leading bits of their float32 patterns, which are monotonic in the value. That
is enough to identify the bin, unless the quantile is among values that share those bits with a bin's edge; only then a
second pass counts OpenCV's bins. Both ways the result is OpenCV's for the whole image, with windows in any order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.contract import check_image
from s2fast_kernels.akaze.jobs import Pixels, Rect, Source
from s2fast_kernels.machine import available_cores

if TYPE_CHECKING:
    from s2fast_kernels.akaze.masks import Mask

BINS = 300
"""Number of bins of OpenCV's histogram."""

QUANTILE = np.float32(0.7)
"""Fraction of the gradients outside bin 0 that are below the contrast factor."""

FLAT = 0.03
"""Contrast factor of an image without gradients."""

FINE_SHIFT = 14
"""Low bits of a float32 that the fine histogram ignores: it has 512 bins per doubling of the squared magnitude."""

FINE_BINS = int(np.float32(1024).view(np.int32)) >> FINE_SHIFT
"""Number of bins of the fine histogram: Scharr gradients of an image in [0, 1] have squared magnitudes up to 512."""

_STRIP_PX = 512
"""Rows of a part whose gradients are counted at once, and half its columns."""
_HALO = 3
"""Reach of a gradient: blur and Scharr [px]."""

_EVERYWHERE = np.ones((0, 0), np.bool_)
"""Mask that stands for "all pixels", since compiled code needs an argument of one type."""


def contrast_factor(
    source: Source, shape: tuple[int, int], *, valid: Mask | None = None, threads: int | None = None
) -> float:
    """Compute an image's contrast factor, strip by strip.

    Parameters
    ----------
    source
        Returns a part of the image, uint8 or float32 in [0, 1]; called from several threads.
    shape
        Rows and columns of the image [px].
    valid
        Only gradients at these pixels are counted. A gradient depends on pixels up to 3 px away: erode the mask by 3 px
        if invalid pixels have no image data.
    threads
        Number of threads; None: one per core.

    Returns
    -------
    float
        `AkazeSettings`' contrast factor, a float32.
    """
    from s2fast_kernels.akaze.numba_contrast import count_bins, count_fine

    height, width = shape
    if height < 3 or width < 3:
        return FLAT
    strips = [
        Rect(top, min(top + _STRIP_PX, height - 1), left, min(left + 2 * _STRIP_PX, width - 1))
        for top in range(1, height - 1, _STRIP_PX)
        for left in range(1, width - 1, 2 * _STRIP_PX)
    ]
    if valid is not None:
        strips = [strip for strip in strips if valid.any(*strip)]

    def operands(strip: Rect) -> tuple[Pixels, Rect, npt.NDArray[np.bool_]]:
        window = strip.grown(_HALO, height, width)
        block = source(*window.slices)
        check_image(block)
        inner = strip.within(window)
        return block, inner, _EVERYWHERE if valid is None else valid.part(*strip.slices)

    with ThreadPoolExecutor(threads or available_cores()) as pool:
        counts = np.zeros(FINE_BINS, np.int64)
        largest = np.float32(0)
        for part, peak in pool.map(lambda strip: count_fine(*operands(strip), FINE_SHIFT, FINE_BINS), strips):
            counts += part
            largest = max(largest, peak)
        if largest == 0:
            return FLAT
        edges = bin_edges(largest)
        k = bin_of_fine(counts, edges)
        if k is None:
            exact = np.zeros(BINS, np.int64)
            for part in pool.map(lambda strip: count_bins(*operands(strip), edges), strips):
                exact += part
            k = quantile_bin(exact.cumsum(), int(exact[0]))
    return FLAT if k == BINS else float(np.sqrt(largest) * np.float32(k) / np.float32(BINS))


def bin_edges(largest: np.float32) -> npt.NDArray[np.float32]:
    """Return the lower edges of OpenCV's bins 1 .. 299 as squared gradients, given the largest; inf for empty bins.

    OpenCV's bin of a squared gradient v is ``int(sqrt(v) * (299 / sqrt(largest)))`` in float32. It is monotonic in v,
    so the edges are found by bisection over the bit patterns.
    """
    factor = np.float32(BINS - 1) / np.sqrt(largest)
    wanted = np.arange(1, BINS, dtype=np.int32)
    low, high = np.zeros(BINS - 1, np.int64), np.full(BINS - 1, int(np.float32(np.inf).view(np.int32)), np.int64)
    while np.any(low < high):
        middle = (low + high) // 2
        reached = (np.sqrt(middle.astype(np.int32).view(np.float32)) * factor) >= wanted
        high = np.where(reached, middle, high)
        low = np.where(reached, low, middle + 1)
    return high.astype(np.int32).view(np.float32)


def quantile_bin(below: npt.NDArray[np.int64], background: int) -> int:
    """Return the first bin k >= 1 such that bins 1 to k - 1 contain 70 % of the gradients outside bin 0; 300 if none.

    Parameters
    ----------
    below : (300,) int64
        Number of gradients in bins 0 to k, for each k; the last is the total.
    background
        Number of gradients in bin 0.
    """
    # OpenCV computes the threshold in float32, which matters beyond 2 ** 24 pixels.
    threshold = int(np.float32(int(below[-1]) - background) * QUANTILE)
    reached = np.flatnonzero(below[:-1] - background >= threshold)
    return int(reached[0]) + 1 if len(reached) else BINS


def bin_of_fine(counts: npt.NDArray[np.int64], edges: npt.NDArray[np.float32]) -> int | None:
    """Return the result of `quantile_bin` from the fine histogram; None if it is ambiguous.

    Values that share their leading bits with a bin's edge may be on either side of it. The quantile's bin decreases
    with the number of gradients below the edges and increases with the background, so that the two extreme cases bound
    it.
    """
    total = np.concatenate([[0], counts.cumsum()])
    bits = edges.view(np.int32).astype(np.int64)
    at = np.minimum(bits >> FINE_SHIFT, FINE_BINS)
    fewest = np.append(total[at], total[-1])
    shared = (bits & ((1 << FINE_SHIFT) - 1)) != 0
    most = np.append(total[np.minimum(at + shared, FINE_BINS)], total[-1])
    highest, lowest = quantile_bin(fewest, int(most[0])), quantile_bin(most, int(fewest[0]))
    return highest if highest == lowest else None
