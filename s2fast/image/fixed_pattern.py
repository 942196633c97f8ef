"""Fixed patterns: image content tied to the pixel grid instead of the ground, such as painted shapes, text or noise.

Two scenes of different ground that share such a pattern match wherever it has equal positions in both rasters. Shapes
of equal or missing pixels are recognised by their outline (`s2fast.image.painted`), text and other overlays by pixels
that are identical in both scenes, noise by the spatial frequencies at which two scenes are coherent: images of the same
ground agree at low frequencies at least as well as at high ones. Stripes are recognised by their correlation between
parts of two scenes that show different ground. Even areas of one outline count where the ground beside them does not
agree (`s2fast.image.shared_areas`). Whatever else is drawn on both shows where the ground around it differs
(`s2fast.image.surroundings`).

References
----------
Lukas, Fridrich, Goljan: Digital camera identification from sensor pattern noise. IEEE Transactions on Information
Forensics and Security 1, 2006. Carter, Knapp, Nuttall: Estimation of the magnitude-squared coherence function. IEEE
Transactions on Audio and Electroacoustics 21, 1973.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.image.painted import RowSource, outlines, outlines_match
from s2fast.image.shared_areas import Areas, only_edges_agree
from s2fast.image.surroundings import Squares, grounds_differ

CORE_PX = 5
"""Side of the square of pixels stored around each keypoint."""

LEAST_IDENTICAL = 6
"""Minimum number of identical pixels around two keypoints of an overlay."""

NEARLY = 2
"""Pixels that differ by at most this much differ by chance [DN]. In two images of dark, stable ground such pixels
outnumber the identical ones; in an overlay there are none."""

COPY_SHARE = 0.5
"""If at least this share of the compared keypoints is identical, the scenes are copies: identical pixels are then no
sign of an overlay, and painted shapes are ignored if all sampled blocks are identical too."""

_BLOCK_PX = 64
"""Side of a sampled block."""

_MOST_BLOCKS = 64
"""Maximum number of blocks sampled from a scene."""

_LEAST_SEEN = 0.5
"""Minimum share of clear pixels in a block; the other pixels are filled with the mean of the clear ones."""

LEAST_BLOCKS = 3
"""Minimum number of common blocks to estimate the coherence at low frequencies."""

_COARSE = (1 / 48, 1 / 24, 1 / 16, 1 / 12, 1 / 8)
"""Limits of the low-frequency bands, in which scenes of the same ground are coherent if they are at all [1 / px]."""

_FINE = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 0.42, 0.71)
"""Limits of the high-frequency bands, in which patterns of single pixels lie [1 / px]."""

_MOST_EXCESS = 0.37
"""Maximum of the coherence in a fine band minus the mean coherence in the coarse bands, for scenes of the same ground.
Calibrated on tile 36UYA, where it is at most 0.32; white noise strong enough to cause a verdict gives at least 0.43."""

_STRIPE_PX = 9
"""Window of the moving average subtracted from profiles: wider variations of brightness are not stripes."""

_LEAST_STRIPE_CORRELATION = 0.5
"""Minimum correlation of two scenes' profiles over different ground for shared stripes."""

_LEAST_PROFILE_PX = 128
"""Minimum length of a profile; shorter ones correlate by chance."""

_AT_REST_PX = 0.75
"""Largest displacement between the rasters that a fixed pattern can explain [px of the tile]."""


@dataclass(frozen=True, slots=True)
class _Profile:
    """High-pass filtered profile of one half of a scene."""

    parts: dict[int, npt.NDArray[np.float32]]
    """Mean profiles of the blocks, by the first column, or row, of the blocks; ascending."""
    joined: npt.NDArray[np.float32]
    """All parts, one after another."""
    energy: np.float32
    """Sum of the squares of `joined`."""

    @classmethod
    def of(cls, parts: dict[int, npt.NDArray[np.float32]]) -> _Profile:
        """Join the parts."""
        joined = np.concatenate([np.zeros(0, np.float32), *parts.values()])
        return cls(parts, joined, joined @ joined)

    def common(self, other: _Profile) -> _Profile:
        """Return the parts that the other profile has too."""
        if self.parts.keys() == other.parts.keys():
            return self
        return self.of({start: part for start, part in self.parts.items() if start in other.parts})


