"""A sketch of `hamming_top2` on one-bit tensor-core products, analysed without a GPU: ``python -m benchmarks static``.

Tensor cores of compute capability 8.0 to 9.0 multiply bits: `and` and population count. With the numbers of set bits
a and b of two descriptors, their distance is a + b - 2 popcount(a and b); a is the same for all rows of a query, so it
is added at the end. The main loop is written in PTX, since Triton has no such product. A warp holds 64 queries in
registers and reads eight train rows at a time. A lane reads 16 bytes of a row and uses them as its fragments of both
products of 256 bits: which bit is which does not matter, as long as both sides agree. `weights` holds
``b << 20 | tile`` of every row, so that one multiply-add computes a key from a product; three minima or maxima keep the
two smallest keys of every query and column, as in the int8 kernel.

`products` emulates its lanes; a test compares the keys with the definition. `benchmarks.one_bit` runs it on a GPU.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.static_code import REGISTERS_PER_SM, Gpu, cuda_object_dump, is_tensor, main_loop
from benchmarks.static_windows import CACHE_BYTES_PER_CLOCK

KEY_BITS = 20
"""Low bits of a key that hold the number of the tile of eight rows."""

_BITS_PER_CLOCK = {80: 16384, 89: 8192, 90: 16384}
"""Products of bits of an SM per clock. Published for the A100 only: 4,992 TOPS. That of the L40S is taken as eight
times its int8 rate, as on the A100; that of the H100 as the A100's.
An H100 reached 3236e9 comparisons per second, 0.42 of that rate: the update bounds."""

_ROWS, _COLUMNS, _TILES = 16, 8, 4
"""Rows and columns of a product, and products of queries per warp."""

_UNROLLED = 2
"""Tiles of train rows per round of the main loop."""

_ISSUE_PER_CLOCK, _MIN_MAX_PER_CLOCK = 128, 64


@dataclass(frozen=True, slots=True)
class OneBitReport:
    """Resources, instructions and predictions of the sketch for one architecture."""

    architecture: str
    """``sm_90``."""
    registers: int
    """Registers per thread."""
    spilled_bytes: int
    """Spilled registers per thread [bytes]."""
    warps_per_sm: int
    """Resident warps per SM, limited by registers."""
    tensor_instructions: int
    """One-bit products in the main loop."""
    instructions: float
    """Other instructions of the main loop, per comparison."""
    min_max: float
    """Minima and maxima among them, per comparison."""
    tensor_clocks: float
    """Clocks of an SM per comparison: products alone."""
    update_clocks: float
    """The same: minima and maxima alone."""
    issue_clocks: float
    """The same: all other instructions, as they are issued."""
    cache_clocks: float
    """The same: reads from the level-2 cache, if the warps of a block do not share them through that of level 1."""
    rate_overlapped: float
    """Predicted comparisons per second [1e9] if everything overlaps; reads are not included."""
    rate_apart: float
    """The same if nothing overlaps with the tensor cores."""

    def problems(self) -> list[str]:
        """Return the reasons why this kernel is not acceptable."""
        name, found = f"{self.architecture}, one-bit products", []
        if self.spilled_bytes:
            found.append(f"{name}: {self.spilled_bytes} bytes spilled per thread")
        if not self.tensor_instructions:
            found.append(f"{name}: no tensor-core instruction in the main loop")
        return found


def products(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64]
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield the number and the (16, 8) products of every tile of train rows, lane by lane as the kernel computes them.

    Parameters
    ----------
    query : (16, 8) uint64
        Packed descriptors.
    train : (8 k, 8) uint64
        The same.
    """
    lanes = np.arange(32)
    row, part = lanes >> 2, lanes & 3
    own = query.view(np.uint32).reshape(_ROWS, 4, 4)  # row, lane of four, register
    for tile in range(len(train) // _COLUMNS):
        other = train[tile * _COLUMNS : (tile + 1) * _COLUMNS].view(np.uint32).reshape(_COLUMNS, 4, 4)
        found = np.zeros((_ROWS, _COLUMNS), np.int64)
        for step in range(2):  # two products of 256 bits
            a = [own[row + half, part, 2 * step + word] for word in range(2) for half in (0, 8)]
            b = [other[row, part, 2 * step + word] for word in range(2)]
            # As the instruction's fragments are defined: lanes of one row hold the bits of a row of either operand.
            for lane in lanes:
                for column in lanes[part == part[lane]]:
                    for half in (0, 1):
                        both = [a[2 * word + half][lane] & b[word][column] for word in range(2)]
                        found[row[lane] + 8 * half, row[column]] += sum(int(bits).bit_count() for bits in both)
        yield tile, found


def weights(train: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return ``b << 20 | tile`` of every row."""
    bits = np.bitwise_count(train).sum(axis=1).astype(np.int64)
    return np.asarray(bits << KEY_BITS | np.arange(len(train)) // _COLUMNS)


def ptx(capability: int) -> str:
    """Return the kernel."""
    queries = _TILES * _ROWS
    a = [[[f"%a{tile}_{half}_{word}" for word in range(4)] for half in range(2)] for tile in range(_TILES)]
    keys = [[(f"%best{tile}_{at}", f"%second{tile}_{at}") for at in range(4)] for tile in range(_TILES)]
    names = [name for tile in a for half in tile for name in half]
    names += [name for tile in keys for pair in tile for name in pair]
    names += [f"%b{tile}_{word}" for tile in range(_UNROLLED) for word in range(4)]
    names += [f"%w{tile}_{at}" for tile in range(_UNROLLED) for at in range(2)]
    names += [f"%d{at}" for at in range(4)] + ["%key", "%larger"]
    body = [f".reg .b32 {name};" for name in names]
    for tile in range(_TILES):
        for half in range(2):
            offset = (tile * _ROWS + half * 8) * 64
            body.append(f"ld.global.v4.b32 {{{', '.join(a[tile][half])}}}, [%query+{offset}];")
    body += [f"mov.b32 {name}, 0x7fffffff;" for tile in keys for pair in tile for name in pair]
    body.append("LOOP:")
    for turn in range(_UNROLLED):
        b, w = [f"%b{turn}_{word}" for word in range(4)], [f"%w{turn}_{at}" for at in range(2)]
        body.append(f"ld.global.nc.v4.b32 {{{', '.join(b)}}}, [%train+{turn * _COLUMNS * 64}];")
        body.append(f"ld.global.nc.v2.b32 {{{', '.join(w)}}}, [%weight+{turn * _COLUMNS * 4}];")
    for turn in range(_UNROLLED):
        for tile in range(_TILES):
            for step in range(2):
                first = ", ".join(a[tile][half][2 * step + word] for word in range(2) for half in range(2))
                second = ", ".join(f"%b{turn}_{2 * step + word}" for word in range(2))
                before = "%zero, %zero, %zero, %zero" if step == 0 else "%d0, %d1, %d2, %d3"
                body.append(
                    "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
                    f"{{%d0, %d1, %d2, %d3}}, {{{first}}}, {{{second}}}, {{{before}}};"
                )
            for at, (best, runner_up) in enumerate(keys[tile]):
                body += [
                    f"mad.lo.s32 %key, %d{at}, {-(2 << KEY_BITS)}, %w{turn}_{at % 2};",
                    f"max.s32 %larger, {best}, %key;",
                    f"min.s32 {runner_up}, {runner_up}, %larger;",
                    f"min.s32 {best}, {best}, %key;",
                ]
    body += [
        f"add.s64 %train, %train, {_UNROLLED * _COLUMNS * 64};",
        f"add.s64 %weight, %weight, {_UNROLLED * _COLUMNS * 4};",
        f"sub.s32 %left, %left, {_UNROLLED};",
        "setp.gt.s32 %more, %left, 0;",
        "@%more bra LOOP;",
    ]
    for number, name in enumerate(name for tile in keys for pair in tile for name in pair):
        body.append(f"st.global.b32 [%out+{128 * number}], {name};")
    return f"""
.version 7.8
.target sm_{capability}
.address_size 64
.visible .entry search(
    .param .u64 query, .param .u64 train, .param .u64 weight, .param .u64 out, .param .u32 tiles
) {{
    .reg .b64 %query, %train, %weight, %out, %offset;
    .reg .b32 %lane, %row, %part, %left, %zero, %warp, %number;
    .reg .pred %more;
    ld.param.u64 %query, [query];
    ld.param.u64 %train, [train];
    ld.param.u64 %weight, [weight];
    ld.param.u64 %out, [out];
    ld.param.u32 %left, [tiles];
    mov.b32 %zero, 0;
    mov.u32 %number, %tid.x;
    and.b32 %lane, %number, 31;
    shr.u32 %row, %lane, 2;
    and.b32 %part, %lane, 3;
    shr.u32 %number, %number, 5;
    mov.u32 %warp, %ctaid.x;
    mad.lo.u32 %warp, %warp, 4, %number;
    mad.wide.u32 %query, %warp, {64 * queries}, %query;
    mad.wide.u32 %query, %row, 64, %query;
    mad.wide.u32 %query, %part, 16, %query;
    mad.wide.u32 %train, %row, 64, %train;
    mad.wide.u32 %train, %part, 16, %train;
    mad.wide.u32 %weight, %part, 8, %weight;
    mad.wide.u32 %out, %warp, {128 * 2 * 4 * _TILES}, %out;
    mad.wide.u32 %out, %lane, 4, %out;
    {chr(10).join(body)}
    ret;
}}
"""


def has_one_bit(gpu: Gpu) -> bool:
    """Return whether a GPU's tensor cores multiply bits."""
    return gpu.capability in _BITS_PER_CLOCK


def compiled(capability: int) -> bytes:
    """Compile the kernel with the assembler that Triton ships."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "search.ptx"), Path(folder, "search.cubin")
        source.write_text(ptx(capability))
        subprocess.run([tool, f"-arch=sm_{capability}", str(source), "-o", str(cubin)], check=True, capture_output=True)
        return cubin.read_bytes()


def report_one_bit(gpu: Gpu) -> OneBitReport:
    """Compile for one GPU, analyse the code, and predict the rate."""
    cubin = compiled(gpu.capability)
    usage = cuda_object_dump(cubin, "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise ValueError(f"cuobjdump -res-usage names no registers: {usage!r}")
    registers = int(found[1])
    loop = main_loop(cuda_object_dump(cubin, "-sass"))
    tensor = sum(count for name, count in loop.items() if is_tensor(name))
    comparisons = _UNROLLED * _COLUMNS * _TILES * _ROWS / 32
    others = sum(count for name, count in loop.items() if not is_tensor(name)) / comparisons
    min_max = sum(count for name, count in loop.items() if re.match(r"V?I?MNMX|ISETP", name)) / comparisons
    clocks = 512 / _BITS_PER_CLOCK[gpu.capability], min_max / _MIN_MAX_PER_CLOCK, others / _ISSUE_PER_CLOCK
    per_s = gpu.sm_count * gpu.clock_ghz
    return OneBitReport(
        architecture=f"sm_{gpu.capability}",
        registers=registers,
        spilled_bytes=int(found[2]),
        warps_per_sm=min(gpu.warps_per_sm, REGISTERS_PER_SM // (-(-registers // 8) * 8 * 32)),
        tensor_instructions=tensor,
        instructions=others,
        min_max=min_max,
        tensor_clocks=clocks[0],
        update_clocks=clocks[1],
        issue_clocks=clocks[2],
        cache_clocks=64 / (_TILES * _ROWS) / CACHE_BYTES_PER_CLOCK,
        rate_overlapped=per_s / max(clocks),
        rate_apart=per_s / (clocks[0] + max(clocks[1:])),
    )
