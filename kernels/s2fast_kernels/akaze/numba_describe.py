"""Compiled orientation and M-LDB descriptor of keypoints on one level of one window.

The 29 cells of the three grids are sums over one lattice of 21 x 21 points: each point is gathered once (walking the
grids one by one would take 1241 samples) and summed first down the lattice's rows, all columns side by side, then along
them. A sample lies at the keypoint's integer pixel plus a rounded local offset, so that its position, and with it every
bit, does not depend on where the window or the image starts.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from s2fast_kernels.akaze.numba_scale_space import PAD
from s2fast_kernels.akaze.pattern import CELLS, LATTICE, SLICES, SLICES_WIDE

_WIDTH = 24
"""Columns of a lattice row in memory: 21 and three repeats, whole vectors."""

_ROUND = np.float32(12582912.0)
"""Adding and taking away 1.5 * 2**23 rounds a small float32 to an integer, ties to even."""

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


@njit(nogil=True, cache=True, inline="always")
def _atan2_degrees(y, x):  # type: ignore[no-untyped-def]
    """Angle in [0, 360) degrees, to 0.3 degrees, with OpenCV's polynomial: its bins decide the orientation."""
    ax, ay = abs(x), abs(y)
    low, high = min(ax, ay), max(ax, ay)
    c = low / (high + _TINY)
    c2 = c * c
    a = (((_A7 * c2 + _A5) * c2 + _A3) * c2 + _A1) * c
    a = a if ax >= ay else _90 - a
    a = _180 - a if x < _ZERO else a
    return _360 - a if y < _ZERO else a


