"""Batches of windows on a device: queue the passes, list the maxima, select and describe; see `overlap`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from s2fast_kernels.akaze import torch_blocks, torch_describe
from s2fast_kernels.akaze.candidates import Candidates
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.jobs import Admission, Filter, Job, Rect, WindowResult, search_area
from s2fast_kernels.akaze.maxima import WindowMaxima
from s2fast_kernels.akaze.scales import Level
from s2fast_kernels.features import WORDS
from s2fast_kernels.threads import map_in_threads
from s2fast_kernels.transfers import Download, mark

PX_PER_MAXIMUM = 64
"""Pixels for each of which one maximum per level has room; real scenes have one per 100 in all levels together."""

_MOST_PER_MAXIMUM = 4
"""No more than one pixel in so many is greater than its eight neighbours."""


class Passes(Protocol):
    """The passes over stacked planes, (windows, rows, columns) float32, that a backend queues on its device."""

    device: torch.device
    """Where they are queued."""

    described: int
    """Keypoints that are described at a time."""

    def base(self, image: torch.Tensor) -> torch.Tensor:
        """Return planes blurred to the scale of level 0."""

    def smooth(self, image: torch.Tensor, contrast: np.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """Return planes blurred for their derivatives, and the conductivity."""

    def diffuse(self, image: torch.Tensor, flow: torch.Tensor, steps: tuple[np.float32, ...]) -> torch.Tensor:
        """Return planes after one cycle of explicit diffusion steps."""

    def derive(
        self, smoothed: torch.Tensor, level: Level, areas: Sequence[Rect] | None, threshold: float
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """Return the derivatives in x and y and, if areas are given, determinants and a mask of strict maxima there."""


class Queued:
    """A batch of windows on a device, from their pixels to their results; see `s2fast_kernels.akaze.overlap`."""

    def __init__(
        self, engine: Passes, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission
    ) -> None:
        self._rows: list[list[int]] = []
        self._parts: list[_Stack] = []
        for shape in dict.fromkeys(tuple(job.block.shape) for job in jobs):
            self._rows.append([i for i, job in enumerate(jobs) if tuple(job.block.shape) == shape])
            self._parts.append(_Stack(engine, [jobs[i] for i in self._rows[-1]], settings, keep, admit))

    def select(self) -> None:
        """See `InFlight`."""
        for part in self._parts:
            part.select()

    def results(self) -> list[WindowResult]:
        """Return the results in the order of the jobs."""
        found: dict[int, WindowResult] = {}
        for rows, part in zip(self._rows, self._parts, strict=True):
            found.update(zip(rows, part.results(), strict=True))
        return [found[i] for i in range(len(found))]


class _Stack:
    """Windows of one shape, whose planes are stacked; queues the passes of all levels when it is made."""

    @torch.inference_mode()
    def __init__(
        self, engine: Passes, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission
    ) -> None:
        self._engine, self._jobs, self._settings = engine, jobs, settings
        self._keep, self._admit = keep, admit
        self._queue(PX_PER_MAXIMUM)

    def _queue(self, px_per_maximum: int) -> None:
        """Queue the passes of all levels, and the list of each level's maxima, without waiting for the device."""
        engine, jobs = self._engine, self._jobs
        given = jobs[0].given is not None
        needs_maxima = given or any(job.search is not None for job in jobs)
        image = torch_blocks.stacked([job.block for job in jobs], engine.device)
        self._planes: list[torch_describe.Planes] = []
        self._maxima: list[_Listed] = []
        for level in jobs[0].levels:
            smoothed, flow = engine.smooth(image, jobs[0].contrast) if level.steps else (engine.base(image), None)
            if needs_maxima:
                areas = None if given else [_area(job, level) for job in jobs]
                dx, dy, found = engine.derive(smoothed, level, areas, self._settings.threshold)
                if found is not None:
                    self._maxima.append(_Listed(*found, px_per_maximum))
            image = smoothed if flow is None else engine.diffuse(image, flow, level.steps)
            if needs_maxima:
                self._planes.append((image, dx, dy))
        _write_next_octave(jobs, image)
        self._ready = mark(engine.device)
        self._counts = Download([torch.stack([own.count for own in self._maxima])]) if self._maxima else None

    @torch.inference_mode()
    def select(self) -> None:
        """See `InFlight`."""
        if self._counts is not None:
            [counts] = self._counts.arrays()
            if any(count > own.room for count, own in zip(counts, self._maxima, strict=True)):
                # Far more maxima than in any real scene: repeat, with room for as many as there can be.
                self._queue(_MOST_PER_MAXIMUM)
                [counts] = self._counts.arrays()
        levels = []
        if self._counts is not None:
            copies = [own.copied(int(count), self._ready) for own, count in zip(self._maxima, counts, strict=True)]
            levels = [LevelMaxima.of(copy, own.shape) for copy, own in zip(copies, self._maxima, strict=True)]

        def selected(window: int) -> tuple[WindowMaxima, list[npt.NDArray[np.intp]]]:
            own = WindowMaxima(self._jobs[window], self._keep, self._admit)
            for i in range(len(self._planes)):
                if not levels or self._jobs[window].search is None:
                    own.add_given()
                else:
                    own.add(*levels[i].of_window(window))
            return own, [own.rows_to_describe(i) for i in range(len(self._planes))]

        found = map_in_threads(selected, range(len(self._jobs)))
        self._windows, self._described = [own for own, _ in found], []
        for i, planes in enumerate(self._planes):
            rows = [own_rows[i] for _, own_rows in found]
            wanted = [own.found[i].take(part) for own, part in zip(self._windows, rows, strict=True)]
            words = torch_describe.describe(
                planes, self._jobs, wanted, self._jobs[0].levels[i], self._settings, self._engine.described
            )
            self._described.append((rows, words))
        # Memory is free for the next batch when the device has passed this point.
        self._planes, self._maxima = [], []

    def results(self) -> list[WindowResult]:
        """See `InFlight`."""
        words: list[list[npt.NDArray[np.uint64]]] = [[np.zeros((0, WORDS), np.uint64)] for _ in self._jobs]
        for i, (rows, described) in enumerate(self._described):
            angle, level_words = described.arrays()
            ends = np.cumsum([0, *map(len, rows)])
            for window, own in enumerate(self._windows):
                part = slice(ends[window], ends[window + 1])
                own.describe(i, rows[window], angle[part])
                words[window].append(level_words[part])
        return [
            WindowResult(Candidates.concatenate(own.found), np.concatenate(parts))
            for own, parts in zip(self._windows, words, strict=True)
        ]


