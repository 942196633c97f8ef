"""OpenCV's CLAHE as tensor operations on any torch device, for a whole image or for windows of it.

`kornia.enhance.equalize_clahe` is not used: its weights are half a pixel before OpenCV's, it pads one axis alone where
OpenCV pads both, it refuses sides of fewer than 5 px, and a window of an image has other tiles than the image.
``python -m benchmarks prepare`` measures the differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from s2fast.image.prepare import CLAHE_TILES

_VALUES = 256

_STRIP_ROWS = 256
"""Rows mapped at once: 64-bit indices of four tables, 90 MB for a full tile."""


@dataclass(frozen=True, slots=True)
class Clahe:
    """The lookup tables of one image."""

    tables: torch.Tensor
    """(8 * 8 * 256,) float32: grey values [DN] by tile row, tile column and grey value."""

    tile: tuple[int, int]
    """Rows and columns of a tile [px]."""

    @classmethod
    def of(cls, image: torch.Tensor, clip: float) -> Clahe:
        """Compute the tables of a (rows, cols) uint8 image, neither side 0; see ``cv2.createCLAHE`` for `clip`."""
        rows, columns = image.shape
        tile, (row, column) = tile_px((rows, columns)), _mirrored((rows, columns))
        padded = (len(row), len(column)) != (rows, columns)
        columns_on_device = torch.from_numpy(column).to(image.device)
        rows_on_device = torch.from_numpy(row).to(image.device)
        cell = torch.arange(len(column), dtype=torch.int32, device=image.device) // tile[1] * _VALUES
        counts = torch.empty((CLAHE_TILES, CLAHE_TILES * _VALUES), dtype=torch.int64, device=image.device)
        for band in range(CLAHE_TILES):
            part = slice(band * tile[0], (band + 1) * tile[0])
            pixels = image[rows_on_device[part]][:, columns_on_device] if padded else image[part]
            counts[band] = torch.bincount((pixels + cell).reshape(-1), minlength=CLAHE_TILES * _VALUES)
        return cls(_tables(counts.reshape(-1, _VALUES), tile[0] * tile[1], clip).reshape(-1), tile)

    def applied(self, window: torch.Tensor, top: int = 0, left: int = 0) -> torch.Tensor:
        """Map a window of the image, (rows, cols) uint8, whose first pixel is the image's pixel (`top`, `left`)."""
        result = torch.empty_like(window)
        first, second, weight = _neighbours(left, window.shape[1], self.tile[1])
        columns = [torch.from_numpy(tile * _VALUES).to(window.device) for tile in (first, second)]
        right = torch.from_numpy(weight).to(window.device)
        left_weight = 1 - right
        for start in range(0, window.shape[0], _STRIP_ROWS):
            strip = window[start : start + _STRIP_ROWS]
            first, second, weight = _neighbours(top + start, len(strip), self.tile[0])
            above, below = (
                torch.from_numpy(tile * CLAHE_TILES * _VALUES).to(window.device)[:, None] for tile in (first, second)
            )
            down = torch.from_numpy(weight).to(window.device)[:, None]
            value = strip.long()
            upper, lower = (
                self.tables[value + (row + columns[0])] * left_weight + self.tables[value + (row + columns[1])] * right
                for row in (above, below)
            )
            result[start : start + _STRIP_ROWS] = (upper * (1 - down) + lower * down).round_().clamp_(0, 255)
        return result


def tile_px(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of a tile of an image of this shape, padded as OpenCV does [px].

    Examples
    --------
    >>> tile_px((64, 80)), tile_px((65, 80)), tile_px((1, 1))
    ((8, 10), (9, 11), (1, 1))
    """
    rows, columns = (side // CLAHE_TILES for side in shape)
    # If one side is not a multiple of the number of tiles, OpenCV pads both, the other by a whole number of tiles.
    padded = any(side % CLAHE_TILES for side in shape)
    return rows + padded, columns + padded


def _mirrored(shape: tuple[int, int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows and columns of the padded image: those of the image, then mirrored at its last pixel."""
    indices = []
    for side, tile in zip(shape, tile_px(shape), strict=True):
        period = max(2 * side - 2, 1)
        at = np.arange(tile * CLAHE_TILES) % period
        indices.append(np.minimum(at, period - at) if side > 1 else at)
    return indices[0], indices[1]


def _tables(counts: torch.Tensor, pixels: int, clip: float) -> torch.Tensor:
    """Clip histograms, (n, 256) int64 of `pixels` pixels each, and return their scaled sums, float32."""
    limit = max(int(clip * pixels / _VALUES), 1)
    excess = (counts - limit).clamp_(min=0).sum(dim=1, keepdim=True)
    residual = excess % _VALUES
    # The residual is spread over every step-th value, one each.
    step = (_VALUES // residual.clamp(min=1)).clamp_(min=1)
    value = torch.arange(_VALUES, device=counts.device)
    spread = (value % step == 0) & (value // step < residual)
    sums = (counts.clamp(max=limit) + excess // _VALUES + spread).cumsum(dim=1)
    scale = float(np.float32(_VALUES - 1) / np.float32(pixels))
    return (sums.float() * scale).round_().clamp_(0, _VALUES - 1)


def _neighbours(
    start: int, length: int, tile: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the two tiles whose tables are interpolated at the pixels of an axis, and the weight of the second."""
    inverse = np.float32(1) / np.float32(tile)
    at = np.arange(start, start + length, dtype=np.float32) * inverse - np.float32(0.5)
    first = np.floor(at)
    weight = at - first
    index = first.astype(np.int64)
    return np.maximum(index, 0), np.minimum(index + 1, CLAHE_TILES - 1), weight
