"""Noise that is a pure function of position: hashed lattices, nothing stored, nothing drawn in sequence.

Everything here is compiled, takes and returns scalars, and works in signed 64-bit integers, because numba turns a sum
of uint64 and int64 into a float. Shifts are masked where the sign bit would otherwise be carried along.

References
----------
K. Perlin, "An image synthesizer", SIGGRAPH 1985 (lattice noise and its sums over octaves).
S. Worley, "A cellular texture basis function", SIGGRAPH 1996 (cells around jittered points).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

from s2fast_kernels.compiled import njit

Function = TypeVar("Function", bound=Callable[..., object])

# Odd numbers without structure; what they are does not matter, that they stay the same does.
_STEP_I = 0x1E3779B97F4A7C15
_STEP_J = 0x2545F4914F6CDD1D
_STEP_SALT = 0x632BE59BD9B4E019
_MIXER = 0x56E8FEB86659FD93


def compiled(function: Function) -> Function:
    """Compile without the GIL, so that blocks of one image render on several threads.

    No ``fastmath``: the same position must give the same bits in every window.
    """
    return cast(Function, njit(nogil=True, error_model="numpy")(function))


def salt_of(seed: int) -> int:
    """Spread seeds apart: every ground takes its layers' salts from the numbers just above its own.

    Examples
    --------
    >>> salt_of(2) - salt_of(1)
    1000003
    """
    return 1_000_003 * seed


@compiled
def hashed(i: int, j: int, salt: int) -> int:
    """Mix two lattice coordinates and a salt into 64 well-spread bits."""
    h = i * _STEP_I + j * _STEP_J + salt * _STEP_SALT
    h = (h ^ ((h >> 32) & 0xFFFFFFFF)) * _MIXER
    h = (h ^ ((h >> 29) & 0x7FFFFFFFF)) * _MIXER
    return h ^ ((h >> 32) & 0xFFFFFFFF)


@compiled
def unit(h: int) -> float:
    """Uniform number in [0, 1) from hashed bits."""
    return ((h >> 11) & 0x1FFFFFFFFFFFFF) * (1.0 / (1 << 53))


@compiled
def draw(h: int, k: int) -> float:
    """Draw the k-th uniform number in [0, 1) that belongs to one hash."""
    return unit(hashed(h, k, 77))


@compiled
def ramp(value: float, low: float, high: float) -> float:
    """Rise smoothly from 0 at `low` to 1 at `high`; falls where high < low."""
    t = (value - low) / (high - low)
    t = min(1.0, max(0.0, t))
    return t * t * (3.0 - 2.0 * t)


@compiled
def _corner(h: int) -> float:
    """Give a lattice corner its number in [-1, 1): a quicker mix than `hashed`, for the upper bits only."""
    return (((h ^ ((h >> 32) & 0xFFFFFFFF)) * _MIXER) >> 11) * (1.0 / (1 << 52))


@compiled
def value_noise(x: float, y: float, salt: int) -> float:
    """Smooth noise in [-1, 1] with one random value per unit square's corner."""
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
    """Sum of value noise over octaves, each half as high; about [-1, 1].

    Octaves are turned by 37 degrees against each other, so that their lattices never show as one grid.
    """
    total, amplitude = 0.0, 0.55
    for octave in range(octaves):
        total += amplitude * value_noise(x, y, salt + octave)
        x, y = 2.03 * (0.7986 * x - 0.6018 * y) + 17.3, 2.03 * (0.6018 * x + 0.7986 * y) - 9.1
        amplitude *= 0.5
    return total


@compiled
def _cut(i: int, width: float, salt: int) -> float:
    """Where the i-th cut of a line lies: about i widths from its start."""
    return (i + 0.7 * unit(hashed(i, 0, salt)) - 0.35) * width


@compiled
def cut_line(t: float, width: float, salt: int) -> tuple[int, int, float]:
    """Cut a line into uneven pieces about `width` long.

    Returns
    -------
    tuple
        Index of the piece that holds `t`, index of the cut nearest to `t`, and the distance to that cut.
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
    """Find the Voronoi cell around a point, of sites jittered on a square lattice.

    Parameters
    ----------
    x, y
        Position [m].
    size
        Lattice spacing [m].
    jitter
        How far a site moves, 0 to 1 lattice spacings in all.

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
            # One hash is enough for both coordinates: its upper and its lower half.
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
