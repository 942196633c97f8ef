"""Which backend runs where: "auto" takes rows for the device first, and what is absent is named in one line."""

import importlib.util
from collections.abc import Callable

import pytest
import torch

from s2fast_kernels import machine
from s2fast_kernels.backends import Backend, BackendError, available, find_device, resolve
from s2fast_kernels.machine import Gpus
from s2fast_kernels.operations import OPERATIONS, Operation

FIRST_ON_A_GPU = {"akaze": "triton", "window_matches": "triton", "hamming_top2": "triton"}
"""The row that "auto" takes on a GPU; all other operations have rows for the CPU only."""


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend GPUs of some compute capabilities, or why there are none."""

    def replace(*capabilities: tuple[int, int], missing: str = "", remedy: str = "") -> None:
        monkeypatch.setattr(machine, "gpus", lambda: Gpus(capabilities, missing, remedy))
        monkeypatch.setattr(machine, "PLACE", machine.Place())  # an earlier test may have been a worker in this process

    return replace


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_auto_takes_rows_for_the_device_first(operation: Operation, pretend: Callable[..., None]) -> None:
    pytest.importorskip("triton")
    pretend((9, 0))
    first = FIRST_ON_A_GPU.get(operation.name, "numba")
    for table in filter(None, (operation.backends, operation.engines)):
        for setting, device in {"auto": "cuda:0", "cuda": "cuda:0", "cuda:0": "cuda:0", "cpu": "cpu"}.items():
            selected = resolve(table, device=setting)
            assert selected.name == (first if device != "cpu" else "numba")
            assert selected.device == (device if first != "numba" else "cpu")
        usable = [resolve(table, name).device for name in available(table, "cuda")]
        assert "cuda:0" in usable or operation.name not in FIRST_ON_A_GPU
    pretend(missing="no GPU driver")
    assert (resolve(operation.backends).name, resolve(operation.backends).device) == ("numba", "cpu")


def test_every_operation_of_the_default_job_has_a_row_for_a_gpu() -> None:
    for operation in OPERATIONS:
        if operation.called_under({"matching.mode": "windowed"}.get):
            assert any(row.device != "cpu" for row in operation.backends), operation.name


def test_without_triton_torch_is_next(pretend: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend((9, 0))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else find_spec(name))
    for operation in OPERATIONS:
        if operation.name in FIRST_ON_A_GPU:
            assert resolve(operation.backends).name == "torch"


def test_triton_needs_every_gpu_to_be_new_enough(pretend: Callable[..., None]) -> None:
    pytest.importorskip("triton")
    table = next(operation.backends for operation in OPERATIONS if operation.name == "window_matches")
    pretend((9, 0), (7, 5))
    assert (resolve(table, device="cuda:1").name, resolve(table, device="cuda:1").device) == ("torch", "cuda:1")
    with pytest.raises(BackendError, match=r"'triton' cannot run here: needs compute capability 8\.0, got 7\.5; these"):
        resolve(table, "triton")


def test_a_named_row_of_the_cpu_stays_there(pretend: Callable[..., None]) -> None:
    pretend((9, 0))
    table = OPERATIONS[0].backends
    assert (resolve(table, "numba").name, resolve(table, "numba", "cuda").device) == ("numba", "cpu")
    assert resolve(table, "torch", "cpu").device == "cpu"
    assert resolve(table, "torch").device == "cuda:0"


def test_a_row_for_gpus_is_refused_on_the_cpu(pretend: Callable[..., None]) -> None:
    pytest.importorskip("triton")
    pretend((9, 0))
    table = next(operation.backends for operation in OPERATIONS if operation.name == "window_matches")
    with pytest.raises(BackendError) as refused:
        resolve(table, "triton", "cpu")
    assert str(refused.value) == (
        "backend 'triton' cannot run here: it needs a GPU, and the device is cpu; these can: numba, torch, reference"
    )


def test_the_implementation_gets_the_device(pretend: Callable[..., None]) -> None:
    pretend((9, 0), (9, 0))
    on_gpu = Backend("x", __name__, "where", "any", lambda: None)
    on_cpu = Backend("y", __name__, "anywhere", "cpu", lambda: None)
    assert resolve((on_cpu, on_gpu), device="cuda:1").load()() == "cuda:1"
    assert resolve((on_cpu, on_gpu), device="cpu").load()() == "no device given"


def where(*, device: str) -> str:
    return device


def anywhere() -> str:
    return "no device given"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpu", 'unknown device \'gpu\'; write "auto", "cpu", "cuda" or "cuda:1"'),
        ("cuda:", 'unknown device \'cuda:\'; write "auto", "cpu", "cuda" or "cuda:1"'),
        ("cuda:2", "there is no device 'cuda:2': the last GPU is cuda:1; \"auto\" uses cuda:0"),
    ],
)
def test_an_unknown_or_absent_device_is_one_line(name: str, told: str, pretend: Callable[..., None]) -> None:
    pretend((9, 0), (9, 0))
    with pytest.raises(BackendError) as refused:
        find_device(name)
    assert str(refused.value) == told


def test_no_gpu_is_named_with_its_remedy(pretend: Callable[..., None]) -> None:
    pretend(missing="torch 2 is built for the CPU alone", remedy="pip install torch")
    with pytest.raises(BackendError) as refused:
        find_device("cuda")
    assert str(refused.value) == (
        "there is no device 'cuda': torch 2 is built for the CPU alone (pip install torch); \"auto\" uses cpu"
    )
    assert find_device() == "cpu"


@pytest.mark.parametrize(
    ("cuda", "missing", "remedy"),
    [
        (None, "is built for the CPU alone", "pip uninstall -y torch && pip install torch --index-url"),
        ("12.8", "finds no GPU", "run nvidia-smi"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_named(
    cuda: str | None, missing: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gpu_missing", lambda: None)
    monkeypatch.setattr(machine, "_NVIDIA", ("/",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", None)
    found = machine.gpus()
    assert found.capabilities == ()
    assert found.missing.startswith(f"there is a GPU driver, but torch {torch.__version__}")
    assert found.missing.endswith(missing)
    assert found.remedy.startswith(remedy)


def test_capabilities_of_all_gpus_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_missing", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (8, number))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    assert machine.gpus() == Gpus(((8, 0), (8, 1)))


def test_a_gpu_for_which_torch_has_no_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch finds such a GPU, and fails at the first kernel."""
    monkeypatch.setattr(machine, "gpu_missing", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", {0: (6, 1)}.get)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    found = machine.gpus()
    assert (found.capabilities, found.missing) == (
        (), f"torch {torch.__version__} has no code for the GPUs here, of compute capability 6.1"
    )  # fmt: skip
    assert "https://pytorch.org" in found.remedy
    assert find_device() == "cpu"


def test_memory_of_a_device_that_a_worker_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", {"cuda:0": (800, 1000)}.get)
    monkeypatch.setattr(torch.cuda, "memory_reserved", {"cuda:0": 300}.get)
    monkeypatch.setattr(torch.cuda, "memory_allocated", {"cuda:0": 100}.get)
    assert machine.device_budget_bytes("cuda:0", "auto") == 750
    assert machine.device_budget_bytes("cuda:0", "auto", workers=2) == 375
    assert machine.device_budget_bytes("cuda:0", 300, workers=2) == machine.device_budget_bytes("cpu", 300) == 300 << 20
    assert machine.device_budget_bytes("cpu", "auto") is None
