import importlib.metadata

import cv2
import pytest
from typer.testing import CliRunner

from s2fast.cli import app
from s2fast.tools import doctor
from s2fast_kernels import machine
from s2fast_kernels.hamming_top2 import torch_any
from s2fast_kernels.hamming_top2.paths import PATH
from s2fast_kernels.operations import OPERATIONS


def findings() -> dict[str, doctor.Finding]:
    return {finding.topic: finding for finding in doctor.examine()}


def test_this_machine_is_fine() -> None:
    found = findings()
    assert all(finding.fine for finding in found.values()), [f for f in found.values() if not f.fine]
    assert found["numpy"].result == importlib.metadata.version("numpy")


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
    monkeypatch.setattr(machine, "_GPU_DRIVERS", ("/dev/no-such-device",))
    found = findings()
    for topic in ("GPU", "hamming_top2: triton"):
        finding = found[topic]
        assert (finding.result, finding.mark, finding.fine) == ("no GPU driver", "none", True)
        assert "everything runs on the CPU" in finding.remedy
    printed = CliRunner().invoke(app, ["doctor"])
    assert printed.exit_code == 0
    assert [line for line in printed.output.splitlines() if line.startswith("none GPU ")]
