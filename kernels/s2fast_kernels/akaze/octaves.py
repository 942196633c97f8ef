"""One image on its way through the octaves: which windows to compute, and what to make of their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.candidates import Candidates, positions, survivors
from s2fast_kernels.akaze.contract import AkazeSettings, check_image
from s2fast_kernels.akaze.forecast import Forecast
from s2fast_kernels.akaze.jobs import Answer, Engine, Job, Pixels, Rect, Source
from s2fast_kernels.akaze.masks import Mask
from s2fast_kernels.akaze.scales import OCTAVE_CONTRAST, Level, diffusion_reach, halo, response_reach
from s2fast_kernels.features import WORDS, Budget, Features

MARGIN_PX = 24
"""Maxima are sought so far beyond a core [px of the octave], so that a window can forecast suppression at its edge."""

_LEAST_SHARED_PX = 256
"""A single window is shared between threads if each gets so many rows: below, the halos cost more than is won."""

_REFINEMENT_PX = 2
"""A keypoint lies at most so far from its maximum, in pixels of its octave: refinement and sample shift."""


def cut(length: int, core_px: int) -> list[tuple[int, int]]:
    """Cut an even length into parts of about equal, even size, none longer than `core_px` needs.

    Examples
    --------
    >>> cut(100, 40)
    [(0, 34), (34, 66), (66, 100)]
    """
    count = -(-length // core_px)
    edges = [2 * round(i * length / count / 2) for i in range(count)] + [length]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def lit(block: Pixels) -> Rect | None:
    """Find the rectangle around what is not black, its corners at even pixels; None if all is.

    Examples
    --------
    >>> lit(np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], np.uint8))
    Rect(top=0, bottom=4, left=2, right=4)
    """
    rows, columns = (np.flatnonzero(block.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, bottom, left, right = rows[0] // 2, rows[-1] // 2 + 1, columns[0] // 2, columns[-1] // 2 + 1
    return Rect(*(2 * int(edge) for edge in (top, bottom, left, right)))


class Run:
    """One image on its way through the octaves."""

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
        self.planes: list[npt.NDArray[np.float32]] = []
        self.cores = [
            [Rect(*rows, *columns) for rows in cut(high, core_px) for columns in cut(wide, core_px)]
            for high, wide in self.shapes
        ]
        for cores, (high, wide) in zip(self.cores, self.shapes, strict=True):
            if len(cores) == 1 and high >= engine.threads * _LEAST_SHARED_PX:
                # One window would keep all threads but one waiting.
                cores[:] = [Rect(*rows, 0, wide) for rows in cut(high, -(-high // engine.threads))]
        weakest = max(settings.threshold, 1e-12)
        self.forecast = None if budget is None else Forecast(budget, shape, weakest)

    def features(self) -> Features:
        """Run all octaves, suppress, choose, describe what is missing, sort."""
        wanted = [[self._holds_wanted(o, core) for core in cores] for o, cores in enumerate(self.cores)]
        needed = self._needed(wanted)
        answers: list[Answer] = []
        for octave in range(len(self.octaves)):
            # Fresh zeros cost no memory until windows write to them.
            out = None
            if octave + 1 < len(self.octaves) and any(needed[octave + 1]):
                out = np.zeros(self.shapes[octave + 1], np.float32)
            tasks = [(core, wanted[octave][i], None) for i, core in enumerate(self.cores[octave]) if needed[octave][i]]
            answers += self._compute(octave, tasks, out)
            if out is not None:
                self.planes.append(out)
        candidates, words = _joined(answers)
        # The parts are as large as the whole: let go of them.
        del answers
        candidates = candidates.unique()
        alive = survivors(candidates, self.octaves, self.shapes[0][0])
        chosen = candidates.take(alive & candidates.valid)
        xy = chosen.positions(self._octave_of(chosen))
        rows = np.arange(len(chosen)) if self.budget is None else self.budget.select(xy, chosen.response, self.shape)
        rows = rows[_order(chosen.level[rows], xy[rows])]
        chosen = chosen.take(rows)
        return self._features(chosen, xy[rows], self._completed(chosen, words))

    def _octave_of(self, candidates: Candidates) -> npt.NDArray[np.int_]:
        return candidates.level.astype(np.int_) // self.settings.layers

    def _holds_wanted(self, octave: int, core: Rect) -> bool:
        if self.mask is None:
            return True
        top, bottom, left, right = core
        grow = _REFINEMENT_PX
        return self.mask.any(
            top - grow << octave, bottom + grow << octave, left - grow << octave, right + grow << octave
        )

    def _needed(self, wanted: list[list[bool]]) -> list[list[bool]]:
        """Windows to compute: those that hold wanted pixels, and those that the next octave's windows look at."""
        needed = [list(flags) for flags in wanted]
        for octave in range(len(self.octaves) - 1, 0, -1):
            looked_at = np.zeros(tuple(side // 2 for side in self.shapes[octave]), np.bool_)
            for i, core in enumerate(self.cores[octave]):
                if needed[octave][i]:
                    window = self._window(octave, core, wanted[octave][i])
                    looked_at[window.top // 2 : -(-window.bottom // 2), window.left // 2 : -(-window.right // 2)] = True
            for i, core in enumerate(self.cores[octave - 1]):
                if looked_at[core.top // 4 : -(-core.bottom // 4), core.left // 4 : -(-core.right // 4)].any():
                    needed[octave - 1][i] = True
        return needed

    def _window(self, octave: int, core: Rect, searched: bool) -> Rect:
        own = self.octaves[octave]
        px = halo(own, MARGIN_PX) if searched else -(-diffusion_reach(own) // 2) * 2
        return core.grown(px, *self.shapes[octave])

    def _compute(
        self,
        octave: int,
        tasks: Sequence[tuple[Rect, bool, Candidates | None]],
        out: npt.NDArray[np.float32] | None,
    ) -> Iterable[Answer]:
        """Compute windows of one octave in the engine's threads, in batches of the engine's size."""
        size = self.engine.batch
        batches = [tasks[i : i + size] for i in range(0, len(tasks), size)]

        def run(batch: Sequence[tuple[Rect, bool, Candidates | None]]) -> list[Answer]:
            jobs = [job for task in batch if (job := self._job(octave, *task, out)) is not None]
            return self.engine.run(jobs, self.settings, self._keep, self._admit) if jobs else []

        if self.engine.threads == 1 or len(batches) <= 1:
            return [answer for batch in batches for answer in run(batch)]
        with ThreadPoolExecutor(self.engine.threads) as pool:
            return [answer for answers in pool.map(run, batches) for answer in answers]

    def _job(
        self, octave: int, core: Rect, searched: bool, given: Candidates | None, out: npt.NDArray[np.float32] | None
    ) -> Job | None:
        """Put a window together, no larger than what is not black in it; None if all of it is."""
        window = self._window(octave, core, searched or given is not None)
        block = self._read(window) if octave == 0 else self.planes[octave - 1][window.slices]
        if given is None:
            # Black stays black: farther from a pixel that is not than arithmetic looks, there is nothing to find.
            seen = lit(block)
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
        check_image(block)
        if inner != window:
            missing = (0, window.bottom - inner.bottom), (0, window.right - inner.right)
            return _padded(block, missing)
        return block

    def _keep(
        self, level: Level, y: npt.NDArray[np.int32], x: npt.NDArray[np.int32], offset: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """Whether maxima are stable, and lie where keypoints are wanted."""
        stable: npt.NDArray[np.bool_] = np.abs(offset).max(axis=1, initial=0) <= 1
        if self.mask is None:
            return stable
        nearest = np.floor(positions(level.octave, x, y, offset) + np.float32(0.5)).astype(np.intp)
        return stable & self.mask.at(nearest[:, 1], nearest[:, 0])

    def _admit(self, level: Level, candidates: Candidates) -> npt.NDArray[np.bool_]:
        """Whether maxima are worth describing at once."""
        if self.forecast is None:
            return np.ones(len(candidates), np.bool_)
        layer, last = level.index % self.settings.layers, self.settings.layers - 1
        # Next to another octave a window does not know all that may still suppress a maximum.
        certain = (layer > 0 or level.octave == 0) and (layer < last or level.octave == len(self.octaves) - 1)
        return self.forecast.admit(candidates.positions(level.octave), candidates.response, certain)

    def _completed(self, chosen: Candidates, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Collect descriptors, and make those of keypoints that no window thought would be chosen."""
        rows = np.empty((len(chosen), WORDS), np.uint64)
        made = chosen.row >= 0
        rows[made] = words[chosen.row[made]]
        missing = np.flatnonzero(~made)
        of_octave = self._octave_of(chosen)
        for octave in range(len(self.octaves)):
            tasks, places = [], []
            here = missing[of_octave[missing] == octave]
            for core in self.cores[octave] if len(here) else ():
                y, x = chosen.y[here], chosen.x[here]
                own = here[(y >= core.top) & (y < core.bottom) & (x >= core.left) & (x < core.right)]
                if len(own):
                    tasks.append((core, False, chosen.take(own)))
                    places.append(own)
            for own, answer in zip(places, self._compute(octave, tasks, None), strict=True):
                rows[own] = answer.words
                chosen.angle[own] = answer.candidates.angle
        return rows

    def _features(self, chosen: Candidates, xy: npt.NDArray[np.float32], words: npt.NDArray[np.uint64]) -> Features:
        size = np.array([level.size for own in self.octaves for level in own], np.float32)
        return Features(
            xy=xy,
            size=size[chosen.level],
            angle=np.deg2rad(chosen.angle),
            response=chosen.response,
            level=chosen.level,
            descriptors=words,
        )


def _order(level: npt.NDArray[np.int16], xy: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Sort by level, y, x: by one key of level and y, then, where these are equal, by x.

    Positions are not negative, so that their bit patterns sort as they do.
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


def _padded(block: Pixels, missing: tuple[tuple[int, int], tuple[int, int]]) -> Pixels:
    """Continue a block with its last row and column."""
    result: Pixels = np.pad(block, missing, mode="edge")  # type: ignore[assignment]
    return result


def _joined(answers: Sequence[Answer]) -> tuple[Candidates, npt.NDArray[np.uint64]]:
    """One list of candidates and one table of descriptors."""
    described = 0
    for answer in answers:
        answer.candidates.row[answer.candidates.row >= 0] += described
        described += len(answer.words)
    words = np.concatenate([answer.words for answer in answers]) if answers else np.zeros((0, WORDS), np.uint64)
    return Candidates.concatenate([answer.candidates for answer in answers]), words
