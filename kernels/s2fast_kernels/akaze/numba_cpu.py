"""`akaze` in compiled loops: one window per thread, no plane larger than a window and its halo."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze import numba_detect, numba_scale_space
from s2fast_kernels.akaze.candidates import Candidates
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.contrast import contrast_factor
from s2fast_kernels.akaze.jobs import Admission, Filter, Job, Source, WindowResult, search_area
from s2fast_kernels.akaze.masks import Mask
from s2fast_kernels.akaze.maxima import WindowMaxima
from s2fast_kernels.akaze.numba_describe import describe
from s2fast_kernels.akaze.numba_scale_space import PAD
from s2fast_kernels.akaze.pattern import comparisons, orientation_samples
from s2fast_kernels.akaze.scales import Level, derivative_taps
from s2fast_kernels.akaze.windowed import akaze_array
from s2fast_kernels.features import WORDS, Features
from s2fast_kernels.machine import available_cores

Plane = npt.NDArray[np.float32]

_BASE_TAPS = numba_scale_space.gauss_taps(9, 1.6)
_TAPS = numba_scale_space.gauss_taps(5, 1.0)
FIRST_CAPACITY = 4096
_SCRATCH_ROWS = 16


class _Workspace(threading.local):
    """One thread's planes, reused for all its windows: page faults of new memory cost more than the arithmetic."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.float32)
        self.position = np.empty((FIRST_CAPACITY, 2), np.int32)
        self.shape = np.empty((FIRST_CAPACITY, 3), np.float32)

    def planes(self, height: int, width: int, steps: int) -> tuple[list[Plane], Plane, Plane, Plane]:
        """Return six planes with their frames, the diffusion's rings of conductances and rows, and scratch rows."""
        rows, columns = height + 2 * PAD, width + 2 * PAD
        ring_rows = 2 * numba_scale_space.ring_rows(steps), 4 * steps, _SCRATCH_ROWS
        needed = columns * (6 * rows + sum(ring_rows))
        if self._memory.size < needed:
            self._memory = np.zeros(needed, np.float32)
        memory, size = self._memory, rows * columns
        planes = [memory[i * size : (i + 1) * size].reshape(rows, columns) for i in range(6)]
        rings, start = [], 6 * size
        for count in ring_rows:
            rings.append(memory[start : start + count * columns].reshape(count, columns))
            start += count * columns
        conductances, ring, scratch = rings
        return planes, conductances, ring, scratch

    def grow(self, count: int) -> None:
        """Enlarge the buffers to `count` maxima of one level."""
        self.position, self.shape = np.empty((count, 2), np.int32), np.empty((count, 3), np.float32)


