"""The default job through the rows that run on a GPU, here on the CPU, gives the answers of the compiled rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import s2fast
from s2fast.config import load_config
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast_kernels import machine
from s2fast_kernels.machine import Gpus
from tests.archives import Archive

pytestmark = pytest.mark.slow

SAME = {"features.upsample": 1, "compute.device": "cpu"}


def pairs_of(one_tile: Archive, out: Path, **backends: str) -> pd.DataFrame:
    chosen = {f"{section}.backend": name for section, name in backends.items()}
    record = run_stages(Job(load_config(overrides=SAME | chosen), [one_tile.scenes], one_tile.regions, out))
    stages = record.history.stages
    for section, stage in {"features": "extract", "matching": "match"}.items():
        assert (stages[stage].backend, stages[stage].device) == (backends.get(section, "numba"), "cpu")
    return s2fast.open_run(out).pairs().set_index(["query", "train"])


def test_verdicts_and_shifts_are_those_of_the_compiled_rows(one_tile: Archive, tmp_path: Path) -> None:
    wanted = pairs_of(one_tile, tmp_path / "numba")
    matched = pairs_of(one_tile, tmp_path / "matched", matching="torch")
    pd.testing.assert_frame_equal(matched, wanted)  # the same features: the same matches
    got = pairs_of(one_tile, tmp_path / "torch", features="torch", matching="torch")
    assert wanted["verified"].any()
    for column in ("verdict", "verified", "model", "n_query", "n_train"):
        pd.testing.assert_series_equal(got[column], wanted[column])
    for column in ("dx_px", "dy_px"):
        np.testing.assert_allclose(got[column], wanted[column], atol=0.005)


def test_a_gpu_that_is_not_used_is_named(
    one_tile: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine, "gpu_missing", lambda: None)
    monkeypatch.setattr(machine, "gpus", lambda: Gpus(missing="torch is for the CPU", remedy="pip x"))
    for device, warned in {"auto": True, "cpu": False}.items():
        caplog.clear()
        config = load_config(overrides={"features.max_per_scene": 100, "compute.device": device})
        job = Job(config, [one_tile.scenes], one_tile.regions, tmp_path / device)
        record = run_stages(job, stages=["ingest"])
        line = 'torch is for the CPU: this run uses the CPU; pip x, or set compute.device = "cpu"'
        assert (line in caplog.messages) == warned
        assert (line in " ".join(record.history.noticed)) == warned