@njit(nogil=True, cache=True)
def _orientation(dx, dy, centre, offsets, weights, gx, gy, angles, bins):  # type: ignore[no-untyped-def]
    """Direction in degrees of the largest sum of derivatives within any 60 degrees around a point."""
    count = len(offsets)
    for i in range(count):
        at = np.uint64(centre + offsets[i])
        gx[i] = weights[i] * dx[at]
        gy[i] = weights[i] * dy[at]
    for i in range(count):
        angles[i] = _atan2_degrees(gy[i], gx[i]) * _DEGREES / _SLICE
    # The first slices again behind the last: a window that wraps is then a window like any other.
    for b in range(2 * (SLICES + SLICES_WIDE)):
        bins[b // (SLICES + SLICES_WIDE), b % (SLICES + SLICES_WIDE)] = _ZERO
    for i in range(count):
        b = int(angles[i])
        b = b if b < SLICES else 0
        bins[0, b] += gx[i]
        bins[1, b] += gy[i]
    for b in range(SLICES_WIDE):
        bins[0, SLICES + b] = bins[0, b]
        bins[1, SLICES + b] = bins[1, b]
    best, best_x, best_y = np.float32(-1.0), _ZERO, _ZERO
    for b in range(SLICES):
        x, y = _ZERO, _ZERO
        for t in range(SLICES_WIDE):
            x += bins[0, b + t]
            y += bins[1, b + t]
        norm = x * x + y * y
        if norm > best:
            best, best_x, best_y = norm, x, y
    return _atan2_degrees(best_y, best_x)


@njit(nogil=True, cache=True)
def _positions(fx, fy, co, si, radius, steps, px, py):  # type: ignore[no-untyped-def]
    """Offsets of the lattice's points from the keypoint's pixel, rounded."""
    for k in range(LATTICE):
        along_x, along_y = steps[k] * co * radius, steps[k] * si * radius
        for j in range(_WIDTH):
            px[k * _WIDTH + j] = np.int32((fx + (-steps[j] * si * radius + along_x) + _ROUND) - _ROUND)
            py[k * _WIDTH + j] = np.int32((fy + (steps[j] * co * radius + along_y) + _ROUND) - _ROUND)


@njit(nogil=True, cache=True)
def _gather(image, dx, dy, centre, stride, px, py, co, si, values):  # type: ignore[no-untyped-def]
    for p in range(_POINTS):
        at = np.uint64(centre + py[p] * stride + px[p])
        gx, gy = dx[at], dy[at]
        values[0, p] = image[at]
        values[1, p] = gx * co + gy * si
        values[2, p] = gy * co - gx * si


@njit(nogil=True, cache=True)
def _gather_inside(image, dx, dy, row, column, height, width, px, py, co, si, values):  # type: ignore[no-untyped-def]
    """Gather where the lattice may leave the image: points outside count as nothing, and `values[3]` counts points."""
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


@njit(nogil=True, cache=True)
def _sum_rows(values, channel, first, count, bands, band):  # type: ignore[no-untyped-def]
    for j in range(_WIDTH):
        bands[band, j] = values[channel, first * _WIDTH + j]
    for k in range(first + 1, first + count):
        for j in range(_WIDTH):
            bands[band, j] += values[channel, k * _WIDTH + j]


@njit(nogil=True, cache=True)
def _sum_cells(values, channel, bands, cells):  # type: ignore[no-untyped-def]
    """Sum one channel over the 29 cells: bands of lattice rows, then runs of their columns."""
    for b in range(4):
        _sum_rows(values, channel, 5 * b, 5, bands, b)
    for b in range(3):
        _sum_rows(values, channel, 7 * b, 7, bands, 4 + b)
    for b in range(2):
        for j in range(_WIDTH):
            bands[7 + b, j] = bands[2 * b, j] + bands[2 * b + 1, j]
    at = CELLS * channel
    for side, points, band in ((2, 10, 7), (3, 7, 4), (4, 5, 0)):
        for b in range(side):
            for c in range(side):
                total = _ZERO
                for j in range(c * points, (c + 1) * points):
                    total += bands[band + b, j]
                cells[at] = total
                at += 1


@njit(nogil=True, cache=True)
def _compare(cells, bits, words, row):  # type: ignore[no-untyped-def]
    for word in range(words.shape[1]):
        word_bits = np.uint64(0)
        first = 64 * word
        for b in range(first, min(first + 64, len(bits))):
            if cells[bits[b, 0]] > cells[bits[b, 1]]:
                word_bits |= np.uint64(1) << np.uint64(b - first)
        words[row, word] = word_bits


@njit(nogil=True, cache=True)
def describe(  # type: ignore[no-untyped-def]
    image,
    dx,
    dy,
    height,
    width,
    place,
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
    place : (n, 2) int
        Row and column of each keypoint's pixel in the window.
    offset : (n, 2) float32
        Where to sample, relative to that pixel: x, y [px].
    middle : (n, 2) int
        Row and column of the pixel nearest to that: the centre of the orientation, and of an upright lattice.
    radius, reach : int
        The level's radius, and how far its lattice may reach [px].
    upright : bool
        True: no orientation is estimated.
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
    steps = np.empty(_WIDTH, np.float32)
    for j in range(_WIDTH):
        steps[j] = min(np.float32(j) - _LAST, _LAST)
    around = np.empty(len(weights), np.int64)
    for i in range(len(weights)):
        around[i] = radius * (sample_y[i] * stride + sample_x[i])
    gx, gy = np.empty(len(weights), np.float32), np.empty(len(weights), np.float32)
    angles, bins = np.empty(len(weights), np.float32), np.empty((2, SLICES + SLICES_WIDE), np.float32)
    px, py = np.empty(_POINTS, np.int32), np.empty(_POINTS, np.int32)
    values, bands = np.empty((4, _POINTS), np.float32), np.empty((9, _WIDTH), np.float32)
    cells = np.empty(4 * CELLS, np.float32)
    for i in range(len(place)):
        row, column = place[i, 0], place[i, 1]
        fx, fy = offset[i, 0], offset[i, 1]
        if upright:
            fx, fy = np.float32(middle[i, 1] - column), np.float32(middle[i, 0] - row)
        centre = (row + PAD) * stride + column + PAD
        degrees = _ZERO
        if not upright:
            at = (middle[i, 0] + PAD) * stride + middle[i, 1] + PAD
            degrees = _orientation(dx, dy, at, around, weights, gx, gy, angles, bins)
        angle[i] = degrees
        co, si = math.cos(degrees * _DEGREES), math.sin(degrees * _DEGREES)
        _positions(fx, fy, co, si, step, steps, px, py)
        inside = reach <= row < height - reach and reach <= column < width - reach
        if inside:
            _gather(image, dx, dy, centre, stride, px, py, co, si, values)
        else:
            _gather_inside(image, dx, dy, row, column, height, width, px, py, co, si, values)
            _sum_cells(values, 3, bands, cells)
        for channel in range(3):
            _sum_cells(values, channel, bands, cells)
        at = 0
        for side, points in ((2, 10), (3, 7), (4, 5)):
            for _ in range(side * side):
                count = np.float32(points * points) if inside else max(cells[3 * CELLS + at], _UNIT)
                inverse = _UNIT / count
                for channel in range(3):
                    cells[CELLS * channel + at] *= inverse
                at += 1
        _compare(cells, bits, words, i)
