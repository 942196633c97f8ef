"""Process an image octave by octave: select the windows to compute, and combine their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.candidates import Candidates, by_level, survivors
from s2fast_kernels.akaze.contract import AkazeSettings, check_image
from s2fast_kernels.akaze.forecast import Forecast
from s2fast_kernels.akaze.jobs import Engine, Job, Pixels, Rect, Source, WindowResult
from s2fast_kernels.akaze.masks import Mask
from s2fast_kernels.akaze.overlap import overlapped
from s2fast_kernels.akaze.scales import OCTAVE_CONTRAST, Level, diffusion_reach, halo, response_reach
from s2fast_kernels.features import WORDS, Budget, Features
from s2fast_kernels.threads import map_in_threads

MARGIN_PX = 24
"""Margin around a core in which maxima are searched, to predict suppression at the core's edge [px of the octave]."""

Task = tuple[Rect, bool, Candidates | None]
"""A window's core, whether maxima are searched in it, and candidates to describe instead."""

Part = tuple[int, Sequence[Task], Any]
"""An octave, its windows, and the plane to which they write the source of the next octave; None: there is none."""

_LEAST_SHARED_PX = 256
"""A single window is divided among threads if each gets this many rows; with fewer, the halos cost more than is
gained."""

_REFINEMENT_PX = 2
"""Maximum distance of a keypoint from its maximum, due to refinement and sample shift [px of the octave]."""


