"""One window of one octave: what a backend is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.candidates import Candidates
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.scales import Level

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

Source = Callable[[slice, slice], Pixels]
"""(rows, columns) -> that part of the image. Called from several threads at once."""


class Rect(NamedTuple):
    """Rows [top, bottom) and columns [left, right) [px]."""

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, px: int, height: int, width: int) -> Rect:
        """Grow on every side, within a plane."""
        return Rect(
            max(self.top - px, 0), min(self.bottom + px, height), max(self.left - px, 0), min(self.right + px, width)
        )

    def moved(self, rows: int, columns: int) -> Rect:
        """Move down and right."""
        return Rect(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)

    def common(self, other: Rect) -> Rect:
        """Take what both rectangles hold; its end may lie before its start."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Rect(top, min(self.bottom, other.bottom), left, min(self.right, other.right))

    def within(self, window: Rect) -> Rect:
        """Place of this rectangle in a window."""
        return self.moved(-window.top, -window.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this part of a plane."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


Filter = Callable[[Level, npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]], npt.NDArray[np.bool_]]
"""(level, y, x, offset) of maxima -> which of them may become keypoints: `Candidates.valid`."""

Admission = Callable[[Level, Candidates], npt.NDArray[np.bool_]]
"""(level, maxima that live as far as the window knows) -> which of them to describe now."""


@dataclass(frozen=True, slots=True)
class Job:
    """One window of one octave."""

    levels: list[Level]
    """The octave's levels."""

    shape: tuple[int, int]
    """Rows and columns of the octave, rounded down: a level's border is counted from there [px of the octave]."""

    core: Rect
    """The part this window owns [px of the octave]."""

    window: Rect
    """Core and halo [px of the octave]."""

    search: Rect | None
    """Where maxima are wanted: the core and a margin; None: only the last level is wanted, to feed the next octave."""

    block: Pixels
    """The window's pixels: of the image in octave 0, halved last level of the octave before in others."""

    contrast: np.float32
    """Contrast factor of this octave."""

    out: npt.NDArray[np.float32] | None
    """The next octave's plane; the core's last level is halved into it."""

    given: Candidates | None = None
    """Describe exactly these, in this order, and detect nothing."""


def searched(job: Job, search: Rect, level: Level) -> Rect:
    """Part of a job's window where a level's maxima are sought [px of the window]."""
    rows, columns = job.shape
    within = Rect(
        max(search.top, level.border),
        min(search.bottom, rows - level.border),
        max(search.left, level.border),
        min(search.right, columns - level.border),
    )
    return within.within(job.window)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came out of a window."""

    candidates: Candidates
    """Maxima in the job's search area, or the given ones; `row` counts this answer's descriptors."""

    words: npt.NDArray[np.uint64]
    """(described, 8) descriptors."""


class Engine(Protocol):
    """A backend's way of computing windows. Jobs of one call share an octave; calls may come from many threads."""

    batch: int
    """Windows a call should get."""

    threads: int
    """Calls to have under way at once."""

    core_px: int
    """Side of a window's core that suits the backend [px of the octave]."""

    def run(self, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission) -> list[Answer]:
        """Compute windows of one octave."""
