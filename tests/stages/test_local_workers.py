"""A run takes as many local processes as pay."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s2fast import pipeline
from s2fast.config import Config
from s2fast.model import Raster
from s2fast.planning import Job
from s2fast.stages import local_workers
from s2fast.stages.local_workers import limited, workers_that_pay
from tests.archives import Archive

TILE = Raster((10_980, 10_980), (1024, 1024), "", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0))


def machine(monkeypatch: pytest.MonkeyPatch, cores: int, free_mb: float) -> None:
    monkeypatch.setattr(local_workers, "available_cores", lambda: cores)
    monkeypatch.setattr(local_workers, "available_mb", lambda: free_mb)


@pytest.mark.parametrize(
    ("cores", "free_mb", "seconds", "scenes", "wanted"),
    [
        (4, 20_000, 40, 48, 2),
        (4, 20_000, 15, 48, 1),  # less work than two processes are worth
        (5, 20_000, 1e5, 1000, 2),
        (2, 20_000, 1e5, 1000, 1),
        (16, 200_000, 1e5, 1000, 8),
        (16, 20_000, 1e5, 1000, 4),  # by memory
        (16, 0, 1e5, 1000, 1),  # where the system does not tell how much is free
        (16, 200_000, 1e5, 11, 2),  # by scenes
        (32, 200_000, 1e5, 1000, 8),
    ],
)
def test_processes_are_limited_by_cores_memory_work_and_scenes(
    monkeypatch: pytest.MonkeyPatch, cores: int, free_mb: float, seconds: float, scenes: int, wanted: int
) -> None:
    machine(monkeypatch, cores, free_mb)
    assert limited(seconds, scenes, 2048) == wanted


def test_only_runs_of_a_cpu_whose_threads_are_free_take_several(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 8, 100_000)

    def workers(scenes: int = 40, stages: tuple[str, ...] = ("ingest", "extract"), **compute: Any) -> int:
        config = Config(compute=compute)  # type: ignore[arg-type]
        items = [SimpleNamespace(raster=TILE, scene=SimpleNamespace(scene_id=str(at))) for at in range(scenes)]
        record: Any = SimpleNamespace(config=config, usable=items, reference="")
        return workers_that_pay(record, SimpleNamespace(placement=None), stages)  # type: ignore[arg-type]

    assert workers() == 4
    assert workers(stages=("match",)) == workers(stages=("verify",)) == 1
    assert workers(200, stages=("match",)) > 1
    assert workers(stages=("report",)) == 1
    assert workers(threads=3) == 1
    monkeypatch.setattr(local_workers, "_devices", lambda _: {"cpu", "cuda:0"})
    assert workers() == 1


@pytest.mark.slow
def test_a_run_asks_for_them(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 4, 100_000)
    opened = []
    open_workplace = pipeline.open_workplace

    def noted(workers: int, *others: Any) -> Any:
        opened.append(workers)
        return open_workplace(1, *others)

    monkeypatch.setattr(pipeline, "open_workplace", noted)
    job = Job(Config(), [archive.scenes], None, str(tmp_path / "out"))
    pipeline.run_stages(job, stages=["ingest"], workers=None)
    assert pipeline.forecast(job, workers=None).workers == 1
    monkeypatch.setattr(local_workers, "_LEAST_S", 1e-3)
    monkeypatch.setattr(local_workers, "_LEAST_SCENES", 1)
    pipeline.run_stages(job, stages=["ingest"], workers=None)
    assert pipeline.forecast(job, workers=None).workers == 2
    pipeline.run_stages(job, stages=["ingest"])
    assert opened == [1, 2, 1]
