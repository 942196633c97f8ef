"""The trend keeps every measurement, and draws machines apart."""

import json
from pathlib import Path

import pytest

from benchmarks import trend


def record(time: str, ratio: float, machine: str) -> dict[str, object]:
    return {
        "time": time,
        "commit": "0123",
        "operation": "hamming_top2",
        "peer": "OpenCV",
        "times_faster": ratio,
        "environment": {"machine": machine},
    }


def test_measuring_appends_and_keeps_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "history.jsonl"
    history.write_text(json.dumps(record("2026-01-01T00:00:00+00:00", 9.0, "old avx2")) + "\n")
    options = ["--history", str(history), "--out", str(tmp_path / "trend.html")]
    assert trend.main(["--measure", "--quick", *options]) == 0
    records = trend.read(history)
    assert records[0]["times_faster"] == 9.0
    assert {(row["operation"], row["peer"]) for row in records[1:]} == {
        ("hamming_top2", "OpenCV BFMatcher, 61 B"),
        ("hamming_top2", "FAISS knn_hamming heap, 64 B"),
        ("akaze", "OpenCV AKAZE"),
    }
    assert all(row["times_faster"] > 0 and row["source"] for row in records[1:])
    assert capsys.readouterr().out.count("\n") == 4


def test_every_machine_has_its_line() -> None:
    history = [record(f"2026-01-0{day}T00:00:00+00:00", day, machine) for day in (1, 2) for machine in ("a avx2", "b")]
    text = trend.page(history)
    assert text.count("<svg") == 1
    assert "OpenCV; a<" in text
    assert "OpenCV; b<" in text


def test_an_empty_history_is_said_to_be(tmp_path: Path) -> None:
    assert trend.main(["--history", str(tmp_path / "none"), "--out", str(tmp_path / "trend.html")]) == 0
    assert "The history is empty." in (tmp_path / "trend.html").read_text()


def test_the_history_in_the_repository_can_be_read() -> None:
    for row in trend.read(trend.HISTORY):
        assert {"time", "commit", "operation", "peer", "times_faster", "environment"} <= set(row)
