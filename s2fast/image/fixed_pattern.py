"""What is fixed to a scene's pixels and not to the ground: painted shapes, writing, detector noise.

Two scenes of different ground that share such a pattern match wherever it lies at equal positions of both rasters.
Shapes of equal or missing pixels are told by their outline (`s2fast.image.painted`), writing and other overlays by
pixels that are identical in both scenes, noise by the frequencies at which two scenes agree: two pictures of one ground
agree in what is coarse at least as well as in what is fine. Stripes are alike in parts of two scenes that show
different ground.

References
----------
Lukas, Fridrich, Goljan: Digital camera identification from sensor pattern noise. IEEE Transactions on Information
Forensics and Security 1, 2006. Carter, Knapp, Nuttall: Estimation of the magnitude-squared coherence function. IEEE
Transactions on Audio and Electroacoustics 21, 1973.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft2
from scipy.ndimage import uniform_filter1d

from s2fast.image.painted import RowSource, alike, outlines

_CORE_PX = 5
"""Side of the square of pixels kept around a keypoint."""

_LEAST_IDENTICAL = 6
"""Pixels around two keypoints that must be identical for them to show an overlay."""

_NEARLY = 2
"""Pixels that differ by at most this much differ by chance [DN]: two pictures of dark, stable ground have more of them
than identical ones, an overlay has none."""

_COPY_SHARE = 0.5
"""If so many of a scene's keypoints are identical, the scenes are copies, and nothing tells overlay from ground; nor
what is painted, if that is so pixel by pixel."""

_BLOCK_PX = 64
"""Side of a sampled block."""

_MOST_BLOCKS = 64
"""Most blocks sampled from a scene."""

_LEAST_SEEN = 0.5
"""Share of a block that must be clear; the rest is filled with its mean."""

_LEAST_BLOCKS = 3
"""Fewer common blocks tell nothing of coarse frequencies."""

_COARSE = (1 / 48, 1 / 24, 1 / 16, 1 / 12, 1 / 8)
"""Limits of the frequency bands at which scenes of one ground agree if they do at any [1 / px]."""

_FINE = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 0.42, 0.71)
"""Limits of the bands in which a pattern of single pixels lies [1 / px]."""

_MOST_EXCESS = 0.37
"""How much more coherent two scenes of one ground may be in a fine band than they are in coarse ones. Chosen on tile
36UYA, where it is at most 0.32; white noise that is enough for a verdict gives 0.43 and more."""

_STRIPE_PX = 9
"""Brightness that changes over this many pixels and more is no stripe."""

_STRIPES_ALIKE = 0.5
"""Correlation of two scenes' columns, or rows, over different ground from which on they are striped alike."""

_LEAST_PROFILE_PX = 128
"""Shorter profiles correlate by chance."""

_AT_REST_PX = 0.75
"""Displacement on the rasters within which a pattern fixed to them may be what matched [px of the tile]."""


