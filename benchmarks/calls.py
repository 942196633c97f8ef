"""One call of every operation of the pipeline, on seeded random operands.

The warm-up, the timed cases (at sizes of their own), the instruction counts and the facts of compiled code loop over
`CALLS`, whose names are those of `s2fast_kernels.operations.CALLED`, as a test checks. This module does not import that
table, so that older revisions without it can be measured too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Call = Callable[[], object]

WindowScene = tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""A scene for windowed search: (n, 8) descriptors, (n, 2) positions [px], (n,) indices of the sizes."""

WINDOW = 5.0
"""Radius of a windowed search [px]."""

_ROWS_PER_PX = 20_000 / 1024**2

SIZE_SHARES = (0.417, 0.304, 0.173, 0.073, 0.023, 0.008, 0.002)
"""Shares of the keypoints per size, finest first, among 20,000 keypoints of a real scene."""


def hamming_top2(rows: int) -> Call:
    """Return a search of one scene in two others, with `rows` descriptors on each side."""
    from s2fast_kernels.hamming_top2 import hamming_top2 as search

    query, train, offsets = _two_scenes(0, rows)
    return lambda: search(query, train, offsets, backend="numba")


def hamming_top2_both(rows: int) -> Call:
    """Return the same search in both directions, as needed for mutual matches."""
    from s2fast_kernels.hamming_top2_both import hamming_top2_both as search

    query, train, offsets = _two_scenes(1, rows)
    return lambda: search(query, train, offsets, backend="numba")


def window_matches(rows: int) -> Call:
    """Return a search of one scene near the positions of another, and at a wrong place, on prepared rows."""
    from s2fast_kernels.hamming_window_top2_both import WindowRows
    from s2fast_kernels.window_matches import window_matches as search
    from s2fast_kernels.window_matches.contract import MatchTest

    rng = np.random.default_rng(2)
    query, train = (WindowRows.of(*window_scene(rng, rows), WINDOW) for _ in range(2))
    away, test = np.array([[[0.0, 0.0], [7.3 * WINDOW, -4.1 * WINDOW]]]), MatchTest(0.9, 160, mutual=True)
    return lambda: search([(query, train)], away, test, backend="numba")


def akaze(side_px: int, core_px: int = 704) -> Call:
    """Return detection and description on a square image, in windows of `core_px` on one thread."""
    from s2fast_kernels.akaze import AkazeSettings, akaze_windowed
    from s2fast_kernels.akaze.cases import synthetic_image

    image, settings = synthetic_image((side_px, side_px)), AkazeSettings(threshold=0.0003, upright=True)
    return lambda: akaze_windowed(
        lambda rows, columns: image[rows, columns], image.shape,
        settings=settings, core_px=core_px, threads=1, backend="numba",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sized:
    """How to prepare a call of one operation, and its small size."""

    make: Callable[[int], Call]
    """Takes a size (rows of each scene, or the side of an image [px]) and returns the call."""
    small: int
    """Size of the warm-up and of the instruction count."""


CALLS: Mapping[str, Sized] = {
    "akaze": Sized(akaze, 256),
    "window_matches": Sized(window_matches, 20_000),
    "hamming_top2_both": Sized(hamming_top2_both, 1_000),
    "hamming_top2": Sized(hamming_top2, 1_000),
}
"""Calls by operation."""


def warm_up() -> None:
    """Load the compiled kernels, so that this is not measured."""
    for sized in CALLS.values():
        sized.make(sized.small)()


def window_scene(rng: np.random.Generator, rows: int, rows_per_px: float = _ROWS_PER_PX) -> WindowScene:
    """Return a scene with random keypoints of the given density, with sizes in the shares of a real scene."""
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    xy = rng.uniform(0, np.sqrt(rows / rows_per_px), (rows, 2))
    return random_descriptors(rng, rows), xy, rng.choice(len(SIZE_SHARES), rows, p=SIZE_SHARES)


def _two_scenes(seed: int, rows: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    drawn = random_descriptors(np.random.default_rng(seed), 2 * rows)
    return drawn[:rows], drawn[rows:], np.array([0, 6 * rows // 10, rows], np.int64)
