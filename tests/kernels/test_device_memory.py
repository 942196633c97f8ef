"""Searches on a device stay within the allowed memory, copies are waited for, and a shortage is one line."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from s2fast_kernels import device_memory, transfers
from s2fast_kernels.device_memory import DeviceMemoryError, allowed_bytes, at_most_bytes
from s2fast_kernels.hamming_top2.cases import random_descriptors
from s2fast_kernels.hamming_window_top2_both import WindowRows
from s2fast_kernels.machine import gpus
from s2fast_kernels.window_matches import device_rows, reference, resident, torch_any
from s2fast_kernels.window_matches.contract import MatchTest
from tests.kernels.test_window_matches import assert_equal

CPU = torch.device("cpu")
DEVICES = ["cpu", *([pytest.param("cuda:0", marks=pytest.mark.gpu)] if gpus().capabilities else [])]
TEST = MatchTest(0.9, 512, mutual=True)
ROWS = 150


class LiveTensors(TorchDispatchMode):
    """Adds up the memory of all tensors that operations have made and that still exist."""

    def __init__(self) -> None:
        super().__init__()
        self.peak, self._live = 0, {}
        self._most = 0
        """Size of all that is in `_live`, of which some may be gone."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                _, before = self._live.get(storage.data_ptr(), (None, 0))
                self._live[storage.data_ptr()] = StorageWeakRef(storage), storage.nbytes()
                self._most += storage.nbytes() - before
        # What is gone is looked for only where it matters.
        if self._most > self.peak:
            self._live = {at: (storage, size) for at, (storage, size) in self._live.items() if not storage.expired()}
            self._most = sum(size for _, size in self._live.values())
            self.peak = max(self.peak, self._most)
        return found


@contextmanager
def peak_on(device: torch.device | str) -> Iterator[SimpleNamespace]:
    """Set ``peak`` to the most memory that tensors took on a device at a time during the block."""
    found = SimpleNamespace(peak=0)
    if torch.device(device).type == "cpu":
        with LiveTensors() as live:
            yield found
        found.peak = live.peak
        return
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    yield found
    found.peak = torch.cuda.max_memory_allocated(device) - held


def scenes(count: int) -> list[WindowRows]:
    """Scenes of one ground, each with its keypoints in another order: as many matches as there can be."""
    rng = np.random.default_rng(7)
    words, xy, group = random_descriptors(rng, ROWS), rng.uniform(0, 60, (ROWS, 2)), rng.integers(0, 2, ROWS)
    orders = [rng.permutation(ROWS) for _ in range(count)]
    return [WindowRows.of(words[order], xy[order], group[order], 5.0) for order in orders]


def every_pair(made: list[WindowRows], places: int) -> tuple[list[tuple[WindowRows, WindowRows]], np.ndarray]:
    pairs = [(query, train) for number, query in enumerate(made) for train in made[number + 1 :]]
    away = np.zeros((len(pairs), places, 2))
    away[:, 1:] = np.random.default_rng(1).uniform(-20, 20, (len(pairs), places - 1, 2))
    return pairs, away


LEAST = 4 * resident.scene_bytes(ROWS, ROWS) + ROWS * torch_any.ROW_BYTES + resident._CALL_BYTES


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Scenes' rows and query rows of every block that is searched."""
    found: list[tuple[int, int]] = []

    def counted(pool: Any, trials: Any, *rest: Any) -> Any:
        found.append((len(pool.x), trials.count))
        return device_rows.found_in_block(pool, trials, *rest)

    monkeypatch.setattr(resident, "found_in_block", counted)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("limit", [LEAST, 2 * LEAST, sys.maxsize], ids=["one pair", "twice", "unlimited"])
def test_a_search_is_split_until_it_fits(limit: int, device: str, blocks: list[tuple[int, int]]) -> None:
    pairs, away = every_pair(scenes(4), 2)
    wanted = reference.window_matches(pairs, away, TEST)
    with peak_on(device) as live, at_most_bytes(limit):
        found = torch_any.window_matches(pairs, away, TEST, device=device)
    assert_equal(found, wanted)
    assert len(found.query_row) > 850
    assert live.peak <= limit
    if limit == sys.maxsize:
        assert blocks == [(4 * ROWS, 12 * ROWS)]
    else:
        assert len(blocks) > 3
        assert live.peak >= 0.3 * limit  # a prediction that is far too high would promise nothing


