"""A run of days says so before it starts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s2fast.config import Config
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Raster
from s2fast.stages import duration

TILE = Raster((10_980, 10_980), (1024, 1024), "", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0))


def record(scenes: int, reduction: int = 1) -> Any:
    items = [
        SimpleNamespace(
            scene=SimpleNamespace(scene_id=f"s{number}", others=()), raster=TILE, identity=f"{number}", mask=None
        )
        for number in range(scenes)
    ]
    config = Config(ingest={"reduction": reduction})  # type: ignore[arg-type]
    return SimpleNamespace(usable=items, config=config, regions=None)


def test_the_prediction_is_that_of_the_readme(tmp_path: Path) -> None:
    # README: ingest and extract of 50 tiles take 0.12 and 0.19 core hours.
    hours = duration.predicted_seconds(record(50), RunFolder(tmp_path)) / 3600
    assert hours == pytest.approx(0.31, abs=0.01)
    assert duration.predicted_seconds(record(50, 2), RunFolder(tmp_path)) / 3600 == pytest.approx(0.168, abs=0.01)


def test_only_more_than_a_day_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duration, "available_cores", lambda: 1)
    monkeypatch.setattr(duration, "_DAY_S", 2000)
    duration.warn_of_days(record(80), RunFolder(tmp_path))
    assert caplog.messages == []
    duration.warn_of_days(record(100), RunFolder(tmp_path))
    assert "may take 1 core hours, 1.1 days on this machine's 1 cores" in caplog.text
