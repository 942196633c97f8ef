"""The Triton kernel of `window_matches`, analysed without a GPU: part of ``python -m benchmarks static``.

The kernel is compiled ahead of time. A tile of query rows runs as long as its busiest lane; the steps of all tiles are
counted on two drawn scenes at the default job's radius. From these and the instructions of the loops follow the
seconds of a pair and one null trial, by five bounds: instructions issued, population counts, float64 arithmetic, bytes
from the level-2 cache, and the latency of loads that depend on each other, with as many tiles resident as registers
allow. The largest counts. All are predictions, not measurements. Every query row is assumed to search back, and no load
to hit the level-1 cache. The host's own work is not counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.calls import WINDOW, window_scene
from benchmarks.static_code import REGISTERS_PER_SM, Gpu, cuda_object_dump, instructions_of, loops_of
from s2fast_kernels.hamming_window_top2_both import WindowRows

ROWS, PAIRS, SCENES = 20_000, 1_128, 48
"""The job whose seconds are predicted: keypoints per scene, pairs, each with a null trial, and scenes."""

RADIUS_PX = 2 * WINDOW
"""The default job searches up to twice `matching.radius_m`, which is five pixels."""

LOAD_CLOCKS = 300
"""Clocks from a load to its use, if the level-2 cache has the data."""

COUNTS_PER_CLOCK = 16
"""Population counts of an SM per clock (CUDA C++ Programming Guide, all capabilities from 8.0 on)."""

WARP_ISSUES_PER_CLOCK = 4

CACHE_BYTES_PER_CLOCK = 16
"""Bytes that an SM reads from the level-2 cache per clock; less than published measurements."""

_COMPARED_BYTES, _SEARCH_BYTES = 96, 128
"""Bytes read per compared row (descriptor, position and number), and per load of a search by a warp, whose lanes look
at neighbouring strips and rows."""

_FLOAT64 = re.compile(r"DADD|DMUL|DFMA|DSETP")

_POINTERS = {
    "words": "*i32",
    "x": "*fp64",
    "y": "*fp64",
    "row": "*i64",
    "group": "*i64",
    "strip_group": "*i64",
    "strip_first": "*i64",
    "strip_stop": "*i64",
    "strip_low": "*fp64",
    "strip_high": "*fp64",
    **dict.fromkeys(("query_row", "query_rows", "query_strip", "query_strips", "train_strip", "train_strips"), "*i64"),
    "away": "*fp64",
    "limits": "*fp64",
    "starts": "*i64",
    "ratio": "*fp64",
    **dict.fromkeys(("train_row_out", "distance_out", "second_out"), "*i32"),
}
_NUMBERS = dict.fromkeys(("blocks", "max_distance", "strip_steps", "row_steps"), "i32")


@dataclass(frozen=True, slots=True)
class Work:
    """Steps of all tiles of one trial, in one direction."""

    tiles: int
    """Number of tiles."""
    strip_steps: int
    """Steps of the search for strips, per tile."""
    strips: int
    """Strips visited, of all tiles."""
    row_steps: int
    """Steps of the search for rows, per visited strip."""
    candidates: int
    """Steps from train row to train row, of all tiles."""
    compared: int
    """Positions compared, of all lanes."""


@dataclass(frozen=True, slots=True)
class WindowReport:
    """Resources, instructions and predictions of the kernel for one architecture."""

    architecture: str
    """``sm_90`` or ``gfx942``."""
    tiling: str
    """Rows and warps per program."""
    registers: int
    """Registers per thread."""
    spilled_bytes: int
    """Spilled registers per thread [bytes]."""
    shared_bytes: int
    """Shared memory per program [bytes]."""
    counts: int
    """Population counts in the main loop."""
    fused: int
    """Fused multiply-adds of float64 in the kernel, which would change which rows are near."""
    tiles_per_sm: int | None = None
    """Resident programs per SM."""
    instructions: float | None = None
    """Instructions of the main loop per lane and step."""
    pairs_per_s: float | None = None
    """Predicted pairs per second, each with one null trial, without transfers."""
    bound: str | None = None
    """What bounds them."""
    job_s: float | None = None
    """Predicted seconds of `PAIRS` pairs of `SCENES` scenes, with transfers from and to pageable memory."""

    def problems(self) -> list[str]:
        """Return the reasons why this kernel is not acceptable."""
        name, found = f"{self.architecture}, window_matches", []
        if self.spilled_bytes:
            found.append(f"{name}: {self.spilled_bytes} bytes spilled per thread")
        if not self.counts:
            found.append(f"{name}: no population count in the main loop")
        if self.fused:
            found.append(f"{name}: {self.fused} fused multiply-adds of float64")
        return found


def compile_windows(backend: str, architecture: int | str, tiling: Any) -> Any:
    """Compile the kernel for ``("cuda", 90)`` or ``("hip", "gfx942")`` without a GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from s2fast_kernels.window_matches.triton_gpu import match_kernel

    constants = {"mutual": True, "tile_rows": tiling.rows}
    pool = list(_POINTERS).index("strip_high") + 1
    source = ASTSource(
        fn=match_kernel,
        signature=_POINTERS | _NUMBERS | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        # torch's allocations have this alignment; rows of a table of trials may not.
        attrs={(at,): [["tt.divisibility", 16]] for at in range(pool)},
    )
    options = {"num_warps": tiling.warps, "enable_fp_fusion": False}
    return triton.compile(
        source, target=GPUTarget(backend, architecture, 32 if backend == "cuda" else 64), options=options
    )


