"""What the compiler made of the GPU kernels, read without a GPU: ``python -m benchmarks static``.

Compiles the search kernel of `hamming_top2` ahead of time for every architecture it is tuned for, reads registers,
spills and shared memory, counts the instructions of the main loop, and predicts a rate from them. The rate is a
prediction, never a measurement. It assumes that the tensor cores reach their peak while they work, and that one SM
issues 128 other instructions a clock, 64 of them minima, maxima or compares; it gives two figures, one where none of
these overlaps with the tensor cores and one where all of them do. Memory is not in it: the bytes that such a rate
would read from the level-2 cache are printed beside it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import emit, option_parser

WIDTH_BITS = 512
"""Depth of the product: multiply-adds of a comparison."""

ISSUE_PER_CLOCK = 128
"""Lanes an SM issues instructions for in a clock."""

MIN_MAX_PER_CLOCK = 64
"""Lanes an SM takes a minimum, a maximum or a compare of in a clock (CUDA C++ Programming Guide, throughput table)."""

REGISTERS_PER_SM = 65536


@dataclass(frozen=True, slots=True)
class Gpu:
    """What NVIDIA publishes of one GPU."""

    name: str
    """Product."""
    capability: int
    """Compute capability, 90 for 9.0."""
    sm_count: int
    """Streaming multiprocessors."""
    clock_ghz: float
    """Boost clock at which the peak is quoted."""
    int8_ops_per_clock: int
    """Dense int8 operations an SM's tensor cores do in a clock, a multiply-add counted as two."""
    shared_limit: int
    """Shared memory a block may have [bytes]."""

    @property
    def peak(self) -> float:
        """Comparisons per second at the int8 peak."""
        return self.sm_count * self.clock_ghz * 1e9 * self.int8_ops_per_clock / (2 * WIDTH_BITS)


GPUS = (
    Gpu("A100 SXM", 80, 108, 1.41, 4096, 163 * 1024),
    Gpu("L40S", 89, 142, 2.52, 2048, 99 * 1024),
    Gpu("H100 SXM", 90, 132, 1.83, 8192, 227 * 1024),
    Gpu("B200", 100, 148, 1.85, 16384, 227 * 1024),
    Gpu("RTX 5090", 120, 170, 2.41, 2048, 99 * 1024),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What one compiled kernel needs and does."""

    architecture: str
    """``sm_90`` or ``gfx942``."""
    tiling: str
    """Queries x columns, warps, stages."""
    registers: int
    """Registers of a thread."""
    spilled_bytes: int
    """Memory a thread spills registers to."""
    shared_bytes: int
    """Shared memory of a block."""
    shared_limit: int
    """Shared memory a block may have."""
    blocks_per_sm: int
    """Blocks that fit an SM at once, by registers and shared memory."""
    tensor_instructions: int
    """Tensor-core instructions in the main loop."""
    instructions: float
    """Other instructions of the main loop, a comparison."""
    min_max: float
    """Those of them that are minima, maxima or compares."""
    share_apart: float | None = None
    """Predicted share of the int8 peak if nothing overlaps with the tensor cores."""
    share_overlapped: float | None = None
    """Predicted share of the int8 peak if everything does."""
    rate_apart: float | None = None
    """Predicted comparisons per second [1e9] if nothing overlaps."""
    cache_tb_per_s: float | None = None
    """Read from the level-2 cache at that rate [TB/s]."""

    def problems(self) -> list[str]:
        """Say what makes this kernel unfit, in words."""
        found = []
        if self.spilled_bytes:
            found.append(f"{self.architecture}: {self.spilled_bytes} bytes a thread spilled")
        if self.shared_bytes > self.shared_limit:
            found.append(
                f"{self.architecture}: {self.shared_bytes} bytes of shared memory, {self.shared_limit} allowed"
            )
        if not self.tensor_instructions:
            found.append(f"{self.architecture}: no tensor-core instruction in the main loop")
        return found


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
        # As torch allocates them.
        attrs={(at,): [["tt.divisibility", 16]] for at in range(len(pointers))},
    )
    options = {"num_warps": tiling.warps, "num_stages": tiling.stages, "enable_fp_fusion": False}
    return triton.compile(
        source, target=GPUTarget(backend, architecture, 32 if backend == "cuda" else 64), options=options
    )


def cuda_object_dump(cubin: bytes, option: str) -> str:
    """Run the ``cuobjdump`` that Triton ships."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, option, file.name], check=True, capture_output=True, text=True).stdout


def main_loop(sass: str) -> Counter[str]:
    """Count the instructions, without their modifiers, of the shortest loop with a tensor-core instruction.

    A loop is what lies between a backward branch and its target; empty where no loop has such an instruction.
    """
    listing = [
        (int(address, 16), name, operands)
        for address, name, operands in re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*)([^;]*);", sass)
    ]
    loops: list[list[str]] = []
    for address, name, operands in listing:
        target = re.search(r"0x([0-9a-f]+)", operands)
        if name == "BRA" and target and int(target[1], 16) < address:
            body = [name for at, name, _ in listing if int(target[1], 16) <= at <= address]
            if any(is_tensor(name) for name in body):
                loops.append(body)
    loops.sort(key=len)
    return Counter(loops[0] if loops else [])


def is_tensor(name: str) -> bool:
    """Whether a SASS instruction is the tensor cores' (IMMA, IGMMA, UTCIMMA)."""
    return name.endswith("MMA")


def report_cuda(gpu: Gpu, tiling: Any) -> Report:
    """Compile for one GPU, read what came out, and predict."""
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
    )


def report_amd(tiling: Any) -> Report:
    """Compile for gfx942 and read what came out; no rate is predicted."""
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
    """Write a tiling in one word."""
    return f"{tiling.queries}x{tiling.columns}, {tiling.warps} warps, {tiling.stages} stages"


def main(argv: list[str]) -> int:
    """Print the report; 1 if a kernel is unfit."""
    from s2fast_kernels.hamming_top2.triton_gpu import AMD_TILING, TILINGS

    parser = option_parser("static", __doc__)
    arguments = parser.parse_args(argv)
    reports = [(gpu.name, report_cuda(gpu, TILINGS[gpu.capability])) for gpu in GPUS]
    reports.append(("MI300X", report_amd(AMD_TILING)))
    for name, report in reports:
        emit({"benchmark": "static", "gpu": name} | _found(report), as_json=arguments.json)
    if not arguments.json:
        print("Rates [1e9/s] and shares of the int8 peak are predictions from the instructions, not measurements.")
    problems = [problem for _, report in reports for problem in report.problems()]
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


def _found(report: Report) -> dict[str, Any]:
    return {name: value for name, value in asdict(report).items() if value is not None and value == value}
