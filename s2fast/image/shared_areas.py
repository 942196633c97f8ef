"""Even areas of one outline in two scenes: whether the ground beside them agrees, or only their edges do.

Areas that were painted before the scenes arrived, with a noise of their own in each scene, have edges at the same
pixels, which match whatever the ground shows. Lakes have too. But where two dates show one lake, the ground around it
agrees, and around painted areas of unrelated scenes it does not. Therefore small patches without even pixels are
correlated. Patches beside an edge still show some of it, so a significant agreement does not suffice: its size counts.
Small painted areas have no outline to recognise where the ground between them has even parts of its own: they are
suspected where the even pixels of both scenes correlate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.image.patches import excess_agreement, excess_error, normalised

PATCH_PX = 4
"""Side of a patch: ground inside polygons of few pixels has no room for larger ones."""

_WINDOW_PX = 5
"""Side of the window in which the variance around a pixel is measured."""

_LEAST_EVEN = 3.0
"""Pixels with less variance around them are even in any scene [DN2]."""

_EVEN_TIMES = 4.0
"""Pixels are also even if the variance around them is less than this multiple of the scene's lowest decile."""

_LEAST_STEP = 5.0
"""Painted areas stand out: the median variance around other pixels is at least this multiple of that around even ones.
Of ground that is alike everywhere it is less: its lowest decile is no area of its own."""

_MARGIN_PX = 2
"""Patches have at least this distance from even pixels."""

_LEAST_CONTRAST = 1.0
"""Patches with less variance about their plane show nothing [DN2]."""

_ONE_OUTLINE = 0.7
"""Scenes share areas if at least this share of the pixels that are even in either scene is even in both."""

_LEAST_CORRELATION = 0.5
"""Minimum correlation of the even pixels of both scenes: where nearly all pixels are even, chance alone gives a high
share."""

_LOOSE_CORRELATION = 0.2
"""Scenes without a common outline may still share small painted areas, if their even pixels correlate so much: the
ground between them has even parts of its own."""

_LEAST_PATCHES = 10
"""Minimum number of patches to compare: with fewer, it cannot be told that the ground agrees."""

_LEAST_EXCESS = 0.28
"""Minimum mean rank of the correlations at equal positions among those at unequal ones, minus 1/2. Chosen on seed 0
of ``python -m benchmarks traps --only "noisy areas"``, where no unrelated ground is verified."""

_LEAST_SCORE = 3.0
"""Minimum excess [standard errors]."""

_LOOSE_EXCESS = 0.1
"""`_LEAST_EXCESS` of scenes that may share areas, of patches away from even pixels of either scene. Chosen, with
`_LOOSE_CORRELATION`, on tile 36UYA and seed 0 of ``python -m benchmarks traps --only "noisy lakes"``."""

_LOOSE_ERRORS = 2.0
"""A pair of such scenes is rejected if its excess is less than `_LOOSE_EXCESS` by more than this [standard errors]."""


