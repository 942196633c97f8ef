"""Noise as a pure function of position, from hashed lattices, without state or random sequences.

All functions are compiled, take and return scalars, and use signed 64-bit integers, because numba converts the sum of
uint64 and int64 to a float. Right shifts are masked, because they extend the sign bit.

References
----------
K. Perlin, "An image synthesizer", SIGGRAPH 1985 (lattice noise and its sums over octaves).
S. Worley, "A cellular texture basis function", SIGGRAPH 1996 (cells around jittered points).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

from s2fast_kernels.compiled import njit

Function = TypeVar("Function", bound=Callable[..., object])

# Arbitrary odd numbers without structure. They must not change: all archives depend on them.
_STEP_I = 0x1E3779B97F4A7C15
_STEP_J = 0x2545F4914F6CDD1D
_STEP_SALT = 0x632BE59BD9B4E019
_MIXER = 0x56E8FEB86659FD93


def compiled(function: Function) -> Function:
    """Compile a function that releases the GIL, so that blocks of one image are rendered on several threads.

    ``fastmath`` is off, because a position must give the same bits in every window.
    """
    return compiled_for()(function)


def compiled_for(*signatures: str | tuple[Any, ...]) -> Callable[[Function], Function]:
    """Return `compiled` for a function that Python calls, with the types of its arguments."""
    return cast("Callable[[Function], Function]", njit(*signatures, nogil=True, error_model="numpy"))


def salt_of(seed: int) -> int:
    """Return widely spaced salts for consecutive seeds, because layers use the numbers just above a ground's salt.

    Examples
    --------
    >>> salt_of(2) - salt_of(1)
    1000003
    """
    return 1_000_003 * seed


@compiled
def hashed(i: int, j: int, salt: int) -> int:
    """Hash two lattice coordinates and a salt to 64 bits."""
    h = i * _STEP_I + j * _STEP_J + salt * _STEP_SALT
    h = (h ^ ((h >> 32) & 0xFFFFFFFF)) * _MIXER
    h = (h ^ ((h >> 29) & 0x7FFFFFFFF)) * _MIXER
    return h ^ ((h >> 32) & 0xFFFFFFFF)


@compiled
def unit(h: int) -> float:
    """Convert hashed bits to a uniform number in [0, 1)."""
    return ((h >> 11) & 0x1FFFFFFFFFFFFF) * (1.0 / (1 << 53))


@compiled
def draw(h: int, k: int) -> float:
    """Return the k-th uniform number in [0, 1) derived from a hash."""
    return unit(hashed(h, k, 77))


@compiled
def ramp(value: float, low: float, high: float) -> float:
    """Return a smooth step from 0 at `low` to 1 at `high`; it falls if high < low."""
    t = (value - low) / (high - low)
    t = min(1.0, max(0.0, t))
    return t * t * (3.0 - 2.0 * t)


@compiled
def _corner(h: int) -> float:
    """Return a lattice corner's value in [-1, 1): a faster hash than `hashed`, which mixes only the upper bits."""
    return (((h ^ ((h >> 32) & 0xFFFFFFFF)) * _MIXER) >> 11) * (1.0 / (1 << 52))


@compiled
def value_noise(x: float, y: float, salt: int) -> float:
    """Return smooth noise in [-1, 1], interpolated between random values at the corners of unit squares."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u = u * u * u * (u * (u * 6.0 - 15.0) + 10.0)
    v = v * v * v * (v * (v * 6.0 - 15.0) + 10.0)
    h = i * _STEP_I + j * _STEP_J + salt * _STEP_SALT
    low, high = _corner(h), _corner(h + _STEP_J)
    low += u * (_corner(h + _STEP_I) - low)
    high += u * (_corner(h + _STEP_I + _STEP_J) - high)
    return low + v * (high - low)


@compiled
def fractal_noise(x: float, y: float, octaves: int, salt: int) -> float:
    """Return the sum of value noise over octaves of halving amplitude; about [-1, 1].

    Each octave is rotated by 37 degrees relative to the last, so that no common lattice is visible.
    """
    total, amplitude = 0.0, 0.55
    for octave in range(octaves):
        total += amplitude * value_noise(x, y, salt + octave)
        x, y = 2.03 * (0.7986 * x - 0.6018 * y) + 17.3, 2.03 * (0.6018 * x + 0.7986 * y) - 9.1
        amplitude *= 0.5
    return total


@compiled
def _cut(i: int, width: float, salt: int) -> float:
    """Return the position of the i-th cut of a line, about i widths from its start."""
    return (i + 0.7 * unit(hashed(i, 0, salt)) - 0.35) * width


@compiled
def cut_line(t: float, width: float, salt: int) -> tuple[int, int, float]:
    """Locate a position on a line that is cut into uneven pieces about `width` long.

    Returns
    -------
    tuple
        Index of the piece that contains `t`, index of the cut nearest to `t`, and the distance to that cut.
    """
    i = math.floor(t / width)
    start = _cut(i, width, salt)
    if t < start:
        i -= 1
        end, start = start, _cut(i, width, salt)
    else:
        end = _cut(i + 1, width, salt)
        if t >= end:
            i += 1
            start, end = end, _cut(i + 1, width, salt)
    if t - start < end - t:
        return i, i, t - start
    return i, i + 1, end - t


@compiled
def cell(x: float, y: float, size: float, jitter: float, salt: int) -> tuple[int, float, int, float, float]:
    """Find the Voronoi cell of a point, for sites jittered around a square lattice.

    Parameters
    ----------
    x, y
        Position [m].
    size
        Lattice spacing [m].
    jitter
        Range of a site's position along each axis, 0 to 1 lattice spacings.

    Returns
    -------
    tuple
        Hash of the cell, distance to its border [m], hash of that border (the same from both sides), the site's x, y.
    """
    ci, cj = math.floor(x / size), math.floor(y / size)
    best, second = 1e30, 1e30
    best_hash, second_hash = 0, 0
    best_x, best_y, second_x, second_y = 0.0, 0.0, 1.0, 0.0
    for i in range(ci - 1, ci + 2):
        for j in range(cj - 1, cj + 2):
            h = hashed(i, j, salt)
            # The upper and lower half of one hash give the two coordinates.
            site_x = (i + 0.5 + jitter * (((h >> 32) & 0xFFFFFFFF) / 4294967296.0 - 0.5)) * size
            site_y = (j + 0.5 + jitter * ((h & 0xFFFFFFFF) / 4294967296.0 - 0.5)) * size
            d = (x - site_x) ** 2 + (y - site_y) ** 2
            if d < best:
                second, second_hash, second_x, second_y = best, best_hash, best_x, best_y
                best, best_hash, best_x, best_y = d, h, site_x, site_y
            elif d < second:
                second, second_hash, second_x, second_y = d, h, site_x, site_y
    apart = math.hypot(second_x - best_x, second_y - best_y)
    border = hashed(min(best_hash, second_hash), max(best_hash, second_hash), salt)
    return best_hash, (second - best) / (2.0 * apart), border, best_x, best_y
