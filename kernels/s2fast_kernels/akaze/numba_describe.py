"""Compiled orientations and M-LDB descriptors of keypoints on one level of one window.

The 29 cells of the three grids are sums over one lattice of 21 x 21 points. Each point is sampled once (sampling each
grid separately would take 1241 samples), then summed over the lattice's rows, for all columns in parallel, and finally
over columns. A sample is at the keypoint's integer pixel plus a rounded local offset, so that the descriptor does not
depend on the origin of the window or the image.
"""

from __future__ import annotations

import math

import numpy as np

from s2fast_kernels.akaze.numba_scale_space import PAD
from s2fast_kernels.akaze.pattern import CELLS, LATTICE, SLICES, SLICES_WIDE
from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, empty_table, octets_of, zeros

_WIDTH = 24
"""Columns of a lattice row in memory: 21 and three repeats, to fill whole vectors."""

_W = np.uint64(_WIDTH)
_TWO, _THREE, _FOUR, _FIVE, _SIX = np.uint64(2), np.uint64(3), np.uint64(4), np.uint64(5), np.uint64(6)

# Constant arguments are not plain numbers: see `compiled_arrays`.
_COLUMNS, _SAMPLES = np.int64(_WIDTH), np.int64(LATTICE * _WIDTH)
_AXES, _BINS = np.int64(2), np.int64(SLICES + SLICES_WIDE)
_CHANNELS, _BANDS, _INSIDE = np.int64(4), np.int64(9), np.int64(3)

_PACK = np.uint64(0x0102040810204080)

_ROUND = np.float32(12582912.0)
"""Adding and subtracting 1.5 * 2**23 rounds a small float32 to an integer, ties to even."""

_POINTS = LATTICE * _WIDTH
_SLICE = np.float32(2.0 * math.pi / SLICES)
_DEGREES = np.float32(math.pi / 180.0)

# OpenCV's odd polynomial for atan on [0, 1], in degrees.
_A1 = np.float32(0.9997878412794807) * np.float32(180.0 / math.pi)
_A3 = np.float32(-0.3258083974640975) * np.float32(180.0 / math.pi)
_A5 = np.float32(0.1555786518463281) * np.float32(180.0 / math.pi)
_A7 = np.float32(-0.04432655554792128) * np.float32(180.0 / math.pi)
_TINY = np.float32(2.220446049250313e-16)
_90, _180, _360 = np.float32(90.0), np.float32(180.0), np.float32(360.0)
_ZERO, _UNIT, _LAST = np.float32(0.0), np.float32(1.0), np.float32(10.0)


@njit(nogil=True, error_model="numpy", inline="always")
def _atan2_degrees(y, x):  # type: ignore[no-untyped-def]
    """Return the angle in [0, 360) degrees, to 0.3 degrees, with OpenCV's polynomial, which determines the slices."""
    ax, ay = abs(x), abs(y)
    steep = ay > ax
    low, high = (ax, ay) if steep else (ay, ax)
    c = low / (high + _TINY)
    c2 = c * c
    a = (((_A7 * c2 + _A5) * c2 + _A3) * c2 + _A1) * c
    a = _90 - a if steep else a
    a = _180 - a if x < _ZERO else a
    return _360 - a if y < _ZERO else a


@njit(nogil=True, error_model="numpy")
def _slices(gx, gy, slices):  # type: ignore[no-untyped-def]
    for i in range(len(slices)):
        slices[i] = np.int32(_atan2_degrees(gy[i], gx[i]) * _DEGREES / _SLICE)


@njit(nogil=True, error_model="numpy")
def _slide(bins, sums):  # type: ignore[no-untyped-def]
    """Sum the derivatives within every position of the sliding window of slices."""
    for axis in range(2):
        for b in range(SLICES):
            sums[axis, b] = (
                bins[axis, b]
                + bins[axis, b + 1]
                + bins[axis, b + 2]
                + bins[axis, b + 3]
                + bins[axis, b + 4]
                + bins[axis, b + 5]
                + bins[axis, b + 6]
            )


@njit(nogil=True, error_model="numpy")
def _orientation(dx, dy, centre, offsets, weights, gx, gy, slices, bins, sums):  # type: ignore[no-untyped-def]
    """Return the direction of the largest sum of derivatives within any 60 degrees, around a point [degrees]."""
    for i in range(len(offsets)):
        at = np.uint64(centre + offsets[i])
        gx[i] = weights[i] * dx[at]
        gy[i] = weights[i] * dy[at]
    _slices(gx, gy, slices)
    for axis in range(2):
        for piece in range(SLICES):
            bins[axis, piece] = _ZERO
    for i in range(len(offsets)):
        at = np.uint64(slices[i] if slices[i] < SLICES else 0)
        bins[0, at] += gx[i]
        bins[1, at] += gy[i]
    # Repeat the first slices after the last, so that windows that wrap around need no special case.
    for first in range(SLICES_WIDE):
        bins[0, SLICES + first] = bins[0, first]
        bins[1, SLICES + first] = bins[1, first]
    _slide(bins, sums)
    best, at_best = np.float32(-1.0), 0
    for first in range(SLICES):
        norm = sums[0, first] * sums[0, first] + sums[1, first] * sums[1, first]
        if norm > best:
            best, at_best = norm, first
    return _atan2_degrees(sums[1, at_best], sums[0, at_best])


