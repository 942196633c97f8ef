"""Orientations and M-LDB descriptors of many keypoints at once, as tensor operations without a loop over keypoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from s2fast_kernels.akaze.candidates import Candidates
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.jobs import Job
from s2fast_kernels.akaze.pattern import GRIDS, LATTICE, SLICES, SLICES_WIDE, comparisons, orientation_samples
from s2fast_kernels.akaze.scales import Level
from s2fast_kernels.features import WORDS
from s2fast_kernels.transfers import Download, upload

Planes = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

Turn = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the orientations, (n, 1, 1)."""

KEYPOINT_BYTES = 60_000
"""Memory of an oriented keypoint while it is described; an upright one takes a quarter of it.
tests/kernels/test_akaze_overlap.py measures it."""

_DEGREE = float(np.float32(math.pi / 180.0))
_SLICE = float(np.float32(2.0 * math.pi / SLICES))
# OpenCV's odd polynomial for atan on [0, 1], in degrees, as in the compiled backend.
_ATAN = [
    float(np.float32(c) * np.float32(180.0 / math.pi))
    for c in (0.9997878412794807, -0.3258083974640975, 0.1555786518463281, -0.04432655554792128)
]


def describe(
    planes: Planes,
    jobs: Sequence[Job],
    wanted: Sequence[Candidates],
    level: Level,
    settings: AkazeSettings,
    most: int,
) -> Described:
    """Queue the description of candidates of one level of a batch of windows.

    Parameters
    ----------
    planes
        The diffused image and its two derivatives, (windows, rows, columns).
    jobs, wanted
        The windows and, for each, the candidates to describe.
    level, settings
        The level, and the detector's parameters.
    most
        Keypoints that are described at a time.

    Returns
    -------
    Described
        The result, concatenated over the windows, on its way to the host.
    """
    device = planes[0].device
    positions = [
        np.stack([own.y - job.window.top, own.x - job.window.left], axis=1) for own, job in _pairs(wanted, jobs)
    ]
    middle = [own.middle(level.octave) - [job.window.top, job.window.left] for own, job in _pairs(wanted, jobs)]
    window = np.repeat(np.arange(len(jobs)), [len(own) for own in wanted])
    offset = np.concatenate([own.offset for own in wanted]) + np.float32(level.sample_shift)
    described = Described()
    all_positions, middles = np.concatenate(positions).astype(np.int64), np.concatenate(middle).astype(np.int64)
    for start in range(0, len(window), most):
        part = slice(start, start + most)
        at, here, nearest, shift = (upload(values[part], device) for values in (window, all_positions, middles, offset))
        described.parts.append(Download(_describe(planes, at, here, nearest, shift, level, settings)))
    return described


class Described:
    """Orientations and descriptors on their way to the host."""

    def __init__(self) -> None:
        self.parts: list[Download] = []

    def arrays(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint64]]:
        """Wait for them; return orientations (n,) float32 [degrees] and descriptors (n, 8) uint64."""
        angles, octets = [np.zeros(0, np.float32)], [np.zeros((0, 8 * WORDS), np.uint8)]
        for part in self.parts:
            angle, packed = part.arrays()
            angles.append(angle)
            octets.append(packed)
        return np.concatenate(angles), np.ascontiguousarray(np.concatenate(octets)).view(np.uint64)


def _pairs(wanted: Sequence[Candidates], jobs: Sequence[Job]) -> zip[tuple[Candidates, Job]]:
    return zip(wanted, jobs, strict=True)


