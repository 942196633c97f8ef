"""Analyse the compiled AKAZE passes without a GPU: ``python -m benchmarks static-akaze``.

Compiles every pass of `s2fast_kernels.akaze.triton_gpu` ahead of time, reads registers, spills and shared memory, and
counts instructions per pixel that it writes; the code has no loops. Predicts the seconds of the passes for a full tile
from the larger of three bounds: 80 % of the memory's bandwidth, where every byte of a halo is read from memory; 128
instructions issued per clock and SM; 32 words loaded from or stored to shared memory or the level-1 cache per clock and
SM. Then adds the descriptors and the copies between host and device, by the counts in the operation's README. All
seconds are predictions, not measurements. Suppression on the host is not included.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.harness import emit, option_parser
from benchmarks.static import ISSUE_PER_CLOCK
from benchmarks.static_code import GPUS, REGISTERS_PER_SM, Gpu, cuda_object_dump
from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.jobs import Rect
from s2fast_kernels.akaze.octaves import MARGIN_PX, split_evenly
from s2fast_kernels.akaze.scales import Level, halo, levels

TILE_PX = 10980
"""Side of a full Sentinel-2 tile [px]."""

CORE_PX = 1024
"""Side of a window without its halo [px]."""

BANDWIDTH_TB_PER_S = {80: 2.04, 89: 0.864, 90: 3.35, 100: 8.0, 120: 1.79}
"""Published bandwidth of the device memory by compute capability."""

REACHED = 0.8
"""Share of the published bandwidth that copies reach."""

WORDS_PER_CLOCK = 32
"""Words of 4 bytes that an SM moves to or from shared memory or the level-1 cache per clock."""

DESCRIPTORS_BYTES = 360_000 * (441 * 3 * 32 + 120_000)
"""Device memory traffic of a full tile's descriptors."""

COPIED_BYTES = TILE_PX**2 * (1 + 1 / 8 + 1 + 1 + 1 / 8)
"""Pixels and the mask of valid positions to the device; clear ground, filled pixels and areas of equal pixels back."""

COPIES_GB_PER_S = {80: 25, 89: 25, 90: 50, 100: 50, 120: 50}
"""Bandwidth between host and device, PCIe 4 or 5."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One compiled pass."""

    name: str
    """Kernel and its compile-time parameters."""
    architecture: str
    """``sm_90``."""
    registers: int
    """Registers per thread."""
    spilled_bytes: int
    """Spilled registers per thread [bytes]."""
    shared_bytes: int
    """Shared memory per block [bytes]."""
    shared_limit: int
    """Maximum shared memory per block [bytes]."""
    blocks_per_sm: int
    """Resident blocks per SM, limited by registers, shared memory and threads."""
    bytes_per_px: float
    """Bytes read and written per pixel, without halos."""
    halo_bytes_per_px: float
    """The same, if halos are read from memory."""
    instructions_per_px: float
    """Instructions of all threads per pixel that the pass writes."""
    words_per_px: float
    """Words moved to or from shared memory or the level-1 cache per pixel."""
    contracted: int
    """Fused multiply-adds, apart from those of a division: they would change the results."""

    def problems(self) -> list[str]:
        """Return the reasons why this kernel is not acceptable."""
        found = []
        if self.spilled_bytes:
            found.append(f"{self.architecture} {self.name}: {self.spilled_bytes} bytes spilled per thread")
        if self.shared_bytes > self.shared_limit:
            found.append(f"{self.architecture} {self.name}: {self.shared_bytes} bytes of shared memory")
        if self.contracted:
            found.append(f"{self.architecture} {self.name}: {self.contracted} fused multiply-adds")
        return found

    def bounds(self, gpu: Gpu) -> dict[str, float]:
        """Return the seconds per pixel of each bound."""
        clocks = gpu.sm_count * gpu.clock_ghz * 1e9
        return {
            "memory": self.halo_bytes_per_px / (REACHED * BANDWIDTH_TB_PER_S[gpu.capability] * 1e12),
            "issue": self.instructions_per_px / (ISSUE_PER_CLOCK * clocks),
            "words": self.words_per_px / (WORDS_PER_CLOCK * clocks),
        }


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel with its compile-time parameters."""

    name: str
    """Name of the pass."""
    kernel: str
    """Name of the function in `triton_gpu`."""
    pointers: dict[str, str]
    """Types of the pointers."""
    scalars: dict[str, str]
    """Types of the scalars."""
    constants: dict[str, Any]
    """Compile-time parameters, except the tile's sides."""
    halo: tuple[int, int]
    """Rows and columns of the tile's halo."""
    tile: Any
    """Sides and warps."""
    read: int
    """Bytes read per pixel."""
    written: int
    """Bytes written per pixel."""


