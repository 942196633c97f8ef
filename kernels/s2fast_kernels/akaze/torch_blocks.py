"""Blocks of pixels as tensors: pad and stack them, and count the gradients of an image that lies on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from s2fast_kernels.akaze.contrast import BINS, FINE_BINS, FINE_SHIFT, FLAT, bin_edges, bin_of_fine, quantile_bin
from s2fast_kernels.transfers import upload

if TYPE_CHECKING:
    import numpy.typing as npt

    from s2fast_kernels.akaze.masks import Mask

UNIT = float(np.float32(1.0 / 255.0))
"""Factor from grey values [DN] to [0, 1]."""

_STRIP_PX = 1 << 22
"""Pixels whose gradients are counted at once: about 150 MB of planes and 64-bit indices."""

_HALO = 3
"""Reach of a gradient: blur and Scharr [px]."""


def padded(block: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Extend a block by repeating its last row and column."""
    if rows:
        block = torch.cat([block, block[-1:].expand(rows, -1)])
    return torch.cat([block, block[:, -1:].expand(-1, columns)], dim=1) if columns else block


def stacked(blocks: Sequence[Any], device: torch.device) -> torch.Tensor:
    """Return blocks of one shape, arrays or tensors, as planes (n, rows, columns) float32 in [0, 1] on a device."""
    on_device = isinstance(blocks[0], torch.Tensor)
    planes = torch.stack(list(blocks)) if on_device else upload(np.stack(blocks), device)
    return planes.float() * UNIT if planes.dtype == torch.uint8 else planes


def contrast_factor(
    source: Callable[[slice, slice], torch.Tensor],
    shape: tuple[int, int],
    valid: Mask | None,
    squares: Callable[[torch.Tensor], torch.Tensor],
) -> float:
    """Compute the contrast factor of an image on a device; see `s2fast_kernels.akaze.contrast.contrast_factor`.

    Parameters
    ----------
    source, shape, valid
        As there; the source returns tensors. The host waits for the device once, or twice in ambiguous cases.
    squares
        Blurs planes and returns the squared gradients.
    """
    height, width = shape
    if height < 3 or width < 3:
        return FLAT
    rows = max(1, _STRIP_PX // width)
    strips = [(top, min(top + rows, height - 1)) for top in range(1, height - 1, rows)]
    if valid is not None:
        strips = [(top, bottom) for top, bottom in strips if valid.any(top, bottom, 0, width)]

    def counted(index: Callable[[torch.Tensor], torch.Tensor], bins: int) -> tuple[npt.NDArray[np.int64], np.float32]:
        counts: torch.Tensor | None = None
        largest = None
        for top, bottom in strips:
            first = max(top - _HALO, 0)
            block = source(slice(first, min(bottom + _HALO, height)), slice(0, width))
            found = squares(block.float()[None] * UNIT)[0, top - first : bottom - first, 1:-1]
            index_of = index(found)
            if valid is not None:
                inside = _unpacked(valid, top, bottom, block.device)
                # The last bin takes what is not counted.
                index_of = torch.where(inside, index_of, bins)
                found = torch.where(inside, found, 0.0)
            if counts is None:
                counts = torch.zeros(bins + 1, dtype=torch.int64, device=block.device)
                largest = torch.zeros((), device=block.device)
            flat = index_of.reshape(-1)
            counts.scatter_add_(0, flat, torch.ones((), dtype=torch.int64, device=block.device).expand(len(flat)))
            largest = torch.maximum(largest, found.max())  # type: ignore[arg-type]
        if counts is None or largest is None:
            return np.zeros(bins, np.int64), np.float32(0)
        return counts[:-1].cpu().numpy(), np.float32(largest.cpu().numpy())

    fine, largest = counted(lambda found: (found.contiguous().view(torch.int32) >> FINE_SHIFT).long(), FINE_BINS)
    if largest == 0:
        return FLAT
    edges = bin_edges(largest)
    k = bin_of_fine(fine, edges)
    if k is None:
        exact, _ = counted(
            lambda found: torch.bucketize(found.contiguous(), upload(edges, found.device), right=True), BINS
        )
        k = quantile_bin(exact.cumsum(), int(exact[0]))
    return FLAT if k == BINS else float(np.sqrt(largest) * np.float32(k) / np.float32(BINS))


def _unpacked(valid: Mask, top: int, bottom: int, device: torch.device) -> torch.Tensor:
    """Return rows of a mask without its first and last column; one bit per pixel goes to the device."""
    bits = upload(valid.packed(top, bottom), device)
    place = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
    pixels = ((bits[:, :, None] >> place) & 1).flatten(1)
    return pixels[:, 1 : valid.shape[1] - 1].bool()
