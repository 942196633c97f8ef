"""Measurements of `hamming_top2` that want a process of their own: memory, first call, restricted instruction sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

_SETUP = """
import json, sys, time
from pathlib import Path
import numpy as np
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.cases import random_descriptors
rng = np.random.default_rng(0)
def search(query, train):
    return hamming_top2(query, train, np.array([0, len(train)]), backend="numba")
"""

_MEMORY = """
rows = {rows}
query, train = random_descriptors(rng, 2_000), random_descriptors(rng, rows)
search(query[:1], train[:1])
def peak_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
Path("/proc/self/clear_refs").write_text("5")
before = peak_kb()
found = search(query, train)
result = sum(array.nbytes for array in (found.index, found.best, found.second))
print(json.dumps((peak_kb() - before) / 1024 - result / 2**20))
"""

_FIRST = """
query = random_descriptors(rng, 3)
start = time.perf_counter()
search(query, query)
print(json.dumps(time.perf_counter() - start))
"""

_RATE = """
query, train = random_descriptors(rng, {rows}), random_descriptors(rng, {rows})
search(query, train)
times = []
for _ in range({rounds}):
    start = time.perf_counter()
    search(query, train)
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""

INSTRUCTION_SETS = {
    "all of this machine": None,
    "AVX-512BW, no vector population count": ("skylake-avx512", "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+popcnt"),
    "AVX2": ("haswell", "+avx2,+popcnt"),
    "plain x86-64": ("x86-64", "+sse2"),
}
"""What LLVM is told of the processor, by name: the processor's name and features, or nothing."""


def _run(code: str, **environment: str) -> Any:
    """Run code in a new process and return what it printed, read as JSON."""
    paths = os.pathsep.join(path for path in sys.path if path)
    run = subprocess.run(
        [sys.executable, "-c", _SETUP + code],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(run.stdout)


def memory(rows: int) -> Iterator[dict[str, Any]]:
    """Measure how far a call raises the peak of the resident memory, its result taken off."""
    yield {"measure": "memory", "what": f"numba, 2000 x {rows}", "above_operands_mib": _run(_MEMORY.format(rows=rows))}


def first_calls() -> Iterator[dict[str, Any]]:
    """Measure the first call of a process, imports of the backend included, without and with a filled cache."""
    with tempfile.TemporaryDirectory() as cache:
        for what in ("numba, nothing cached", "numba, cached"):
            yield {"measure": "first call", "what": what, "seconds": _run(_FIRST, NUMBA_CACHE_DIR=cache)}


def restricted_rates(rows: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure the rate where LLVM may not use all that the processor has."""
    with tempfile.TemporaryDirectory() as cache:
        times: dict[str, list[float]] = {name: [] for name in INSTRUCTION_SETS}
        # Three visits to each, in turn: what else the machine does falls on all of them.
        for _ in range(3):
            for name, target in INSTRUCTION_SETS.items():
                chosen = {} if target is None else {"NUMBA_CPU_NAME": target[0], "NUMBA_CPU_FEATURES": target[1]}
                code = _RATE.format(rows=rows, rounds=rounds)
                times[name] += _run(code, NUMBA_CACHE_DIR=cache, **chosen)
    for name, seconds in times.items():
        yield {
            "measure": f"instruction sets, {rows} x {rows}",
            "what": name,
            "rate_1e9_per_s": rows * rows / float(np.median(seconds)) / 1e9,
            "rounds": len(seconds),
        }
