"""Published data of GPUs, and the machine code that Triton compiles for them, read without one."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WIDTH_BITS = 512
"""Depth of the product: multiply-adds per comparison."""

REGISTERS_PER_SM = 65536


@dataclass(frozen=True, slots=True)
class Gpu:
    """Published data of one GPU."""

    name: str
    """Product name."""
    capability: int
    """Compute capability, 90 for 9.0."""
    sm_count: int
    """Streaming multiprocessors."""
    clock_ghz: float
    """Boost clock at which the peak is quoted."""
    int8_ops_per_clock: int
    """Dense int8 operations of an SM's tensor cores per clock; a multiply-add counts as two."""
    shared_limit: int
    """Maximum shared memory per block [bytes]."""
    float64_per_clock: int
    """Lanes for which an SM executes a float64 instruction per clock (CUDA C++ Programming Guide)."""
    warps_per_sm: int
    """Maximum number of resident warps per SM; resident blocks are half as many."""

    @property
    def peak(self) -> float:
        """Comparisons per second at the int8 peak."""
        return self.sm_count * self.clock_ghz * 1e9 * self.int8_ops_per_clock / (2 * WIDTH_BITS)


GPUS = (
    Gpu("A100 SXM", 80, 108, 1.41, 4096, 163 * 1024, 32, 64),
    Gpu("L40S", 89, 142, 2.52, 2048, 99 * 1024, 2, 48),
    Gpu("H100 SXM", 90, 132, 1.83, 8192, 227 * 1024, 64, 64),
    Gpu("B200", 100, 148, 1.85, 16384, 227 * 1024, 64, 64),
    Gpu("RTX 5090", 120, 170, 2.41, 2048, 99 * 1024, 2, 48),
)


@cache
def cuda_object_dump(cubin: bytes, option: str) -> str:
    """Run the ``cuobjdump`` that Triton ships, once per code and option: its start takes a quarter of a second."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, option, file.name], check=True, capture_output=True, text=True).stdout


def _listing(sass: str) -> list[tuple[int, str, str]]:
    """Return the address, the name without modifiers, and the operands of every instruction."""
    return [
        (int(address, 16), name, operands)
        for address, name, operands in re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*)([^;]*);", sass)
    ]


def instructions_of(sass: str) -> list[str]:
    """Return the names of all instructions, without modifiers."""
    return [name for _, name, _ in _listing(sass)]


def loops_of(sass: str) -> list[Counter[str]]:
    """Count the instructions of every loop, which is the code between a backward branch and its target."""
    listing, loops = _listing(sass), []
    for address, name, operands in listing:
        target = re.search(r"0x([0-9a-f]+)", operands)
        if name == "BRA" and target and int(target[1], 16) < address:
            loops.append(Counter(name for at, name, _ in listing if int(target[1], 16) <= at <= address))
    return loops


def main_loop(sass: str) -> Counter[str]:
    """Count the instructions of the shortest loop with a tensor-core instruction; empty if no loop has one."""
    loops = [loop for loop in loops_of(sass) if any(map(is_tensor, loop))]
    return min(loops, key=lambda loop: loop.total(), default=Counter())


def is_tensor(name: str) -> bool:
    """Return whether a SASS instruction runs on the tensor cores (IMMA, IGMMA, UTCIMMA)."""
    return name.endswith("MMA")
