"""Scenes that stay on a device, and searches split so that they fit in its memory.

A scene's rows are copied to a device once and stay there as long as its `WindowRows` exist, or until others need the
memory: those unused for longest are dropped first. At its peak a search takes

- the scenes that stay,
- those of its pairs once more, joined in one `Pool`, unless they are one scene,
- and a number of bytes per query row of a block of trials, for its result and to collect the matches,

which is within `s2fast_kernels.device_memory.allowed_bytes`: pairs are searched in parts, and trials in blocks, that
are small enough. Only a single pair, or trial, that needs more by itself raises an error.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from s2fast_kernels.device_memory import DeviceMemoryError, allowed_bytes, own_stream, shortage_named
from s2fast_kernels.hamming_window_top2_both import WindowRows
from s2fast_kernels.machine import MIB
from s2fast_kernels.window_matches.contract import Columns, MatchTest, WindowMatches
from s2fast_kernels.window_matches.device_rows import Layout, Pool, Search, found_in_block

Pairs = Sequence[tuple[WindowRows, WindowRows]]

_ROW_BYTES, _STRIP_BYTES = 96, 40
"""Memory of a row and of a strip in a `Pool`."""

_CALL_BYTES = 64 << 10
"""Memory of a call whatever its rows: the trials of a block, and what torch rounds up."""

_kept: OrderedDict[tuple[int, torch.device], Pool] = OrderedDict()
"""Scenes on devices, by the identity of their `WindowRows`, the latest used last; dropped with these."""

_searching = threading.RLock()
"""Held while a search uses `_kept`; but any thread may drop a scene meanwhile, by releasing its rows last."""


def scene_bytes(rows: int, strips: int) -> int:
    """Return the memory of a scene on a device."""
    return rows * _ROW_BYTES + strips * _STRIP_BYTES


def kept_bytes(device: torch.device) -> int:
    """Return the memory of the scenes that stay on a device."""
    return sum(scene_bytes(len(pool.x), len(pool.strip_low)) for (_, at), pool in list(_kept.items()) if at == device)


def _bytes_of(rows: WindowRows) -> int:
    return scene_bytes(len(rows), len(rows.strip_group))


def on_device(rows: WindowRows, device: torch.device) -> Pool:
    """Return a scene's rows on a device, copied at the first call."""
    key = id(rows), device
    found = _kept.get(key)
    if found is None:
        found = _kept[key] = Pool.of(rows, device)
        weakref.finalize(rows, _kept.pop, key, None).atexit = False
    # The caller holds the rows, so that nobody drops the scene.
    _kept.move_to_end(key)
    return found


def _make_room(device: torch.device, needed: int, scenes: Sequence[WindowRows]) -> None:
    """Drop scenes until `needed` bytes are left beside those that stay and all of `scenes`; the latter stay."""
    wanted = {id(rows) for rows in scenes}
    missing = sum(_bytes_of(rows) for rows in scenes if (id(rows), device) not in _kept)
    for key in list(_kept):
        if kept_bytes(device) + missing + needed <= allowed_bytes(device):
            return
        if key[1] == device and key[0] not in wanted:
            _kept.pop(key, None)


def search_in_blocks(
    pairs: Pairs,
    away: npt.NDArray[np.float64],
    test: MatchTest,
    search: Search,
    device: torch.device,
    row_bytes: int,
    most: int,
) -> WindowMatches:
    """Search all trials on a device within the allowed memory; see the package for the contract.

    Parameters
    ----------
    pairs, away, test
        Operands of `window_matches`.
    search
        Searches a block.
    device
        Where to search.
    row_bytes
        Memory per query row of a block.
    most
        Maximum number of query rows of a block of several trials.

    Raises
    ------
    DeviceMemoryError
        A pair does not fit, or the device has less memory than is allowed.
    """
    counts, found = [np.zeros(0, np.int64)], [_none()]
    if away.shape[0] * away.shape[1]:
        with _searching, shortage_named(device), own_stream(device):
            for part in _parts(pairs, device, row_bytes):
                for block in _searched(pairs[part], away[part], test, search, device, row_bytes, most):
                    counts.append(block[0])
                    found.append(block[1])
    query_row, train_row, distance, second = found[-1]
    if len(found) > 2:
        query_row, train_row, distance, second = map(np.concatenate, zip(*found, strict=True))
    return WindowMatches(
        np.cumsum([0, *np.concatenate(counts)]).astype(np.int64), query_row, train_row, distance, second
    )


def _searched(
    pairs: Pairs,
    away: npt.NDArray[np.float64],
    test: MatchTest,
    search: Search,
    device: torch.device,
    row_bytes: int,
    most: int,
) -> Iterator[tuple[npt.NDArray[np.int64], Columns]]:
    """Search the trials of pairs whose scenes fit together; yield the result of every block."""
    scenes = list({id(rows): rows for pair in pairs for rows in pair}.values())
    joined = sum(map(_bytes_of, scenes)) if len(scenes) > 1 else 0
    longest = max(len(query) for query, _ in pairs)
    _make_room(device, _CALL_BYTES + joined + row_bytes * min(most, longest * len(pairs) * away.shape[1]), scenes)
    first_rows = np.cumsum([0, *map(len, scenes)])[:-1]
    pool = Pool.joined([on_device(rows, device) for rows in scenes], first_rows.tolist())
    layout = Layout.of(pairs, away, scenes, first_rows)
    left = allowed_bytes(device) - _CALL_BYTES - kept_bytes(device) - joined
    for block in layout.blocks(min(most, left // row_bytes)):
        yield found_in_block(pool, layout.on(device, block, test.ratio), test, search)


def _parts(pairs: Pairs, device: torch.device, row_bytes: int) -> Iterator[slice]:
    """Yield slices of pairs whose scenes fit twice, with a block of one trial."""
    allowed, first, longest = allowed_bytes(device) - _CALL_BYTES, 0, 0
    held: dict[int, int] = {}
    for number, (query, train) in enumerate(pairs):
        own = {id(rows): _bytes_of(rows) for rows in (query, train)}
        needed = 2 * sum((held | own).values()) + row_bytes * max(longest, len(query))
        if number > first and needed > allowed:
            yield slice(first, number)
            first, longest, held = number, 0, {}
            needed = 2 * sum(own.values()) + row_bytes * len(query)
        if needed > allowed:
            raise DeviceMemoryError(
                f"scenes of {len(query)} and {len(train)} keypoints need {-(-(needed + _CALL_BYTES) // MIB)} MiB of "
                f"{device}, and searches may take {allowed_bytes(device) // MIB} MiB"
            )
        held |= own
        longest = max(longest, len(query))
    yield slice(first, len(pairs))


def _none() -> Columns:
    return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint16), np.empty(0, np.uint16)
