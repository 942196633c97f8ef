"""`hamming_top2` on any torch device: a tiled matrix product of ±1 descriptors, then two minima per row of a tile.

For a, b in {-1, 1}^512 the product a·b is 512 - 2 * distance. All partial sums are integers of at most 512. int32,
float32 and float16 (up to 2048) represent them exactly in any order of summation; bfloat16 (up to 256) does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, NO_ROW, WORDS, Top2

if TYPE_CHECKING:
    import numpy.typing as npt

Product = Literal["int8", "half"]

_BITS = 64 * WORDS

_QUERY_TILE = 1024
_TRAIN_TILE = 2048
"""Rows of a tile. The int32 distances of a tile take 8 MB; the few arrays derived from them bound a call's memory."""

_LEAST_ROWS = 24
"""CUDA's int8 product requires more than 16 rows, and a multiple of 8."""

_NO_KEY = 2**31 - 1
"""Larger than every ``distance * _TRAIN_TILE + column``."""


def default_device() -> torch.device:
    """Return the accelerator that torch finds (CUDA, ROCm, MPS, XPU), else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def default_product(device: torch.device) -> Product:
    """Return the narrowest product type that the device supports: int8 on CUDA, ROCm and CPU, half elsewhere."""
    return "int8" if device.type in ("cuda", "cpu") else "half"


def _expand(rows: torch.Tensor, product: Product, least_rows: int = 0) -> torch.Tensor:
    """Convert (rows, 64) uint8 to (rows, 512) of ±1, padded with zero rows as the product requires."""
    shifts = torch.arange(8, dtype=torch.uint8, device=rows.device)
    signs = ((rows[:, :, None] >> shifts) & 1).to(torch.int8).mul_(2).sub_(1).reshape(len(rows), _BITS)
    padded = max(least_rows, -(-len(rows) // 8) * 8)
    signs = torch.nn.functional.pad(signs, (0, 0, 0, padded - len(rows)))
    return signs if product == "int8" else signs.half()


def _tile_keys(query: torch.Tensor, train: torch.Tensor, rows: int, columns: int, product: Product) -> torch.Tensor:
    """Compute unique keys ``distance * _TRAIN_TILE + column``, (rows, columns) int32, of two expanded tiles."""
    dot = torch._int_mm(query, train.T) if product == "int8" else query @ train.T
    distance = (_BITS - dot[:rows, :columns].to(torch.int32)) >> 1
    return distance * _TRAIN_TILE + torch.arange(columns, dtype=torch.int32, device=dot.device)


def _fold(keys: torch.Tensor, start: int, index: torch.Tensor, best: torch.Tensor, second: torch.Tensor) -> None:
    """Merge the two smallest keys of each row of a tile into the (rows,) int32 neighbours found in earlier tiles."""
    first = keys.amin(dim=1)
    nearest = first // _TRAIN_TILE
    # Keys are unique, so this removes only the nearest row, even if others have the same distance.
    others = keys.masked_fill_(keys == first[:, None], _NO_KEY).amin(dim=1)
    runner_up = torch.where(others == _NO_KEY, NO_DISTANCE, others // _TRAIN_TILE)
    nearer = nearest < best
    index.copy_(torch.where(nearer, start + first % _TRAIN_TILE, index))
    second.copy_(torch.minimum(torch.minimum(second, runner_up), torch.maximum(best, nearest)))
    best.copy_(torch.minimum(best, nearest))


def hamming_top2(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    train_offsets: npt.NDArray[np.int64],
    *,
    device: str | torch.device | None = None,
    product: Product | None = None,
) -> Top2:
    """Search every scene tile by tile, on `device` or `default_device`; see the package for the contract."""
    device = torch.device(device or default_device())
    product = product or default_product(device)
    n, s = len(query), len(train_offsets) - 1
    result = Top2.empty(n, s)
    for scene in range(s):
        rows = train[train_offsets[scene] : train_offsets[scene + 1]]
        index = torch.full((n,), NO_ROW, dtype=torch.int32, device=device)
        best = torch.full((n,), NO_DISTANCE, dtype=torch.int32, device=device)
        second = best.clone()
        for start in range(0, len(rows), _TRAIN_TILE):
            train_tile = rows[start : start + _TRAIN_TILE]
            signs = _expand(_on(device, train_tile), product)
            for first in range(0, n, _QUERY_TILE):
                at = slice(first, first + _QUERY_TILE)
                query_tile = query[at]
                query_signs = _expand(_on(device, query_tile), product, _LEAST_ROWS)
                keys = _tile_keys(query_signs, signs, len(query_tile), len(train_tile), product)
                _fold(keys, start, index[at], best[at], second[at])
        result.index[:, scene] = index.cpu().numpy()
        result.best[:, scene] = best.cpu().numpy()
        result.second[:, scene] = second.cpu().numpy()
    return result


def _on(device: torch.device, rows: npt.NDArray[np.uint64]) -> torch.Tensor:
    """Copy packed rows to the device, as (rows, 64) uint8."""
    return torch.tensor(rows.view(np.uint8), device=device)
