"""`hamming_top2` on any torch device: a tiled matrix product of ±1 descriptors, then two minima per row of a tile.

For a, b in {-1, 1}^512 the product a·b is 512 - 2 * distance. All partial sums are integers of at most 512. int32,
float32 and float16 (up to 2048) represent them exactly in any order of summation; bfloat16 (up to 256) does not.
float32 (up to 2^24) even holds two products at once, which halves its work. All types therefore give the same bits, and
the device decides which is fast.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from s2fast_kernels.device_memory import shortage_named
from s2fast_kernels.features import WORDS
from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, NO_ROW, Top2

if TYPE_CHECKING:
    import numpy.typing as npt

Product = Literal["int8", "float16", "float32"]

_TYPES: Mapping[Product, torch.dtype] = {"int8": torch.int8, "float16": torch.float16, "float32": torch.float32}

_BITS = 64 * WORDS

_TRAIN_TILE = 2048
_QUERY_TILE, _CPU_QUERY_TILE = 1024, 512
"""Rows of a tile. The int32 distances of a tile take 8 MB, or on a CPU 4 MB, nearer to what its caches hold; the few
arrays derived from them bound a call's memory."""

_LEAST_ROWS = 24
"""CUDA's int8 product requires more than 16 rows, and a multiple of 8."""

_TRIALS = (((128, 512), 2), ((_CPU_QUERY_TILE, _TRAIN_TILE), 3))
"""Rows of query and train of a trial search, and rounds: small ones, then whole tiles, where the order may differ."""

_HOPELESS = 4.0
"""A product that takes this many times the fastest one's time in small trials is not tried with whole tiles."""

_NO_KEY = 2**24
"""Larger than every ``distance * _TRAIN_TILE + column``; exact in float32, as these are."""

_PACKED = 2048
"""float32 holds two products: with this factor of the second, their sum is exact and either can be read from it."""


def default_device() -> torch.device:
    """Return the accelerator that torch finds (CUDA, ROCm, MPS, XPU), else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


@cache
def default_product(device: torch.device) -> Product:
    """Return the fastest product of a device.

    CUDA and ROCm have units for int8, other accelerators for float16. On a CPU, int8 or float32 is measured once per
    process: int8 is fast with VNNI or AMX; without, it may be tens of times slower than float32, where torch uses a
    plain loop. The processor's features alone do not tell, since the versions and settings of torch and oneDNN decide.
    """
    if device.type != "cpu":
        return "int8" if device.type == "cuda" else "float16"
    left: tuple[Product, ...] = ("int8", "float32")
    for rows, rounds in _TRIALS:
        trials = [[_trial_s(device, product, *rows) for product in left] for _ in range(rounds)]
        least_s = [min(times) for times in zip(*trials, strict=True)]
        left = tuple(
            product for product, time_s in zip(left, least_s, strict=True) if time_s < _HOPELESS * min(least_s)
        )
        if len(left) == 1:
            return left[0]
    return left[least_s.index(min(least_s))]


def _trial_s(device: torch.device, product: Product, query_rows: int, train_rows: int) -> float:
    """Return the time of a search on this thread alone [s]; what other processes take from it does not count."""
    words = np.random.default_rng(0).integers(0, 1 << 63, (query_rows + train_rows, WORDS), np.uint64)
    offsets = np.array([0, train_rows], np.int64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the time of a thread includes its waiting for others
    try:
        start = time.thread_time()
        hamming_top2(words[:query_rows], words[query_rows:], offsets, device=device, product=product)
        return time.thread_time() - start
    finally:
        torch.set_num_threads(threads)


@cache
def _signs_of_bytes(device: torch.device, product: Product) -> torch.Tensor:
    """Return the ±1 of every byte, (256, 8), lowest bit first."""
    values = torch.arange(256, dtype=torch.int32)[:, None]
    return ((values >> torch.arange(8, dtype=torch.int32) & 1) * 2 - 1).to(device, _TYPES[product])


def _signs(rows: torch.Tensor, product: Product, least_rows: int = 0) -> torch.Tensor:
    """Convert (rows, 64) uint8 to (rows, 512) of ±1, padded with zero rows as the product requires."""
    signs_of = _signs_of_bytes(rows.device, product)
    signs = signs_of.index_select(0, rows.reshape(-1).to(torch.int32)).view(-1, _BITS)
    padded = max(least_rows, -(-len(rows) // 8) * 8)
    return torch.nn.functional.pad(signs, (0, 0, 0, padded - len(rows))) if padded > len(rows) else signs


def _train_signs(rows: torch.Tensor, product: Product) -> torch.Tensor:
    """Convert the rows of a tile; in float32, each row of the result is one of the first half and one of the second."""
    signs = _signs(rows, product)
    if product != "float32":
        return signs
    first, second = signs.chunk(2)
    return first.add_(second, alpha=_PACKED)


def _query_tile(device: torch.device) -> int:
    """Return the number of query rows of a tile."""
    return _CPU_QUERY_TILE if device.type == "cpu" else _QUERY_TILE


def _key_space(device: torch.device, product: Product) -> torch.Tensor:
    """Allocate room for the keys of a tile: float32 if that is the product's type, else int32."""
    dtype = torch.float32 if product == "float32" else torch.int32
    return torch.empty(_query_tile(device) * _TRAIN_TILE, dtype=dtype, device=device)