@dataclass(frozen=True, slots=True)
class Areas:
    """Even pixels of a scene's sampled blocks, and the patches between them."""

    even: npt.NDArray[np.bool_]
    """(m, b, b) True where the pixels around vary little, unless these do not stand out from the others."""
    shape: npt.NDArray[np.float32]
    """(m, s, 16) pixels of each patch minus their plane of regression, normalised to a length of 1."""
    seen: npt.NDArray[np.bool_]
    """(m, s) True if the patch has contrast."""
    apart: npt.NDArray[np.bool_]
    """(m, s) True if the patch has contrast and lies away from the scene's own even pixels."""

    @classmethod
    def of(cls, blocks: npt.NDArray[np.uint8]) -> Areas:
        """Find them in (m, b, b) blocks [DN]; b is a multiple of `PATCH_PX`."""
        variance = np.empty(blocks.shape, np.float32)
        window = (_WINDOW_PX, _WINDOW_PX)
        for block, found in zip(blocks.astype(np.float32), variance, strict=True):
            found[:] = cv2.sqrBoxFilter(block, cv2.CV_32F, window) - cv2.blur(block, window) ** 2
        # Those with less variance than a limit come first, which gives both medians too.
        ordered = np.sort(variance, axis=None)
        count = len(ordered)
        limit = np.float32(max(_LEAST_EVEN, _EVEN_TIMES * float(ordered[count // 10])) if count else _LEAST_EVEN)
        even, inside = variance < limit, int(np.searchsorted(ordered, limit))
        if not (0 < inside < count and ordered[(inside + count) // 2] >= _LEAST_STEP * ordered[inside // 2]):
            even[:] = False
        shape, energy = normalised(blocks, PATCH_PX)
        seen = energy > _LEAST_CONTRAST * PATCH_PX**2
        return cls(even, shape, seen, seen & _away_from(even))


def only_edges_agree(query: Areas, train: Areas, blocks: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]) -> bool:
    """Return whether two scenes share even areas, and the ground beside these does not agree or cannot be compared.

    If their even pixels correlate but have no common outline, they may share areas: then ground that cannot be compared
    does not count, and other ground must be shown to agree too little.

    Parameters
    ----------
    query, train
        The scenes, which are at rest to each other on their pixels.
    blocks
        Numbers of the blocks at positions that both scenes have, in either scene.
    """
    from s2fast.image.compiled_ground import flag_counts  # when used: who only reads a run folder needs no compiler

    here, there = blocks
    pixels = query.even.shape[1] * query.even.shape[2]
    one, other, both = flag_counts(*(part.even.reshape(-1, pixels).view(np.uint64) for part in (query, train)), *blocks)
    correlation = _correlation(one, other, both, len(here) * pixels)
    if both >= _ONE_OUTLINE * (one + other - both) and correlation >= _LEAST_CORRELATION:
        chosen = query.seen[here] & train.seen[there] & _away_from(query.even[here] & train.even[there])
        count, excess, score = agreement(query, train, blocks, chosen)
        return count < _LEAST_PATCHES or excess < _LEAST_EXCESS or score < _LEAST_SCORE
    if correlation < _LOOSE_CORRELATION:
        return False
    count, excess, _ = agreement(query, train, blocks, query.apart[here] & train.apart[there])
    return count >= _LEAST_PATCHES and excess + _LOOSE_ERRORS * excess_error(count) < _LOOSE_EXCESS


def _correlation(one: int, other: int, both: int, pixels: int) -> float:
    """Return the correlation of so many even pixels of two scenes, and of both, among all pixels; 0 if undefined."""
    spread = one * (pixels - one) * other * (pixels - other)
    return (both * pixels - one * other) / math.sqrt(spread) if spread else 0.0


def _away_from(even: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which patches have the margin from (m, b, b) even pixels: (m, s) bool."""
    side = PATCH_PX + 2 * _MARGIN_PX
    kernel, anchor = np.ones((side, side), np.uint8), (_MARGIN_PX, _MARGIN_PX)
    near = even[:, ::PATCH_PX, ::PATCH_PX].copy()
    for block, found in zip(even.view(np.uint8), near, strict=True):
        # The kernel covers a patch and its margin where it is anchored at the patch's first pixel.
        found[:] = cv2.dilate(block, kernel, anchor=anchor)[::PATCH_PX, ::PATCH_PX]
    return np.asarray(~near.reshape(len(near), near.shape[1] * near.shape[2]))


def agreement(
    query: Areas,
    train: Areas,
    blocks: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    chosen: npt.NDArray[np.bool_],
) -> tuple[int, float, float]:
    """Return the number of (m, s) `chosen` patches of the blocks, and the excess and score of their correlations."""
    numbers = np.flatnonzero(chosen)
    if len(numbers) < _LEAST_PATCHES:
        return len(numbers), 0.0, 0.0
    return len(numbers), *excess_agreement(query.shape, train.shape, blocks, numbers)
