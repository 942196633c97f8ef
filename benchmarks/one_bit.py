"""Run the sketch of `benchmarks.static_one_bit` on a GPU, through the CUDA driver that torch has initialised."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.static_one_bit import KEY_BITS, compiled, weights

_WARPS, _ROWS_PER_WARP, _KEYS_PER_LANE = 4, 64, 32
"""Warps per block, queries per warp, and numbers that a lane writes: two keys of 16 pairs of query and column."""


@dataclass(frozen=True, slots=True)
class Search:
    """The kernel's operands on the device."""

    driver: Any
    function: Any
    query: torch.Tensor
    train: torch.Tensor
    weight: torch.Tensor
    out: torch.Tensor

    @classmethod
    def of(cls, capability: int, query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64]) -> Search:
        """Load the kernel and copy the operands; the rows of a query are a multiple of 256, those of a train of 16."""
        torch.cuda.current_stream().synchronize()  # makes torch's context the current one
        driver, module, function = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_void_p()
        _check(driver.cuModuleLoadData(ctypes.byref(module), compiled(capability)))
        _check(driver.cuModuleGetFunction(ctypes.byref(function), module, b"search"))
        query_there, train_there = (torch.from_numpy(rows.view(np.int64)).cuda() for rows in (query, train))
        weight = torch.from_numpy(weights(train).astype(np.int32)).cuda()
        out = torch.empty((len(query) // _ROWS_PER_WARP, _KEYS_PER_LANE, 32), dtype=torch.int32, device="cuda")
        return cls(driver, function, query_there, train_there, weight, out)

    def launch(self) -> None:
        """Queue the search."""
        values: list[Any] = [
            ctypes.c_void_p(part.data_ptr()) for part in (self.query, self.train, self.weight, self.out)
        ]
        values.append(ctypes.c_int(len(self.train) // 8))
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        blocks = len(self.query) // (_WARPS * _ROWS_PER_WARP)
        _check(self.driver.cuLaunchKernel(self.function, blocks, 1, 1, 32 * _WARPS, 1, 1, 0, None, pointers, None))

    def keys(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return ``distance << 32 | row`` of the two nearest rows of every query."""
        torch.cuda.synchronize()
        found = self.out.cpu().numpy().astype(np.int64)
        found = found.reshape(-1, 4, 4, 2, 32)  # warp, tile of 16 queries, number of the product, best or second, lane
        lane, at = np.arange(32), np.arange(4)
        row = (lane[None] >> 2) + 8 * (at[:, None] >> 1)
        column = 2 * (lane[None] & 3) + (at[:, None] & 1)
        train_row = 8 * (found & ((1 << KEY_BITS) - 1)) + column[None, None, :, None]
        bits = np.bitwise_count(self.query.cpu().numpy().view(np.uint64)).sum(axis=1).reshape(-1, 4, 16)
        distance = (found >> KEY_BITS) + bits[:, :, row][:, :, :, None].astype(np.int64)
        keys = distance << 32 | train_row
        both = np.full((len(found), 4, 16, 16), 1 << 62)
        for own_row in range(16):
            of_row = [keys[:, :, number, :, lanes] for number, lanes in zip(*np.nonzero(row == own_row), strict=True)]
            both[:, :, own_row] = np.concatenate(of_row, axis=2)
        ordered = np.sort(both.reshape(len(self.query), 16), axis=1)
        return ordered[:, 0], ordered[:, 1]


def seconds(search: Search, rounds: int = 7) -> float:
    """Return the median seconds of a search on the device."""
    times = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        # The kernel runs on the default stream, as do these events.
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        search.launch()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) / 1e3)
    return float(np.median(times[1:]))


def _check(code: int) -> None:
    if code:
        raise RuntimeError(f"the CUDA driver returned error {code}")
