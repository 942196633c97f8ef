"""`akaze` in compiled loops: one window a thread, no plane larger than a window and its halo."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze import numba_detect, numba_scale_space
from s2fast_kernels.akaze.candidates import Candidates, LevelList
from s2fast_kernels.akaze.contract import WORDS, AkazeSettings, Features
from s2fast_kernels.akaze.jobs import Admission, Answer, Filter, Job, Rect
from s2fast_kernels.akaze.numba_describe import describe
from s2fast_kernels.akaze.numba_scale_space import PAD
from s2fast_kernels.akaze.pattern import comparisons, orientation_samples
from s2fast_kernels.akaze.scales import Level
from s2fast_kernels.akaze.windowed import akaze_array

Plane = npt.NDArray[np.float32]

_BASE_TAPS = numba_scale_space.gauss_taps(9, 1.6)
_TAPS = numba_scale_space.gauss_taps(5, 1.0)
FIRST_CAPACITY = 4096
_SCRATCH_ROWS = 16


def derivative_taps(radius: int) -> tuple[np.float32, np.float32]:
    """Centre and corner tap of the derivative stencil, float32 as OpenCV rounds them."""
    w = np.float32(10) / np.float32(3)
    corner = np.float32(1) / (np.float32(2 * radius) * (w + np.float32(2)))
    return w * corner, corner


class _Workspace(threading.local):
    """One thread's planes, kept from window to window: fresh pages cost more than the arithmetic on them."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.float32)
        self.place = np.empty((FIRST_CAPACITY, 2), np.int32)
        self.shape = np.empty((FIRST_CAPACITY, 3), np.float32)

    def planes(self, height: int, width: int, steps: int) -> tuple[list[Plane], Plane, Plane]:
        """Six planes with their frames, the diffusion's ring, and scratch rows."""
        rows, columns = height + 2 * PAD, width + 2 * PAD
        needed = columns * (6 * rows + 4 * steps + _SCRATCH_ROWS)
        if self._memory.size < needed:
            self._memory = np.zeros(needed, np.float32)
        memory, size = self._memory, rows * columns
        planes = [memory[i * size : (i + 1) * size].reshape(rows, columns) for i in range(6)]
        ring = memory[6 * size : 6 * size + 4 * steps * columns].reshape(4 * steps, columns)
        scratch = memory[6 * size + ring.size :][: _SCRATCH_ROWS * columns].reshape(_SCRATCH_ROWS, columns)
        return planes, ring, scratch

    def grow(self, count: int) -> None:
        """Make room for so many maxima of one level."""
        self.place, self.shape = np.empty((count, 2), np.int32), np.empty((count, 3), np.float32)


class NumbaEngine:
    """Computes windows one at a time, in as many threads as call it."""

    batch = 1
    core_px = 1408

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self._workspace = _Workspace()

    def run(self, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission) -> list[Answer]:
        """Compute windows; see `Engine`."""
        return [_Window(job, settings, keep, admit, self._workspace).answer() for job in jobs]


