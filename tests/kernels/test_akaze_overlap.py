"""Batches of windows on a device: nobody waits while they are queued, and what is read is the host's answer."""

import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from s2fast_kernels import transfers
from s2fast_kernels.akaze import AkazeSettings, contrast, torch_batches, torch_blocks, torch_describe
from s2fast_kernels.akaze.candidates import Candidates
from s2fast_kernels.akaze.cases import synthetic_image
from s2fast_kernels.akaze.contrast import contrast_factor
from s2fast_kernels.akaze.jobs import Job, Rect, WindowResult
from s2fast_kernels.akaze.masks import Mask
from s2fast_kernels.akaze.overlap import overlapped
from s2fast_kernels.akaze.scales import levels
from s2fast_kernels.akaze.torch_any import TorchEngine, octave_bytes
from s2fast_kernels.akaze.windowed import akaze_windowed
from s2fast_kernels.features import Features

SETTINGS = AkazeSettings(threshold=3e-4, octaves=2)
SHAPE = (150, 173)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return synthetic_image(SHAPE, seed=3)


@pytest.fixture(scope="module")
def features(image: np.ndarray) -> Features:
    return found(image)


def never(*_: object) -> np.ndarray:
    """Select maxima; no test gets so far."""
    raise AssertionError


def source_of(image: np.ndarray | torch.Tensor) -> Any:
    return lambda rows, columns: image[rows, columns]


def found(image: np.ndarray | torch.Tensor, core_px: int = 90, batch: int = 3, **options: Any) -> Features:
    engine = TorchEngine(device="cpu")
    engine.batch = batch
    return akaze_windowed(source_of(image), SHAPE, engine, SETTINGS, core_px=core_px, **options)


def assert_same(one: Features, other: Features) -> None:
    for field in fields(Features):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_batch_is_queued_before_the_one_before_is_waited_for() -> None:
    calls = []

    class Batch:
        def __init__(self, number: int) -> None:
            self.number = number
            calls.append(f"queue {number}")

        def select(self) -> None:
            calls.append(f"select {self.number}")

        def results(self) -> list[WindowResult]:
            calls.append(f"results {self.number}")
            return [self.number]  # type: ignore[list-item]

    assert list(overlapped(map(Batch, range(3)))) == [0, 1, 2]
    assert calls == [
        "queue 0", "queue 1", "select 0", "queue 2", "select 1", "results 0", "select 2", "results 1", "results 2",
    ]  # fmt: skip
    assert list(overlapped([])) == []


@pytest.mark.slow
def test_pixels_on_the_device_give_the_features_of_the_host(image: np.ndarray) -> None:
    """Also the mask, the contrast factor and the padding of an odd side are those of the host."""
    valid = np.zeros(SHAPE, bool)
    valid[20:150, 10:170] = True
    wanted = found(image, valid=valid)
    assert len(wanted) > 50
    assert_same(found(torch.from_numpy(image), valid=valid), wanted)
    assert_same(found(torch.from_numpy(image), core_px=200, batch=1, valid=valid), wanted)


@pytest.mark.slow
def test_more_maxima_than_there_is_room_for(
    image: np.ndarray, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_batches, "PX_PER_MAXIMUM", 5000)
    assert_same(found(image), features)


def _noted(noted: list[np.ndarray], function: Any, counts: np.ndarray, edges: np.ndarray) -> Any:
    noted.append(counts)
    return function(counts, edges)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("strip_px", [1000, 1 << 22])
def test_contrast_factor_on_the_device(
    image: np.ndarray, masked: bool, strip_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_blocks, "_STRIP_PX", strip_px)
    valid = None
    if masked:
        inside = np.zeros(SHAPE, bool)
        inside[70:, 30:111] = True
        valid = Mask(inside, SHAPE)
    counts = []
    for module in (contrast, torch_blocks):
        noted = partial(_noted, counts, module.bin_of_fine)
        monkeypatch.setattr(module, "bin_of_fine", noted)
    wanted = contrast_factor(source_of(image), SHAPE, valid=valid)
    engine = TorchEngine(device="cpu")
    assert engine.contrast(source_of(torch.from_numpy(image)), SHAPE, valid) == wanted
    # The factor is one of 300 bins: a wrong gradient would not show in it.
    np.testing.assert_array_equal(*counts)
    monkeypatch.setattr(torch_blocks, "bin_of_fine", lambda *_: None)
    assert engine.contrast(source_of(torch.from_numpy(image)), SHAPE, valid) == wanted


def test_contrast_factor_of_nothing() -> None:
    engine = TorchEngine(device="cpu")
    for shape in ((2, 50), (40, 50)):
        assert engine.contrast(source_of(torch.zeros(shape, dtype=torch.uint8)), shape, None) == 0.03


def job_of(block: Any, out: Any) -> Job:
    """Window of the second half of a plane of 256 x 300 px."""
    window, core = Rect(64, 256, 0, 300), Rect(128, 256, 0, 300)
    octave = levels(SETTINGS, (256, 300))[0]
    return Job(octave, (256, 300), core, window, core, block, np.float32(0.02), out)


