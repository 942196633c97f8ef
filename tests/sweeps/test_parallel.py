"""Cases side by side find what they find one after another: in local processes and on a Dask cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import distributed
import pytest

from s2fast.sweeps import parallel
from s2fast.sweeps.kept_pairs import read_pairs
from s2fast.sweeps.results import How, load_all
from s2fast.sweeps.runner import run_sweep
from tests.archives import Archive
from tests.sweeps.in_process import cases_in_forks, cases_in_this_process

pytestmark = pytest.mark.slow

BASE = {"regions.mode": "none", "features.max_per_scene": 800, "features.upsample": 1}
CASES = [
    {"features.threshold": 0.001, "matching.ratio": 0.8}, {"features.threshold": 0.001, "matching.ratio": 0.9},
    {"features.threshold": 0.0003, "matching.ratio": 0.8},
]  # fmt: skip
GRID: dict[str, Any] = {"base": BASE, "case": CASES}


@pytest.fixture(scope="module")
def in_turn(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    (checked,) = load_all([GRID], [str(archive.scenes)])
    path = tmp_path_factory.mktemp("turn") / "rows.jsonl"
    with cases_in_this_process():
        return path, run_sweep(checked, path, print)[0]


def same(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    for name in ("case", "label", "status", "found", "counts", "config"):
        assert [row[name] for row in rows] == [row[name] for row in others]


@pytest.mark.longest
def test_two_local_cases_at_once(archive: Archive, tmp_path: Path, in_turn: tuple[Path, list[dict[str, Any]]]) -> None:
    (checked,) = load_all([GRID], [str(archive.scenes)], how=How(workers=2))
    lines: list[str] = []
    path = tmp_path / "rows.jsonl"
    with cases_in_forks():
        rows, _ = run_sweep(checked, path, lines.append, workers=2)
    same(rows, in_turn[1])
    assert "up to 2 cases side by side" in lines
    assert lines[-1].startswith("3 of 3, ")
    # Reading was done once, and extraction once per threshold, whatever ran beside.
    computed = [[name for name, stage in row["stages"].items() if not stage["shared"]] for row in rows]
    assert sum("ingest" in names for names in computed) == 1
    assert sum("extract" in names for names in computed) == 2
    assert all(set(row["stages"]) == set(rows[0]["stages"]) for row in rows)
    assert all(row["seconds"] is None and row["cpu_s"] > 0 and row["peak_mb"] > 50 for row in rows)
    for row in rows:
        kept, wanted = (read_pairs(place, row["case"]) for place in (path, in_turn[0]))
        assert kept is not None
        assert wanted is not None
        assert kept.equals(wanted)
    assert not (tmp_path / "rows.work").exists()


def test_on_a_cluster(archive: Archive, tmp_path: Path, in_turn: tuple[Path, list[dict[str, Any]]]) -> None:
    (checked,) = load_all([{"base": BASE, "case": CASES[:2]}], [str(archive.scenes)])
    lines: list[str] = []
    threads = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with cases_in_forks(), distributed.LocalCluster(**threads) as cluster:
        rows, _ = run_sweep(checked, tmp_path / "rows.jsonl", lines.append, scheduler=str(cluster.scheduler_address))
    same(rows, in_turn[1][:2])
    assert lines[1].startswith("up to 2 cases side by side on ")


def test_a_case_over_its_limit_of_memory_is_a_row(archive: Archive, tmp_path: Path) -> None:
    (checked,) = load_all([{"base": BASE, "case": CASES[:1], "limit_mb": 60}], [str(archive.scenes)])
    rows, _ = run_sweep(checked, tmp_path / "rows.jsonl", print, workers=2)
    assert [row["reason"] for row in rows] == ["needed more than 60 MiB of memory and was killed"]


def test_memory_is_promised_to_all_of_them_together(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def answer(_module: str, _job: dict[str, Any], limits: Any, _children: Any) -> tuple[dict[str, Any], str]:
        given.append(limits.memory_mb)
        return {}, "no reason"

    monkeypatch.setattr(parallel, "run_alone", answer)
    monkeypatch.setattr(parallel, "available_mb", lambda: 6000 / 0.9)
    lines: list[str] = []
    (checked,) = load_all([GRID], [str(archive.scenes)])
    run_sweep(checked, tmp_path / "rows.jsonl", lines.append, workers=8)
    # Each may need 400 MiB and compute.budget_mb, 2048 MiB: there is room for two.
    assert "up to 2 cases side by side, not 8: each may need 2,448 MiB" in lines
    assert given == [3000.0] * 3
