"""`akaze` on a GPU: the torch backend with its passes over memory fused into three kernels.

Each kernel loads a tile of a plane with a halo, computes in registers, and writes the tile without its halo. A pixel
reads its neighbours in the tile through `tl.gather`, which goes through shared memory. The passes are: blur and
conductivity; several diffusion steps; derivatives, determinant of the Hessian and its maxima. All operations are those
of the torch backend in the same order, without contraction, so that the results are identical. The exception is the
determinant within twice the stencil's radius of a plane's edge, where no maxima are searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl

from s2fast_kernels.akaze.jobs import Admission, Filter, Job, Rect
from s2fast_kernels.akaze.scales import Level, derivative_taps
from s2fast_kernels.akaze.torch_any import BASE_BLUR, BLUR, TorchEngine, half_gauss
from s2fast_kernels.akaze.torch_batches import Queued
from s2fast_kernels.akaze.windowed import akaze_array
from s2fast_kernels.machine import current_gpu
from s2fast_kernels.transfers import upload

if TYPE_CHECKING:
    import numpy.typing as npt

    from s2fast_kernels.akaze.contract import AkazeSettings
    from s2fast_kernels.features import Features

FLOW_HALO = tl.constexpr(1)
"""Rows and columns of blurred pixels around a tile that its conductivities need."""

PEAK_HALO = tl.constexpr(1)
"""Rows and columns of determinants around a tile that its maxima need."""

STEP_HALO = tl.constexpr(1)
"""Rows and columns around a tile that one diffusion step needs."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Compile-time parameters of one kernel."""

    rows: int
    """Rows of a tile with its halo, a power of two."""

    columns: int
    """Columns of a tile with its halo, a power of two."""

    warps: int
    """Warps per program."""


SMOOTH_TILE = Tile(32, 64, 8)
DIFFUSE_TILE = Tile(32, 64, 8)
DERIVE_TILE = Tile(8, 128, 4)
"""Without spills and with at least two programs per SM (``python -m benchmarks static-akaze``); among such shapes, the
fastest on an H100."""

MOST_STEPS = 4
"""Diffusion steps per pass. On an H100, four in one pass were faster than two passes of two."""


@triton.jit
def _shifted(tile: tl.tensor, by: tl.constexpr, axis: tl.constexpr) -> tl.tensor:
    """Return the values of a tile `by` rows (axis 0) or columns (axis 1) further; its edges are repeated."""
    rows: tl.constexpr = tile.shape[0]
    columns: tl.constexpr = tile.shape[1]
    if axis == 0:
        at = tl.minimum(tl.maximum(tl.arange(0, rows) + by, 0), rows - 1)[:, None]
    else:
        at = tl.minimum(tl.maximum(tl.arange(0, columns) + by, 0), columns - 1)[None, :]
    return tl.gather(tile, tl.broadcast_to(at, (rows, columns)), axis)


@triton.jit
def _span(part: tl.tensor, size: tl.constexpr, halo: tl.constexpr) -> tl.tensor:
    """Return the rows or columns of a plane that a tile covers; the first ones may be negative."""
    return part * (size - 2 * halo) - halo + tl.arange(0, size)


@triton.jit
def _owned(at: tl.tensor, length: tl.tensor, size: tl.constexpr, halo: tl.constexpr) -> tl.tensor:
    """Return which rows or columns of a tile it writes: those inside its halo and inside the plane."""
    own = tl.arange(0, size)
    return (own >= halo) & (own < size - halo) & (at < length)