@pytest.mark.slow
def test_a_block_takes_what_is_predicted() -> None:
    pairs, away = every_pair(scenes(2), 20)
    with LiveTensors() as live:
        torch_any.window_matches(pairs, 0 * away, TEST)
    # Scenes that stay on this device are the host's own memory: only the joined rows are counted.
    pools = sum(resident.scene_bytes(ROWS, len(rows.strip_group)) for rows in pairs[0])
    assert live.peak - pools >= 0.6 * 20 * ROWS * torch_any.ROW_BYTES
    assert live.peak - pools <= 20 * ROWS * torch_any.ROW_BYTES + resident._CALL_BYTES


def test_scenes_unused_for_longest_make_room() -> None:
    made = scenes(4)
    room = LEAST
    kept: list[list[int]] = []
    with at_most_bytes(room):
        for query, train in ((0, 1), (1, 2), (2, 3), (1, 2)):
            torch_any.window_matches([(made[query], made[train])], np.zeros((1, 1, 2)), TEST)
            assert resident.kept_bytes(CPU) <= room
            kept.append([number for number, rows in enumerate(made) if (id(rows), CPU) in resident._kept])
    assert kept[0] == [0, 1]
    assert {1, 2} <= set(kept[1])
    assert {2, 3} <= set(kept[2])
    assert any(0 not in numbers for numbers in kept)
    assert {1, 2} <= set(kept[3])


def test_a_pair_that_does_not_fit_is_one_line() -> None:
    pairs, away = every_pair(scenes(2), 1)
    with at_most_bytes(100_000), pytest.raises(DeviceMemoryError) as refused:
        torch_any.window_matches(pairs, away, TEST)
    assert str(refused.value) == (
        f"scenes of {ROWS} and {ROWS} keypoints need 1 MiB of cpu, and searches may take 0 MiB"
    )


def test_a_device_with_less_memory_than_allowed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(device_rows.Pool, "of", fail)
    with at_most_bytes(5 << 20), pytest.raises(DeviceMemoryError) as refused:
        torch_any.window_matches(*every_pair(scenes(2), 1), TEST)
    assert str(refused.value) == "cpu has less free memory than the 5 MiB that searches may take"


def test_limits_end_and_nest() -> None:
    unlimited = allowed_bytes(CPU)
    with at_most_bytes(7):
        with at_most_bytes(5):
            assert allowed_bytes(CPU) == 5
        assert allowed_bytes(CPU) == 7
    assert allowed_bytes(CPU) == unlimited == sys.maxsize


def test_results_are_read_only_after_the_copies_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(transfers.Download):
        """Copies that arrive only when they are waited for, as those of a GPU may."""

        def __init__(self, tensors: Sequence[torch.Tensor], after: object = None) -> None:
            del after
            self._sources, self._tensors = tensors, [torch.full_like(tensor, 77) for tensor in tensors]

        def arrays(self) -> list[Any]:
            for tensor, source in zip(self._tensors, self._sources, strict=True):
                tensor.copy_(source)
            return [tensor.numpy() for tensor in self._tensors]

    pairs, away = every_pair(scenes(3), 2)
    wanted = reference.window_matches(pairs, away, TEST)
    monkeypatch.setattr(device_rows, "Download", Late)
    with at_most_bytes(3 * LEAST):
        assert_equal(torch_any.window_matches(pairs, away, TEST), wanted)
    # The test sees a missing wait.
    monkeypatch.setattr(Late, "arrays", lambda self: [tensor.numpy() for tensor in self._tensors])
    with pytest.raises((AssertionError, ValueError, OverflowError, IndexError)):
        assert_equal(torch_any.window_matches(pairs, away, TEST), wanted)


def test_workers_of_one_device_share_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "_most_of_the_free", lambda _: 900)
    with at_most_bytes(0, workers=3):
        assert allowed_bytes(CPU) == 300
        with at_most_bytes(500, workers=3):
            assert allowed_bytes(CPU) == 500
        assert allowed_bytes(CPU) == 300
    assert allowed_bytes(CPU) == 900
