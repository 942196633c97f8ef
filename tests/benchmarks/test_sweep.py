"""Sweeps of the benchmarks: ready files, known truth, kernels' settings, searches."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.sweep import command
from benchmarks.sweep.kinds import BenchmarkSweep
from s2fast.errors import ConfigError
from s2fast.sweeps.checks import check_cases
from s2fast.sweeps.grid import cases_of, load_sweep
from tests.archives import Archive
from tests.sweeps.in_process import cases_in_forks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("sweep_*.toml")), ids=lambda path: path.stem)
def test_the_ready_sweeps_are_valid(path: Path) -> None:
    assert len(check_cases(load_sweep(path, BenchmarkSweep))) >= 7


def test_a_plan_lists_the_cases(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = ROOT / "configs" / "sweep_hamming.toml"
    assert command.main([str(path), "--dry-run", "--cache", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("\n") == 1 + len(cases_of(load_sweep(path, BenchmarkSweep)))
    assert not (tmp_path / "out").exists()


def test_a_wrong_key_of_a_search_is_named() -> None:
    sweep = BenchmarkSweep.model_validate({"name": "test", "kind": "hamming", "case": [{"queries": 3}]})
    with pytest.raises(ConfigError, match="unknown queries; known: backend, n, m, segments"):
        cases_of(sweep)


def test_searches_are_not_run_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "configs" / "sweep_hamming.toml"
    given = [str(path), "--cache", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "2"]
    assert command.main(given) == 2
    assert "sweep hamming only measures seconds" in capsys.readouterr().err


def test_a_missing_data_set_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text("[data]\nkind = 'folder'\nfolder = 'absent'")
    assert command.main([str(path), "--dry-run", "--cache", str(tmp_path), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"no folder {tmp_path / 'absent'}" in error
    assert error.count("\n") == 1


def test_a_case_outside_the_configuration_runs_and_fails_as_a_row(
    one_tile: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        f"base.features.upsample = 1\n[data]\nkind = 'folder'\nfolder = '{one_tile.scenes}'\n"
        "[[case]]\nkernel.core_px = 300\n[[case]]\nkernel.core_px = 300\nrun.workers = 2\n"
    )
    with cases_in_forks():
        assert command.main([str(path), "--cache", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "kernel.core_px needs a single process: set run.workers = 1" in capsys.readouterr().out
    frame = pd.read_parquet(tmp_path / "sweep.parquet")
    assert frame["status"].tolist() == ["ok", "failed"]
    assert frame["counts.pixels_read"][0] == 2 * 512**2
    assert {"commit", "dirty", "source", "config", "data", "environment.machine", "took_s"} <= set(frame)


def test_a_search_is_checked_timed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        'name = "search"\nkind = "hamming"\n[data]\nkind = "none"\n[[grid]]\nn = [65]\nm = [257]\nsegments = [1, 3]\n'
        'backend = ["numba"]\n[[case]]\nbackend = "nonsense"\n[[plot]]\ngain = "quality.rate_1e9_per_s"\n'
    )
    with cases_in_forks():
        assert command.main([str(path), "--cache", str(tmp_path), "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "unknown backend 'nonsense'" in printed.out
    assert "3 cases, 0 done before" in printed.err
    frame = pd.read_parquet(tmp_path / "search.parquet")
    assert frame["status"].tolist() == ["ok", "ok", "failed"]
    assert frame["set.segments"].tolist()[:2] == [1, 3]
    assert (frame["counts.comparisons"][:2] == 65 * 257).all()
    assert (frame["quality.rate_1e9_per_s"][:2] > 0).all()
    assert (frame["quality.times_opencv"][:2] > 0).all()
    assert json.loads(frame["config"][0])["n"] == 65