@triton.jit
def smooth_kernel(
    image: tl.tensor, taps: tl.tensor, smoothed_out: tl.tensor, flow_out: tl.tensor,
    height: tl.tensor, width: tl.tensor, inverse_square: tl.tensor,
    reach: tl.constexpr, conduct: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
) -> None:  # fmt: skip
    """Blur planes with replicated edges and, if `conduct`, compute the conductivity of the result."""
    side: tl.constexpr = FLOW_HALO if conduct else 0
    halo: tl.constexpr = reach + side
    row = _span(tl.program_id(1), tile_rows, halo)
    column = _span(tl.program_id(0), tile_columns, side)
    plane = tl.program_id(2).to(tl.int64) * height * width
    image, smoothed_out, flow_out = image + plane, smoothed_out + plane, flow_out + plane
    line = tl.minimum(tl.maximum(row, 0), height - 1)[:, None] * width
    last = width - 1
    blurred = tl.load(image + line + tl.minimum(tl.maximum(column, 0), last)[None, :]) * tl.load(taps)
    for k in tl.static_range(1, reach + 1):
        left = tl.load(image + line + tl.minimum(tl.maximum(column - k, 0), last)[None, :])
        right = tl.load(image + line + tl.minimum(tl.maximum(column + k, 0), last)[None, :])
        blurred = blurred + (left + right) * tl.load(taps + k)
    smoothed = blurred * tl.load(taps)
    for k in tl.static_range(1, reach + 1):
        smoothed = smoothed + (_shifted(blurred, -k, 0) + _shifted(blurred, k, 0)) * tl.load(taps + k)
    own = _owned(row, height, tile_rows, halo)[:, None] & _owned(column, width, tile_columns, side)[None, :]
    tl.store(smoothed_out + line + column[None, :], smoothed, mask=own)
    if conduct:
        before, after = _shifted(smoothed, -1, 1), _shifted(smoothed, 1, 1)
        left = tl.where((column == 0)[None, :], after, before)
        right = tl.where((column == last)[None, :], before, after)
        across = right - left
        along = 10.0 * smoothed + 3.0 * (left + right)
        top, bottom = (row == 0)[:, None], (row == height - 1)[:, None]
        above, below = _shifted(across, -1, 0), _shifted(across, 1, 0)
        gx = 10.0 * across + 3.0 * (tl.where(top, below, above) + tl.where(bottom, above, below))
        above, below = _shifted(along, -1, 0), _shifted(along, 1, 0)
        gy = tl.where(bottom, above, below) - tl.where(top, below, above)
        flow = tl.div_rn(1.0, 1.0 + (gx * gx + gy * gy) * inverse_square)
        tl.store(flow_out + line + column[None, :], flow, mask=own)


@triton.jit
def diffuse_kernel(
    image: tl.tensor, flow: tl.tensor, steps: tl.tensor, out: tl.tensor, height: tl.tensor, width: tl.tensor,
    count: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
) -> None:  # fmt: skip
    """Apply `count` diffusion steps to planes. Nothing flows across their edges."""
    halo: tl.constexpr = count * STEP_HALO
    row = _span(tl.program_id(1), tile_rows, halo)
    column = _span(tl.program_id(0), tile_columns, halo)
    plane = tl.program_id(2).to(tl.int64) * height * width
    image, flow, out = image + plane, flow + plane, out + plane
    line = tl.minimum(tl.maximum(row, 0), height - 1)[:, None] * width
    inside = line + tl.minimum(tl.maximum(column, 0), width - 1)[None, :]
    pixel, conductivity = tl.load(image + inside), tl.load(flow + inside)
    has_right = ((column >= 0) & (column < width - 1))[None, :]
    has_below = ((row >= 0) & (row < height - 1))[:, None]
    east = tl.where(has_right, conductivity + _shifted(conductivity, 1, 1), 0.0)
    south = tl.where(has_below, conductivity + _shifted(conductivity, 1, 0), 0.0)
    for i in tl.static_range(count):
        across = (_shifted(pixel, 1, 1) - pixel) * east
        down = (_shifted(pixel, 1, 0) - pixel) * south
        flux = ((across - _shifted(across, -1, 1)) + down) - _shifted(down, -1, 0)
        pixel = pixel + flux * tl.load(steps + i)
    own = _owned(row, height, tile_rows, halo)[:, None] & _owned(column, width, tile_columns, halo)[None, :]
    tl.store(out + inside, pixel, mask=own)


