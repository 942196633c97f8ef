"""Compiled histograms of gradients for the contrast factor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.jobs import Pixels, Rect
from s2fast_kernels.akaze.numba_scale_space import (
    PAD,
    blur_column5,
    blur_row5,
    gauss_taps,
    load,
    scharr_square_row,
)
from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty_table, zeros_table

_TAPS = gauss_taps(5, 1.0)
_PAD, _ZERO, _ONE, _FOUR, _EIGHT = np.int64(PAD), np.int64(0), np.int64(1), np.int64(4), np.int64(8)


def count_fine(
    block: Pixels, inner: Rect, valid: npt.NDArray[np.bool_], shift: int, bins: int
) -> tuple[npt.NDArray[np.int64], np.float32]:
    """Count squared gradients by their leading bits.

    Parameters
    ----------
    block
        Pixels of the counted part and of the surroundings on which its gradients depend.
    inner
        The counted part of the block; at least 1 px from its border.
    valid
        Mask of the pixels to count in the counted part; empty: all.
    shift, bins
        Number of bits by which a float32's bit pattern is shifted right; number of bins.

    Returns
    -------
    counts : (bins,) int64
    largest : float32
        The largest squared gradient.
    """
    counts = np.zeros(bins, np.int64)
    largest = _count(*_contiguous(block, valid), _unit(block), *inner, _TAPS, shift, counts, np.zeros(0, np.float32))
    return counts, np.int32(largest).view(np.float32)


def count_bins(
    block: Pixels, inner: Rect, valid: npt.NDArray[np.bool_], edges: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """Count squared gradients between ascending edges; return ``len(edges) + 1`` counts."""
    counts = np.zeros(len(edges) + 1, np.int64)
    _count(*_contiguous(block, valid), _unit(block), *inner, _TAPS, 0, counts, edges)
    return counts


def _contiguous(block: Pixels, valid: npt.NDArray[np.bool_]) -> tuple[Any, Any]:
    """Copy parts of larger arrays: numba would compile for both layouts."""
    return np.ascontiguousarray(block), np.ascontiguousarray(valid)


def _unit(block: Pixels) -> np.float32:
    return np.float32(1.0 / 255.0) if block.dtype == np.uint8 else np.float32(1)


@njit(nogil=True, error_model="numpy")
def _count_row_fine(bits, first, count, valid, row, shift, counts):  # type: ignore[no-untyped-def]
    everywhere = valid.size == 0
    largest = np.int32(0)
    for j in range(count):
        value = bits[np.uint64(first + j)]
        if everywhere or valid[row, j]:
            largest = max(largest, value)
            counts[np.uint64(value >> shift)] += 1
    return largest


@njit(nogil=True, error_model="numpy")
def _count_row_bins(squares, first, count, valid, row, edges, counts):  # type: ignore[no-untyped-def]
    everywhere = valid.size == 0
    for j in range(count):
        if everywhere or valid[row, j]:
            # The number of edges that are not above the value, by bisection.
            value, low, high = squares[first + j], 0, len(edges)
            while low < high:
                middle = (low + high) // 2
                if edges[middle] <= value:
                    low = middle + 1
                else:
                    high = middle
            counts[low] += 1


@njit("(u1[:,::1], b1[:,::1], f4, i8, i8, i8, i8, f4[::1], i8, i8[::1], f4[::1])", nogil=True, error_model="numpy")
def _count(block, valid, unit, top, bottom, left, right, taps, shift, counts, edges):  # type: ignore[no-untyped-def]
    """Blur, derive and count row by row, keeping only five rows blurred along x and three smoothed rows."""
    height, width = block.shape
    w = np.uint64(width)
    raw = empty_table(_PAD + _PAD + _ONE, width + 2 * PAD, np.float32)
    rows = empty_table(_EIGHT, width, np.float32)
    smooth = zeros_table(_FOUR, width + 2 * PAD, np.float32)
    squares = empty_table(_ONE, width, np.float32)
    bits = squares[0].view(np.int32)
    last = height - 1
    largest = np.int32(0)
    for front in range(height + 2):
        if front < height:
            load(block[front : front + 1], raw, unit)
            blur_row5(raw, _PAD, rows, front & 7, w, taps[0], taps[1], taps[2])
        i = front - 2
        if i < 0:
            continue
        a, b, d, e = max(i - 2, 0) & 7, max(i - 1, 0) & 7, min(i + 1, last) & 7, min(i + 2, last) & 7
        blur_column5(rows, a, b, i & 7, d, e, smooth, i & 3, w, taps[0], taps[1], taps[2])
        row = i - 1
        if top <= row < bottom:
            scharr_square_row(smooth, (row - 1) & 3, row & 3, i & 3, squares, _ZERO, w)
            if len(edges) == 0:
                peak = _count_row_fine(bits, left, right - left, valid, row - top, shift, counts)
                largest = max(largest, peak)
            else:
                _count_row_bins(squares[0], left, right - left, valid, row - top, edges, counts)
    return largest
