"""The default job with a device that is pretended: what runs there, and the answers of the compiled rows.

What asks whether there is a GPU is told that there is one, and what would compute on it computes on torch's CPU device:
Triton's kernels under its interpreter, in a process of its own, and torch's operations as they are.
"""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch

import s2fast
from s2fast.config import load_config
from s2fast.errors import ConfigError
from s2fast.folder.record import RunRecord
from s2fast.image import host_scene, painted, prepare, torch_scene
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.stages import extract, ingest
from s2fast.work.ahead import THREAD
from s2fast_kernels import backends, machine
from s2fast_kernels.akaze import contrast, numba_cpu
from s2fast_kernels.backends import Selected
from s2fast_kernels.machine import Gpus
from tests.archives import safe_path, textured, write_scene
from tests.kernels.interpreter import INTERPRETED, not_interpreted

SIDE_PX = 208
"""Side of the scenes: smaller drawn ones are not verified without enlargement, as the interpreter runs them."""

SIZE = {"features.upsample": 1} if INTERPRETED else {}
"""The interpreter takes four times as long for the enlarged scenes."""

TIMES = ("20190427T083601", "20190606T083601", "20190805T083601")[: 2 if INTERPRETED else 3]
"""Their dates: the interpreter takes five seconds for each."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some dates of one small piece of ground: of the real imagery where it is, else drawn."""
    folder = tmp_path_factory.mktemp("scenes")
    real = Path(__file__).resolve().parents[3] / "shared" / "data" / "ukraine"
    rng = np.random.default_rng(5)
    ground = textured(rng, (SIDE_PX, SIDE_PX)).astype(np.float32)
    for number, time in enumerate(TIMES):
        found = sorted(real.glob(f"*_T36UYA_{time[:8]}*/**/*_TCI.jp2"))
        if found:
            with rasterio.open(found[0]) as dataset:
                window = rasterio.windows.Window(700, 600, SIDE_PX, SIDE_PX)
                bands = dataset.read(window=window)
        else:
            grey = np.clip(ground * (1 - 0.1 * number) + rng.normal(0, 2, ground.shape), 1, 255).astype(np.uint8)
            bands = np.stack([grey] * 3)
        write_scene(safe_path(folder, "36UYA", time), bands)
    return folder


