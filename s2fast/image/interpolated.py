"""Detect images whose pixels were interpolated from larger ones, such as Landsat at 30 m on a grid of 10 m.

Between the larger pixels' centres an interpolated image is smoother than at them (Gallagher 2005), so that keypoints
prefer places on that lattice. It lies at the same pixels in every scene on one grid, whatever their ground: two such
scenes agree best on a shift that brings their lattices together.

Other images have a lattice too, on which keypoints are where they should be: blocks of JPEG that were averaged over two
pixels, furrows and streets, and images resampled by less than two, as from 12 to 10 m. They are as sharp as others;
within larger pixels, differences grow in proportion to the distance.

References
----------
Gallagher: Detection of linear and cubic interpolation in JPEG compressed images. CRV 2005.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

FACTORS = (6, 5, 4, 3, 2)
"""Sides of larger pixels that are detected [px], the largest first: a lattice of 6 is also one of 3 and of 2."""

LEAST_DEPTH = 0.04
"""Minimum share by which differences of neighbouring pixels vary over a lattice."""

MOST_SHARP = 0.6
"""Maximum difference of means over half a larger pixel, as a share of that of every second ones: 0.5 within larger
pixels. Selected on enlarged and otherwise treated copies of 36UXA, Paris and the scenes of 2016, with `LEAST_DEPTH`."""

_DEEP = 0.6
"""Share from which no lattice but that of repeated pixels was seen, whose edges compression makes sharp."""

_JPEG_PX = 8
"""Side of the blocks of JPEG, which are also a lattice of 4 and of 2 pixels."""

_PHASES = 120
"""Number of positions that are distinguished: a common multiple of all sides."""

_LEAST_NUMBER = 120
"""Minimum number of differences at each position."""

_SIDE_PX, _ALONG = 2 * _PHASES, 3
"""Side of the squares that are looked at [px], and their number along each side of the image."""


def interpolated_px(grey: npt.NDArray[np.uint8]) -> int:
    """Return the side of the pixels from which an image was interpolated.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The image; 0 where there is no data.

    Returns
    -------
    int
        The side in pixels of the image, one of `FACTORS`; 1: there is no such lattice, it is too faint (as in haze),
        the image is too sharp for larger pixels, or it is narrower than 121 pixels.

    Examples
    --------
    >>> ground = np.random.default_rng(0).integers(40, 200, (100, 100), np.uint8)
    >>> interpolated_px(ground.repeat(3, axis=0).repeat(3, axis=1)), interpolated_px(np.tile(ground, (3, 3)))
    (3, 1)
    """
    along = _depths(grey)
    if not any(along[side] >= LEAST_DEPTH for side in FACTORS):
        return 1
    across = _depths(grey.T)
    of_jpeg = {side for side in FACTORS if _JPEG_PX % side == 0 and along[side] < 2 * along[_JPEG_PX]}
    depth = {side: min(along[side], across[side]) for side in FACTORS if side not in of_jpeg}
    # Its divisors are about as deep as a lattice or less so; of another side, a few straight edges make a faint one.
    least = max(LEAST_DEPTH, 0.8 * max(depth.values()))
    for side in depth:
        if depth[side] >= least and (
            depth[side] >= _DEEP or max(_sharpness(grey, side), _sharpness(grey.T, side)) <= MOST_SHARP
        ):
            return side
    return 1


def _sharpness(grey: npt.NDArray[np.uint8], side: int) -> float:
    """Return how much means over half a larger pixel differ along the rows, as a share of how much every second does.

    Each is over about as many pixels as the larger pixel is wide, against noise.
    """
    cols = max(1, side // 2)
    rows = side // cols
    total, number = np.zeros(2), np.zeros(2)
    for _, part in _squares(grey):
        height, width = (length // px for length, px in zip(part.shape, (rows, cols), strict=True))
        cells = part[: height * rows, : width * cols].reshape(height, rows, width, cols)
        held = np.asarray((cells > 0).all(axis=(1, 3)))
        means = cells.mean(axis=(1, 3), dtype=np.float32)
        for away in (1, 2):
            both = held[:, away:] & held[:, :-away]
            total[away - 1] += np.abs(means[:, away:] - means[:, :-away])[both].sum()
            number[away - 1] += both.sum()
    near, far = total / np.maximum(number, 1)
    return float(near / far) if far else 0.0


def _depths(grey: npt.NDArray[np.uint8]) -> dict[int, float]:
    """Return how much differences along the rows vary over a lattice of each side: shares of their mean.

    First and second differences are looked at: either is constant for some kernels and sides.
    """
    found = dict.fromkeys((*FACTORS, _JPEG_PX), 0.0)
    for order in (1, 2):
        total, number = _sums(grey, order)
        if number.min() < _LEAST_NUMBER or not total.any():
            continue
        mean = total / number
        waves = np.abs(np.fft.rfft(mean / mean.mean())) / _PHASES
        for side in found:
            # The wave of two pixels has no conjugate.
            found[side] = max(found[side], float(waves[_PHASES // side]) * (1 if side == 2 else 2))
    return found


def _sums(grey: npt.NDArray[np.uint8], order: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the sums of absolute differences along the rows, and their numbers, by column modulo `_PHASES`."""
    total, number = np.zeros(_PHASES), np.zeros(_PHASES)
    for first, part in _squares(grey):
        held = part > 0
        differ, both = np.abs(np.diff(part.astype(np.int16), n=order, axis=1)), held
        for _ in range(order):
            both = both[:, 1:] & both[:, :-1]
        phase = np.arange(first, first + both.shape[1]) % _PHASES
        total += np.bincount(phase, np.where(both, differ, 0).sum(axis=0), _PHASES)
        number += np.bincount(phase, both.sum(axis=0), _PHASES)
    return total, number


def _squares(grey: npt.NDArray[np.uint8]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield the squares that are looked at, each after the number of its first column."""
    for rows in _parts(grey.shape[0]):
        for columns in _parts(grey.shape[1]):
            yield columns.start, grey[rows, columns]


def _parts(length: int) -> list[slice]:
    """Return the parts of an axis that are looked at."""
    starts = np.linspace(0, max(0, length - _SIDE_PX), _ALONG).astype(int)
    return [slice(int(start), min(length, int(start) + _SIDE_PX)) for start in np.unique(starts)]