def _write_next_octave(jobs: Sequence[Job], image: torch.Tensor) -> None:
    """Write the halved cores of the last level to the next octave's plane."""
    for job, plane in zip(jobs, image, strict=True):
        if job.out is not None:
            core = job.core.within(job.window)
            own = plane[core.top : core.bottom, core.left : core.right]
            half = ((own[::2, ::2] + own[::2, 1::2]) + (own[1::2, ::2] + own[1::2, 1::2])) * 0.25
            job.out[job.core.top // 2 : job.core.bottom // 2, job.core.left // 2 : job.core.right // 2] = half


def _area(job: Job, level: Level) -> Rect:
    """Return the area of a window in which to search a level's maxima, empty if there is none."""
    return Rect(0, 0, 0, 0) if job.search is None else search_area(job, job.search, level)


class _Listed:
    """The maxima of one level of a stack of windows as a list with a fixed length, so that nobody waits for a count."""

    def __init__(self, determinant: torch.Tensor, peak: torch.Tensor, px_per_maximum: int) -> None:
        width = determinant.shape[2]
        self.shape = determinant.shape[1:]
        self.count = torch.count_nonzero(peak)
        """Number of maxima, on the device."""
        self.room = -(-determinant.numel() // px_per_maximum)
        """Number of maxima for which there is room."""
        self.place = torch.nonzero_static(peak.reshape(-1), size=self.room, fill_value=0)[:, 0]
        """(room,) positions in the flattened planes, ascending."""
        step = torch.arange(-1, 2, device=determinant.device)
        around = (self.place[:, None] + (step[:, None] * width + step).reshape(-1)).clamp_(0, determinant.numel() - 1)
        self.patch = determinant.reshape(-1)[around]
        """(room, 9) determinants around each maximum."""

    def copied(self, count: int, ready: object) -> Download:
        """Start to copy the first maxima to the host."""
        return Download([self.place[:count], self.patch[:count]], ready)


@dataclass(frozen=True, slots=True)
class LevelMaxima:
    """The maxima of one level of a stack of windows on the host, sorted by window, row and column."""

    window: npt.NDArray[np.int64]
    """(n,) number of the window."""
    position: npt.NDArray[np.int32]
    """(n, 2) row and column in the window."""
    patch: npt.NDArray[np.float32]
    """(n, 9) determinants around the maximum."""

    @classmethod
    def of(cls, copy: Download, shape: Sequence[int]) -> LevelMaxima:
        """Wait for the copy; windows have `shape` rows and columns."""
        place, patch = copy.arrays()
        window, inside = np.divmod(place, shape[0] * shape[1])
        return cls(window, np.stack(np.divmod(inside, shape[1]), axis=1).astype(np.int32), patch)

    def of_window(self, number: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return positions, determinants and refined offsets of one window."""
        rows = slice(*np.searchsorted(self.window, [number, number + 1]))
        patch = self.patch[rows]
        return self.position[rows], patch[:, 4].copy(), refine(patch)


def refine(patch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the offsets x, y of the extrema of quadratics through 3 x 3 patches, (n, 9) to (n, 2).

    The arithmetic is that of the compiled backend.

    Examples
    --------
    >>> refine(np.array([[0, 1, 0, 1, 4, 2, 0, 1, 0]], np.float32)).tolist()
    [[0.10000000149011612, 0.0]]
    """
    a, up, b, left, v, right, c, down, d = patch.T
    gx, gy = np.float32(0.5) * (right - left), np.float32(0.5) * (down - up)
    xx, yy = right + left - np.float32(2) * v, down + up - np.float32(2) * v
    xy = np.float32(0.25) * (d + a - b - c)
    gx, gy, xx, yy, xy = (array.astype(np.float64) for array in (gx, gy, xx, yy, xy))
    determinant = xx * yy - xy * xy
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(determinant == 0, 0, 1 / determinant)
    offset: npt.NDArray[Any] = np.stack([(gy * xy - gx * yy) * inverse, (gx * xy - gy * xx) * inverse], axis=1)
    return offset.astype(np.float32)