@triton.jit
def _mirrored(at: tl.tensor, length: tl.tensor) -> tl.tensor:
    """Return positions beyond an axis's ends mirrored at its first and last pixel."""
    at = tl.where(at < 0, -at, at)
    at = tl.where(at >= length, 2 * (length - 1) - at, at)
    return tl.minimum(tl.maximum(at, 0), length - 1)


@triton.jit
def _lattice_row(
    plane: tl.tensor, line: tl.tensor, column: tl.tensor, width: tl.tensor, centre: tl.tensor, corner: tl.tensor,
    radius: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Load five pixels of a row, `radius` apart; return differences across and weighted sums at the middle three."""
    a = tl.load(plane + line + _mirrored(column - 2 * radius, width)[None, :])
    b = tl.load(plane + line + _mirrored(column - radius, width)[None, :])
    c = tl.load(plane + line + _mirrored(column, width)[None, :])
    d = tl.load(plane + line + _mirrored(column + radius, width)[None, :])
    e = tl.load(plane + line + _mirrored(column + 2 * radius, width)[None, :])
    return (
        c - a, d - b, e - c,
        centre * b + corner * (a + c), centre * c + corner * (b + d), centre * d + corner * (c + e),
    )  # fmt: skip


@triton.jit
def derive_kernel(
    smoothed: tl.tensor, areas: tl.tensor, dx_out: tl.tensor, dy_out: tl.tensor,
    determinant_out: tl.tensor, peak_out: tl.tensor,
    height: tl.tensor, width: tl.tensor, centre: tl.tensor, corner: tl.tensor, scale: tl.tensor, threshold: tl.tensor,
    radius: tl.constexpr, detect: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
) -> None:  # fmt: skip
    """Compute derivatives of planes and, if `detect`, the determinant of the Hessian and a mask of its strict maxima.

    `areas`, (planes, 4) int32, holds the top, bottom, left and right end of the area in which to search maxima.
    """
    halo: tl.constexpr = PEAK_HALO
    row = _span(tl.program_id(1), tile_rows, halo)
    column = _span(tl.program_id(0), tile_columns, halo)
    batch = tl.program_id(2).to(tl.int64)
    plane = batch * height * width
    source, dx_out, dy_out = smoothed + plane, dx_out + plane, dy_out + plane
    above = _mirrored(row - radius, height)[:, None] * width
    here = _mirrored(row, height)[:, None] * width
    below = _mirrored(row + radius, height)[:, None] * width
    across_b, across_b0, across_b2, _, along_b0, _ = _lattice_row(source, above, column, width, centre, corner, radius)
    across_c, across_c0, across_c2, along_c, along_c0, along_c2 = _lattice_row(
        source, here, column, width, centre, corner, radius
    )
    across_d, across_d0, across_d2, _, along_d0, _ = _lattice_row(source, below, column, width, centre, corner, radius)
    dx = centre * across_c0 + corner * (across_b0 + across_d0)
    dy = along_d0 - along_b0
    own = _owned(row, height, tile_rows, halo)[:, None] & _owned(column, width, tile_columns, halo)[None, :]
    out = here + column[None, :]
    tl.store(dx_out + out, dx, mask=own)
    tl.store(dy_out + out, dy, mask=own)
    if detect:
        far_above = _mirrored(row - 2 * radius, height)[:, None] * width
        far_below = _mirrored(row + 2 * radius, height)[:, None] * width
        across_a, across_a0, across_a2, along_a, along_a0, along_a2 = _lattice_row(
            source, far_above, column, width, centre, corner, radius
        )
        across_e, across_e0, across_e2, along_e, along_e0, along_e2 = _lattice_row(
            source, far_below, column, width, centre, corner, radius
        )
        # At the lattice points above (b), beside (c) and below (d); left has no digit, 0 is the middle, 2 is right.
        dx_b = centre * across_b + corner * (across_a + across_c)
        dx_b0 = centre * across_b0 + corner * (across_a0 + across_c0)
        dx_b2 = centre * across_b2 + corner * (across_a2 + across_c2)
        dx_c = centre * across_c + corner * (across_b + across_d)
        dx_c2 = centre * across_c2 + corner * (across_b2 + across_d2)
        dx_d = centre * across_d + corner * (across_c + across_e)
        dx_d0 = centre * across_d0 + corner * (across_c0 + across_e0)
        dx_d2 = centre * across_d2 + corner * (across_c2 + across_e2)
        xx = centre * (dx_c2 - dx_c) + corner * ((dx_b2 - dx_b) + (dx_d2 - dx_d))
        xy = (centre * dx_d0 + corner * (dx_d + dx_d2)) - (centre * dx_b0 + corner * (dx_b + dx_b2))
        upper = centre * (along_c0 - along_a0) + corner * ((along_c - along_a) + (along_c2 - along_a2))
        lower = centre * (along_e0 - along_c0) + corner * ((along_e - along_c) + (along_e2 - along_c2))
        yy = lower - upper
        determinant = (xx * yy - xy * xy) * scale
        area = areas + batch * 4
        searched = ((row >= tl.load(area)) & (row < tl.load(area + 1)))[:, None]
        searched = searched & ((column >= tl.load(area + 2)) & (column < tl.load(area + 3)))[None, :]
        beside = tl.maximum(_shifted(determinant, -1, 1), _shifted(determinant, 1, 1))
        three = tl.maximum(beside, determinant)
        around = tl.maximum(beside, tl.maximum(_shifted(three, -1, 0), _shifted(three, 1, 0)))
        peak = searched & (determinant > threshold) & (determinant > around)
        tl.store(determinant_out + plane + out, determinant, mask=own)
        tl.store(peak_out + plane + out, peak.to(tl.int8), mask=own)


def passes(steps: int) -> list[int]:
    """Divide diffusion steps into passes as evenly as possible.

    Examples
    --------
    >>> passes(3), passes(4), passes(17)
    ([3], [4], [4, 4, 3, 3, 3])
    """
    number = -(-steps // MOST_STEPS)
    return [steps // number + (i < steps % number) for i in range(number)]


def grid(shape: Sequence[int], tile: Tile, row_halo: int, column_halo: int) -> tuple[int, int, int]:
    """Return the number of programs for planes (planes, rows, columns), whose pixels a kernel counts in 32 bits."""
    if shape[1] * shape[2] >= 1 << 31:
        raise ValueError(f"a window must have fewer than 2 ** 31 pixels, got {shape[1]} x {shape[2]}: reduce core_px")
    rows, columns = tile.rows - 2 * row_halo, tile.columns - 2 * column_halo
    return triton.cdiv(shape[2], columns), triton.cdiv(shape[1], rows), shape[0]


class TritonEngine(TorchEngine):
    """Compute batches of windows on one GPU. Triton's interpreter runs the kernels on the CPU device."""

    pass_bytes = 24
    """See `TorchEngine`."""

    def __init__(
        self,
        threads: int | None = None,
        device: str | torch.device | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        super().__init__(threads, "cuda" if device is None else device, budget_bytes)
        self._taps = {
            reach: torch.tensor(half_gauss(reach, sigma), dtype=torch.float32, device=self.device)
            for reach, sigma in (BASE_BLUR, BLUR)
        }

    def run(self, jobs: Sequence[Job], settings: AkazeSettings, keep: Filter, admit: Admission) -> Queued:
        """Queue windows; see `Engine`. Triton launches kernels on the current device, so make it this one."""
        with current_gpu(self.device):
            return super().run(jobs, settings, keep, admit)

    def base(self, image: torch.Tensor) -> torch.Tensor:
        """Blur planes to the scale of level 0; see `TorchEngine.base`."""
        smoothed = torch.empty_like(image)
        self._smooth(image, smoothed, smoothed, BASE_BLUR[0], 0.0, conduct=False)
        return smoothed

    def smooth(self, image: torch.Tensor, contrast: np.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """Blur planes and compute the conductivity in one pass; see `TorchEngine.smooth`."""
        smoothed, flow = torch.empty_like(image), torch.empty_like(image)
        inverse_square = float(np.float32(1) / (contrast * contrast))
        self._smooth(image, smoothed, flow, BLUR[0], inverse_square, conduct=True)
        return smoothed, flow

    def _smooth(
        self, image: torch.Tensor, smoothed: torch.Tensor, flow: torch.Tensor, reach: int, inverse_square: float,
        *, conduct: bool,
    ) -> None:  # fmt: skip
        tile, side = SMOOTH_TILE, FLOW_HALO.value * conduct
        smooth_kernel[grid(image.shape, tile, reach + side, side)](
            image, self._taps[reach], smoothed, flow, image.shape[1], image.shape[2], inverse_square,
            reach=reach, conduct=conduct, tile_rows=tile.rows, tile_columns=tile.columns,
            num_warps=tile.warps, enable_fp_fusion=False,
        )  # fmt: skip

    def diffuse(self, image: torch.Tensor, flow: torch.Tensor, steps: tuple[np.float32, ...]) -> torch.Tensor:
        """Apply a cycle of diffusion steps, several per pass; see `TorchEngine.diffuse`."""
        tile, done = DIFFUSE_TILE, 0
        on_device = upload(np.array(steps, np.float32), self.device)
        # The first pass reads the caller's planes; two buffers in turn hold the others' results.
        buffers = [torch.empty_like(image), torch.empty_like(image) if len(steps) > MOST_STEPS else image]
        for number, count in enumerate(passes(len(steps))):
            out = buffers[number % 2]
            diffuse_kernel[grid(image.shape, tile, count * STEP_HALO.value, count * STEP_HALO.value)](
                image, flow, on_device[done:], out, image.shape[1], image.shape[2],
                count=count, tile_rows=tile.rows, tile_columns=tile.columns,
                num_warps=tile.warps, enable_fp_fusion=False,
            )  # fmt: skip
            image, done = out, done + count
        return image

    def derive(
        self, smoothed: torch.Tensor, level: Level, areas: Sequence[Rect] | None, threshold: float
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """Compute derivatives, determinant and maxima in one pass; see `TorchEngine.derive`."""
        tile, detect = DERIVE_TILE, areas is not None
        dx, dy = torch.empty_like(smoothed), torch.empty_like(smoothed)
        determinant = torch.empty_like(smoothed) if detect else dx
        peak = torch.empty_like(smoothed, dtype=torch.int8) if detect else dx
        bounds = upload(np.array([(0, 0, 0, 0)] if areas is None else areas, np.int32), self.device)
        centre, corner = (float(tap) for tap in derivative_taps(level.radius))
        derive_kernel[grid(smoothed.shape, tile, PEAK_HALO.value, PEAK_HALO.value)](
            smoothed, bounds, dx, dy, determinant, peak, smoothed.shape[1], smoothed.shape[2],
            centre, corner, float(level.radius**4), float(np.float32(threshold)),
            radius=level.radius, detect=detect, tile_rows=tile.rows, tile_columns=tile.columns,
            num_warps=tile.warps, enable_fp_fusion=False,
        )  # fmt: skip
        return dx, dy, (determinant, peak) if detect else None


def akaze(
    image: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    settings: AkazeSettings,
    contrast: float | None = None,
    core: tuple[int, int, int, int] | None = None,
    *,
    device: str | torch.device | None = None,
) -> Features:
    """Run the windowed driver on an array, in batches of windows; see the package for the contract."""
    return akaze_array(image, TritonEngine(device=device), settings, contrast, core)