def smooth_variant(*, conduct: bool) -> Variant:
    """Return the blur, with or without conductivity."""
    from s2fast_kernels.akaze import triton_gpu as own
    from s2fast_kernels.akaze.torch_any import BASE_BLUR, BLUR

    reach, side = (BLUR if conduct else BASE_BLUR)[0], own.FLOW_HALO.value * conduct
    pointers = dict.fromkeys(("image", "taps", "smoothed_out", "flow_out"), "*fp32")
    return Variant(
        "blur and conductivity" if conduct else "base blur", "smooth_kernel", pointers,
        {"height": "i32", "width": "i32", "inverse_square": "fp32"}, {"reach": reach, "conduct": conduct},
        (reach + side, side), own.SMOOTH_TILE, 4, 8 if conduct else 4,
    )  # fmt: skip


def diffuse_variant(count: int) -> Variant:
    """Return the pass of `count` diffusion steps."""
    from s2fast_kernels.akaze import triton_gpu as own

    halo_px = count * own.STEP_HALO.value
    pointers = dict.fromkeys(("image", "flow", "steps", "out"), "*fp32")
    return Variant(
        f"{count} diffusion steps", "diffuse_kernel", pointers, {"height": "i32", "width": "i32"}, {"count": count},
        (halo_px, halo_px), own.DIFFUSE_TILE, 8, 4,
    )  # fmt: skip


def derive_variant(radius: int) -> Variant:
    """Return derivatives, determinant and maxima with one radius."""
    from s2fast_kernels.akaze import triton_gpu as own

    pointers = {
        "smoothed": "*fp32", "areas": "*i32", "dx_out": "*fp32", "dy_out": "*fp32", "determinant_out": "*fp32",
        "peak_out": "*i8",
    }  # fmt: skip
    scalars = {"height": "i32", "width": "i32"} | dict.fromkeys(("centre", "corner", "scale", "threshold"), "fp32")
    return Variant(
        f"derivatives, radius {radius}", "derive_kernel", pointers, scalars, {"radius": radius, "detect": True},
        (own.PEAK_HALO.value, own.PEAK_HALO.value), own.DERIVE_TILE, 4, 13,
    )  # fmt: skip


