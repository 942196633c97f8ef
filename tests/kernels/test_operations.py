"""The table of operations lists every operation, and what the default job calls."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path

import pytest

import s2fast_kernels
from s2fast.align.resampling import RESAMPLERS
from s2fast.config import load_config
from s2fast.image.scenes import PREPARATIONS
from s2fast.pipeline import STAGES, run_stages
from s2fast.planning import Job
from s2fast_kernels import machine
from s2fast_kernels.backends import Backend
from s2fast_kernels.operations import OPERATIONS, Operation, operation_of
from tests.archives import Archive

KERNELS = Path(s2fast_kernels.__file__).parent


def test_every_folder_is_an_operation_of_the_table() -> None:
    assert {path.parent.name for path in KERNELS.glob("*/__init__.py")} == {op.name for op in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_row_names_what_is_there(operation: Operation) -> None:
    assert operation.load_cases().__file__
    for row in operation.rows:
        assert operation_of(row) is operation
        assert row.device == {"triton": "gpu", "torch": "any"}.get(row.name, "cpu")
    assert set(operation.stages) <= set(STAGES)
    defaults = load_config()
    for key in operation.settings:
        section, _, name = key.partition(".")
        assert hasattr(getattr(defaults, section), name)


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in (*(row for op in OPERATIONS for row in op.rows), *PREPARATIONS, *RESAMPLERS)
        if row.device != "cpu"
    ],
    ids=lambda row: f"{row.function}-{row.name}",
)
def test_a_row_that_is_not_of_the_cpu_takes_a_device(row: Backend) -> None:
    """A call on a GPU passes it, which no machine without one would notice."""
    for package in ("torch", *(["triton"] if row.name == "triton" else [])):
        pytest.importorskip(package)
    assert "device" in inspect.signature(row.load()).parameters


def test_a_backend_of_no_table_belongs_to_no_operation() -> None:
    assert operation_of(Backend("x", "elsewhere", "x", "cpu", lambda: None)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"akaze", "window_matches"}),
        ({"matching.mode": "exhaustive"}, {"akaze", "hamming_top2_both"}),
        ({"matching.mode": "exhaustive", "matching.mutual": False}, {"akaze", "hamming_top2"}),
    ],
)
def test_a_job_calls_the_operations_of_the_table(
    settings: dict[str, object],
    names: set[str],
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: Counter[tuple[str, str]] = Counter()
    load = Backend.load

    def noted(self: Backend) -> object:
        if self in PREPARATIONS:
            return load(self)
        operation = operation_of(self)
        assert operation is not None, f"{self.module}.{self.function} is in no row of the table"
        called[stage, operation.name] += 1
        return load(self)

    monkeypatch.setattr(Backend, "load", noted)
    config = load_config(overrides={"features.max_per_scene": 300, **settings})
    for stage in STAGES:
        run_stages(Job(config, [archive.scenes], archive.regions, tmp_path / "out"), stages=[stage])
    dumped = config.model_dump()

    def setting(key: str) -> object:
        section, _, name = key.partition(".")
        return dumped[section][name]

    expected = {(stage, op.name) for op in OPERATIONS if op.called_under(setting) for stage in op.stages}
    assert set(called) == expected
    assert {name for _, name in called} == names


def test_a_gpu_driver_is_seen_by_its_device_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "driver"
    monkeypatch.setattr(machine, "_GPU_DRIVERS", (str(node),))
    monkeypatch.setenv("PATH", str(tmp_path))
    look = machine.gpu_missing.__wrapped__
    assert look() == "no GPU driver"
    node.touch()
    assert look() is None
    monkeypatch.setattr(machine, "_GPU_DRIVERS", ())
    assert look() == "no GPU driver"
    (tmp_path / "nvidia-smi").touch(0o755)
    assert look() is None