@cache
def work_of(tile_rows: int) -> Work:
    """Count the steps of a search between two drawn scenes of `ROWS` rows."""
    rng = np.random.default_rng(0)
    query, train = (WindowRows.of(*window_scene(rng, ROWS), RADIUS_PX) for _ in range(2))
    return steps_of(query, train, tile_rows)


def steps_of(query: WindowRows, train: WindowRows, tile_rows: int) -> Work:
    """Count the steps of a search of one scene in another at its own place."""
    tiles = -(-len(query) // tile_rows)
    tile, group, radius = np.arange(len(query)) // tile_rows, query.group, query.radius
    visited = np.zeros(len(query), np.int64)
    longest: dict[int, npt.NDArray[np.int64]] = {}
    compared = 0
    for strip in range(len(train.strip_group)):
        first, stop = train.strip_start[strip : strip + 2]
        low, high = train.strip_y[strip]
        lanes = np.flatnonzero(
            (group == train.strip_group[strip]) & (query.y >= low - radius) & (query.y <= high + radius)
        )
        x = train.x[first:stop]
        rows = np.searchsorted(x, query.x[lanes] + radius, "right") - np.searchsorted(x, query.x[lanes] - radius)
        compared += int(rows.sum())
        for turn in np.unique(visited[lanes]):
            at = visited[lanes] == turn
            # A lane that visits a strip without rows within reach counts as a visit of the tile.
            most = longest.setdefault(int(turn), np.full(tiles, -1))
            np.maximum.at(most, tile[lanes[at]], rows[at])
        visited[lanes] += 1
    return Work(
        tiles=tiles,
        strip_steps=len(train.strip_group).bit_length(),
        strips=int(sum((most >= 0).sum() for most in longest.values())),
        row_steps=int(np.diff(train.strip_start).max(initial=0)).bit_length(),
        candidates=int(sum(most.clip(0).sum() for most in longest.values())),
        compared=compared,
    )


def report_windows(gpu: Gpu, tiling: Any) -> WindowReport:
    """Compile for one GPU, analyse the code, and predict the rate."""
    kernel = compile_windows("cuda", gpu.capability, tiling)
    usage = cuda_object_dump(kernel.asm["cubin"], "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise ValueError(f"cuobjdump -res-usage names no registers: {usage!r}")
    registers, spilled = int(found[1]), int(found[2])
    sass = cuda_object_dump(kernel.asm["cubin"], "-sass")
    listing, loops = instructions_of(sass), sorted(loops_of(sass), key=lambda loop: loop.total())
    counting = [loop for loop in loops if loop["POPC"]]
    if not counting:
        counting = [Counter()]
    # Forward and back: the longer of the two shortest, none of which contains the other.
    main = max(counting[:2], key=lambda loop: loop.total())
    searching = [loop for loop in loops if not loop["POPC"] and loop["LDG"]]
    warps = tiling.warps
    resident = min(REGISTERS_PER_SM // (-(-registers // 8) * 8 * 32 * warps), gpu.warps_per_sm // 2 // warps)
    seconds = _bounds(gpu, work_of(tiling.rows), main, searching, len(listing), warps, resident)
    bound = max(seconds, key=lambda name: seconds[name])
    return WindowReport(
        architecture=f"sm_{gpu.capability}",
        tiling=f"{tiling.rows} rows, {warps} warps",
        registers=registers,
        spilled_bytes=spilled,
        shared_bytes=int(kernel.metadata.shared),
        counts=main["POPC"],
        fused=sum(name == "DFMA" for name in listing),
        tiles_per_sm=resident,
        instructions=main.total() * 32 * warps / tiling.rows / 32,
        pairs_per_s=1 / seconds[bound],
        bound=bound,
        job_s=PAIRS * seconds[bound] + _transfer_s(),
    )


def _bounds(
    gpu: Gpu, work: Work, main: Counter[str], searching: list[Counter[str]], length: int, warps: int, resident: int
) -> Mapping[str, float]:
    """Return the seconds of a pair with one null trial, both searched forward and back, by what bounds them."""
    # Unrolled loops load for several steps at once: instructions per load hold for all.
    per_load = max((loop.total() / loop["LDG"] for loop in searching), default=0.0)
    float64_per_load = max((_float64(loop) / loop["LDG"] for loop in searching), default=0.0)
    loads = 4 * work.strip_steps * work.tiles + 2 * work.row_steps * work.strips
    instructions = loads * per_load + work.candidates * main.total() + work.tiles * length / 2
    float64 = loads * float64_per_load + work.candidates * _float64(main)
    dependent = (work.strip_steps + 6) * work.tiles + (1 + work.row_steps) * work.strips + 2 * work.candidates
    clocks = {
        "instructions": instructions * warps / WARP_ISSUES_PER_CLOCK,
        "population counts": work.candidates * main["POPC"] * warps * 32 / COUNTS_PER_CLOCK,
        "float64": float64 * warps * 32 / gpu.float64_per_clock,
        "level-2 cache": (work.compared * _COMPARED_BYTES + loads * warps * _SEARCH_BYTES) / CACHE_BYTES_PER_CLOCK,
        "latency": dependent * LOAD_CLOCKS / resident,
    }
    directions, trials = 2, 2
    return {name: directions * trials * value / (gpu.sm_count * gpu.clock_ghz * 1e9) for name, value in clocks.items()}


def _float64(loop: Counter[str]) -> int:
    return sum(count for name, count in loop.items() if _FLOAT64.fullmatch(name))


def _transfer_s() -> float:
    """Return the seconds of copies: all scenes to the device, and matches of a fifth of the query rows back."""
    pageable = 8e9  # bytes per second, about a third of what the link allows
    row_bytes, match_bytes = 64 + 4 * 8, 12
    return float((SCENES * ROWS * row_bytes + PAIRS * ROWS / 5 * match_bytes) / pageable)


def report_windows_amd(tiling: Any) -> WindowReport:
    """Compile for gfx942 and analyse the code; no rate is predicted."""
    kernel = compile_windows("hip", "gfx942", tiling)
    assembly = kernel.asm["amdgcn"]
    numbers = {name: int(value) for name, value in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", assembly)}
    return WindowReport(
        architecture="gfx942",
        tiling=f"{tiling.rows} rows, {tiling.warps} warps",
        registers=numbers["vgpr_count"],
        spilled_bytes=4 * numbers["vgpr_spill_count"],
        shared_bytes=int(kernel.metadata.shared),
        counts=len(re.findall(r"^\s+v_bcnt_u32", assembly, re.MULTILINE)),
        fused=len(re.findall(r"^\s+v_fmac?_f64", assembly, re.MULTILINE)),
    )