@njit(nogil=True, error_model="numpy")
def _positions(fx, fy, co, si, radius, steps, px, py):  # type: ignore[no-untyped-def]
    """Compute the rounded offsets of the lattice's points from the keypoint's pixel."""
    for k in range(LATTICE):
        along_x, along_y = steps[k] * co * radius, steps[k] * si * radius
        for j in range(_WIDTH):
            px[k * _WIDTH + j] = np.int32((fx + (-steps[j] * si * radius + along_x) + _ROUND) - _ROUND)
            py[k * _WIDTH + j] = np.int32((fy + (steps[j] * co * radius + along_y) + _ROUND) - _ROUND)


@njit(nogil=True, error_model="numpy")
def _gather(image, dx, dy, centre, stride, px, py, co, si, values):  # type: ignore[no-untyped-def]
    for p in range(_POINTS):
        at = np.uint64(centre + py[p] * stride + px[p])
        gx, gy = dx[at], dy[at]
        values[0, p] = image[at]
        values[1, p] = gx * co + gy * si
        values[2, p] = gy * co - gx * si


@njit(nogil=True, error_model="numpy")
def _gather_inside(image, dx, dy, row, column, height, width, px, py, co, si, values):  # type: ignore[no-untyped-def]
    """Gather samples of a lattice that may extend beyond the image: points outside are 0, `values[3]` is 1 inside."""
    stride = width + 2 * PAD
    for p in range(_POINTS):
        y, x = row + py[p], column + px[p]
        if 0 <= y < height and 0 <= x < width:
            at = np.uint64((y + PAD) * stride + x + PAD)
            gx, gy = dx[at], dy[at]
            values[0, p] = image[at]
            values[1, p] = gx * co + gy * si
            values[2, p] = gy * co - gx * si
            values[3, p] = _UNIT
        else:
            for channel in range(4):
                values[channel, p] = _ZERO


@njit(nogil=True, error_model="numpy")
def _sum_rows(values, channel, bands):  # type: ignore[no-untyped-def]
    """Sum five and seven lattice rows at a time, all columns in parallel; sums of ten are two sums of five."""
    for b in range(4):
        r = 5 * b * _WIDTH
        for j in range(_WIDTH):
            p = np.uint64(r + j)
            bands[b, j] = (
                values[channel, p]
                + values[channel, p + _W]
                + values[channel, p + _W * _TWO]
                + values[channel, p + _W * _THREE]
                + values[channel, p + _W * _FOUR]
            )
    for b in range(3):
        r = 7 * b * _WIDTH
        for j in range(_WIDTH):
            p = np.uint64(r + j)
            bands[4 + b, j] = (
                values[channel, p]
                + values[channel, p + _W]
                + values[channel, p + _W * _TWO]
                + values[channel, p + _W * _THREE]
                + values[channel, p + _W * _FOUR]
                + values[channel, p + _W * _FIVE]
                + values[channel, p + _W * _SIX]
            )
    for b in range(2):
        for j in range(_WIDTH):
            bands[7 + b, j] = bands[2 * b, j] + bands[2 * b + 1, j]


@njit(nogil=True, error_model="numpy", inline="always")
def _five(bands, band, j):  # type: ignore[no-untyped-def]
    return bands[band, j] + bands[band, j + 1] + bands[band, j + 2] + bands[band, j + 3] + bands[band, j + 4]


@njit(nogil=True, error_model="numpy")
def _sum_cells(values, channel, bands, cells):  # type: ignore[no-untyped-def]
    """Sum one channel over the 29 cells: over bands of lattice rows, then over ranges of columns."""
    _sum_rows(values, channel, bands)
    at = CELLS * channel
    for b in range(2):
        for c in range(2):
            cells[at + 2 * b + c] = _five(bands, 7 + b, 10 * c) + _five(bands, 7 + b, 10 * c + 5)
    at += 4
    for b in range(3):
        for c in range(3):
            j = 7 * c
            cells[at + 3 * b + c] = _five(bands, 4 + b, j) + (bands[4 + b, j + 5] + bands[4 + b, j + 6])
    at += 9
    for b in range(4):
        for c in range(4):
            cells[at + 4 * b + c] = _five(bands, b, 5 * c)


