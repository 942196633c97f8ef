"""Compiled scale space of one window: base blur, smoothing, conductance, diffusion, halving.

All planes are float32, C-contiguous, with a frame of `PAD` pixels on every side. Columns are counted from 0 within the
image and shifted by unsigned constants: for a signed index, which may be negative, the compiler adds a wrap-around test
that prevents vectorisation and costs a factor of ten. Nothing here is compiled with fast-math: contraction would differ
between the vector body and the tail of a row, and windows would no longer equal the whole image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty

PAD = 8
"""Frame around every plane [px]; at least the largest stencil radius."""

_P = np.uint64(PAD)
_ONE, _TWO, _THREE, _FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
_HALF, _QUARTER, _UNIT, _ZERO = np.float32(0.5), np.float32(0.25), np.float32(1.0), np.float32(0.0)
_SCHARR_CENTRE, _SCHARR_CORNER = np.float32(10.0), np.float32(3.0)


def gauss_taps(size: int, sigma: float) -> npt.NDArray[np.float32]:
    """Return the centre and right half of a normalised Gaussian filter, float32.

    Examples
    --------
    >>> [f"{tap:.4f}" for tap in gauss_taps(5, 1.0)]
    ['0.4026', '0.2442', '0.0545']
    """
    x = np.arange(size) - size // 2
    taps = np.exp(-(x * x) / (2.0 * sigma * sigma))
    half: npt.NDArray[np.float32] = (taps / taps.sum())[size // 2 :].astype(np.float32)
    return half


@njit(nogil=True, error_model="numpy")
def replicate_columns(plane, row, width):  # type: ignore[no-untyped-def]
    """Fill the frame of one row of a plane with the values at its ends."""
    first, last = plane[row, PAD], plane[row, PAD + width - 1]
    for j in range(PAD):
        plane[row, j] = first
        plane[row, PAD + width + j] = last


@njit("(f4[:,::1], i8, i8, i8)", nogil=True, error_model="numpy")
def reflect_frame(plane, height, width, reach):  # type: ignore[no-untyped-def]
    """Fill a plane's frame by reflection about its outermost pixels."""
    for row in range(PAD, PAD + height):
        for j in range(1, reach + 1):
            plane[row, PAD - j] = plane[row, PAD + j]
            plane[row, PAD + width - 1 + j] = plane[row, PAD + width - 1 - j]
    for i in range(1, reach + 1):
        for j in range(width + 2 * PAD):
            plane[PAD - i, j] = plane[PAD + i, j]
            plane[PAD + height - 1 + i, j] = plane[PAD + height - 1 - i, j]


@njit("(u1[:,::1], f4[:,::1], f4)", "(f4[:,::1], f4[:,::1], f4)", nogil=True, error_model="numpy")
def load(block, plane, unit):  # type: ignore[no-untyped-def]
    """Write a block of pixel values times `unit` to a plane, and replicate the ends of rows into the frame."""
    height, width = block.shape
    w = np.uint64(width)
    for i in range(height):
        for j in range(w):
            plane[PAD + i, j + _P] = np.float32(block[i, j]) * unit
        replicate_columns(plane, PAD + i, width)


@njit(nogil=True, error_model="numpy")
def _blur_row9(plane, row, out, slot, w, taps):  # type: ignore[no-untyped-def]
    t0, t1, t2, t3, t4 = taps[0], taps[1], taps[2], taps[3], taps[4]
    for j in range(w):
        c = j + _P
        out[slot, j] = (
            t0 * plane[row, c]
            + t1 * (plane[row, c - _ONE] + plane[row, c + _ONE])
            + t2 * (plane[row, c - _TWO] + plane[row, c + _TWO])
            + t3 * (plane[row, c - _THREE] + plane[row, c + _THREE])
            + t4 * (plane[row, c - _FOUR] + plane[row, c + _FOUR])
        )


@njit(nogil=True, error_model="numpy")
def _blur_column9(rows, s, out, row, w, taps):  # type: ignore[no-untyped-def]
    t0, t1, t2, t3, t4 = taps[0], taps[1], taps[2], taps[3], taps[4]
    a, b, c, d, e, f, g, h, i = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]
    for j in range(w):
        out[row, j + _P] = (
            t0 * rows[e, j]
            + t1 * (rows[d, j] + rows[f, j])
            + t2 * (rows[c, j] + rows[g, j])
            + t3 * (rows[b, j] + rows[h, j])
            + t4 * (rows[a, j] + rows[i, j])
        )