def split_evenly(length: int, core_px: int) -> list[tuple[int, int]]:
    """Split an even length into the fewest parts of at most about `core_px`, of nearly equal, even sizes.

    Examples
    --------
    >>> split_evenly(100, 40)
    [(0, 34), (34, 66), (66, 100)]
    """
    count = -(-length // core_px)
    edges = [2 * round(i * length / count / 2) for i in range(count)] + [length]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def nonzero_rectangle(block: Pixels) -> Rect | None:
    """Return the bounding rectangle of the nonzero pixels, its corners at even pixels; None if all pixels are 0.

    Examples
    --------
    >>> nonzero_rectangle(np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], np.uint8))
    Rect(top=0, bottom=4, left=2, right=4)
    """
    last_row, last_column = ((side - 1) // 2 * 2 for side in block.shape)
    if block[:2].any() and block[last_row:].any() and block[:, :2].any() and block[:, last_column:].any():
        return Rect(0, last_row + 2, 0, last_column + 2)  # of most windows; the others are searched
    rows, columns = (np.flatnonzero(block.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, bottom, left, right = rows[0] // 2, rows[-1] // 2 + 1, columns[0] // 2, columns[-1] // 2 + 1
    return Rect(*(2 * int(edge) for edge in (top, bottom, left, right)))


class WindowedRun:
    """Detection and description of one image's keypoints, octave by octave in windows."""

    def __init__(
        self,
        source: Source,
        shape: tuple[int, int],
        engine: Engine,
        settings: AkazeSettings,
        contrast: np.float32,
        octaves: list[list[Level]],
        mask: Mask | None,
        budget: Budget | None,
        core_px: int,
    ) -> None:
        self.source, self.shape, self.engine, self.settings = source, shape, engine, settings
        self.octaves, self.mask, self.budget = octaves, mask, budget
        self.contrast = [contrast]
        for _ in octaves[1:]:
            self.contrast.append(self.contrast[-1] * OCTAVE_CONTRAST)
        unit = 1 << (len(octaves) - 1)
        height, width = (-(-side // unit) * unit for side in shape)
        self.shapes = [(height >> octave, width >> octave) for octave in range(len(octaves))]
        # Arrays, or tensors on the engine's device.
        self.planes: list[Any] = []
        self.cores = [
            [Rect(*rows, *columns) for rows in split_evenly(high, core_px) for columns in split_evenly(wide, core_px)]
            for high, wide in self.shapes
        ]
        for cores, (high, wide) in zip(self.cores, self.shapes, strict=True):
            if len(cores) == 1 and high >= engine.threads * _LEAST_SHARED_PX:
                # A single window would use only one thread.
                cores[:] = [Rect(*rows, 0, wide) for rows in split_evenly(high, -(-high // engine.threads))]
        weakest = max(settings.threshold, 1e-12)
        self.forecast = None if budget is None else Forecast(budget, shape, weakest)

    def features(self) -> Features:
        """Process all octaves, suppress maxima, apply the budget, complete the descriptors and sort."""
        wanted = [[self._may_hold_keypoints(o, core) for core in cores] for o, cores in enumerate(self.cores)]
        needed = self._needed(wanted)
        answers = list(self._compute(self._parts(wanted, needed)))
        words = _descriptors(answers)
        flat = [level for octave in self.octaves for level in octave]
        candidates = by_level([answer.candidates for answer in answers], flat)
        # Free the parts, which take as much memory as the joined lists.
        del answers
        alive = survivors(candidates, flat, self.shapes[0][0])
        kept = Candidates.concatenate(
            map_in_threads(lambda i: candidates[i].take(alive[i] & candidates[i].valid), range(len(flat)))
        )
        xy = kept.positions(self._octave_of(kept))
        rows = np.arange(len(kept)) if self.budget is None else self.budget.select(xy, kept.response, self.shape)
        rows = rows[_order(kept.level[rows], xy[rows])]
        kept = kept.take(rows)
        return self._features(kept, xy[rows], self._all_descriptors(kept, words))

    def _parts(self, wanted: list[list[bool]], needed: list[list[bool]]) -> Iterator[Part]:
        """Yield each octave with its windows and the plane to write; ask for the next one when this one is written."""
        for octave in range(len(self.octaves)):
            # Zeroed pages take no memory until windows write to them.
            out = None
            if octave + 1 < len(self.octaves) and any(needed[octave + 1]):
                out = self.engine.plane(self.shapes[octave + 1])
            cores = enumerate(self.cores[octave])
            yield octave, [(core, wanted[octave][i], None) for i, core in cores if needed[octave][i]], out
            if out is not None:
                self.planes.append(out)

    def _octave_of(self, candidates: Candidates) -> npt.NDArray[np.int_]:
        return candidates.level.astype(np.int_) // self.settings.layers

    def _may_hold_keypoints(self, octave: int, core: Rect) -> bool:
        if self.mask is None:
            return True
        top, bottom, left, right = core
        grow = _REFINEMENT_PX
        return self.mask.any(
            top - grow << octave, bottom + grow << octave, left - grow << octave, right + grow << octave
        )

    def _needed(self, wanted: list[list[bool]]) -> list[list[bool]]:
        """Return the windows to compute: those with valid pixels, and those that the next octave depends on."""
        needed = [list(flags) for flags in wanted]
        for octave in range(len(self.octaves) - 1, 0, -1):
            required = np.zeros(tuple(side // 2 for side in self.shapes[octave]), np.bool_)
            for i, core in enumerate(self.cores[octave]):
                if needed[octave][i]:
                    window = self._window(octave, core, wanted[octave][i])
                    required[window.top // 2 : -(-window.bottom // 2), window.left // 2 : -(-window.right // 2)] = True
            for i, core in enumerate(self.cores[octave - 1]):
                if required[core.top // 4 : -(-core.bottom // 4), core.left // 4 : -(-core.right // 4)].any():
                    needed[octave - 1][i] = True
        return needed

    def _window(self, octave: int, core: Rect, searched: bool) -> Rect:
        own = self.octaves[octave]
        px = halo(own, MARGIN_PX) if searched else -(-diffusion_reach(own) // 2) * 2
        return core.grown(px, *self.shapes[octave])

    def _compute(self, parts: Iterable[Part]) -> Iterator[WindowResult]:
        """Compute windows, octave by octave, with the engine's number of threads."""
        if self.engine.overlaps:
            queued = (batch() for part in parts for batch in self._batches(*part))
            yield from overlapped(batch for batch in queued if batch)
            return
        for part in parts:
            batches = self._batches(*part)
            if self.engine.threads == 1 or len(batches) <= 1:
                for batch in batches:
                    yield from batch()
                continue
            with ThreadPoolExecutor(self.engine.threads) as pool:
                for answers in pool.map(lambda batch: batch(), batches):
                    yield from answers

    def _batches(self, octave: int, tasks: Sequence[Task], out: Any) -> list[Callable[[], Any]]:
        """Return functions that compute an octave's windows, each as many as the engine takes at once."""
        size = self.engine.batch

        def run(batch: Sequence[Task]) -> Iterable[WindowResult]:
            jobs = [job for task in batch if (job := self._job(octave, *task, out)) is not None]
            return self.engine.run(jobs, self.settings, self._keep, self._admit) if jobs else []

        return [partial(run, tasks[i : i + size]) for i in range(0, len(tasks), size)]

    def _job(self, octave: int, core: Rect, searched: bool, given: Candidates | None, out: Any) -> Job | None:
        """Return the job of a window, reduced to its nonzero pixels; None if all pixels are 0."""
        window = self._window(octave, core, searched or given is not None)
        block = self._read(window) if octave == 0 else self.planes[octave - 1][window.slices]
        # A look at the pixels of a device would wait for it.
        if given is None and isinstance(block, np.ndarray):
            # There are no maxima farther from a nonzero pixel than the reach of the arithmetic.
            seen = nonzero_rectangle(block)
            if seen is None:
                return None
            reach = response_reach(self.octaves[octave])
            core = core.common(seen.grown(reach, *block.shape).moved(window.top, window.left))
            if core.top >= core.bottom or core.left >= core.right:
                return None
            nearer = self._window(octave, core, searched)
            block, window = block[nearer.within(window).slices], nearer
        search = core.grown(MARGIN_PX, *self.shapes[octave]) if searched else None
        limits = self.shape[0] >> octave, self.shape[1] >> octave
        return Job(self.octaves[octave], limits, core, window, search, block, self.contrast[octave], out, given)

    def _read(self, window: Rect) -> Pixels:
        height, width = self.shape
        inner = Rect(window.top, min(window.bottom, height), window.left, min(window.right, width))
        block: Pixels = self.source(*inner.slices)
        if block.shape != (inner.bottom - inner.top, inner.right - inner.left):
            raise ValueError(f"the source returned {block.shape} for {inner}")
        if isinstance(block, np.ndarray):
            check_image(block)
        if inner != window:
            missing = (0, window.bottom - inner.bottom), (0, window.right - inner.right)
            block = _padded(block, missing)
        return block

    def _keep(
        self, level: Level, y: npt.NDArray[np.int32], x: npt.NDArray[np.int32], offset: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """Return which maxima are stable and at valid positions."""
        if self.mask is None:
            stable: npt.NDArray[np.bool_] = np.abs(offset).max(axis=1, initial=0) <= 1
            return stable
        return self.mask.holds(y, x, offset, level.octave)

    def _admit(self, level: Level, candidates: Candidates) -> npt.NDArray[np.bool_]:
        """Return which maxima to describe immediately."""
        if self.forecast is None:
            return np.ones(len(candidates), np.bool_)
        layer, last = level.index % self.settings.layers, self.settings.layers - 1
        # On the first and last layer, a maximum may still be suppressed by one of another octave.
        certain = (layer > 0 or level.octave == 0) and (layer < last or level.octave == len(self.octaves) - 1)
        return self.forecast.admit(candidates.positions(level.octave), candidates.response, certain)

    def _all_descriptors(self, kept: Candidates, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Return the descriptors of all keypoints; compute those that no window has described."""
        rows = np.empty((len(kept), WORDS), np.uint64)
        described = kept.row >= 0
        rows[described] = words[kept.row[described]]
        missing = np.flatnonzero(~described)
        of_octave = self._octave_of(kept)
        for octave in range(len(self.octaves)):
            tasks: list[Task] = []
            task_rows = []
            here = missing[of_octave[missing] == octave]
            for core in self.cores[octave] if len(here) else ():
                y, x = kept.y[here], kept.x[here]
                own = here[(y >= core.top) & (y < core.bottom) & (x >= core.left) & (x < core.right)]
                if len(own):
                    tasks.append((core, False, kept.take(own)))
                    task_rows.append(own)
            for own, answer in zip(task_rows, self._compute([(octave, tasks, None)]), strict=True):
                rows[own] = answer.words
                kept.angle[own] = answer.candidates.angle
        return rows

    def _features(self, kept: Candidates, xy: npt.NDArray[np.float32], words: npt.NDArray[np.uint64]) -> Features:
        size = np.array([level.size for own in self.octaves for level in own], np.float32)
        return Features(
            xy=xy,
            size=size[kept.level],
            angle=np.deg2rad(kept.angle),
            response=kept.response,
            level=kept.level,
            descriptors=words,
        )


def _order(level: npt.NDArray[np.int16], xy: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Return the order by level, y, x: sort by one key of level and y, then ties by x.

    Positions are not negative, so that their bit patterns sort like their values.
    """
    x, y = (xy[:, axis].copy().view(np.int32).astype(np.int64) for axis in (0, 1))
    key = (level.astype(np.int64) << 32) | y
    order = np.argsort(key)
    key = key[order]
    tied = np.zeros(len(order), np.bool_)
    tied[1:] = key[1:] == key[:-1]
    tied[:-1] |= tied[1:]
    order[tied] = order[tied][np.lexsort((x[order[tied]], key[tied]))]
    return order


def _padded(block: Any, missing: tuple[tuple[int, int], tuple[int, int]]) -> Any:
    """Extend a block by repeating its last row and column."""
    if not isinstance(block, np.ndarray):
        from s2fast_kernels.akaze.torch_blocks import padded

        return padded(block, missing[0][1], missing[1][1])
    return np.pad(block, missing, mode="edge")


def _descriptors(answers: Sequence[WindowResult]) -> npt.NDArray[np.uint64]:
    """Join the windows' tables of descriptors, and let their candidates refer to the rows of the result."""
    described = 0
    for answer in answers:
        answer.candidates.row[answer.candidates.row >= 0] += described
        described += len(answer.words)
    return np.concatenate([np.zeros((0, WORDS), np.uint64), *(answer.words for answer in answers)])