@pytest.fixture
def nothing_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (torch_batches, torch_describe):
        monkeypatch.setattr(
            module, "Download", lambda tensors, after=None: SimpleNamespace(tensors=tensors, after=after)
        )


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_arrives")
def test_queueing_looks_at_no_value() -> None:
    """A tensor of the device "meta" has no values: what would wait for one raises an error."""
    engine = TorchEngine(device="meta")
    block = torch.empty((192, 300), dtype=torch.uint8, device="meta")
    jobs = [job_of(block, engine.plane((128, 150))) for _ in range(2)]
    stack = torch_batches._Stack(engine, jobs, SETTINGS, never, never)
    assert stack._counts is not None
    with pytest.raises(RuntimeError):
        stack._maxima[0].count.item()
    at, offset = np.full(5, 150, np.int32), np.zeros((5, 2), np.float32)
    some = Candidates.make(0, at, at, offset[:, 0], offset, np.ones(5, bool))
    for upright in (False, True):
        settings = AkazeSettings(octaves=2, upright=upright)
        described = torch_describe.describe(stack._planes[0], jobs, [some, some], jobs[0].levels[0], settings, 100)
        assert [tuple(part.shape) for part in described.parts[0].tensors] == [(10,), (10, 64)]  # type: ignore[attr-defined]


class _Live(TorchDispatchMode):
    """Count the bytes of the storages that tensors use, and the most at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._users: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._count(storage._cdata, storage.nbytes(), 1)
                self.most = max(self.most, self.now)
                weakref.finalize(tensor, self._count, storage._cdata, storage.nbytes(), -1)
        return result

    def _count(self, storage: int, size: int, users: int) -> None:
        before = self._users[storage]
        self._users[storage] += users
        self.now += size * ((before + users > 0) - (before > 0))


class NoKernel:
    def __getitem__(self, grid: object) -> Callable[..., None]:
        return self

    def __call__(self, *operands: object, **options: object) -> None:
        """Compute nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "triton"])
@pytest.mark.usefixtures("nothing_arrives")
def test_memory_of_a_batch_is_predicted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TorchEngine(device="meta")
    if name == "triton":
        pytest.importorskip("triton")
        from s2fast_kernels.akaze import triton_gpu

        engine = triton_gpu.TritonEngine(device="meta")
        # As for a cycle of more steps than one pass takes, which needs a second buffer.
        monkeypatch.setattr(triton_gpu, "MOST_STEPS", 3)
        for kernel in ("smooth_kernel", "diffuse_kernel", "derive_kernel"):
            monkeypatch.setattr(triton_gpu, kernel, NoKernel())
    block = torch.empty((192, 300), dtype=torch.uint8, device="meta")
    with _Live() as live:
        stack = torch_batches._Stack(engine, [job_of(block, None)], SETTINGS, never, never)
    assert stack._planes
    assert 0.85 < live.most / (192 * 300 * (engine.pass_bytes + 4 * 13)) <= 1


@pytest.mark.slow
def test_memory_of_a_description_is_predicted() -> None:
    planes = tuple(torch.rand((1, 100, 120)) for _ in range(3))
    at, level = torch.full((2000, 2), 50), levels(SETTINGS, SHAPE)[0][1]
    most = {}
    for upright in (False, True):
        with _Live() as live, torch.inference_mode():
            torch_describe._describe(
                planes, at[:, 0] * 0, at, at, torch.zeros(2000, 2), level, AkazeSettings(upright=upright)
            )
        most[upright] = live.most / 2000
    assert 0.85 < most[False] / torch_describe.KEYPOINT_BYTES <= 1
    assert most[True] < most[False] / 4


@pytest.mark.parametrize("budget_mb", [256, 1000, 4000, 50_000])
def test_what_does_not_fit_is_split(budget_mb: int) -> None:
    shape, halo = (10980, 10980), 170
    engine = TorchEngine(device="cpu", budget_bytes=budget_mb << 20)
    engine.batch = 16
    engine.fit(halo, 4, shape)
    described = engine.described * torch_describe.KEYPOINT_BYTES
    assert 2 * engine.batch * engine.window_bytes(halo, 4) + octave_bytes(shape) + described <= budget_mb << 20
    assert (engine.core_px, engine.batch) == {256: (256, 1), 1000: (1024, 2), 4000: (1024, 10), 50_000: (1024, 16)}[
        budget_mb
    ]


@pytest.mark.slow
def test_a_budget_does_not_change_the_features(image: np.ndarray, features: Features) -> None:
    engine = TorchEngine(device="cpu", budget_bytes=1)
    assert_same(akaze_windowed(source_of(image), SHAPE, engine, SETTINGS), features)
    assert (engine.core_px, engine.batch) == (128, 1)


class Stream:
    """What `Download` calls on a CUDA device, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def wait_event(self, event: str) -> None:
        self.calls.append(f"wait for {event}")

    def record_event(self) -> "Stream":
        self.calls.append("record")
        return self

    def synchronize(self) -> None:
        self.calls.append("synchronize")


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    stream = Stream()
    monkeypatch.setattr(transfers, "copy_stream", {torch.device("cpu"): stream}.get)
    monkeypatch.setattr(transfers, "mark", "all on {}".format)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: stream.calls.append("keep"))
    return stream


@pytest.mark.parametrize("after", [None, "the maxima"])
def test_a_copy_waits_for_what_it_copies_and_the_host_for_the_copy(stream: Stream, after: str | None) -> None:
    """On a pretended stream: a lost synchronisation is one of these calls."""
    download = transfers.Download([torch.arange(3)], after)
    before = [f"wait for {after or 'all on cpu'}", "record", "keep"]
    assert stream.calls == before
    assert download.arrays()[0].tolist() == [0, 1, 2]
    assert stream.calls == [*before, "synchronize"]
