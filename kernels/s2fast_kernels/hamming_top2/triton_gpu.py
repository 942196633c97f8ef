"""`hamming_top2` on a GPU: one fused kernel with an int8 product of ±1 descriptors and the running top-2 in registers.

For a, b in {-1, 1}^512 the product a·b is 512 - 2 * distance. A program holds a tile of queries and iterates over one
chunk of a train scene, a tile of rows at a time. Every thread keeps the two smallest keys of each (query, column) that
it owns. A comparison therefore costs one multiply-add, which computes the key from the product, and three minima or
maxima. The key contains only the tile's number: the column is known from the position of the key. Columns are reduced
once, at the end of the chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl

from s2fast_kernels.device_memory import DeviceMemoryError, allowed_bytes, shortage_named
from s2fast_kernels.features import WORDS
from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, Top2
from s2fast_kernels.machine import current_gpu

if TYPE_CHECKING:
    import numpy.typing as npt

BITS = tl.constexpr(64 * WORDS)
BYTES = tl.constexpr(8 * WORDS)

TILE_BITS = tl.constexpr(20)
"""Low bits of an int32 key that hold the tile's number; the next 10 hold a distance of up to 512."""

TILE_MASK = tl.constexpr((1 << TILE_BITS.value) - 1)
KEY_SCALE = tl.constexpr(-(1 << (TILE_BITS.value - 1)))
KEY_ZERO = tl.constexpr(BITS.value << (TILE_BITS.value - 1))
"""``KEY_ZERO + KEY_SCALE * product`` is ``distance << TILE_BITS``: 512 - product is twice the distance."""

NO_KEY = tl.constexpr(2**31 - 1)
ROW_BITS = tl.constexpr(32)
NO_BITS = tl.constexpr(NO_DISTANCE)
NO_WIDE_KEY = tl.constexpr(NO_DISTANCE << 32 | (2**32 - 1))
"""Key ``distance << 32 | row`` without a row; its row reads as -1."""

CHUNK_ROWS = 8192
"""Maximum number of train rows per program: enough to make the final reduction cheap, few enough that one pair fills a
GPU."""

_QUERY_PANEL = 1 << 17
_TRAIN_PANEL = 1 << 20
"""Maximum number of rows expanded to one byte per bit at a time, 64 and 512 MiB on the device."""

_EXPANDED_BYTES = BITS.value + BYTES.value
"""Memory of a row on the device, packed and expanded."""

_CHUNK_BYTES, _SCENE_BYTES = 12, 12
"""Memory of the result of a query in a chunk, and in a scene."""

_EXPAND_ROWS = 16
_JOIN_QUERIES = 128
"""Rows and queries per program of the two smaller kernels."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """Compile-time parameters of the search kernel for one architecture."""

    queries: int
    """Queries per program."""

    columns: int
    """Train rows per step."""

    warps: int
    """Warps per program."""

    stages: int
    """Tiles of train rows in flight."""

    peel: bool
    """Whether the last, partial tile has separate code, so that the loop needs no mask."""


TILINGS = {
    80: Tiling(128, 64, 4, 2, peel=False),
    89: Tiling(128, 64, 4, 2, peel=False),
    90: Tiling(256, 64, 8, 3, peel=True),
    100: Tiling(128, 64, 8, 3, peel=True),
    120: Tiling(128, 64, 8, 2, peel=False),
}
"""Tilings by compute capability, selected from the reports of ``python -m benchmarks static``."""

AMD_TILING = Tiling(128, 64, 4, 2, peel=True)
"""Tiling for CDNA 3 (gfx942)."""


def tiling_of(capability: int) -> Tiling:
    """Return the tiling of the newest architecture in `TILINGS` that is not newer than this one."""
    known = [known for known in TILINGS if known <= capability]
    if not known:
        raise ValueError(f"the int8 product needs compute capability 8.0 or newer, got {capability / 10}")
    return TILINGS[max(known)]


def default_tiling(device: torch.device) -> Tiling:
    """Return the tiling for a device's architecture."""
    if torch.version.hip:
        return AMD_TILING
    major, minor = torch.cuda.get_device_capability(device)
    return tiling_of(10 * major + minor)


