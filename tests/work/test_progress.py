"""What is shown of a run's progress."""

from __future__ import annotations

import io
import time

import pytest

from s2fast.work.progress import CalledProgress, PlainProgress


def test_a_single_long_unit_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2fast.work.progress._PLAIN_INTERVAL_S", 0.01)
    shown = io.StringIO()
    with PlainProgress(shown).stage("extract", 1, 0) as bar:
        end = time.monotonic() + 60
        while "so far" not in shown.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
        bar.advance()
    lines = shown.getvalue().splitlines()
    assert lines[0] == "extract: 1 to do"
    assert lines[1] == "extract: 0 of 1, 0 s so far"
    assert lines[-1].startswith("extract: 1 done in ")


def test_the_pace_is_shown_from_the_second_unit_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2fast.work.progress._PLAIN_INTERVAL_S", 0.01)
    shown = io.StringIO()
    with PlainProgress(shown).stage("match", 9, 0) as bar:
        bar.advance()
        bar.advance()
        end = time.monotonic() + 60
        while " left" not in shown.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
    assert "match: 2 of 9, " in shown.getvalue()


def test_a_function_is_called_for_each_unit() -> None:
    told: list[tuple[str, int, int]] = []
    with CalledProgress(lambda *state: told.append(state)).stage("match", 2, 5) as bar:
        bar.advance()
        bar.advance()
    assert told == [("match", 0, 2), ("match", 1, 2), ("match", 2, 2)]