def compiled(variant: Variant, architecture: int | str, *, fusion: bool = False) -> Any:
    """Compile a pass for a compute capability or ``"gfx942"`` without a GPU; `fusion` allows fused multiply-adds."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from s2fast_kernels.akaze import triton_gpu

    constants = variant.constants | {"tile_rows": variant.tile.rows, "tile_columns": variant.tile.columns}
    source = ASTSource(
        fn=getattr(triton_gpu, variant.kernel),
        signature=variant.pointers | variant.scalars | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        # torch's allocations have this alignment.
        attrs={(at,): [["tt.divisibility", 16]] for at in range(len(variant.pointers))},
    )
    options = {"num_warps": variant.tile.warps, "enable_fp_fusion": fusion}
    amd = isinstance(architecture, str)
    target = GPUTarget("hip" if amd else "cuda", architecture, 64 if amd else 32)
    return triton.compile(source, target=target, options=options)


@dataclass(frozen=True, slots=True)
class AmdPass:
    """One pass compiled for gfx942; no rate is predicted."""

    name: str
    """Kernel and its compile-time parameters."""
    registers: int
    """Vector registers per thread."""
    spilled_bytes: int
    """Spilled registers per thread [bytes]."""
    shared_bytes: int
    """Local data share per block [bytes]; a compute unit has 65536."""
    contracted: int
    """Fused multiply-adds, apart from those of a division: they would change the results."""

    def problems(self) -> list[str]:
        """Return the reasons why this kernel is not acceptable."""
        found = []
        if self.spilled_bytes:
            found.append(f"gfx942 {self.name}: {self.spilled_bytes} bytes spilled per thread")
        if self.shared_bytes > 1 << 16:
            found.append(f"gfx942 {self.name}: {self.shared_bytes} bytes of local data share")
        if self.contracted:
            found.append(f"gfx942 {self.name}: {self.contracted} fused multiply-adds")
        return found


def analysed_for_amd(variant: Variant, *, fusion: bool = False) -> AmdPass:
    """Compile a pass for gfx942 and analyse its code."""
    kernel = compiled(variant, "gfx942", fusion=fusion)
    assembly = kernel.asm["amdgcn"]
    numbers = {name: int(value) for name, value in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", assembly)}
    fused = len(re.findall(r"^\s+v_(?:pk_)?fmac?_f32", assembly, re.MULTILINE))
    return AmdPass(
        name=variant.name,
        registers=numbers["vgpr_count"],
        spilled_bytes=4 * numbers["vgpr_spill_count"],
        shared_bytes=int(kernel.metadata.shared),
        contracted=0 if variant.constants.get("conduct") else fused,
    )


def analysed(variant: Variant, gpu: Gpu, *, fusion: bool = False) -> Pass:
    """Compile a pass for one GPU and analyse its code."""
    kernel = compiled(variant, gpu.capability, fusion=fusion)
    usage = cuda_object_dump(kernel.asm["cubin"], "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise ValueError(f"cuobjdump -res-usage names no registers: {usage!r}")
    registers, spilled = int(found[1]), int(found[2])
    names = instructions(cuda_object_dump(kernel.asm["cubin"], "-sass"))
    tile, threads, shared = variant.tile, 32 * variant.tile.warps, int(kernel.metadata.shared)
    own = (tile.rows - 2 * variant.halo[0]) * (tile.columns - 2 * variant.halo[1])
    threads_per_sm = 1536 if gpu.capability in (89, 120) else 2048
    return Pass(
        name=variant.name,
        architecture=f"sm_{gpu.capability}",
        registers=registers,
        spilled_bytes=spilled,
        shared_bytes=shared,
        shared_limit=gpu.shared_limit,
        blocks_per_sm=min(
            REGISTERS_PER_SM // (-(-registers // 8) * 8 * threads),
            (gpu.shared_limit + 1024) // (shared + 1024),
            threads_per_sm // threads,
        ),
        bytes_per_px=variant.read + variant.written,
        halo_bytes_per_px=variant.read * tile.rows * tile.columns / own + variant.written,
        instructions_per_px=len(names) * threads / own,
        words_per_px=sum(map(words, names)) * threads / own,
        contracted=0 if variant.constants.get("conduct") else names.count("FFMA"),
    )


def instructions(sass: str) -> list[str]:
    """Return the names, with modifiers, of the instructions up to the last exit.

    Examples
    --------
    >>> instructions("/*0000*/ LDS.64 R2, [R3] ; /*0010*/ @P0 EXIT ; /*0020*/ EXIT ; /*0030*/ BRA 0x30 ;")
    ['LDS.64', 'EXIT', 'EXIT']
    """
    names = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", sass)
    last = max((i for i, name in enumerate(names) if name == "EXIT"), default=len(names) - 1)
    return names[: last + 1]


def words(name: str) -> int:
    """Return the number of words that a thread moves with an instruction.

    Examples
    --------
    >>> [words(name) for name in ("LDG.E.128", "STS.64", "LDS", "FADD", "SHFL.IDX", "LDSM.16.M88.4")]
    [4, 2, 1, 0, 1, 4]
    """
    base, *modifiers = name.split(".")
    if base not in ("LDG", "STG", "LDS", "STS", "SHFL", "LDSM", "STSM"):
        return 0
    if base in ("LDSM", "STSM"):
        return int(modifiers[-1]) if modifiers[-1].isdigit() else 1
    return 4 if "128" in modifiers else 2 if "64" in modifiers else 1


def window_pixels(own: list[Level]) -> int:
    """Return the pixels of all windows of an octave of a full tile, with their halos."""
    unit = 8
    side = -(-TILE_PX // unit) * unit >> own[0].octave
    spans = split_evenly(side, CORE_PX)
    grown = [Rect(*rows, *rows).grown(halo(own, MARGIN_PX), side, side) for rows in spans]
    return sum(part.bottom - part.top for part in grown) ** 2


def passes_of(level: Level) -> Iterator[Variant]:
    """Yield the passes of one level."""
    from s2fast_kernels.akaze.triton_gpu import passes

    yield smooth_variant(conduct=bool(level.steps))
    for count in passes(len(level.steps)) if level.steps else ():
        yield diffuse_variant(count)
    yield derive_variant(level.radius)


def predicted(gpu: Gpu, analysis: dict[str, Pass]) -> dict[str, Any]:
    """Predict the seconds of a full tile on a GPU, by kind of pass, with what bounds most of them."""
    seconds: dict[str, float] = {}
    bound_s: dict[str, float] = {}
    for own in levels(AkazeSettings(), (TILE_PX, TILE_PX)):
        pixels = window_pixels(own)
        for variant in (variant for level in own for variant in passes_of(level)):
            bounds = analysis[variant.name].bounds(gpu)
            bound = max(bounds, key=bounds.__getitem__)
            kind = variant.kernel.removesuffix("_kernel")
            seconds[kind] = seconds.get(kind, 0.0) + pixels * bounds[bound]
            bound_s[bound] = bound_s.get(bound, 0.0) + pixels * bounds[bound]
    seconds["descriptors"] = DESCRIPTORS_BYTES / (REACHED * BANDWIDTH_TB_PER_S[gpu.capability] * 1e12)
    seconds["copies"] = COPIED_BYTES / (COPIES_GB_PER_S[gpu.capability] * 1e9)
    return {
        **{f"{name} s": value for name, value in seconds.items()},
        "passes bound by": max(bound_s, key=bound_s.__getitem__),
        "predicted s": sum(seconds.values()),
    }


def variants() -> list[Variant]:
    """Return every pass of the default settings once."""
    octaves = levels(AkazeSettings(), (TILE_PX, TILE_PX))
    found = {v.name: v for own in octaves for level in own for v in passes_of(level)}
    return sorted(found.values(), key=lambda variant: variant.name)


def main(argv: Sequence[str]) -> int:
    """Print the report; return 1 if a kernel is not acceptable."""
    options = option_parser("static-akaze", __doc__).parse_args(argv)
    problems = []
    for gpu in GPUS:
        analysis = {variant.name: analysed(variant, gpu) for variant in variants()}
        for row in analysis.values():
            emit({"benchmark": "static-akaze", "gpu": gpu.name} | asdict(row), as_json=options.json)
            problems += row.problems()
        emit({"benchmark": "static-akaze", "gpu": gpu.name} | predicted(gpu, analysis), as_json=options.json)
    for variant in variants():
        found = analysed_for_amd(variant)
        emit({"benchmark": "static-akaze", "gpu": "gfx942"} | asdict(found), as_json=options.json)
        problems += found.problems()
    if not options.json:
        print("Seconds are predictions from instructions and bytes, not measurements.")
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