@njit("(f4[:,::1], f4[:,::1], i8, i8, f4[::1], f4[:,::1])", nogil=True, error_model="numpy")
def base_blur(plane, out, height, width, taps, rows):  # type: ignore[no-untyped-def]
    """Blur with 9 x 9 taps, replicating the image's edge; `rows` is scratch memory of at least 16 rows."""
    w = np.uint64(width)
    slots = empty(np.int64(9), np.int64)
    for front in range(height + 4):
        if front < height:
            _blur_row9(plane, PAD + front, rows, front & 15, w, taps)
        i = front - 4
        if i >= 0:
            for t in range(9):
                slots[t] = min(max(i + t - 4, 0), height - 1) & 15
            _blur_column9(rows, slots, out, PAD + i, w, taps)


@njit(nogil=True, error_model="numpy")
def blur_row5(plane, row, out, slot, w, t0, t1, t2):  # type: ignore[no-untyped-def]
    """Blur one row of a plane along x, and write it to a row of `out`, which has no frame."""
    for j in range(w):
        c = j + _P
        out[slot, j] = (
            t0 * plane[row, c]
            + t1 * (plane[row, c - _ONE] + plane[row, c + _ONE])
            + t2 * (plane[row, c - _TWO] + plane[row, c + _TWO])
        )


@njit(nogil=True, error_model="numpy")
def blur_column5(rows, a, b, c, d, e, out, row, w, t0, t1, t2):  # type: ignore[no-untyped-def]
    """Blur five rows along y, with `c` in the middle, and write a row of the plane `out`."""
    for j in range(w):
        out[row, j + _P] = t0 * rows[c, j] + t1 * (rows[b, j] + rows[d, j]) + t2 * (rows[a, j] + rows[e, j])


@njit("(f4[:,::1], f4[:,::1], i8, i8, f4[::1], f4[:,::1])", nogil=True, error_model="numpy")
def smooth(plane, out, height, width, taps, rows):  # type: ignore[no-untyped-def]
    """Blur with 5 x 5 taps, replicating the edge; reflect the result into its frame; `rows` is scratch of 8 rows."""
    w = np.uint64(width)
    t0, t1, t2 = taps[0], taps[1], taps[2]
    last = height - 1
    for front in range(height + 2):
        if front < height:
            replicate_columns(plane, PAD + front, width)
            blur_row5(plane, PAD + front, rows, front & 7, w, t0, t1, t2)
        i = front - 2
        if i >= 0:
            a, b = max(i - 2, 0) & 7, max(i - 1, 0) & 7
            d, e = min(i + 1, last) & 7, min(i + 2, last) & 7
            blur_column5(rows, a, b, i & 7, d, e, out, PAD + i, w, t0, t1, t2)
    reflect_frame(out, height, width, PAD - 1)


@njit(nogil=True, error_model="numpy")
def scharr_square_row(plane, up, row, down, out, slot, w):  # type: ignore[no-untyped-def]
    """Compute the squared magnitude of the unnormalised Scharr gradient for one row between rows `up` and `down`."""
    for j in range(w):
        left, c, right = j + (_P - _ONE), j + _P, j + (_P + _ONE)
        gx = _SCHARR_CENTRE * (plane[row, right] - plane[row, left]) + _SCHARR_CORNER * (
            (plane[up, right] - plane[up, left]) + (plane[down, right] - plane[down, left])
        )
        gy = (_SCHARR_CENTRE * plane[down, c] + _SCHARR_CORNER * (plane[down, left] + plane[down, right])) - (
            _SCHARR_CENTRE * plane[up, c] + _SCHARR_CORNER * (plane[up, left] + plane[up, right])
        )
        out[slot, j] = gx * gx + gy * gy


@njit(nogil=True, error_model="numpy")
def _conductivity(row, w, inverse_square):  # type: ignore[no-untyped-def]
    for j in range(w):
        row[j] = _UNIT / (_UNIT + row[j] * inverse_square)


@njit(nogil=True, error_model="numpy")
def _conductance_right(flow, slot, east, row, w):  # type: ignore[no-untyped-def]
    for j in range(w - _ONE):
        east[row, j + _P] = flow[slot, j] + flow[slot, j + _ONE]


@njit(nogil=True, error_model="numpy")
def _conductance_down(flow, above, here, south, row, w):  # type: ignore[no-untyped-def]
    for j in range(w):
        south[row, j + _P] = flow[above, j] + flow[here, j]