class _Window:
    """The levels of one octave, one after another, on one window.

    Six planes are enough: a level is smoothed into a free plane and derived into two more, where its maxima are found;
    then the level before it, whose maxima now have met those above them, is described, which frees its derivatives'
    planes for the conductance; and diffusion writes over the smoothed plane.
    """

    def __init__(
        self, job: Job, settings: AkazeSettings, keep: Filter, admit: Admission, workspace: _Workspace
    ) -> None:
        self.job, self.settings, self.keep, self.admit, self.workspace = job, settings, keep, admit, workspace
        self.height, self.width = job.block.shape
        self.lists: list[LevelList] = []
        self.found: list[Candidates] = []
        self.met_above: list[npt.NDArray[np.bool_]] = []
        self.words: list[npt.NDArray[np.uint64]] = []
        self.described = 0

    def answer(self) -> Answer:
        """Run the octave's levels."""
        job, (height, width) = self.job, (self.height, self.width)
        steps = max(len(level.steps) for level in job.levels)
        (image, free, *pairs), ring, scratch = self.workspace.planes(height, width, steps)
        before, after = pairs[:2], pairs[2:]
        looked_at = job.search is not None or job.given is not None
        unit = np.float32(1.0 / 255.0) if job.block.dtype == np.uint8 else np.float32(1)
        numba_scale_space.load(job.block, image, unit)
        for i, level in enumerate(job.levels):
            if level.steps:
                numba_scale_space.smooth(image, free, height, width, _TAPS, scratch)
                smoothed = free
            else:
                numba_scale_space.base_blur(image, free, height, width, _BASE_TAPS, scratch)
                numba_scale_space.reflect_frame(free, height, width, PAD - 1)
                image, free = free, image
                smoothed = image
            if looked_at:
                centre, corner = derivative_taps(level.radius)
                numba_detect.gradient(smoothed, *after, height, width, level.radius, centre, corner)
                self._detect(level, after[0], after[1], scratch)
                if i:
                    self._describe(i - 1, image, *before)
            if level.steps:
                numba_scale_space.conductance(smoothed, *before, height, width, job.contrast, scratch)
                numba_scale_space.diffuse(image, free, *before, height, width, np.array(level.steps, np.float32), ring)
                image, free = free, image
            before, after = after, before
        if looked_at:
            self._describe(len(job.levels) - 1, image, *before)
        if job.out is not None:
            core, window = job.core, job.window
            numba_scale_space.halve(image, core.top - window.top, core.left - window.left, *core, job.out)
        words = np.concatenate(self.words) if self.words else np.zeros((0, WORDS), np.uint64)
        return Answer(Candidates.concatenate(self.found), words)

    def _detect(self, level: Level, dx: Plane, dy: Plane, scratch: Plane) -> None:
        """Find a level's maxima, and let them meet those of the level before."""
        job = self.job
        if job.given is not None:
            self.found.append(job.given.take(job.given.level == level.index))
            return
        if job.search is None:
            return
        place, shape = self._maxima(level, job.search, dx, dy, scratch)
        y, x = place[:, 0] + np.int32(job.window.top), place[:, 1] + np.int32(job.window.left)
        offset = shape[:, 1:].copy()
        found = Candidates.make(level.index, y, x, shape[:, 0].copy(), offset, self.keep(level, y, x, offset))
        self.found.append(found)
        self.lists.append(LevelList.thinned(level, place[:, 0].copy(), place[:, 1].copy(), found.response, self.height))
        if len(self.lists) > 1:
            self.met_above.append(self.lists[-2].killed_by_above(self.lists[-1]))

    def _maxima(
        self, level: Level, search: Rect, dx: Plane, dy: Plane, scratch: Plane
    ) -> tuple[npt.NDArray[np.int32], Plane]:
        job, work = self.job, self.workspace
        rows, columns = job.shape
        y0, y1 = max(search.top, level.border), min(search.bottom, rows - level.border)
        x0, x1 = max(search.left, level.border), min(search.right, columns - level.border)
        top, left = job.window.top, job.window.left
        centre, corner = derivative_taps(level.radius)
        threshold = np.float32(self.settings.threshold)
        while True:
            found = numba_detect.detect(
                dx, dy, y0 - top, y1 - top, x0 - left, x1 - left, level.radius, centre, corner, threshold,
                scratch, work.place, work.shape,
            )  # fmt: skip
            if found <= len(work.shape):
                return work.place[:found], work.shape[:found]
            work.grow(2 * found)

    def _describe(self, i: int, image: Plane, dx: Plane, dy: Plane) -> None:
        """Describe those of the i-th level's maxima that live as far as this window can tell, and are wanted."""
        job, level, found = self.job, self.job.levels[i], self.found[i]
        chosen = np.arange(len(found)) if job.given is not None else self._chosen(i)
        if not len(chosen):
            return
        wanted = found.take(chosen)
        origin = np.array([job.window.top, job.window.left], np.int32)
        place = np.stack([wanted.y, wanted.x], axis=1) - origin
        middle = wanted.middle(level.octave) - origin
        words = np.empty((len(chosen), WORDS), np.uint64)
        angle = np.empty(len(chosen), np.float32)
        offset = wanted.offset + np.float32(level.sample_shift)
        bits = comparisons(self.settings.descriptor_size, self.settings.upright)
        describe(
            image.ravel(), dx.ravel(), dy.ravel(), self.height, self.width, place, offset, middle,
            level.radius, level.descriptor_reach, self.settings.upright, *orientation_samples(), bits, angle, words,
        )  # fmt: skip
        found.angle[chosen] = angle
        found.row[chosen] = self.described + np.arange(len(chosen))
        self.described += len(chosen)
        self.words.append(words)

    def _chosen(self, i: int) -> npt.NDArray[np.intp]:
        last = i + 1 == len(self.lists)
        here = self.lists[i]
        # Who lives on an octave's last level is decided with the next octave: all that may live are described.
        alive = here.alive if last else self.met_above[i]
        if i and not last:
            alive = here.killed_by_below(alive, self.lists[i - 1], self.met_above[i - 1])
        found, core = self.found[i], self.job.core
        alive = alive & found.valid & (found.y >= core.top) & (found.y < core.bottom)
        rows = np.flatnonzero(alive & (found.x >= core.left) & (found.x < core.right))
        return rows[self.admit(here.level, found.take(rows))]


def akaze(
    image: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    settings: AkazeSettings,
    contrast: float | None = None,
    core: tuple[int, int, int, int] | None = None,
) -> Features:
    """Run the windowed driver on an array, a window a thread; see the package for the contract."""
    return akaze_array(image, NumbaEngine(), settings, contrast, core)