@njit(nogil=True, error_model="numpy")
def _compare(cells, larger, smaller, flags, octets, words, row):  # type: ignore[no-untyped-def]
    """Write a descriptor's bits: first one byte each, without branches, since the bits are unpredictable."""
    for b in range(len(larger)):
        flags[b] = cells[np.uint64(larger[b])] > cells[np.uint64(smaller[b])]
    for word in range(words.shape[1]):
        bits = np.uint64(0)
        for i in range(8):
            # The product collects the lowest bits of eight bytes in the topmost byte.
            bits |= (octets[8 * word + i] * _PACK >> np.uint64(56)) << np.uint64(8 * i)
        words[row, word] = bits


@njit(
    "(f4[::1], f4[::1], f4[::1], i8, i8, i4[:,::1], f4[:,::1], i4[:,::1], i8, i8, b1, "
    "i4[::1], i4[::1], f4[::1], Array(i4, 2, 'C', readonly=True), f4[::1], u8[:,::1])",
    nogil=True,
    error_model="numpy",
)
def describe(  # type: ignore[no-untyped-def]
    image,
    dx,
    dy,
    height,
    width,
    position,
    offset,
    middle,
    radius,
    reach,
    upright,
    sample_y,
    sample_x,
    weights,
    bits,
    angle,
    words,
):
    """Describe keypoints of one level.

    Parameters
    ----------
    image, dx, dy : (pixels,) float32
        The level's planes with their frames, flattened: diffused image, derivatives.
    height, width : int
        Size of the planes within their frames [px].
    position : (n, 2) int
        Row and column of each keypoint's pixel in the window.
    offset : (n, 2) float32
        Centre of the lattice relative to that pixel: x, y [px].
    middle : (n, 2) int
        Row and column of the pixel nearest to that centre: the centre of the orientation and of an upright lattice.
    radius, reach : int
        The level's radius, and the maximum reach of its lattice [px].
    upright : bool
        True: orientations are not estimated.
    sample_y, sample_x, weights : (109,) int32, int32, float32
        See `orientation_samples`.
    bits : (bits, 2) int32
        See `comparisons`.
    angle : (n,) float32
        Out: orientation [degrees].
    words : (n, 8) uint64
        Out: descriptors.
    """
    stride = width + 2 * PAD
    step = np.float32(radius)
    steps = empty(_COLUMNS, np.float32)
    for j in range(_WIDTH):
        steps[j] = min(np.float32(j) - _LAST, _LAST)
    around = empty(len(weights), np.int64)
    for i in range(len(weights)):
        around[i] = radius * (sample_y[i] * stride + sample_x[i])
    gx, gy = empty(len(weights), np.float32), empty(len(weights), np.float32)
    slices, bins = empty(len(weights), np.int32), empty_table(_AXES, _BINS, np.float32)
    sums = empty_table(_AXES, _BINS, np.float32)
    px, py = empty(_SAMPLES, np.int32), empty(_SAMPLES, np.int32)
    values, bands = empty_table(_CHANNELS, _SAMPLES, np.float32), empty_table(_BANDS, _COLUMNS, np.float32)
    cells, inverses = empty(_CHANNELS * CELLS, np.float32), empty(_CHANNELS * CELLS, np.float32)
    for cell in range(CELLS):
        inverses[cell] = _UNIT / np.float32(100 if cell < 4 else 49 if cell < 13 else 25)
    larger, smaller = empty(len(bits), np.int32), empty(len(bits), np.int32)
    for b in range(len(bits)):
        larger[b], smaller[b] = bits[b, 0], bits[b, 1]
    flags = zeros(64 * words.shape[1], np.uint8)
    octets = octets_of(flags)
    for i in range(len(position)):
        row, column = position[i, 0], position[i, 1]
        fx, fy = offset[i, 0], offset[i, 1]
        if upright:
            fx, fy = np.float32(middle[i, 1] - column), np.float32(middle[i, 0] - row)
        centre = (row + PAD) * stride + column + PAD
        degrees = _ZERO
        if not upright:
            at = (middle[i, 0] + PAD) * stride + middle[i, 1] + PAD
            degrees = _orientation(dx, dy, at, around, weights, gx, gy, slices, bins, sums)
        angle[i] = degrees
        co, si = math.cos(degrees * _DEGREES), math.sin(degrees * _DEGREES)
        _positions(fx, fy, co, si, step, steps, px, py)
        inside = reach <= row < height - reach and reach <= column < width - reach
        if inside:
            _gather(image, dx, dy, centre, stride, px, py, co, si, values)
        else:
            _gather_inside(image, dx, dy, row, column, height, width, px, py, co, si, values)
            _sum_cells(values, _INSIDE, bands, cells)
        for channel in range(3):
            _sum_cells(values, channel, bands, cells)
        for cell in range(CELLS):
            inverse = inverses[cell] if inside else _UNIT / max(cells[3 * CELLS + cell], _UNIT)
            for channel in range(3):
                cells[CELLS * channel + cell] *= inverse
        _compare(cells, larger, smaller, flags, octets, words, i)
