"""Convert 16 bits to 8 with one constant stretch per scene, so that equal values stay equal everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VALUES = 1 << 16
"""Number of 16-bit values."""

AUTO_SHARE_PCT = (2, 98)
"""Percentiles of the valid values that "auto" uses as the low and the high end [%]."""


def stretch_table(low: int, high: int) -> npt.NDArray[np.uint8]:
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


def auto_stretch(counts: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Compute a stretch from a histogram of the valid values.

    Parameters
    ----------
    counts : (65536,) int64
        Number of valid pixels of each value, all bands together.

    Returns
    -------
    low, high : int
        The smallest values with at least 2 % and 98 % of the pixels at or below them, at least 1 apart.

    Examples
    --------
    >>> auto_stretch(np.bincount(np.arange(100, 200), minlength=VALUES))
    (101, 197)
    """
    total = int(counts.sum())
    if not total:
        return 0, 1
    # In integers, so that the result does not depend on rounding.
    reached = 100 * np.cumsum(counts)
    low, high = (int(np.searchsorted(reached, share * total)) for share in AUTO_SHARE_PCT)
    return min(low, VALUES - 2), max(high, min(low, VALUES - 2) + 1)