def _tile_keys(
    query: torch.Tensor, train: torch.Tensor, rows: int, columns: int, product: Product, space: torch.Tensor
) -> torch.Tensor:
    """Compute unique keys ``distance * _TRAIN_TILE + column``, (rows, columns), of two expanded tiles, in `space`.

    The distance is (512 - product) / 2.
    """
    if product == "float32":
        dots = query[:rows] @ train.T
        second = (dots / _PACKED).round_()
        products = [dots.sub_(second, alpha=_PACKED), second]
    else:
        dots = torch._int_mm(query, train.T) if product == "int8" else query @ train.T
        products = [dots[:rows].to(torch.int32)]
    half = len(train)
    base = torch.arange(half * len(products), dtype=space.dtype, device=space.device) + _BITS * _TRAIN_TILE // 2
    keys = space[: rows * len(base)].view(rows, len(base))
    for part, dot in enumerate(products):
        at = slice(part * half, (part + 1) * half)
        torch.sub(base[at], dot, alpha=_TRAIN_TILE // 2, out=keys[:, at])
    return keys[:, :columns]


def _fold(keys: torch.Tensor, start: int, index: torch.Tensor, best: torch.Tensor, second: torch.Tensor) -> None:
    """Merge the two smallest keys of each row of a tile into the (rows,) int32 neighbours found in earlier tiles."""
    first = keys.amin(dim=1).to(torch.int32)
    nearest, column = first // _TRAIN_TILE, first % _TRAIN_TILE
    # Keys are unique, so this removes only the nearest row, even if others have the same distance.
    keys.scatter_(1, column[:, None].to(torch.int64), _NO_KEY)
    others = keys.amin(dim=1).to(torch.int32)
    runner_up = torch.where(others == _NO_KEY, NO_DISTANCE, others // _TRAIN_TILE)
    index.copy_(torch.where(nearest < best, start + column, index))
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
    result = Top2.empty(len(query), len(train_offsets) - 1)
    with shortage_named(device):
        _search(query, train, train_offsets, device, product, result)
    return result


def _search(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    train_offsets: npt.NDArray[np.int64],
    device: torch.device,
    product: Product,
    result: Top2,
) -> None:
    """Search every scene and write its columns of the result."""
    n, tile, space = len(query), _query_tile(device), _key_space(device, product)
    for scene in range(len(train_offsets) - 1):
        rows = train[train_offsets[scene] : train_offsets[scene + 1]]
        index = torch.full((n,), NO_ROW, dtype=torch.int32, device=device)
        best = torch.full((n,), NO_DISTANCE, dtype=torch.int32, device=device)
        second = best.clone()
        for start in range(0, len(rows), _TRAIN_TILE):
            train_tile = rows[start : start + _TRAIN_TILE]
            signs = _train_signs(_on(device, train_tile), product)
            for first in range(0, n, tile):
                at = slice(first, first + tile)
                query_tile = query[at]
                query_signs = _signs(_on(device, query_tile), product, _LEAST_ROWS)
                keys = _tile_keys(query_signs, signs, len(query_tile), len(train_tile), product, space)
                _fold(keys, start, index[at], best[at], second[at])
        result.index[:, scene] = index.cpu().numpy()
        result.best[:, scene] = best.cpu().numpy()
        result.second[:, scene] = second.cpu().numpy()


def _on(device: torch.device, rows: npt.NDArray[np.uint64]) -> torch.Tensor:
    """Copy packed rows to the device, as (rows, 64) uint8."""
    return torch.tensor(rows.view(np.uint8), device=device)