@pytest.fixture(scope="module")
def wanted(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    """The run without a device."""
    out = tmp_path_factory.mktemp("cpu") / "out"
    return run_stages(Job(load_config(overrides=SIZE), [scenes], None, out)), out


class Pretended:
    """A pretended GPU: what is asked to run, and where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
        self.loaded: set[tuple[str, str, str]] = set()
        monkeypatch.setattr(machine, "gpu_missing", lambda: None)
        monkeypatch.setattr(machine, "gpus", lambda: Gpus((capability,)))
        pretended = self

        def load(selected: Selected) -> Callable[..., Any]:
            row = selected.backend
            pretended.loaded.add((row.function, row.name, selected.device))
            implementation = row.load()
            return implementation if row.device == "cpu" else partial(implementation, device="cpu")

        monkeypatch.setattr(backends.Selected, "load", load)


def forbid(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    def called(*_: object, **__: object) -> None:
        pytest.fail(f"{owner.__name__}.{name} ran on the CPU")

    monkeypatch.setattr(owner, name, called)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """A GPU for which Triton's kernels are compiled, or, without the interpreter, one too old for them."""
    if INTERPRETED:
        from s2fast_kernels.akaze import triton_gpu
        from s2fast_kernels.window_matches import triton_gpu as search

        # A program of the interpreter costs about as much as its arithmetic on 10,000 pixels, or 1,000 keypoints.
        for name in ("SMOOTH_TILE", "DIFFUSE_TILE", "DERIVE_TILE"):
            monkeypatch.setattr(triton_gpu, name, triton_gpu.Tile(256, 256, 4))
        monkeypatch.setitem(search.window_matches.__kwdefaults__, "tiling", search.Tiling(1024, 1))
    return Pretended(monkeypatch, (9, 0) if INTERPRETED else (7, 5))


@pytest.mark.slow
def test_a_default_run_uses_the_device(
    gpu: Pretended, scenes: Path, wanted: tuple[RunRecord, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, names in {
        prepare: ("prepare", "clouds", "without_data", "upscaled"), host_scene: ("prepared",), painted: ("flat",),
        contrast: ("contrast_factor",), numba_cpu: ("_Window",),
    }.items():  # fmt: skip
        for name in names:
            forbid(monkeypatch, owner, name)
    threads = []
    ingest_scene = ingest.ingest_scene

    def noted(*arguments: Any, **options: Any) -> None:
        threads.append(threading.current_thread().name.rpartition("_")[0])
        ingest_scene(*arguments, **options)

    monkeypatch.setattr(ingest, "ingest_scene", noted)
    record = run_stages(Job(load_config(overrides=SIZE), [scenes], None, tmp_path / "out"))
    assert threads == [THREAD] * len(TIMES)
    engine, row = ("TritonEngine", "triton") if INTERPRETED else ("TorchEngine", "torch")
    assert {("prepared", "torch", "cuda:0"), (engine, row, "cuda:0")} <= gpu.loaded
    assert {device for _, _, device in gpu.loaded} == {"cuda:0"}
    stages = record.history.stages
    assert stages["extract"].ran == f"{row} on cuda:0, pixels by torch"
    assert (stages["match"].backend, stages["match"].device) == (row, "cuda:0")
    assert_same_answers(tmp_path / "out", wanted[1], record)


@pytest.mark.slow
@not_interpreted
def test_a_run_on_the_second_gpu_uses_no_other(
    gpu: Pretended, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: Gpus(((7, 5), (7, 5))))
    overrides = {"compute.device": "cuda:1", "features.upsample": 1, "features.max_per_scene": 200}
    record = run_stages(Job(load_config(overrides=overrides), [scenes], None, tmp_path / "out"))
    stages = record.history.stages
    assert [stages[name].device for name in ("extract", "match")] == ["cuda:1", "cuda:1"]
    assert {"prepared", "TorchEngine", "window_matches"} <= {function for function, _, _ in gpu.loaded}
    assert {device for _, _, device in gpu.loaded} == {"cuda:1"}


def assert_same_answers(out: Path, wanted_out: Path, record: RunRecord) -> None:
    """Same verdicts, shifts within 0.005 px, and equal matches where the features are equal."""
    got, wanted = (s2fast.open_run(folder) for folder in (out, wanted_out))
    pairs, wanted_pairs = (run.pairs().set_index(["query", "train"]) for run in (got, wanted))
    assert wanted_pairs["verified"].any()
    for column in ("verdict", "verified", "model"):
        pd.testing.assert_series_equal(pairs[column], wanted_pairs[column])
    for column in ("dx_px", "dy_px"):
        np.testing.assert_allclose(pairs[column], wanted_pairs[column], atol=0.005)
    same = {}
    for item in record.usable:
        name = item.scene.scene_id
        here, there = (run.features(name) for run in (got, wanted))
        same[name] = len(here) == len(there) and np.array_equal(here.descriptors, there.descriptors)
        assert abs(len(here) - len(there)) <= 0.01 * len(there) + 2
    for query, train in pairs.index:
        if same[query] and same[train]:
            pd.testing.assert_frame_equal(got.matches(query, train), wanted.matches(query, train))


@pytest.mark.slow
@not_interpreted
def test_features_of_a_device_have_their_own_key(scenes: Path, wanted: tuple[RunRecord, Path], gpu: Pretended) -> None:
    """Also with the same backend: pixels prepared on a device may differ by a grey level."""
    from s2fast.stages.keys import features_key, preparation

    config = load_config(overrides={"features.backend": "torch"})
    assert preparation(config).name == "torch"
    on_cpu = load_config(overrides={"features.backend": "torch", "compute.device": "cpu"})
    assert preparation(on_cpu).name == "opencv"
    assert features_key("tile", config, "torch") != features_key("tile", on_cpu, "torch")
    assert gpu.loaded == set()


@pytest.mark.parametrize("fits", [True, False])
def test_a_tile_that_does_not_fit_is_prepared_on_the_host(fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and masks are the same, whichever way they were made."""
    grey = textured(np.random.default_rng(3), (300, 280))
    grey[:60, :90] = 0
    config = load_config(overrides={"compute.device_budget_mb": 4096 if fits else 256})
    host = prepare.prepare(grey.copy(), config.ingest, config.features.nodata_px)
    if fits:
        forbid(monkeypatch, prepare, "clouds")
    found = torch_scene.prepared(grey.copy(), None, config, 2, device="cpu")
    np.testing.assert_array_equal(found.clear, host.clear)
    part = slice(100, 333), slice(41, 560)
    whole = torch_scene.torch_prepare.upscaled(torch.from_numpy(host.image), *part)
    np.testing.assert_array_equal(found.pixels(*part), whole)
    equal, wanted = found.flat(), painted.flat(grey)
    np.testing.assert_array_equal(equal(slice(0, 300)), wanted(slice(0, 300)))
    assert found.device_bytes is not None
    assert found.device_bytes > 160 << 20


@pytest.mark.slow
def test_out_of_device_memory_is_one_line(
    scenes: Path, tmp_path: Path, gpu: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.21 GiB")

    monkeypatch.setattr(extract, "extract_scene", no_memory)
    job = Job(load_config(overrides={"compute.device_budget_mb": 512}), [scenes], None, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"^extracting S2A_\w+: .*device_budget_mb = 512 MiB: set it") as caught:
        run_stages(job, stages=["ingest", "extract"])
    assert "\n" not in str(caught.value)


def test_another_error_of_a_unit_is_not_called_memory(
    scenes: Path, tmp_path: Path, gpu: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise RuntimeError("shape")

    monkeypatch.setattr(extract, "extract_scene", wrong)
    with pytest.raises(RuntimeError, match="shape"):
        run_stages(Job(load_config(), [scenes], None, tmp_path / "out"), stages=["ingest", "extract"])
