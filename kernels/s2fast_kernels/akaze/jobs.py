"""Interface between the windowed driver and the backends: one window of one octave, and its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.candidates import Candidates
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.scales import Level

if TYPE_CHECKING:
    from s2fast_kernels.akaze.masks import Mask

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

Source = Callable[[slice, slice], Pixels]
"""(rows, columns) -> that part of the image; called from several threads at once. For an engine of torch, it may return
uint8 tensors on the engine's device."""


class Rect(NamedTuple):
    """Rows [top, bottom) and columns [left, right) [px]."""

    top: int
    """First row."""
    bottom: int
    """Row after the last."""
    left: int
    """First column."""
    right: int
    """Column after the last."""

    def grown(self, px: int, height: int, width: int) -> Rect:
        """Return the rectangle extended on every side, clipped to a plane."""
        return Rect(
            max(self.top - px, 0), min(self.bottom + px, height), max(self.left - px, 0), min(self.right + px, width)
        )

    def moved(self, rows: int, columns: int) -> Rect:
        """Return the rectangle moved down and right."""
        return Rect(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)

    def common(self, other: Rect) -> Rect:
        """Return the intersection of two rectangles; if it is empty, its end may precede its start."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Rect(top, min(self.bottom, other.bottom), left, min(self.right, other.right))

    def within(self, window: Rect) -> Rect:
        """Return the rectangle in coordinates of a window."""
        return self.moved(-window.top, -window.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices that index this part of a plane."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


Filter = Callable[[Level, npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]], npt.NDArray[np.bool_]]
"""(level, y, x, offset) of maxima -> which of them may become keypoints: `Candidates.valid`."""

Admission = Callable[[Level, Candidates], npt.NDArray[np.bool_]]
"""(level, maxima that survive suppression within the window) -> which of them to describe immediately."""


@dataclass(frozen=True, slots=True)
class Job:
    """One window of one octave."""

    levels: list[Level]
    """The octave's levels."""

    shape: tuple[int, int]
    """Rows and columns of the octave, rounded down; a level's border is measured from there [px of the octave]."""

    core: Rect
    """The window without its halo [px of the octave]."""

    window: Rect
    """Core and halo [px of the octave]."""

    search: Rect | None
    """Area in which to search maxima: the core and a margin; None: only compute the last level for the next octave."""

    block: Pixels
    """The window's pixels: of the image in octave 0, of the halved last level of the previous octave in others."""

    contrast: np.float32
    """Contrast factor of this octave."""

    out: npt.NDArray[np.float32] | None
    """The next octave's plane, to which the halved last level of the core is written."""

    given: Candidates | None = None
    """Candidates to describe, in this order, without detection; None: detect."""


def search_area(job: Job, search: Rect, level: Level) -> Rect:
    """Return the part of a job's window in which to search a level's maxima [px of the window]."""
    rows, columns = job.shape
    within = Rect(
        max(search.top, level.border),
        min(search.bottom, rows - level.border),
        max(search.left, level.border),
        min(search.right, columns - level.border),
    )
    return within.within(job.window)


@dataclass(frozen=True, slots=True)
class WindowResult:
    """Result of a window."""

    candidates: Candidates
    """Maxima in the job's search area, or the given ones; `row` refers to `words`."""

    words: npt.NDArray[np.uint64]
    """(described, 8) descriptors."""


class Engine(Protocol):
    """A backend that computes windows. Jobs of one call share an octave."""

    batch: int
    """Number of windows per call."""

    threads: int
    """Number of concurrent calls."""

    core_px: int
    """Default side of a window's core [px of the octave]."""

    overlaps: bool
    """Whether `run` only queues windows, and returns a batch for `s2fast_kernels.akaze.overlap`; with one thread."""

    budget_bytes: int | None
    """Memory that windows may take on a device; None: no limit."""

    def fit(self, halo_px: int, layers: int, shape: tuple[int, int]) -> None:
        """Reduce `core_px` and `batch` until windows of an image with this halo fit into a limited memory."""

    def plane(self, shape: tuple[int, int]) -> Any:
        """Return a plane of zeros, float32, to which the jobs of an octave write the source of the next one."""

    def contrast(self, source: Source, shape: tuple[int, int], valid: Mask | None) -> float:
        """Return the contrast factor, see `s2fast_kernels.akaze.contrast.contrast_factor`."""

    def run(self, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission) -> Any:
        """Compute windows of one octave: a list of `WindowResult`, or with `overlaps` a batch in flight."""