@dataclass(frozen=True)
class FixedPattern:
    """Parts of a scene that may belong to a pattern fixed to the pixel grid."""

    outline: npt.NDArray[np.uint64]
    """(n,) pattern of pixels without ground around each keypoint, see `s2fast.image.painted.outlines`."""
    core: npt.NDArray[np.uint8]
    """(n, 25) pixels around each keypoint, row by row [DN]."""
    sample: npt.NDArray[np.uint8]
    """(m, 64, 64) blocks of pixels, spread over the scene; pixels that are not clear are filled [DN]."""
    sample_at: npt.NDArray[np.int32]
    """(m, 2) first row and column of each block on the tile; in order of rows, then columns."""

    @classmethod
    def of(
        cls,
        grey: npt.NDArray[np.uint8],
        clear: npt.NDArray[np.bool_],
        flat: RowSource,
        xy: npt.NDArray[np.float32],
        size: npt.NDArray[np.float32],
    ) -> FixedPattern:
        """Extract them from a masked tile.

        Parameters
        ----------
        grey : (rows, cols) uint8
            Pixels of the tile.
        clear : (rows, cols) bool
            True where the ground is visible.
        flat
            Areas and lines of equal pixels, see `s2fast.image.painted.flat`.
        xy : (n, 2) float32
            Keypoints, pixel centres at integers [px].
        size : (n,) float32
            Diameters of the keypoints [px].
        """
        outline = outlines(lambda rows: flat(rows) | ~clear[rows], clear.shape, xy, size)
        reach = np.arange(CORE_PX) - CORE_PX // 2
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
            grey[rows, columns].reshape(len(xy), CORE_PX**2),
            np.array(blocks, np.uint8).reshape(-1, _BLOCK_PX, _BLOCK_PX),
            np.array(corners, np.int32).reshape(-1, 2),
        )

    @cached_property
    def spectra(self) -> npt.NDArray[np.complex64]:
        """(m, f) spectra of the blocks at the frequencies `_BANDS`, in the order of the bands."""
        blocks = self.sample.astype(np.float32)
        blocks -= blocks.mean(axis=(1, 2), keepdims=True)
        from scipy.fft import rfft2  # it takes a tenth of a second, which commands that compute nothing do not need

        return np.ascontiguousarray(rfft2(blocks * _WINDOW).reshape(len(blocks), -1)[:, _BANDS], np.complex64)

    @cached_property
    def power(self) -> npt.NDArray[np.float32]:
        """(m, b) power of each block, summed over the frequencies of each band."""
        return np.asarray(np.add.reduceat(self.spectra.real**2 + self.spectra.imag**2, STARTS, axis=1))

    @cached_property
    def squares(self) -> Squares:
        """The blocks, cut into squares."""
        return Squares.of(self.sample, self.sample_at)

    @cached_property
    def areas(self) -> Areas:
        """Even areas of the blocks, and the ground between them."""
        return Areas.of(self.sample)

    @cached_property
    def place(self) -> npt.NDArray[np.int64]:
        """(m,) `sample_at` as one number."""
        row, column = self.sample_at.astype(np.int64).T
        return np.asarray(row << 32 | column)

    def profiles(self, axis: int) -> tuple[_Profile, _Profile]:
        """Return high-pass filtered profiles of columns (axis 1) or rows (axis 0), for either half of the scene."""
        if axis not in self._profiles:
            across = self.sample_at[:, 1 - axis]
            first = across < (across.min(initial=0) + across.max(initial=0)) / 2
            self._profiles[axis] = (self._mean_profiles(axis, first), self._mean_profiles(axis, ~first))
        return self._profiles[axis]

    def _mean_profiles(self, axis: int, half: npt.NDArray[np.bool_]) -> _Profile:
        from scipy.ndimage import uniform_filter1d

        found = {}
        for start in np.unique(self.sample_at[half, axis]):
            blocks = self.sample[half & (self.sample_at[:, axis] == start)].astype(np.float32)
            profile = blocks.mean(axis=(0, 2 - axis))
            found[int(start)] = profile - uniform_filter1d(profile, _STRIPE_PX, mode="nearest")
        return _Profile.of(found)

    @cached_property
    def _profiles(self) -> dict[int, tuple[_Profile, _Profile]]:
        return {}