@njit(nogil=True, error_model="numpy")
def _conductance_row(smoothed, east, south, i, height, width, inverse_square, flow):  # type: ignore[no-untyped-def]
    """Compute row i of the conductances to the right, and row i - 1 of those down, in rings of rows.

    A conductance is the sum of 1 / (1 + |gradient|^2 / contrast^2) of two neighbours. It is 0 across the image's edge:
    diffusion needs no special case there. `flow` is scratch memory of 2 rows.
    """
    w = np.uint64(width)
    ring_rows = len(east)
    here, above = i % ring_rows, (i + ring_rows - 1) % ring_rows
    if i < height:
        slot = i & 1
        scharr_square_row(smoothed, PAD + i - 1, PAD + i, PAD + i + 1, flow, slot, w)
        _conductivity(flow[slot], w, inverse_square)
        _conductance_right(flow, slot, east, here, w)
        east[here, PAD - 1] = _ZERO
        east[here, PAD + width - 1] = _ZERO
        if i > 0:
            _conductance_down(flow, 1 - slot, slot, south, above, w)
    if i in (0, height):
        south[above, :] = _ZERO


@njit(nogil=True, error_model="numpy")
def _diffuse_row(src, a, b, c, dst, d, east, south, here, above, w, step):  # type: ignore[no-untyped-def]
    for j in range(w):
        left, m, right = j + (_P - _ONE), j + _P, j + (_P + _ONE)
        v = src[b, m]
        flux = (
            east[here, m] * (src[b, right] - v)
            + east[here, left] * (src[b, left] - v)
            + south[here, m] * (src[c, m] - v)
            + south[above, m] * (src[a, m] - v)
        )
        dst[d, m] = v + flux * step


def ring_rows(steps: int) -> int:
    """Return the number of rows of conductances that `diffuse` needs for this many steps, a power of two.

    Examples
    --------
    >>> ring_rows(1), ring_rows(3), ring_rows(29)
    (4, 8, 32)
    """
    return 1 << (steps + 1).bit_length()


@njit("(f4[:,::1], f4[:,::1], i8, i8, f4, f4[::1], f4[:,::1], f4[:,::1], f4[:,::1])", nogil=True, error_model="numpy")
def diffuse(plane, out, height, width, contrast, steps, conductances, ring, flow):  # type: ignore[no-untyped-def]
    """Apply one cycle of explicit diffusion steps to a plane; `out` contains the smoothed plane and is overwritten.

    All steps advance down the image together, each one row behind the previous step, so that a row stays in the cache
    from its first step to its last. Step s keeps its last four rows in ``ring[4 s : 4 s + 4]``. The conductances are
    computed one row ahead, from rows of the smoothed plane that are not overwritten yet: half of `conductances` is a
    ring of rows of those to the right, the other half of those down. `flow` is scratch memory of 2 rows.
    """
    n = len(steps)
    w = np.uint64(width)
    inverse_square = _UNIT / (contrast * contrast)
    kept = len(conductances) // 2
    east, south = conductances[:kept], conductances[kept:]
    _conductance_row(out, east, south, 0, height, width, inverse_square, flow)
    for front in range(height + n - 1):
        if front < height:
            _conductance_row(out, east, south, front + 1, height, width, inverse_square, flow)
        for s in range(max(0, front - height + 1), min(n, front + 1)):
            i = front - s
            up, down = max(i - 1, 0), min(i + 1, height - 1)
            row, here, above = PAD + i, i % kept, (i + kept - 1) % kept
            if n == 1:
                _diffuse_row(plane, PAD + up, row, PAD + down, out, row, east, south, here, above, w, steps[s])
            elif s == 0:
                _diffuse_row(plane, PAD + up, row, PAD + down, ring, i & 3, east, south, here, above, w, steps[s])
            else:
                k = 4 * (s - 1)
                a, b, c = k + (up & 3), k + (i & 3), k + (down & 3)
                if s == n - 1:
                    _diffuse_row(ring, a, b, c, out, row, east, south, here, above, w, steps[s])
                else:
                    _diffuse_row(ring, a, b, c, ring, k + 4 + (i & 3), east, south, here, above, w, steps[s])


@njit("(f4[:,::1], i8, i8, i8, i8, i8, i8, f4[:,::1])", nogil=True, error_model="numpy")
def halve(plane, top, left, core_top, core_bottom, core_left, core_right, out):  # type: ignore[no-untyped-def]
    """Write the means of 2 x 2 pixels of a window's core to the plane of the next octave.

    (top, left) is the core's position in the window; the core's corners are in pixels of this octave. All are even.
    """
    w = np.uint64((core_right - core_left) // 2)
    first, to = np.uint64(PAD + left), np.uint64(core_left // 2)
    for i in range((core_bottom - core_top) // 2):
        a, row = PAD + top + 2 * i, core_top // 2 + i
        for j in range(w):
            k = first + _TWO * j
            out[row, to + j] = (
                (plane[a, k] + plane[a, k + _ONE]) + (plane[a + 1, k] + plane[a + 1, k + _ONE])
            ) * _QUARTER