@dataclass(frozen=True)
class Fixed:
    """What of a scene could be fixed to its pixels."""

    outline: npt.NDArray[np.uint64]
    """(n,) what each keypoint sees of pixels that are not ground, see `s2fast.image.painted.outlines`."""
    core: npt.NDArray[np.uint8]
    """(n, 25) pixels around each keypoint, row by row [DN]."""
    sample: npt.NDArray[np.uint8]
    """(m, 64, 64) blocks of pixels, spread over the scene; what is not clear is filled [DN]."""
    sample_at: npt.NDArray[np.int32]
    """(m, 2) their first row and column on the tile."""

    @classmethod
    def of(
        cls,
        grey: npt.NDArray[np.uint8],
        clear: npt.NDArray[np.bool_],
        flat: RowSource,
        xy: npt.NDArray[np.float32],
        size: npt.NDArray[np.float32],
    ) -> Fixed:
        """Look at a masked tile.

        Parameters
        ----------
        grey : (rows, cols) uint8
            Its pixels.
        clear : (rows, cols) bool
            Where the ground is seen.
        flat
            Where pixels are equal, see `s2fast.image.painted.flat`.
        xy : (n, 2) float32
            Keypoints, pixel centres at integers [px].
        size : (n,) float32
            Their diameters [px].
        """
        outline = outlines(lambda rows: flat(rows) | ~clear[rows], clear.shape, xy, size)
        reach = np.arange(_CORE_PX) - _CORE_PX // 2
        x, y = np.rint(xy).astype(np.intp).T
        rows = np.clip(y[:, None, None] + reach[:, None], 0, max(0, grey.shape[0] - 1))
        columns = np.clip(x[:, None, None] + reach, 0, max(0, grey.shape[1] - 1))
        blocks, corners = [], []
        for row, column in _lattice(grey.shape):
            block = grey[row : row + _BLOCK_PX, column : column + _BLOCK_PX].copy()
            seen = clear[row : row + _BLOCK_PX, column : column + _BLOCK_PX] & (block > 0)
            if np.count_nonzero(seen) >= _LEAST_SEEN * seen.size:
                block[~seen] = block[seen].mean()
                blocks.append(block)
                corners.append((row, column))
        return cls(
            outline,
            grey[rows, columns].reshape(len(xy), _CORE_PX**2),
            np.array(blocks, np.uint8).reshape(-1, _BLOCK_PX, _BLOCK_PX),
            np.array(corners, np.int32).reshape(-1, 2),
        )

    @cached_property
    def spectra(self) -> npt.NDArray[np.complex64]:
        """(m, f) spectra of the blocks at the frequencies of `_BANDS`, one band after another."""
        blocks = self.sample.astype(np.float32)
        blocks -= blocks.mean(axis=(1, 2), keepdims=True)
        return np.asarray(rfft2(blocks * _WINDOW).reshape(len(blocks), -1)[:, _BANDS], np.complex64)

    def profiles(self, axis: int) -> tuple[dict[int, npt.NDArray[np.float32]], dict[int, npt.NDArray[np.float32]]]:
        """Return the brightness of single columns (axis 1), or rows, of either half of the scene, by their blocks."""
        if axis not in self._profiles:
            across = self.sample_at[:, 1 - axis]
            first = across < (across.min(initial=0) + across.max(initial=0)) / 2
            self._profiles[axis] = (self._mean_profiles(axis, first), self._mean_profiles(axis, ~first))
        return self._profiles[axis]

    def _mean_profiles(self, axis: int, chosen: npt.NDArray[np.bool_]) -> dict[int, npt.NDArray[np.float32]]:
        found = {}
        for place in np.unique(self.sample_at[chosen, axis]):
            blocks = self.sample[chosen & (self.sample_at[:, axis] == place)].astype(np.float32)
            profile = blocks.mean(axis=(0, 2 - axis))
            found[int(place)] = profile - uniform_filter1d(profile, _STRIPE_PX, mode="nearest")
        return found

    @cached_property
    def _profiles(self) -> dict[int, tuple[dict[int, npt.NDArray[np.float32]], dict[int, npt.NDArray[np.float32]]]]:
        return {}


def same_paint(
    query: Fixed,
    train: Fixed,
    query_row: npt.NDArray[np.int32],
    train_row: npt.NDArray[np.int32],
    moved_px: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.bool_]:
    """Return which matches would be there whatever the ground is: (k,) bool.

    Parameters
    ----------
    query, train
        The scenes.
    query_row, train_row : (k,) int32
        The matches.
    moved_px : (k, 2) float32 or None
        How far each lies apart on the two rasters [px of the tile]; None if their pixels have different sizes.
    """
    same = alike(query.outline[query_row], train.outline[train_row])
    if moved_px is None:
        return same
    resting = np.flatnonzero((np.abs(moved_px) < 1).all(axis=1))
    here, there = query.core[query_row[resting]], train.core[train_row[resting]]
    many = _COPY_SHARE * min(len(query.core), len(train.core))
    copied = (here == there).all(axis=1) & (np.ptp(here, axis=1) > 0)
    if np.count_nonzero(copied) >= many and _same_blocks(query, train):
        return np.zeros(len(query_row), np.bool_)
    identical = _identical(here, there)
    if np.count_nonzero(identical) < many:
        same[resting] |= identical
    return same


def _same_blocks(query: Fixed, train: Fixed) -> bool:
    """Return whether two scenes' blocks are identical wherever both have one."""
    here, there = _common_blocks(query, train)
    return bool((query.sample[here] == train.sample[there]).all())


def _common_blocks(query: Fixed, train: Fixed) -> tuple[list[int], list[int]]:
    """Return which of two scenes' blocks lie at the same place."""
    common = {(int(row), int(column)): number for number, (row, column) in enumerate(train.sample_at)}
    here = [number for number, (row, column) in enumerate(query.sample_at) if (int(row), int(column)) in common]
    return here, [common[int(row), int(column)] for row, column in query.sample_at[here]]