def _describe(
    planes: Planes,
    window: torch.Tensor,
    position: torch.Tensor,
    middle: torch.Tensor,
    offset: torch.Tensor,
    level: Level,
    settings: AkazeSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    if settings.upright:
        degrees = torch.zeros(len(window), device=offset.device)
        values, inside = _sampled(planes, window, *_upright_lattice(middle, level.radius))
    else:
        degrees = _orientation(planes, window, middle, level.radius)
        radians = degrees * _DEGREE
        turn = torch.cos(radians)[:, None, None], torch.sin(radians)[:, None, None]
        values, inside = _sampled(planes, window, *_lattice(position, offset, turn, level.radius))
        values = _turned(values, turn)
    cells, counts = _cells(values.mul_(inside[:, None])), _cells(inside[:, None].to(values.dtype))
    means = (cells / counts.clamp(min=1)).flatten(1)
    bits = _comparisons(settings.descriptor_size, settings.upright, means.device)
    larger = means[:, bits[:, 0]] > means[:, bits[:, 1]]
    padded = torch.zeros((len(means), 64 * WORDS), dtype=torch.uint8, device=means.device)
    padded[:, : len(bits)] = larger
    weights = 1 << torch.arange(8, dtype=torch.uint8, device=means.device)
    return degrees, (padded.view(-1, 8 * WORDS, 8) * weights).sum(dim=2, dtype=torch.uint8)


@cache
def _comparisons(size: int, upright: bool, device: torch.device) -> torch.Tensor:
    return upload(comparisons(size, upright).astype(np.int64), device)


@cache
def _orientation_samples(device: torch.device) -> list[torch.Tensor]:
    return [upload(table, device) for table in orientation_samples()]


def _orientation(planes: Planes, window: torch.Tensor, middle: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the direction of the largest sum of derivatives within any 60 degrees, around points [degrees]."""
    height, width = planes[0].shape[1:]
    dy, dx, weight = _orientation_samples(middle.device)
    at = (window * height + middle[:, 0]) * width + middle[:, 1]
    flat = at[:, None] + radius * (dy.long() * width + dx.long())
    gx, gy = (weight * plane.reshape(-1)[flat] for plane in planes[1:])
    piece = (_atan2_degrees(gy, gx) * _DEGREE / _SLICE).int()
    piece = torch.where(piece < SLICES, piece, 0)
    # Multiply by the one-hot slices of the samples: the order of summation is fixed, unlike with atomic additions.
    of_slice = (piece[..., None] == torch.arange(SLICES, device=piece.device)).to(gx.dtype)
    bins = torch.stack([gx, gy], dim=1)[:, :, :, None].mul(of_slice[:, None]).sum(dim=2)
    runs = torch.cat([bins, bins[..., : SLICES_WIDE - 1]], dim=2).unfold(2, SLICES_WIDE, 1).sum(dim=3)
    best = (runs * runs).sum(dim=1).argmax(dim=1)
    x, y = runs[torch.arange(len(best), device=best.device), :, best].unbind(1)
    return _atan2_degrees(y, x)


def _atan2_degrees(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    ax, ay = x.abs(), y.abs()
    c = torch.minimum(ax, ay) / (torch.maximum(ax, ay) + float(np.finfo(np.float64).eps))
    c2 = c * c
    a = (((_ATAN[3] * c2 + _ATAN[2]) * c2 + _ATAN[1]) * c2 + _ATAN[0]) * c
    a = torch.where(ay > ax, 90.0 - a, a)
    a = torch.where(x < 0, 180.0 - a, a)
    return torch.where(y < 0, 360.0 - a, a)


def _steps(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lattice's steps along its two axes, as columns and as a row."""
    steps = torch.arange(LATTICE, device=device, dtype=torch.float32) - LATTICE // 2
    return steps[:, None], steps[None, :]


def _lattice(
    position: torch.Tensor, offset: torch.Tensor, turn: Turn, radius: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows and columns of the pixels nearest to the lattice points, (n, 21, 21) int32 each."""
    (first, second), (co, si) = _steps(offset.device), turn
    x = offset[:, 0, None, None] + (-second * si * radius + first * co * radius)
    y = offset[:, 1, None, None] + (second * co * radius + first * si * radius)
    row, column = position.int()[:, :, None, None].unbind(1)
    return row + y.round().int(), column + x.round().int()


def _upright_lattice(middle: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same around pixels without rotation, (n, 1, 21) and (n, 21, 1) int32."""
    first, second = _steps(middle.device)
    row, column = middle.int()[:, :, None, None].unbind(1)
    return row + (second * radius).int(), column + (first * radius).int()


def _sampled(
    planes: Planes, window: torch.Tensor, y: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image and derivatives at pixels, (n, 3, 21, 21), and whether they are inside; others hold any value."""
    height, width = planes[0].shape[1:]
    inside = (y >= 0) & (y < height) & ((x >= 0) & (x < width))
    row = window.to(_index_type(planes[0]))[:, None, None] * height + y.clamp(0, height - 1)
    flat = row * width + x.clamp(0, width - 1)
    values = torch.empty((len(flat), 3, LATTICE, LATTICE), device=flat.device)
    for i, plane in enumerate(planes):
        values[:, i] = plane.reshape(-1).index_select(0, flat.reshape(-1)).view(flat.shape)
    return values, inside


def _index_type(plane: torch.Tensor) -> torch.dtype:
    """Return the type that counts the pixels of stacked planes."""
    return torch.int32 if plane.numel() < 1 << 31 else torch.int64


def _turned(values: torch.Tensor, turn: Turn) -> torch.Tensor:
    """Rotate the derivatives."""
    (co, si), (image, gx, gy) = turn, values.unbind(1)
    return torch.stack([image, gx * co + gy * si, gy * co - gx * si], dim=1)


def _cells(values: torch.Tensor) -> torch.Tensor:
    """Sum (n, channels, 21, 21) over the cells of the three grids: (n, channels, 29)."""
    sums = []
    for side, points in GRIDS:
        own = values[..., : side * points, : side * points]
        sums.append(own.reshape(*own.shape[:2], side, points, side, points).sum(dim=(3, 5)).flatten(2))
    return torch.cat(sums, dim=2)
