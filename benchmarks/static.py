"""Analyse the compiled GPU kernels without a GPU: ``python -m benchmarks static``.

Compiles the search kernel of `hamming_top2` ahead of time for every architecture it is tuned for, reads registers,
spills and shared memory, counts the instructions of the main loop, and predicts a rate from them. The rate is a
prediction, not a measurement. It assumes that the tensor cores run at their peak, and that one SM issues 128 other
instructions per clock, 64 of them minima, maxima or compares. Two figures are given: none of these instructions
overlaps with the tensor cores, or all do. Memory is not included; the bytes that such a rate would read from the
level-2 cache are printed too. The same for `window_matches`: see `benchmarks.static_windows`; and for a sketch of the
search on one-bit products: see `benchmarks.static_one_bit`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from benchmarks.harness import emit, option_parser
from benchmarks.static_code import GPUS, REGISTERS_PER_SM, WIDTH_BITS, Gpu, cuda_object_dump, is_tensor, main_loop
from benchmarks.static_one_bit import OneBitReport, has_one_bit, report_one_bit
from benchmarks.static_windows import CACHE_BYTES_PER_CLOCK, WindowReport, report_windows, report_windows_amd

ISSUE_PER_CLOCK = 128
"""Lanes for which an SM issues instructions per clock."""

MIN_MAX_PER_CLOCK = 64
"""Lanes for which an SM executes a minimum, maximum or compare per clock (CUDA C++ Programming Guide)."""


@dataclass(frozen=True, slots=True)
class Report:
    """Resources and instructions of one compiled kernel."""

    architecture: str
    """``sm_90`` or ``gfx942``."""
    tiling: str
    """Queries x columns, warps, stages."""
    registers: int
    """Registers per thread."""
    spilled_bytes: int
    """Spilled registers per thread [bytes]."""
    shared_bytes: int
    """Shared memory per block [bytes]."""
    shared_limit: int
    """Maximum shared memory per block [bytes]."""
    blocks_per_sm: int
    """Resident blocks per SM, limited by registers and shared memory."""
    tensor_instructions: int
    """Tensor-core instructions in the main loop."""
    instructions: float
    """Other instructions of the main loop, per comparison."""
    min_max: float
    """Minima, maxima and compares among them, per comparison."""
    share_apart: float | None = None
    """Predicted share of the int8 peak if nothing overlaps with the tensor cores."""
    share_overlapped: float | None = None
    """Predicted share of the int8 peak if everything overlaps."""
    rate_apart: float | None = None
    """Predicted comparisons per second [1e9] if nothing overlaps."""
    cache_tb_per_s: float | None = None
    """Bandwidth of the level-2 cache at that rate [TB/s]."""
    tensor_clocks: float | None = None
    """Clocks of an SM per comparison: products alone."""
    update_clocks: float | None = None
    """The same: minima, maxima and compares alone."""
    issue_clocks: float | None = None
    """The same: all instructions but the products, as they are issued."""
    cache_clocks: float | None = None
    """The same: reads from the level-2 cache alone."""

    def problems(self) -> list[str]:
        """Return the reasons why this kernel is not acceptable."""
        found = []
        if self.spilled_bytes:
            found.append(f"{self.architecture}: {self.spilled_bytes} bytes spilled per thread")
        if self.shared_bytes > self.shared_limit:
            found.append(
                f"{self.architecture}: {self.shared_bytes} bytes of shared memory, {self.shared_limit} allowed"
            )
        if not self.tensor_instructions:
            found.append(f"{self.architecture}: no tensor-core instruction in the main loop")
        return found


AnyReport: TypeAlias = Report | OneBitReport | WindowReport


def compile_search(backend: str, architecture: int | str, tiling: Any) -> Any:
    """Compile the search kernel for ``("cuda", 90)`` or ``("hip", "gfx942")`` without a GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from s2fast_kernels.hamming_top2.triton_gpu import search_kernel

    pointers = {
        "query": "*i8",
        "train": "*i8",
        "starts": "*i64",
        "stops": "*i64",
        "best_out": "*i64",
        "second_out": "*i32",
    }
    constants = {"tile_queries": tiling.queries, "tile_columns": tiling.columns, "peel": tiling.peel}
    source = ASTSource(
        fn=search_kernel,
        signature=pointers | {"n": "i32"} | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        # torch's allocations have this alignment.
        attrs={(at,): [["tt.divisibility", 16]] for at in range(len(pointers))},
    )
    options = {"num_warps": tiling.warps, "num_stages": tiling.stages, "enable_fp_fusion": False}
    return triton.compile(
        source, target=GPUTarget(backend, architecture, 32 if backend == "cuda" else 64), options=options
    )