def _identical(query: npt.NDArray[np.uint8], train: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which (k, 25) surroundings share so many pixels that both show one overlay: (k,) bool."""
    found = np.zeros(len(query), np.bool_)
    rows = np.flatnonzero(np.count_nonzero(query == train, axis=1) >= _LEAST_IDENTICAL // 2)
    one, other = (core[rows].reshape(-1, _CORE_PX, _CORE_PX).astype(np.int16) for core in (query, train))
    # Keypoints of one overlay may be rounded to neighbouring pixels.
    for down, right in itertools.product((-1, 0, 1), repeat=2):
        here, there = one[:, _cut(down), _cut(right)], other[:, _cut(-down), _cut(-right)]
        off = np.abs(here - there)
        identical = np.count_nonzero(off == 0, axis=(1, 2))
        nearly = np.count_nonzero(off <= _NEARLY, axis=(1, 2)) - identical
        found[rows] |= (identical >= _LEAST_IDENTICAL) & (identical >= 2 * nearly)
    return found


def _cut(offset: int) -> slice:
    return slice(max(0, offset), _CORE_PX + min(0, offset))


def is_pattern(query: Fixed, train: Fixed, moved_px: npt.NDArray[np.float32]) -> bool:
    """Return whether matches are explained by what two scenes have fixed to their pixels.

    Parameters
    ----------
    query, train
        The scenes.
    moved_px : (k, 2) float32
        How far matches that agree lie apart on the two rasters [px of the tile].
    """
    if not len(moved_px):
        return False
    right, down = np.abs(np.median(moved_px, axis=0)) <= _AT_REST_PX
    return bool(
        (right and down and share_noise(query, train))
        or (right and share_stripes(query, train, 1))
        or (down and share_stripes(query, train, 0))
    )


def share_noise(query: Fixed, train: Fixed) -> bool:
    """Return whether two scenes agree in single pixels far better than in what is coarse, as no ground does."""
    here, there = _common_blocks(query, train)
    if len(here) < _LEAST_BLOCKS:
        return False
    one, other = query.spectra[here], train.spectra[there]
    together = np.add.reduceat((one.real * other.real + one.imag * other.imag).sum(axis=0), _STARTS)
    power = [np.add.reduceat((part.real**2 + part.imag**2).sum(axis=0), _STARTS) for part in (one, other)]
    coherence = together / np.sqrt(np.maximum(power[0] * power[1], 1e-12))
    coarse = np.abs(coherence[: len(_COARSE) - 1]).mean()
    return bool(coherence[len(_COARSE) - 1 :].max() - coarse > _MOST_EXCESS)


def share_stripes(query: Fixed, train: Fixed, axis: int) -> bool:
    """Return whether two scenes have the same stripes, across columns (axis 1) or across rows (axis 0).

    The first half of one scene is compared with the second half of the other: they share stripes but no ground.
    """
    for near, far in ((query, train), (train, query)):
        one, other = near.profiles(axis)[0], far.profiles(axis)[1]
        places = sorted(one.keys() & other.keys())
        if len(places) * _BLOCK_PX < _LEAST_PROFILE_PX:
            return False
        here, there = (np.concatenate([half[place] for place in places]) for half in (one, other))
        if here @ there <= _STRIPES_ALIKE * np.sqrt((here @ here) * (there @ there)):
            return False
    return True


def _lattice(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return corners of blocks at positions that scenes of different shapes have in common."""
    step = _BLOCK_PX
    while True:
        corners = list(
            itertools.product(
                range(0, shape[0] - _BLOCK_PX + 1, step),
                range(0, shape[1] - _BLOCK_PX + 1, step),
            )
        )
        if len(corners) <= _MOST_BLOCKS:
            return corners
        step *= 2


def _bands() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """List the frequencies of each band in a block's spectrum, and where each band begins in the list."""
    down, right = np.fft.fftfreq(_BLOCK_PX)[:, None], np.fft.rfftfreq(_BLOCK_PX)[None, :]
    frequency = np.hypot(down, right)
    # Stripes along rows or columns are no matter of the ground's either.
    oblique = (down != 0) & (right > 0)
    limits = (*itertools.pairwise(_COARSE), *itertools.pairwise(_FINE))
    found = [np.flatnonzero(oblique & (frequency >= low) & (frequency < high)) for low, high in limits]
    return np.concatenate(found), np.cumsum([0, *map(len, found[:-1])])


_BANDS, _STARTS = _bands()

_WINDOW = np.outer(np.hanning(_BLOCK_PX + 2)[1:-1], np.hanning(_BLOCK_PX + 2)[1:-1]).astype(np.float32)