@triton.jit
def expand_kernel(packed: tl.tensor, signs: tl.tensor, rows: tl.tensor, block_rows: tl.constexpr) -> None:
    """Expand (rows, 64) uint8 to (rows, 512) int8 of ±1, one per bit."""
    row = tl.program_id(0).to(tl.int64) * block_rows + tl.arange(0, block_rows)
    bit = tl.arange(0, BITS)
    mask = (row < rows)[:, None]
    byte = tl.load(packed + row[:, None] * BYTES + bit[None, :] // 8, mask=mask, other=0)
    sign = ((byte >> (bit % 8)[None, :].to(tl.uint8)) & 1).to(tl.int8) * 2 - 1
    tl.store(signs + row[:, None] * BITS + bit[None, :], sign, mask=mask)


@triton.jit
def _masked_step(
    signs: tl.tensor, rows: tl.tensor, column: tl.tensor, count: tl.tensor, tile: tl.tensor,
    best: tl.tensor, second: tl.tensor, tile_columns: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Merge one tile that may extend beyond the end of its chunk."""
    inside = column < count - tile * tile_columns
    # A column without a row is all zero, so its product is 0 and its key NO_KEY: one mask per column, not comparison.
    dot = tl.dot(signs, tl.load(rows, mask=inside[None, :], other=0), out_dtype=tl.int32)
    key = dot * KEY_SCALE + tl.where(inside, KEY_ZERO + tile, NO_KEY)[None, :]
    return tl.minimum(best, key), tl.minimum(second, tl.maximum(best, key))


@triton.jit
def search_kernel(
    query: tl.tensor, train: tl.tensor, starts: tl.tensor, stops: tl.tensor,
    best_out: tl.tensor, second_out: tl.tensor, n: tl.tensor,
    tile_queries: tl.constexpr, tile_columns: tl.constexpr, peel: tl.constexpr,
) -> None:  # fmt: skip
    """Search a tile of queries in one chunk of rows.

    Writes two (chunks, n) arrays: the nearest row as int64 ``distance << 32 | row``, with the row relative to the start
    of the chunk, and the second-smallest distance as int32.
    """
    row = tl.program_id(0) * tile_queries + tl.arange(0, tile_queries)
    chunk = tl.program_id(1).to(tl.int64)
    start = tl.load(starts + chunk)
    count = (tl.load(stops + chunk) - start).to(tl.int32)
    bit = tl.arange(0, BITS)
    column = tl.arange(0, tile_columns)
    signs = tl.load(query + row.to(tl.int64)[:, None] * BITS + bit[None, :], mask=(row < n)[:, None], other=0)
    best = tl.full((tile_queries, tile_columns), NO_KEY, tl.int32)
    second = tl.full((tile_queries, tile_columns), NO_KEY, tl.int32)
    # Advancing a scalar 64-bit address per tile keeps the offsets in the loop small, which saves registers.
    offset = column[None, :] * BITS + bit[:, None]
    rows = train + start * BITS
    if peel:
        whole_tiles = count // tile_columns
        for tile in range(whole_tiles):
            dot = tl.dot(signs, tl.load(rows + offset), out_dtype=tl.int32)
            key = dot * KEY_SCALE + (KEY_ZERO + tile)
            second = tl.minimum(second, tl.maximum(best, key))
            best = tl.minimum(best, key)
            rows += tile_columns * BITS
        if whole_tiles * tile_columns < count:
            best, second = _masked_step(signs, rows + offset, column, count, whole_tiles, best, second, tile_columns)
    else:
        for tile in range(tl.cdiv(count, tile_columns)):
            best, second = _masked_step(signs, rows + offset, column, count, tile, best, second, tile_columns)
            rows += tile_columns * BITS
    # Equal keys are rows of one tile: the lowest column is the lowest row; exclude only that one.
    nearest = tl.min(best, axis=1)
    holder = tl.min(tl.where(best == nearest[:, None], column[None, :], tile_columns), axis=1)
    others = tl.where(column[None, :] == holder[:, None], NO_KEY, best)
    runner_up = tl.min(tl.minimum(others, second), axis=1)
    found = (nearest & TILE_MASK) * tile_columns + holder
    wide = ((nearest >> TILE_BITS).to(tl.int64) << ROW_BITS) | found.to(tl.int64)
    tl.store(best_out + chunk * n + row, wide, mask=row < n)
    runner_up_distance = tl.where(runner_up == NO_KEY, NO_BITS, runner_up >> TILE_BITS)
    tl.store(second_out + chunk * n + row, runner_up_distance, mask=row < n)


@triton.jit
def join_kernel(
    best_in: tl.tensor, second_in: tl.tensor, first_chunks: tl.tensor,
    index: tl.tensor, best: tl.tensor, second: tl.tensor,
    n: tl.tensor, s: tl.tensor, chunk_rows: tl.tensor, tile_queries: tl.constexpr,
) -> None:  # fmt: skip
    """Merge the chunks of each scene into (n, s) int32 index, best and second."""
    row = tl.program_id(0) * tile_queries + tl.arange(0, tile_queries)
    scene = tl.program_id(1).to(tl.int64)
    mask = row < n
    first = tl.load(first_chunks + scene)
    nearest = tl.full((tile_queries,), NO_WIDE_KEY, tl.int64)
    runner_up = tl.full((tile_queries,), NO_BITS, tl.int32)
    for chunk in range(first, tl.load(first_chunks + scene + 1)):
        at = chunk * n + row
        # Rows are relative to the start of their chunk. A chunk is never empty, so its nearest key has a row.
        shift = (chunk - first) * chunk_rows
        key = tl.load(best_in + at, mask=mask, other=NO_WIDE_KEY) + shift
        other = tl.load(second_in + at, mask=mask, other=NO_BITS)
        farther = (tl.maximum(nearest, key) >> ROW_BITS).to(tl.int32)
        runner_up = tl.minimum(tl.minimum(runner_up, other), farther)
        nearest = tl.minimum(nearest, key)
    out = row.to(tl.int64) * s + scene
    tl.store(index + out, nearest.to(tl.int32), mask=mask)
    tl.store(best + out, (nearest >> ROW_BITS).to(tl.int32), mask=mask)
    tl.store(second + out, runner_up, mask=mask)


def _expand(packed: npt.NDArray[np.uint64], device: torch.device) -> torch.Tensor:
    """Copy packed rows to the device and expand them there."""
    copied = torch.tensor(packed.view(np.uint8), device=device)
    signs = torch.empty((len(packed), BITS.value), dtype=torch.int8, device=device)
    grid = (triton.cdiv(len(packed), _EXPAND_ROWS),)
    expand_kernel[grid](copied, signs, len(packed), block_rows=_EXPAND_ROWS, enable_fp_fusion=False)
    return signs


@dataclass(frozen=True, slots=True)
class _Panels:
    """How a search is split so that a part fits into the device's memory."""

    offsets: npt.NDArray[np.int64]
    """(p + 1,) `train_offsets`, with those of scenes cut in pieces."""
    scene: npt.NDArray[np.int64]
    """(p,) scene of every piece, ascending."""
    panels: list[tuple[int, int]]
    """Pieces [first, last) that are searched together."""
    queries: int
    """Queries that are searched together."""

    @classmethod
    def of(cls, train_offsets: npt.NDArray[np.int64], chunk_rows: int, allowed: int) -> _Panels:
        """Give half of the allowed memory to train rows, the rest to queries and their results."""
        rows = max(1, min(_TRAIN_PANEL, allowed // 2 // _EXPANDED_BYTES))
        counts = np.maximum(1, -(-np.diff(train_offsets) // rows))
        scene = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(scene)) - (np.cumsum(counts) - counts)[scene]
        offsets = np.append(train_offsets[scene] + within * rows, train_offsets[-1])
        panels = _piece_panels(offsets, rows)
        pieces = max(last - first for first, last in panels)
        per_query = _EXPANDED_BYTES + _SCENE_BYTES * pieces + _CHUNK_BYTES * (rows // chunk_rows + pieces)
        return cls(offsets, scene, panels, min(_QUERY_PANEL, (allowed - rows * _EXPANDED_BYTES) // per_query))


def _piece_panels(offsets: npt.NDArray[np.int64], most_rows: int) -> list[tuple[int, int]]:
    """Split pieces, of at most `most_rows` rows each, into panels [first, last) of at most as many together."""
    panels, first = [], 0
    for piece in range(1, len(offsets)):
        if piece - 1 > first and offsets[piece] - offsets[first] > most_rows:
            panels.append((first, piece - 1))
            first = piece - 1
    return [*panels, (first, len(offsets) - 1)]


def _merge(
    result: Top2, rows: slice, found: Top2, scenes: npt.NDArray[np.int64], first_rows: npt.NDArray[np.int64]
) -> None:
    """Merge what queries found in pieces of scenes, in order of their rows; ties go to the earlier piece.

    Parameters
    ----------
    result
        The neighbours of all queries in all scenes.
    rows
        The queries.
    found
        Their neighbours in p pieces.
    scenes, first_rows : (p,) int64
        The scene of every piece, and its first row there.
    """
    for piece, (scene, first_row) in enumerate(zip(scenes.tolist(), first_rows.tolist(), strict=True)):
        at = rows, scene
        best, second, nearest = found.best[:, piece], found.second[:, piece], found.index[:, piece] + first_row
        result.index[at] = np.where(best < result.best[at], nearest, result.index[at])
        result.second[at] = np.minimum(np.minimum(result.second[at], second), np.maximum(result.best[at], best))
        result.best[at] = np.minimum(result.best[at], best)


def _search(
    query: torch.Tensor, train: torch.Tensor, offsets: npt.NDArray[np.int64], tiling: Tiling, chunk_rows: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Search expanded queries in expanded scenes, with offsets from 0; return (n, s) int32 index, best and second."""
    n, s, device = len(query), len(offsets) - 1, query.device
    scene_chunks = -(-np.diff(offsets) // chunk_rows)
    first_chunks = np.concatenate([[0], np.cumsum(scene_chunks)])
    scene = np.repeat(np.arange(s), scene_chunks)
    starts = offsets[scene] + (np.arange(len(scene)) - first_chunks[scene]) * chunk_rows
    stops = np.minimum(starts + chunk_rows, offsets[scene + 1])
    nearest = torch.empty((len(scene), n), dtype=torch.int64, device=device)
    runner_up = torch.empty((len(scene), n), dtype=torch.int32, device=device)
    index, best, second = (torch.empty((n, s), dtype=torch.int32, device=device) for _ in range(3))
    if len(scene):
        search_kernel[(triton.cdiv(n, tiling.queries), len(scene))](
            query,
            train,
            torch.tensor(starts, device=device),
            torch.tensor(stops, device=device),
            nearest,
            runner_up,
            n,
            tile_queries=tiling.queries,
            tile_columns=tiling.columns,
            peel=tiling.peel,
            num_warps=tiling.warps,
            num_stages=tiling.stages,
            enable_fp_fusion=False,
        )
    firsts = torch.tensor(first_chunks, device=device)
    join_kernel[(triton.cdiv(n, _JOIN_QUERIES), s)](
        nearest,
        runner_up,
        firsts,
        index,
        best,
        second,
        n,
        s,
        chunk_rows,
        tile_queries=_JOIN_QUERIES,
        enable_fp_fusion=False,
    )
    return index, best, second


def hamming_top2(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    train_offsets: npt.NDArray[np.int64],
    *,
    device: str | torch.device | None = None,
    tiling: Tiling | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Top2:
    """Search all scenes of a panel in one launch; see the package for the contract.

    The defaults are the current CUDA device and the tiling of its architecture. Triton's interpreter runs the kernels
    on the CPU device.
    """
    device = torch.device(device or "cuda")
    tiling = tiling or default_tiling(device)
    result = Top2.empty(len(query), len(train_offsets) - 1)
    if len(query) == 0 or len(train_offsets) == 1:
        return result
    allowed = allowed_bytes(device)
    panels = _Panels.of(train_offsets, chunk_rows, allowed)
    if panels.queries < 1:
        raise DeviceMemoryError(f"a search needs more of {device} than the {allowed >> 20} MiB that searches may take")
    with current_gpu(device), shortage_named(device):
        for first, last in panels.panels:
            offsets = panels.offsets[first : last + 1]
            train_signs = _expand(train[offsets[0] : offsets[-1]], device)
            for start in range(0, len(query), panels.queries):
                rows = slice(start, start + panels.queries)
                columns = _search(_expand(query[rows], device), train_signs, offsets - offsets[0], tiling, chunk_rows)
                index, best, second = (column.cpu().numpy() for column in columns)
                found = Top2(index, best.astype(np.uint16), second.astype(np.uint16))
                scenes = panels.scene[first:last]
                _merge(result, rows, found, scenes, offsets[:-1] - train_offsets[scenes])
    return result
