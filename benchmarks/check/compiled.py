"""Facts of the kernels' machine code, which are reproducible."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.calls import warm_up
from benchmarks.check.facts import Fact

_VECTOR = re.compile(r"%[yz]mm\d+")
_VECTOR_COUNT = re.compile(r"^\s+vpopcnt[bwdq]\s+.*%[yz]mm", re.MULTILINE)
_PARALLEL = "numba_parallel_for"
_SPILL = re.compile(r"^\s+v?mov\w+\s+%[yz]mm\d+, -?\d*\(%r[sb]p", re.MULTILINE)


def of_assembly(name: str, assembly: str, *, counts_vectors: bool) -> Iterator[Fact]:
    """Yield the facts of one kernel's assembly.

    A kernel that loses vector instructions, or spills more vector registers, is slower on every machine.
    """
    vectors = sum(bool(_VECTOR.search(line)) for line in assembly.splitlines())
    yield Fact(f"{name}: vector instructions", vectors, "not less", slack=0.25, grain=8)
    yield Fact(f"{name}: vectors stored on the stack", len(_SPILL.findall(assembly)), slack=0.25, grain=8)
    if counts_vectors:
        found = len(_VECTOR_COUNT.findall(assembly))
        yield Fact(f"{name}: vector population counts", found, "not less", slack=0.5, limit=1)


def of_numba(scratch: Path, archive: str) -> Iterator[Fact]:
    """Compile the CPU kernels and yield the facts of their assembly, all signatures of a function together."""
    del scratch, archive
    from numba.core.dispatcher import Dispatcher

    warm_up()
    counts_words = _counts_vectors()
    modules = [name for name in sys.modules if re.match(r"s2fast_kernels\..*(numba|lanes)", name)]
    found: Counter[str] = Counter()
    for module in sorted(modules):
        for name, value in vars(sys.modules[module]).items():
            if not isinstance(value, Dispatcher) or value.py_func.__module__ != module or not value.overloads:
                continue
            assembly = "\n".join(value.inspect_asm().values())
            label = f"{module.removeprefix('s2fast_kernels.')}.{name}"
            searches = name == "_search_panel" and counts_words
            found["parallel"] += _PARALLEL in assembly
            # Short functions too: one that loses its vectors must not drop out of the comparison.
            yield from of_assembly(label, assembly, counts_vectors=searches)
    yield Fact("numba: functions with a parallel loop", found["parallel"], "not less")


def _counts_vectors() -> bool:
    """Return whether this processor has population counts of 16-bit vector words."""
    from llvmlite import binding

    return bool(binding.get_host_cpu_features().get("avx512bitalg"))


def of_triton(scratch: Path, archive: str) -> Iterator[Fact]:
    """Compile the GPU kernels and yield the facts of their code: searches for every architecture, AKAZE for one."""
    del scratch, archive
    static = importlib.import_module("benchmarks.static")
    kernel = importlib.import_module("s2fast_kernels.hamming_top2.triton_gpu")
    for gpu in static.GPUS:
        report = static.report_cuda(gpu, kernel.TILINGS[gpu.capability])
        name = f"gpu {report.architecture}"
        yield Fact(f"{name}: registers", report.registers, slack=0.1, limit=255)
        yield Fact(f"{name}: spilled bytes", report.spilled_bytes, limit=0)
        yield Fact(f"{name}: shared memory [bytes]", report.shared_bytes, slack=1.0, limit=report.shared_limit)
        yield Fact(f"{name}: blocks on an SM", report.blocks_per_sm, "not less", limit=1)
        yield Fact(f"{name}: tensor instructions", report.tensor_instructions, "not less", slack=0.5, limit=1)
        yield Fact(f"{name}: instructions a comparison", report.instructions, slack=0.03)
    # A base may be older than these kernels.
    for operation, facts in {"window_matches": of_windows, "akaze": of_akaze}.items():
        package = f"s2fast_kernels.{operation}"
        if importlib.util.find_spec(package) and importlib.util.find_spec(f"{package}.triton_gpu"):
            yield from facts(static.GPUS)


def of_windows(gpus: Sequence[Any]) -> Iterator[Fact]:
    """Yield the facts of the kernel of `window_matches`."""
    static = importlib.import_module("benchmarks.static_windows")
    kernel = importlib.import_module("s2fast_kernels.window_matches.triton_gpu")
    for gpu in gpus:
        report = static.report_windows(gpu, kernel.TILING)
        name = f"gpu {report.architecture}, windows"
        yield Fact(f"{name}: registers", report.registers, slack=0.1, limit=255)
        yield Fact(f"{name}: spilled bytes", report.spilled_bytes, limit=0)
        yield Fact(f"{name}: fused multiply-adds", report.fused, limit=0)
        yield Fact(f"{name}: population counts", report.counts, "not less", limit=1)
        yield Fact(f"{name}: programs on an SM", report.tiles_per_sm, "not less", slack=0.1)
        yield Fact(f"{name}: instructions a step", report.instructions, slack=0.03)


_AKAZE_CAPABILITY = 90
"""The architecture of AKAZE's facts: its passes take a second each to compile."""


def of_akaze(gpus: Sequence[Any]) -> Iterator[Fact]:
    """Yield the facts of AKAZE's passes."""
    static = importlib.import_module("benchmarks.static_akaze")
    gpu = next(gpu for gpu in gpus if gpu.capability == _AKAZE_CAPABILITY)
    for variant in static.variants():
        report = static.analysed(variant, gpu)
        name = f"gpu {report.architecture}, {report.name}"
        yield Fact(f"{name}: registers", report.registers, slack=0.1, limit=255)
        yield Fact(f"{name}: spilled bytes", report.spilled_bytes, limit=0)
        yield Fact(f"{name}: shared memory [bytes]", report.shared_bytes, slack=1.0, limit=report.shared_limit)
        yield Fact(f"{name}: fused multiply-adds", report.contracted, limit=0)
        yield Fact(f"{name}: instructions a pixel", report.instructions_per_px, slack=0.03)
        yield Fact(f"{name}: bytes a pixel", report.halo_bytes_per_px, slack=0.03)