def report_cuda(gpu: Gpu, tiling: Any) -> Report:
    """Compile for one GPU, analyse the code, and predict the rate."""
    kernel = compile_search("cuda", gpu.capability, tiling)
    usage = cuda_object_dump(kernel.asm["cubin"], "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise ValueError(f"cuobjdump -res-usage names no registers: {usage!r}")
    registers, spilled = int(found[1]), int(found[2])
    shared, threads = int(kernel.metadata.shared), 32 * tiling.warps
    loop = main_loop(cuda_object_dump(kernel.asm["cubin"], "-sass"))
    comparisons = tiling.queries * tiling.columns / threads
    others = sum(count for name, count in loop.items() if not is_tensor(name)) / comparisons
    min_max = sum(count for name, count in loop.items() if re.match(r"V?I?MNMX|ISETP", name)) / comparisons
    tensor_clocks = 2 * WIDTH_BITS / gpu.int8_ops_per_clock
    other_clocks = max(others / ISSUE_PER_CLOCK, min_max / MIN_MAX_PER_CLOCK)
    apart = tensor_clocks / (tensor_clocks + other_clocks)
    # A block reads each tile of train rows once for all its queries.
    cache_bytes = WIDTH_BITS / tiling.queries
    return Report(
        architecture=f"sm_{gpu.capability}",
        tiling=describe(tiling),
        registers=registers,
        spilled_bytes=spilled,
        shared_bytes=shared,
        shared_limit=gpu.shared_limit,
        blocks_per_sm=min(
            REGISTERS_PER_SM // (-(-registers // 8) * 8 * threads), (gpu.shared_limit + 1024) // (shared + 1024)
        ),
        tensor_instructions=sum(count for name, count in loop.items() if is_tensor(name)),
        instructions=others,
        min_max=min_max,
        share_apart=apart,
        share_overlapped=tensor_clocks / max(tensor_clocks, other_clocks),
        rate_apart=apart * gpu.peak / 1e9,
        cache_tb_per_s=apart * gpu.peak * cache_bytes / 1e12,
        tensor_clocks=tensor_clocks,
        update_clocks=min_max / MIN_MAX_PER_CLOCK,
        issue_clocks=others / ISSUE_PER_CLOCK,
        cache_clocks=cache_bytes / CACHE_BYTES_PER_CLOCK,
    )


def report_amd(tiling: Any) -> Report:
    """Compile for gfx942 and analyse the code; no rate is predicted."""
    kernel = compile_search("hip", "gfx942", tiling)
    assembly = kernel.asm["amdgcn"]
    numbers = {name: int(value) for name, value in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", assembly)}
    return Report(
        architecture="gfx942",
        tiling=describe(tiling),
        registers=numbers["vgpr_count"],
        spilled_bytes=4 * numbers["vgpr_spill_count"],
        shared_bytes=int(kernel.metadata.shared),
        shared_limit=64 * 1024,
        blocks_per_sm=64 * 1024 // int(kernel.metadata.shared),
        tensor_instructions=len(re.findall(r"^\s+v_mfma_i32\w*_i8", assembly, re.MULTILINE)),
        instructions=float("nan"),
        min_max=float("nan"),
    )


def describe(tiling: Any) -> str:
    """Describe a tiling."""
    return f"{tiling.queries}x{tiling.columns}, {tiling.warps} warps, {tiling.stages} stages"


def main(argv: list[str]) -> int:
    """Print the report; return 1 if a kernel is not acceptable."""
    from s2fast_kernels.hamming_top2.triton_gpu import AMD_TILING, TILINGS
    from s2fast_kernels.window_matches.triton_gpu import TILING

    parser = option_parser("static", __doc__)
    arguments = parser.parse_args(argv)
    searches: list[tuple[str, AnyReport]] = [
        *((gpu.name, report_cuda(gpu, TILINGS[gpu.capability])) for gpu in GPUS),
        ("MI300X", report_amd(AMD_TILING)),
    ]
    windows: list[tuple[str, AnyReport]] = [
        *((gpu.name, report_windows(gpu, TILING)) for gpu in GPUS),
        ("MI300X", report_windows_amd(TILING)),
    ]
    one_bit: list[tuple[str, AnyReport]] = [(gpu.name, report_one_bit(gpu)) for gpu in GPUS if has_one_bit(gpu)]
    reported = {"hamming_top2": searches, "hamming_top2, one-bit sketch": one_bit, "window_matches": windows}
    for operation, reports in reported.items():
        for name, report in reports:
            emit({"benchmark": "static", "operation": operation, "gpu": name} | _found(report), as_json=arguments.json)
    if not arguments.json:
        print("Rates [1e9/s], shares of the int8 peak, pairs per second and seconds are predictions, not measurements.")
    problems = [problem for reports in reported.values() for _, report in reports for problem in report.problems()]
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


def _found(report: AnyReport) -> dict[str, Any]:
    return {name: value for name, value in asdict(report).items() if value is not None and value == value}
