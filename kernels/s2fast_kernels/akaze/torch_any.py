"""`akaze` as tensor operations: batches of windows on any torch device.

Every step is elementwise on whole planes, in the order of the compiled backend, so that the scale space and the maxima
are identical. Convolution calls, such as kornia's, are avoided on purpose: on a GPU they may run in TF32, which would
break parity. The host never waits while it queues a batch of windows. It copies the sparse maxima of a batch when the
next batch is queued; the shared suppression selects those to describe, which are gathered and described together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import pad

from s2fast_kernels.akaze import contrast, torch_blocks
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.jobs import Admission, Filter, Job, Rect, Source
from s2fast_kernels.akaze.masks import Mask
from s2fast_kernels.akaze.scales import BASE_BLUR_REACH, BLUR_REACH, Level, derivative_taps
from s2fast_kernels.akaze.torch_batches import Queued
from s2fast_kernels.akaze.torch_describe import KEYPOINT_BYTES
from s2fast_kernels.akaze.windowed import akaze_array
from s2fast_kernels.features import Features

BASE_BLUR = BASE_BLUR_REACH, 1.6
BLUR = BLUR_REACH, 1.0
"""Radius and sigma of the Gaussian filters of level 0 and of the others [px of the octave]."""

_DEVICE_BATCH = 16
"""Largest number of windows per call on an accelerator."""

_DEVICE_DESCRIBED = 16384
"""Largest number of keypoints that are described at a time on an accelerator."""

_DESCRIBED_SHARE = 4
"""At most one part in so many of a limited memory is for keypoints that are being described."""

_LEAST_CORE_PX = 128
"""Smallest core of a window; even with 4 octaves' halo it needs 12 MB of planes."""

_LEVEL_BYTES = 13
"""Memory of a batch per pixel and level: the image, its two derivatives, and the list of the maxima."""

_IN_FLIGHT = 2
"""Batches on the device at a time; see `s2fast_kernels.akaze.overlap`."""


def default_device() -> torch.device:
    """Return the accelerator that torch finds, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class TorchEngine:
    """Compute batches of windows on one device.

    Parameters
    ----------
    threads
        Ignored: one thread queues the work on a device; on a CPU, torch itself uses all cores.
    device
        Where to compute; None: see `default_device`.
    budget_bytes
        Memory of the device that windows may take; None: no limit.
    """

    threads = 1
    core_px = 1024
    overlaps = True

    pass_bytes = 52
    """Memory of a batch per pixel of its windows, besides what it keeps of each level: the image, and the temporary
    planes of a pass. tests/kernels/test_akaze_overlap.py measures it."""

    def __init__(
        self,
        threads: int | None = None,
        device: str | torch.device | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        del threads
        self.device = default_device() if device is None else torch.device(device)
        self.batch, self.described = (1, 1024) if self.device.type == "cpu" else (_DEVICE_BATCH, _DEVICE_DESCRIBED)
        self.budget_bytes = budget_bytes

    def fit(self, halo_px: int, layers: int, shape: tuple[int, int]) -> None:
        """Reduce the batch, then the core, until two batches fit into the budget; see `Engine`."""
        if self.budget_bytes is None:
            return
        left = max(self.budget_bytes - octave_bytes(shape), 0)
        self.described = max(1, min(self.described, left // _DESCRIBED_SHARE // KEYPOINT_BYTES))
        left = max(left - self.described * KEYPOINT_BYTES, 0)
        while True:
            fitting = left // (_IN_FLIGHT * self.window_bytes(halo_px, layers))
            if fitting or self.core_px <= _LEAST_CORE_PX:
                self.batch = min(self.batch, max(fitting, 1))
                return
            self.core_px //= 2

    def window_bytes(self, halo_px: int, layers: int) -> int:
        """Predict the memory of one window of a batch on the device."""
        return (self.core_px + 2 * halo_px) ** 2 * (self.pass_bytes + layers * _LEVEL_BYTES)

    def plane(self, shape: tuple[int, int]) -> torch.Tensor:
        """Return a plane of zeros on the device; see `Engine`."""
        return torch.zeros(shape, device=self.device)

    def contrast(self, source: Source, shape: tuple[int, int], valid: Mask | None) -> float:
        """Return the contrast factor: counted where the source's pixels are; see `Engine`."""
        if isinstance(source(slice(0, 1), slice(0, 1)), np.ndarray):
            return contrast.contrast_factor(source, shape, valid=valid)
        with torch.inference_mode():
            return torch_blocks.contrast_factor(source, shape, valid, _blurred_squares)  # type: ignore[arg-type]

    def run(self, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission) -> Queued:
        """Queue the passes of windows; see `Engine`. Windows of equal shape are computed together."""
        return Queued(self, jobs, settings, keep, admit)

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


def octave_bytes(shape: tuple[int, int]) -> int:
    """Predict the memory of the planes from which the second and later octaves of an image start."""
    return 4 * shape[0] * shape[1] // 3


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


def _blurred_squares(image: torch.Tensor) -> torch.Tensor:
    return _gradient_squares(_blur(image, *BLUR))


def _gradient_squares(smoothed: torch.Tensor) -> torch.Tensor:
    """Return the squared magnitude of the unnormalised Scharr gradient of blurred planes."""
    gx, gy = _stencil(_reflected(smoothed, 1), 1, 10.0, 3.0)
    return gx * gx + gy * gy


def _conductivity(smoothed: torch.Tensor, contrast: np.float32) -> torch.Tensor:
    inverse_square = float(np.float32(1) / (contrast * contrast))
    return 1.0 / (1.0 + _gradient_squares(smoothed) * inverse_square)


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
