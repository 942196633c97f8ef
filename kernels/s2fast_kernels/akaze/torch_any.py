"""`akaze` as tensor operations: batches of windows on any torch device.

Every step is elementwise on whole planes, in the order of the compiled backend, so that the scale space and the maxima
are identical. Convolution calls, such as kornia's, are avoided on purpose: on a GPU they may run in TF32, which would
break parity. The host does not wait for the device until all levels of an octave are queued. Then the sparse maxima are
copied to the host, where the shared suppression selects those to describe; these are gathered and described together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import pad

from s2fast_kernels.akaze import torch_describe
from s2fast_kernels.akaze.candidates import Candidates
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.jobs import Admission, Filter, Job, Rect, WindowResult, search_area
from s2fast_kernels.akaze.maxima import WindowMaxima
from s2fast_kernels.akaze.scales import BASE_BLUR_REACH, BLUR_REACH, Level, derivative_taps
from s2fast_kernels.akaze.windowed import akaze_array
from s2fast_kernels.features import WORDS, Features

BASE_BLUR = BASE_BLUR_REACH, 1.6
BLUR = BLUR_REACH, 1.0
"""Radius and sigma of the Gaussian filters of level 0 and of the others [px of the octave]."""

_DEVICE_BATCH = 16
"""Windows per call on an accelerator: each needs 16 planes of 1,188 x 1,188 px, 1.4 GB in total."""


def default_device() -> torch.device:
    """Return the accelerator that torch finds, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class TorchEngine:
    """Compute batches of windows on one device."""

    threads = 1
    core_px = 1024

    def __init__(self, threads: int | None = None, device: str | torch.device | None = None) -> None:
        # One thread queues the work on a device; on a CPU, torch itself uses all cores.
        del threads
        self.device = default_device() if device is None else torch.device(device)
        self.batch = 1 if self.device.type == "cpu" else _DEVICE_BATCH

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission) -> list[WindowResult]:
        """Compute windows; see `Engine`. Windows of equal shape are computed together."""
        answers: list[WindowResult | None] = [None] * len(jobs)
        for shape in {job.block.shape for job in jobs}:
            rows = [i for i, job in enumerate(jobs) if job.block.shape == shape]
            for i, answer in zip(rows, self._run_batch([jobs[i] for i in rows], settings, keep, admit), strict=True):
                answers[i] = answer
        return [answer for answer in answers if answer is not None]

    def _run_batch(
        self, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission
    ) -> list[WindowResult]:
        levels, needs_maxima = jobs[0].levels, any(job.search is not None or job.given is not None for job in jobs)
        image = torch.from_numpy(np.stack([job.block for job in jobs])).to(self.device)
        if image.dtype == torch.uint8:
            image = image.float() * float(np.float32(1.0 / 255.0))
        planes: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        peaks: list[tuple[torch.Tensor, torch.Tensor] | None] = []
        for level in levels:
            smoothed, flow = self.smooth(image, jobs[0].contrast) if level.steps else (self.base(image), None)
            if needs_maxima:
                areas = None if jobs[0].given is not None else [_area(job, level) for job in jobs]
                dx, dy, found = self.derive(smoothed, level, areas, settings.threshold)
                peaks.append(found)
            image = smoothed if flow is None else self.diffuse(image, flow, level.steps)
            if needs_maxima:
                planes.append((image, dx, dy))
        self._write_next_octave(jobs, image)
        maxima = [WindowMaxima(job, keep, admit) for job in jobs]
        for i in range(len(levels) if needs_maxima else 0):
            _collect(maxima, jobs, peaks[i])
        return _described(jobs, maxima, planes, settings)

    def base(self, image: torch.Tensor) -> torch.Tensor:
        """Return planes, (windows, rows, columns) float32, blurred to the scale of level 0."""
        return _blur(image, *BASE_BLUR)

    def smooth(self, image: torch.Tensor, contrast: np.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """Return planes blurred for their derivatives, and the conductivity."""
        smoothed = _blur(image, *BLUR)
        return smoothed, _conductivity(smoothed, contrast)

    def diffuse(self, image: torch.Tensor, flow: torch.Tensor, steps: tuple[np.float32, ...]) -> torch.Tensor:
        """Return planes after one cycle of explicit diffusion steps."""
        return _diffuse(image, flow[..., :-1] + flow[..., 1:], flow[:, :-1] + flow[:, 1:], steps)

    def derive(
        self, smoothed: torch.Tensor, level: Level, areas: Sequence[Rect] | None, threshold: float
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """Return the derivatives in x and y and, if areas are given, determinants and a mask of strict maxima there."""
        dx, dy = _gradient(smoothed, level.radius)
        return dx, dy, None if areas is None else _peaks(dx, dy, level, areas, threshold)

    @staticmethod
    def _write_next_octave(jobs: Sequence[Job], image: torch.Tensor) -> None:
        """Write the halved cores of the last level to the next octave's plane."""
        for job, plane in zip(jobs, image, strict=True):
            if job.out is not None:
                core = job.core.within(job.window)
                own = plane[core.top : core.bottom, core.left : core.right]
                half = ((own[::2, ::2] + own[::2, 1::2]) + (own[1::2, ::2] + own[1::2, 1::2])) * 0.25
                job.out[job.core.top // 2 : job.core.bottom // 2, job.core.left // 2 : job.core.right // 2] = (
                    half.cpu().numpy()
                )


def _blur(image: torch.Tensor, reach: int, sigma: float) -> torch.Tensor:
    """Return planes blurred with a Gaussian filter, along rows first, then along columns; edges are replicated."""
    taps = half_gauss(reach, sigma)
    height, width = image.shape[1:]
    padded = pad(image[:, None], (reach, reach, 0, 0), mode="replicate")[:, 0]
    rows = padded[..., reach : reach + width] * taps[0]
    for k in range(1, reach + 1):
        rows += (padded[..., reach - k : reach - k + width] + padded[..., reach + k : reach + k + width]) * taps[k]
    padded = pad(rows[:, None], (0, 0, reach, reach), mode="replicate")[:, 0]
    result = padded[:, reach : reach + height] * taps[0]
    for k in range(1, reach + 1):
        result += (padded[:, reach - k : reach - k + height] + padded[:, reach + k : reach + k + height]) * taps[k]
    return result


def half_gauss(reach: int, sigma: float) -> list[float]:
    """Return the taps of a Gaussian filter from its centre to one end, rounded to float32."""
    x = np.arange(-reach, reach + 1)
    taps = np.exp(-(x * x) / (2.0 * sigma * sigma))
    return [float(np.float32(tap)) for tap in (taps / taps.sum())[reach:]]


def _stencil(plane: torch.Tensor, radius: int, centre: float, corner: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the derivatives in x and y of planes with a frame of `radius` pixels; the results have no frame."""
    r, height, width = radius, plane.shape[-2] - 2 * radius, plane.shape[-1] - 2 * radius
    left, middle, right = (plane[..., k * r : k * r + width] for k in range(3))
    across = right - left
    up, here, down = (across[:, k * r : k * r + height] for k in range(3))
    dx = centre * here + corner * (up + down)
    along = centre * middle + corner * (left + right)
    return dx, along[:, 2 * r :] - along[:, :height]


def _reflected(plane: torch.Tensor, reach: int) -> torch.Tensor:
    return pad(plane[:, None], (reach, reach, reach, reach), mode="reflect")[:, 0]


def _gradient(smoothed: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    centre, corner = (float(tap) for tap in derivative_taps(radius))
    return _stencil(_reflected(smoothed, radius), radius, centre, corner)


def _conductivity(smoothed: torch.Tensor, contrast: np.float32) -> torch.Tensor:
    gx, gy = _stencil(_reflected(smoothed, 1), 1, 10.0, 3.0)
    inverse_square = float(np.float32(1) / (contrast * contrast))
    return 1.0 / (1.0 + (gx * gx + gy * gy) * inverse_square)


def _diffuse(
    image: torch.Tensor, east: torch.Tensor, south: torch.Tensor, steps: tuple[np.float32, ...]
) -> torch.Tensor:
    """Apply one cycle of explicit diffusion steps to planes, in preallocated buffers.

    The conductance to the right neighbour, `east`, has one column less, and the one below, `south`, one row less.
    """
    image = image.clone()
    flux, across, down = torch.empty_like(image), torch.empty_like(east), torch.empty_like(south)
    for step in steps:
        torch.sub(image[..., 1:], image[..., :-1], out=across).mul_(east)
        torch.sub(image[:, 1:], image[:, :-1], out=down).mul_(south)
        flux[..., :-1] = across
        flux[..., -1] = 0
        flux[..., 1:] -= across
        flux[:, :-1] += down
        flux[:, 1:] -= down
        # Two operations: an addition with a factor would be contracted to a fused multiply-add on some devices.
        image += flux.mul_(float(step))
    return image


def _area(job: Job, level: Level) -> Rect:
    """Return the area of a window in which to search a level's maxima, empty if there is none."""
    return Rect(0, 0, 0, 0) if job.search is None else search_area(job, job.search, level)


def _peaks(
    dx: torch.Tensor, dy: torch.Tensor, level: Level, areas: Sequence[Rect], threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the determinant of the Hessian, and the mask of its strict maxima in each window's area."""
    centre, corner = (float(tap) for tap in derivative_taps(level.radius))
    xx, xy = _stencil(_reflected(dx, level.radius), level.radius, centre, corner)
    _, yy = _stencil(_reflected(dy, level.radius), level.radius, centre, corner)
    determinant = (xx * yy - xy * xy) * float(level.radius**4)
    height, width = determinant.shape[1:]
    rows, columns = torch.arange(height, device=dx.device), torch.arange(width, device=dx.device)
    inside = torch.zeros(dx.shape, dtype=torch.bool, device=dx.device)
    for own, (top, bottom, left, right) in zip(inside, areas, strict=True):
        own |= ((rows >= top) & (rows < bottom))[:, None] & (columns >= left) & (columns < right)
    peak = inside & (determinant > float(np.float32(threshold)))
    framed = pad(determinant, (1, 1, 1, 1), value=float("inf"))
    for down in range(3):
        for across in range(3):
            if (down, across) != (1, 1):
                peak &= determinant > framed[:, down : down + height, across : across + width]
    return determinant, peak


def _collect(
    maxima: Sequence[WindowMaxima], jobs: Sequence[Job], peaks: tuple[torch.Tensor, torch.Tensor] | None
) -> None:
    """Copy one level's maxima to the host, refine them and add them to their windows."""
    if peaks is None:
        for own in maxima:
            own.add_given()
        return
    determinant, peak = peaks
    where = torch.nonzero(peak)
    height, width = determinant.shape[1:]
    flat = (where[:, 0] * height + where[:, 1]) * width + where[:, 2]
    around = torch.tensor([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)], device=flat.device)
    patch = determinant.reshape(-1)[flat[:, None] + around].cpu().numpy()
    window, *row_column = where.cpu().numpy().T
    positions = np.stack(row_column, axis=1).astype(np.int32)
    offset = refine(patch)
    for i, own in enumerate(maxima):
        rows = slice(*np.searchsorted(window, [i, i + 1]))
        if jobs[i].search is None:
            own.add_given()
        else:
            own.add(positions[rows], patch[rows, 4].copy(), offset[rows])


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


def _described(
    jobs: Sequence[Job],
    maxima: Sequence[WindowMaxima],
    planes: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    settings: AkazeSettings,
) -> list[WindowResult]:
    """Describe the selected maxima of all windows, one level at a time."""
    words: list[list[npt.NDArray[np.uint64]]] = [[] for _ in jobs]
    for i, own_planes in enumerate(planes):
        level = jobs[0].levels[i]
        selected = [own.rows_to_describe(i) for own in maxima]
        wanted = [own.found[i].take(rows) for own, rows in zip(maxima, selected, strict=True)]
        angle, level_words = torch_describe.describe(own_planes, jobs, wanted, level, settings)
        ends = np.cumsum([0, *(len(rows) for rows in selected)])
        for window, own in enumerate(maxima):
            part = slice(ends[window], ends[window + 1])
            own.describe(i, selected[window], angle[part])
            words[window].append(level_words[part])
    empty = np.zeros((0, WORDS), np.uint64)
    return [
        WindowResult(Candidates.concatenate(own.found), np.concatenate([empty, *parts]))
        for own, parts in zip(maxima, words, strict=True)
    ]


def akaze(
    image: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    settings: AkazeSettings,
    contrast: float | None = None,
    core: tuple[int, int, int, int] | None = None,
    *,
    device: str | torch.device | None = None,
) -> Features:
    """Run the windowed driver on an array, in batches of windows; see the package for the contract."""
    return akaze_array(image, TorchEngine(device=device), settings, contrast, core)