def explained_by_paint(
    query: FixedPattern,
    train: FixedPattern,
    query_row: npt.NDArray[np.int32],
    train_row: npt.NDArray[np.int32],
    moved_px: npt.NDArray[np.float32] | None,
    compared: int,
) -> npt.NDArray[np.bool_]:
    """Return which matches painted shapes or overlays explain, whatever the ground shows: (k,) bool.

    Parameters
    ----------
    query, train
        The scenes.
    query_row, train_row : (k,) int32
        The matches.
    moved_px : (k, 2) float32 or None
        Train position minus query position of each match on the two rasters [px of the tile]; None if their pixels
        differ in size.
    compared
        Number of keypoints that are matched with the other scene, of the scene that has fewer: a scene also has
        keypoints on the grids of other pairs.
    """
    same = outlines_match(query.outline[query_row], train.outline[train_row])
    if moved_px is None:
        return same
    resting = np.flatnonzero((np.abs(moved_px) < 1).all(axis=1))
    here, there = query.core[query_row[resting]], train.core[train_row[resting]]
    many = COPY_SHARE * compared
    copied = (here == there).all(axis=1) & (np.ptp(here, axis=1) > 0)
    if np.count_nonzero(copied) >= many and same_blocks(query, train):
        return np.zeros(len(query_row), np.bool_)
    identical = _identical(here, there)
    if np.count_nonzero(identical) < many:
        same[resting] |= identical
    return same


def same_blocks(query: FixedPattern, train: FixedPattern) -> bool:
    """Return whether all blocks at common positions are identical."""
    here, there = common_blocks(query, train)
    return bool((query.sample[here] == train.sample[there]).all())


