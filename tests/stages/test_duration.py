"""A run of days says so before it starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from s2fast.config import Config
from s2fast.model import Raster
from s2fast.stages import duration

TILE = Raster((10_980, 10_980), (1024, 1024), "", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0))


def scenes(number: int) -> Any:
    return [SimpleNamespace(raster=TILE) for _ in range(number)]


def hours(config: Config | None = None, **work: Any) -> float:
    return duration.Work(**work).seconds(config or Config()) / 3600


def test_the_prediction_is_that_of_the_readme() -> None:
    # docs/cost.md: 50 tiles with 5,000 keypoints each, 1,225 pairs matched exhaustively, in core hours by stage.
    config = Config(features={"max_per_scene": 5000}, matching={"mode": "exhaustive"})  # type: ignore[arg-type]
    assert hours(config, read=scenes(50)) == pytest.approx(0.12, abs=0.005)
    assert hours(config, extract=scenes(50)) == pytest.approx(0.19, abs=0.005)
    assert hours(config, match=1225, scenes=scenes(50)) == pytest.approx(0.01, abs=0.005)
    assert hours(config, verify=1225, scenes=scenes(50)) == pytest.approx(0.001, abs=0.0005)
    half = config.model_copy(update={"ingest": config.ingest.model_copy(update={"reduction": 2})})
    assert hours(half, read=scenes(50), extract=scenes(50)) == pytest.approx(0.168, abs=0.01)


def test_windows_take_less_than_all_comparisons() -> None:
    def matching(**settings: Any) -> float:
        config = Config(matching=settings)  # type: ignore[arg-type]
        return hours(config, match=100, scenes=scenes(2))

    by_default, wide, whole, exhaustive = (
        matching(**settings)
        for settings in (
            {"mode": "windowed"},
            {"mode": "windowed", "radius_m": 500.0},
            {"mode": "windowed", "radius_m": 1e6},
            {"mode": "exhaustive"},
        )
    )
    assert 0 < by_default < wide < whole
    assert by_default < exhaustive / 50


def test_only_more_than_a_day_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration, "available_cores", lambda: 1)
    duration.warn_of_days(86_300)
    assert caplog.messages == []
    duration.warn_of_days(95_040)
    assert "may take 26 core hours, 1.1 days on this machine's 1 cores" in caplog.text
