import importlib.metadata
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from typer.testing import CliRunner

import s2fast
from s2fast.cli import app
from s2fast.tools import doctor
from s2fast.work.machine import processor
from s2fast_kernels import machine
from s2fast_kernels.hamming_top2 import torch_any
from s2fast_kernels.hamming_top2.paths import PATH
from s2fast_kernels.machine import available_cores
from s2fast_kernels.operations import OPERATIONS


def findings() -> dict[str, doctor.Finding]:
    return {finding.topic: finding for finding in doctor.examine()}


def test_this_machine_is_fine() -> None:
    found = findings()
    assert all(finding.fine for finding in found.values()), [f for f in found.values() if not f.fine]
    assert found["numpy"].result == importlib.metadata.version("numpy")
    assert found["cores"].result == f"{available_cores()}, {processor()}"


def test_cv2_without_akaze_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "AKAZE")
    assert "pip uninstall -y opencv-python" in findings()["akaze: opencv"].result


def test_second_cv2_wheel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def with_another(name: str) -> str:
        return "5.0.0" if name == "opencv-python" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", with_another)
    assert "pip uninstall -y opencv-python &&" in findings()["cv2"].remedy


def test_missing_package_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in ("zarr", "triton"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    found = findings()
    assert (found["zarr"].fine, found["zarr"].remedy) == (False, "pip install 'zarr'")
    assert (found["triton"].fine, found["triton"].remedy) == (True, "pip install 's2fast[gpu]'")


def test_a_folder_that_is_not_installed_is_named_and_its_packages_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = importlib.metadata.distribution

    def without(name: str) -> importlib.metadata.Distribution:
        if name == "s2fast":
            raise importlib.metadata.PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(importlib.metadata, "distribution", without)
    doctor._wanted.cache_clear()
    found = findings()
    doctor._wanted.cache_clear()
    assert found["s2fast"].result.startswith(f"{s2fast.__version__} of a folder, not installed")
    assert (found["s2fast"].fine, found["s2fast"].mark) == (True, "none")
    assert found["s2fast"].remedy == f"pip install {Path(s2fast.__file__).parents[1]}"
    assert found["numpy"].result == distribution("numpy").version


def test_package_of_a_wrong_version_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "5.0.0" if name == "opencv-python-headless" else version(name)
    )
    found = findings()["opencv-python-headless"]
    assert not found.fine
    assert found.remedy == "pip install 'opencv-python-headless<5,>=4.10'"


def test_every_operation_and_backend_has_a_line() -> None:
    found = findings()
    for operation in OPERATIONS:
        for backend in operation.backends:
            finding = found[f"{operation.name}: {backend.name}"]
            assert finding.present == (backend.missing() is None)
        assert operation.called in found[f"{operation.name}: auto"].result


def test_the_ways_of_comparing_are_named() -> None:
    found = findings()
    assert found["comparing descriptors"].result == PATH
    device = torch_any.default_device()
    product = torch_any.default_product(device)
    assert found["the same with torch"].result == f"{product} products, device: {device.type}"


def test_no_gpu_driver_is_missing_with_a_hint_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_missing", lambda: "no GPU driver")
    found = findings()
    for topic in ("GPU", "hamming_top2: triton"):
        finding = found[topic]
        assert (finding.result, finding.mark, finding.fine) == ("no GPU driver", "none", True)
    assert "everything runs on the CPU" in found["GPU"].remedy
    printed = CliRunner().invoke(app, ["doctor"])
    assert printed.exit_code == 0
    lines = printed.output.splitlines()
    assert [line for line in lines if line.startswith("none GPU ")]
    cores = doctor._cores()
    assert lines[-1] == f"a default run uses: AKAZE numba on {cores}, matching numba on {cores}, decoding on {cores}"


def test_the_last_line_names_what_a_default_run_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(doctor, "available_cores", lambda: 16)
    monkeypatch.setattr(machine, "gpus", lambda: machine.Gpus(((9, 0),)))
    assert doctor.default_run() == (
        "a default run uses: AKAZE triton on cuda:0, matching triton on cuda:0, decoding on 16 cores"
    )


@pytest.mark.parametrize(
    ("capability", "absent", "told"),
    [
        ((9, 0), True, "without Triton (not installed: triton) an H100 matches 4 to 11 times slower than 16 cores: "),
        ((7, 5), False, "without Triton (needs compute capability 8.0, got 7.5) an H100 matches 4 to 11 times slower "),
    ],
)
def test_a_gpu_without_triton_is_told_with_the_remedy(
    capability: tuple[int, int], absent: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    find_spec = importlib.util.find_spec
    if absent:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else find_spec(name))
    monkeypatch.setattr(machine, "gpus", lambda: machine.Gpus((capability,)))
    used, _, lost = doctor.default_run().partition("; ")
    assert used.startswith("a default run uses: AKAZE torch on cuda:0, matching torch on cuda:0, decoding on ")
    assert lost.startswith(told)
    assert lost.endswith("pip install 's2fast[gpu]'" if absent else 'set compute.device = "cpu"')


def test_a_torch_that_cannot_use_the_gpu_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: machine.Gpus(missing="torch is for the CPU", remedy="pip x"))
    found = findings()["GPU"]
    assert (found.result, found.remedy, found.present, found.fine) == (
        "torch is for the CPU", "pip x", False, True
    )  # fmt: skip


def test_every_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: machine.Gpus(((9, 0), (8, 9))))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda at: SimpleNamespace(name=f"GPU {at}", total_memory=80 << 30)
    )
    assert doctor._gpu().result == "cuda:0: GPU 0, 80 GiB; cuda:1: GPU 1, 80 GiB"