class NumbaEngine:
    """Compute windows one at a time; `run` may be called from several threads."""

    batch = 1
    core_px = 1408
    overlaps = False
    budget_bytes: int | None = None
    """Not used: windows of the CPU do not take memory of a device; see `Engine`."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available_cores()
        self._workspace = _Workspace()

    def fit(self, halo_px: int, layers: int, shape: tuple[int, int]) -> None:
        """Change nothing: ``s2fast.detectors.akaze`` predicts the memory of these windows; see `Engine`."""

    def plane(self, shape: tuple[int, int]) -> Plane:
        """Return a plane of zeros; see `Engine`."""
        return np.zeros(shape, np.float32)

    def contrast(self, source: Source, shape: tuple[int, int], valid: Mask | None) -> float:
        """Return the contrast factor; see `Engine`."""
        return contrast_factor(source, shape, valid=valid, threads=self.threads)

    def run(self, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission) -> list[WindowResult]:
        """Compute windows; see `Engine`."""
        return [_Window(job, settings, keep, admit, self._workspace).compute() for job in jobs]


class _Window:
    """Compute the levels of one octave, one after another, in one window.

    Six planes are enough. A level is smoothed into a free plane, its derivatives are written to two more, and its
    maxima are found there. Then the previous level is described, since suppression by the level above is now known.
    Diffusion computes its conductances from the smoothed plane and overwrites it.
    """

    def __init__(
        self, job: Job, settings: AkazeSettings, keep: Filter, admit: Admission, workspace: _Workspace
    ) -> None:
        self.job, self.settings, self.workspace = job, settings, workspace
        self.height, self.width = job.block.shape
        self.maxima = WindowMaxima(job, keep, admit)
        self.words: list[npt.NDArray[np.uint64]] = []

    def compute(self) -> WindowResult:
        """Compute the octave's levels and return the result."""
        job, (height, width) = self.job, (self.height, self.width)
        steps = max(len(level.steps) for level in job.levels)
        (image, free, *pairs), conductances, ring, scratch = self.workspace.planes(height, width, steps)
        before, after = pairs[:2], pairs[2:]
        needs_maxima = job.search is not None or job.given is not None
        unit = np.float32(1.0 / 255.0) if job.block.dtype == np.uint8 else np.float32(1)
        # Numba would compile for both layouts, of whole arrays and of parts.
        numba_scale_space.load(np.ascontiguousarray(job.block), image, unit)
        for i, level in enumerate(job.levels):
            if level.steps:
                numba_scale_space.smooth(image, free, height, width, _TAPS, scratch)
                smoothed = free
            else:
                numba_scale_space.base_blur(image, free, height, width, _BASE_TAPS, scratch)
                numba_scale_space.reflect_frame(free, height, width, PAD - 1)
                image, free = free, image
                smoothed = image
            if needs_maxima:
                self._detect(level, smoothed, after, scratch)
                if i:
                    self._describe(i - 1, image, before)
            if level.steps:
                times = np.array(level.steps)
                numba_scale_space.diffuse(image, free, height, width, job.contrast, times, conductances, ring, scratch)
                image, free = free, image
            before, after = after, before
        if needs_maxima:
            self._describe(len(job.levels) - 1, image, before)
        if job.out is not None:
            core, window = job.core, job.window
            numba_scale_space.halve(image, core.top - window.top, core.left - window.left, *core, job.out)
        words = np.concatenate(self.words) if self.words else np.zeros((0, WORDS), np.uint64)
        return WindowResult(Candidates.concatenate(self.maxima.found), words)

    def _detect(self, level: Level, smoothed: Plane, derivatives: list[Plane], scratch: Plane) -> None:
        """Compute a level's derivatives, and find its maxima unless candidates are given."""
        centre, corner = derivative_taps(level.radius)
        numba_detect.gradient(smoothed, *derivatives, self.height, self.width, level.radius, centre, corner)
        if self.job.search is None:
            self.maxima.add_given()
            return
        rectangle = search_area(self.job, self.job.search, level)
        threshold = np.float32(self.settings.threshold)
        work = self.workspace
        while True:
            found = numba_detect.detect(
                *derivatives, *rectangle, level.radius, centre, corner, threshold, scratch, work.position, work.shape
            )
            if found <= len(work.shape):
                break
            work.grow(2 * found)
        shape = work.shape[:found]
        self.maxima.add(work.position[:found], shape[:, 0].copy(), shape[:, 1:].copy())

    def _describe(self, i: int, image: Plane, derivatives: list[Plane]) -> None:
        rows = self.maxima.rows_to_describe(i)
        if not len(rows):
            return
        level, wanted = self.job.levels[i], self.maxima.found[i].take(rows)
        origin = np.array([self.job.window.top, self.job.window.left], np.int32)
        position = np.stack([wanted.y, wanted.x], axis=1) - origin
        offset = wanted.offset + np.float32(level.sample_shift)
        words, angle = np.empty((len(rows), WORDS), np.uint64), np.empty(len(rows), np.float32)
        describe(
            image.ravel(), *(plane.ravel() for plane in derivatives), self.height, self.width,
            position, offset, wanted.middle(level.octave) - origin, level.radius, level.descriptor_reach,
            self.settings.upright, *orientation_samples(),
            comparisons(self.settings.descriptor_size, self.settings.upright), angle, words,
        )  # fmt: skip
        self.maxima.describe(i, rows, angle)
        self.words.append(words)


def akaze(
    image: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    settings: AkazeSettings,
    contrast: float | None = None,
    core: tuple[int, int, int, int] | None = None,
) -> Features:
    """Run the windowed driver on an array, one window per thread; see the package for the contract."""
    return akaze_array(image, NumbaEngine(), settings, contrast, core)
