"""Measurements of `hamming_top2` in separate processes: memory, first call, restricted instruction sets.

This module imports no backend, because one measurement is the first call of a process, including imports.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.meter import MIB, alone, environment_set, peak_memory

INSTRUCTION_SETS = {
    "all of this machine": None,
    "AVX-512BW, no vector population count": ("skylake-avx512", "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+popcnt"),
    "AVX2": ("haswell", "+avx2,+popcnt"),
    "plain x86-64": ("x86-64", "+sse2"),
}
"""Processor name and features passed to LLVM, by name of the set; None: those of this machine."""


def _search(query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64]) -> Any:
    from s2fast_kernels.hamming_top2 import hamming_top2

    return hamming_top2(query, train, np.array([0, len(train)]), backend="numba")


def _drawn(*rows: int) -> list[npt.NDArray[np.uint64]]:
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    rng = np.random.default_rng(0)
    return [random_descriptors(rng, count) for count in rows]


def _above_operands_mib(rows: int) -> float:
    query, train = _drawn(2_000, rows)
    _search(query[:1], train[:1])
    peaks: list[float] = []
    with peak_memory(peaks):
        found = _search(query, train)
    return peaks[0] - float(sum(array.nbytes for array in (found.index, found.best, found.second))) / MIB


def _first_s() -> float:
    (query,) = _drawn(3)
    start = time.perf_counter()
    _search(query, query)
    return time.perf_counter() - start


def _times_s(rows: int, rounds: int) -> list[float]:
    query, train = _drawn(rows, rows)
    _search(query, train)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        _search(query, train)
        times.append(time.perf_counter() - start)
    return times


def memory(rows: int) -> Iterator[dict[str, Any]]:
    """Measure how much a call raises the peak resident memory, without its result."""
    above_mib = alone(_above_operands_mib, rows)
    yield {"measure": "memory", "what": f"numba, 2000 x {rows}", "above_operands_mib": above_mib}


def first_calls() -> Iterator[dict[str, Any]]:
    """Measure the first call of a process, including imports of the backend, without and with cached code."""
    with tempfile.TemporaryDirectory() as cache, environment_set(NUMBA_CACHE_DIR=cache):
        for what in ("numba, nothing cached", "numba, cached"):
            yield {"measure": "first call", "what": what, "seconds": alone(_first_s)}


def restricted_rates(rows: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure the rate with restricted instruction sets."""
    with tempfile.TemporaryDirectory() as cache:
        times: dict[str, list[float]] = {name: [] for name in INSTRUCTION_SETS}
        # Three interleaved visits to each, so that other load on the machine affects all of them.
        for _ in range(3):
            for name, target in INSTRUCTION_SETS.items():
                variables = {} if target is None else {"NUMBA_CPU_NAME": target[0], "NUMBA_CPU_FEATURES": target[1]}
                with environment_set(NUMBA_CACHE_DIR=cache, **variables):
                    times[name] += alone(_times_s, rows, rounds)
    for name, seconds in times.items():
        yield {
            "measure": f"instruction sets, {rows} x {rows}",
            "what": name,
            "rate_1e9_per_s": rows * rows / float(np.median(seconds)) / 1e9,
            "rounds": len(seconds),
        }
