"""Convert pixels of any number type to 8 bits with one constant stretch per scene: equal values stay equal everywhere.

Values of 16 bits are looked up in a table, all others computed by the same rule. A histogram's bins are the values of
16 bits themselves, and of other types single-precision floats rounded to 11 significant bits, of any size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.errors import SceneError

VALUES = 1 << 16
"""Number of 16-bit values."""

AUTO_SHARE_PCT = (2, 98)
"""Percentiles of the valid values that "auto" uses as the low and the high end [%]."""

_FEWEST_VALUES = 64
"""A scene with fewer values has no fill value: what is far from all others may be ground."""

_BINS = 1 << 19
"""Number of floats that have a sign, an exponent of 8 bits and 11 significant bits."""

_CUT_BITS = 13
"""Last bits of a single-precision float that its bin leaves out."""

_NEGATIVE = _BINS // 2
"""The sign bit of a bin."""

_ROWS = 64
"""Rows that are computed at once; each holds float64 values."""


def checked_type(name: str, dtypes: list[str]) -> str:
    """Return the type of a file's pixels, which all bands must share.

    Raises
    ------
    SceneError
        Bands have several types, or values that are no real numbers.
    """
    if len(set(dtypes)) > 1:
        raise SceneError(f"{name}: pixels are {', '.join(dtypes)}: the bands must have one type")
    # NumPy lacks some of GDAL's complex types.
    if dtypes[0] == "int8" or dtypes[0].startswith("complex") or np.dtype(dtypes[0]).kind not in "iuf":
        raise SceneError(f"{name}: pixels are {dtypes[0]}; they must be real numbers of 8 bits without sign, or longer")
    return dtypes[0]


def stretch_table(low: float, high: float) -> npt.NDArray[np.uint8]:
    """Return the lookup table of a stretch: (65536,) uint8.

    0 stays 0, no data. All other values are mapped linearly to 1..255, rounded half up: `low` and below become 1,
    `high` and above 255. ``[0, 3558]`` is the stretch by which the ground segment makes the TCI from L1C reflectances.

    Examples
    --------
    >>> stretch_table(1000, 1254)[[0, 1, 1000, 1001, 1254, 65535]]
    array([  0,   1,   1,   2, 255, 255], dtype=uint8)
    """
    span = high - low
    above = np.clip(np.arange(VALUES, dtype=np.int64), low, high) - low
    table = (1 + (2 * 254 * above + span) // (2 * span)).astype(np.uint8)
    table[0] = 0
    return table


def stretched(pixels: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Stretch pixels of any real type by the rule of `stretch_table`.

    Parameters
    ----------
    pixels : (bands, height, width)
        0, and what is not finite, is no data.
    low, high
        The values that become 1 and 255.

    Returns
    -------
    (bands, height, width) uint8
        0 where there is no data.

    Examples
    --------
    >>> stretched(np.float32([[[0, np.nan, -0.1, 0.1, 0.2, 0.3]]]), 0.0, 0.254)
    array([[[  0,   0,   1, 101, 201, 255]]], dtype=uint8)
    """
    result = np.empty(pixels.shape, np.uint8)
    for top in range(0, pixels.shape[1], _ROWS):
        part = pixels[:, top : top + _ROWS]
        above = part.astype(np.float64)
        known = np.isfinite(above) & (above != 0)
        above[~known] = low
        np.clip(above, low, high, out=above)
        above -= low
        above *= 254
        above /= high - low
        above += 1.5
        result[:, top : top + _ROWS] = np.where(known, above.astype(np.uint8), 0)
    return result


def bins(dtype: npt.DTypeLike) -> int:
    """Return the number of bins of a type's histogram."""
    kind = np.dtype(dtype)
    return VALUES if kind.kind == "u" and kind.itemsize <= 2 else _BINS


def histogram(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Count values in the bins of `auto_stretch`: (b,) int64, see `bins`.

    Parameters
    ----------
    values : (n,)
        Valid values.
    """
    number = bins(values.dtype)
    return np.bincount(values if number == VALUES else _codes(values), minlength=number)


def _codes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return the bins of values, in ascending order: the first bits of floats, with those of negative ones reversed."""
    with np.errstate(over="ignore", under="ignore"):
        bits = np.array(values, np.float32).view(np.uint32)
    bits += 1 << _CUT_BITS - 1  # rounds to the nearest
    bits >>= _CUT_BITS
    return np.where(bits & _NEGATIVE, _BINS - 1 - bits, bits | _NEGATIVE).astype(np.uint32)


def _value(code: int) -> float:
    """Return the value of a bin, the largest finite one for infinity."""
    bits = code & ~_NEGATIVE if code & _NEGATIVE else _BINS - 1 - code
    value = float(np.uint32(bits << _CUT_BITS).view(np.float32))
    most = float(np.finfo(np.float32).max)
    return min(max(value, -most), most)


def auto_stretch(counts: npt.NDArray[np.int64], dtype: str = "uint16") -> tuple[int, int] | tuple[float, float]:
    """Compute a stretch from a histogram of the valid values.

    Parameters
    ----------
    counts : (b,) int64
        Number of valid pixels in each bin, all bands together; see `histogram`.
    dtype
        Type of the pixels.

    Returns
    -------
    low, high : int, float if `dtype` is neither of 8 nor of 16 bits without sign
        The smallest values with at least 2 % and 98 % of the pixels at or below them; different, integers at least 1
        apart. A fill value that the file does not declare, such as -9999, is not counted: see `_without_fill`.

    Examples
    --------
    >>> auto_stretch(np.bincount(np.arange(100, 200), minlength=VALUES))
    (101, 197)
    >>> auto_stretch(histogram(np.float32([0.25, 0.5, 1.0])), "float32")
    (0.25, 1.0)
    """
    counts = _without_fill(counts, dtype)
    total = int(counts.sum())
    if not total:
        return 0, 1
    # In integers, so that the result does not depend on rounding.
    reached = 100 * np.cumsum(counts)
    low, high = (int(np.searchsorted(reached, share * total)) for share in AUTO_SHARE_PCT)
    if dtype in ("uint8", "uint16"):
        return min(low, VALUES - 2), max(high, min(low, VALUES - 2) + 1)
    least, most = _value(low), _value(high)
    return (least, most) if least < most else (least, math.nextafter(least, math.inf))


def _without_fill(counts: npt.NDArray[np.int64], dtype: str) -> npt.NDArray[np.int64]:
    """Return a histogram without its least or largest value if that is a fill value which the file does not declare.

    It is one if it would be an end of the stretch, and is farther from all other values than these are from each other.
    """
    codes = np.flatnonzero(counts)
    if len(codes) <= _FEWEST_VALUES:
        return counts
    values = codes.astype(float) if dtype in ("uint8", "uint16") else np.array([_value(int(code)) for code in codes])
    gaps = values[1] - values[0], values[-1] - values[-2]
    ranges = values[-1] - values[1], values[-2] - values[0]
    for code, gap, others in zip(codes[[0, -1]], gaps, ranges, strict=True):
        if gap > others and 100 * counts[code] >= AUTO_SHARE_PCT[0] * counts.sum():
            return np.where(np.arange(len(counts)) == code, 0, counts)
    return counts