def common_blocks(query: FixedPattern, train: FixedPattern) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the numbers of the blocks at positions that both scenes have, in either scene."""
    place = train.place
    if not len(place):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    beside = np.searchsorted(place, query.place)
    here = np.flatnonzero(place.take(beside, mode="clip") == query.place)
    return here, beside[here]


def _identical(query: npt.NDArray[np.uint8], train: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which pairs of (k, 25) cores have enough identical pixels to show the same overlay: (k,) bool."""
    found = np.zeros(len(query), np.bool_)
    rows = np.flatnonzero(np.count_nonzero(query == train, axis=1) >= LEAST_IDENTICAL // 2)
    one, other = (core[rows].reshape(-1, CORE_PX, CORE_PX).astype(np.int16) for core in (query, train))
    # The keypoints of an overlay may be rounded to neighbouring pixels: compare at shifts of one pixel too.
    for down, right in itertools.product((-1, 0, 1), repeat=2):
        here, there = one[:, _cut(down), _cut(right)], other[:, _cut(-down), _cut(-right)]
        off = np.abs(here - there)
        identical = np.count_nonzero(off == 0, axis=(1, 2))
        nearly = np.count_nonzero(off <= NEARLY, axis=(1, 2)) - identical
        found[rows] |= (identical >= LEAST_IDENTICAL) & (identical >= 2 * nearly)
    return found


def _cut(offset: int) -> slice:
    return slice(max(0, offset), CORE_PX + min(0, offset))


def explained_by_pattern(
    query: FixedPattern,
    train: FixedPattern,
    drawn_px: npt.NDArray[np.float32] | None,
    moved_px: npt.NDArray[np.float32],
    noise: Callable[[FixedPattern, FixedPattern], bool] | None = None,
) -> bool:
    """Return whether a fixed pattern, noise, stripes or a drawing, explains the inliers.

    Parameters
    ----------
    query, train
        The scenes.
    drawn_px : (k, 2) float32 or None
        The inliers on the query [px of the tile]; None if their displacements vary, so that no drawing explains them.
    moved_px : (k, 2) float32
        Train position minus query position of the inliers on the two rasters [px of the tile].
    noise
        Another implementation of `share_noise`; None: the plain one.
    """
    if not len(moved_px):
        return False
    ordered, middle = np.sort(moved_px, axis=0), len(moved_px) // 2
    # The medians; `numpy.median` takes longer than all else here.
    right, down = np.abs((ordered[-1 - middle] + ordered[middle]) / 2) <= _AT_REST_PX
    return bool(
        (right and down and (noise or share_noise)(query, train))
        or (right and share_stripes(query, train, 1))
        or (down and share_stripes(query, train, 0))
        or (right and down and drawn_px is not None and _drawn_on(query, train, drawn_px))
    )


def _drawn_on(query: FixedPattern, train: FixedPattern, drawn_px: npt.NDArray[np.float32]) -> bool:
    blocks = common_blocks(query, train)
    return only_edges_agree(query.areas, train.areas, blocks) or grounds_differ(
        query.squares, train.squares, blocks, drawn_px
    )


def share_noise(query: FixedPattern, train: FixedPattern) -> bool:
    """Return whether two scenes are far more coherent at high than at low frequencies, which ground never causes."""
    here, there = common_blocks(query, train)
    if len(here) < LEAST_BLOCKS:
        return False
    one, other = query.spectra[here], train.spectra[there]
    together = np.add.reduceat((one.real * other.real + one.imag * other.imag).sum(axis=0), STARTS)
    power = [np.add.reduceat((part.real**2 + part.imag**2).sum(axis=0), STARTS) for part in (one, other)]
    return is_noise(together / np.sqrt(np.maximum(power[0] * power[1], 1e-12)))


def is_noise(coherence: npt.NDArray[Any]) -> bool:
    """Return whether coherences, one per band, are far higher at high than at low frequencies."""
    coarse = np.abs(coherence[: len(_COARSE) - 1]).mean()
    return bool(coherence[len(_COARSE) - 1 :].max() - coarse > _MOST_EXCESS)


def share_stripes(query: FixedPattern, train: FixedPattern, axis: int) -> bool:
    """Return whether two scenes have the same stripes, across columns (axis 1) or across rows (axis 0).

    The first half of one scene is compared with the second half of the other: these can share stripes, but no ground.
    """
    for near, far in ((query, train), (train, query)):
        one, other = near.profiles(axis)[0], far.profiles(axis)[1]
        here, there = one.common(other), other.common(one)
        if len(here.joined) < _LEAST_PROFILE_PX:
            return False
        if here.joined @ there.joined <= _LEAST_STRIPE_CORRELATION * np.sqrt(here.energy * there.energy):
            return False
    return True


def _lattice(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the corners of the sampled blocks, on a lattice that scenes of different shapes have in common."""
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
    """Return the indices of each band's frequencies in a block's flat spectrum, and the start of each band."""
    down, right = np.fft.fftfreq(_BLOCK_PX)[:, None], np.fft.rfftfreq(_BLOCK_PX)[None, :]
    frequency = np.hypot(down, right)
    # Exclude frequencies along the axes: stripes along rows or columns are not ground either.
    oblique = (down != 0) & (right > 0)
    limits = (*itertools.pairwise(_COARSE), *itertools.pairwise(_FINE))
    found = [np.flatnonzero(oblique & (frequency >= low) & (frequency < high)) for low, high in limits]
    return np.concatenate(found), np.cumsum([0, *map(len, found[:-1])])


_BANDS, STARTS = _bands()

_WINDOW = np.outer(np.hanning(_BLOCK_PX + 2)[1:-1], np.hanning(_BLOCK_PX + 2)[1:-1]).astype(np.float32)
