"""Runs in turn, resuming within them, and cases side by side; with answers made by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2fast.errors import ConfigError
from s2fast.sweeps import limited_process, runner
from s2fast.sweeps.checks import Checked
from s2fast.sweeps.data import Dataset
from s2fast.sweeps.folders import SideBySide, origins
from s2fast.sweeps.grid import SweepFile, cases_of
from s2fast.sweeps.limited_process import Limits
from s2fast.sweeps.results import How
from s2fast.sweeps.rows import columns

Answer = Callable[[dict[str, Any], Limits], tuple[dict[str, Any], str]]


def checked_of(**parts: Any) -> Checked:
    sweep = SweepFile.model_validate({"name": "test", **parts})
    return Checked(sweep, cases_of(sweep), Dataset([]))


def stage(seconds: float, cpu_s: float = 1.0) -> dict[str, Any]:
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_mb": 100.0, "above_mb": 10.0, "done": 1, "kept": 0}


class Answers:
    """Answers for cases by their ratio, and the order in which they were asked."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, verified: dict[float, int], seconds: dict[float, float]
    ) -> None:
        self.asked: list[float] = []
        self.verified, self.seconds = verified, seconds
        self.stop_after = 10**6
        monkeypatch.setattr(limited_process, "run_alone", self)
        monkeypatch.setattr(runner, "compile_kernels", lambda _: None)

    def __call__(self, _module: str, job: dict[str, Any], _limits: Limits) -> tuple[dict[str, Any], str]:
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        ratio = job["config"]["matching"]["ratio"]
        self.asked.append(ratio)
        # The machine slows down steadily.
        took = self.seconds[ratio] + 0.1 * len(self.asked)
        return {"stages": {"match": stage(took)}, "found": {"verified_pairs": self.verified[ratio]}}, ""


RATIOS = [0.6, 0.7, 0.8, 0.9]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    # The last one takes twice as long as the first, and verifies as much.
    return Answers(monkeypatch, {0.6: 3, 0.7: 4, 0.8: 5, 0.9: 3}, {0.6: 10, 0.7: 10.5, 0.8: 11, 0.9: 20})


def test_the_cases_that_compete_take_turns(answers: Answers, tmp_path: Path) -> None:
    checked = checked_of(grid=[{"matching.ratio": RATIOS}], repeats=4)
    lines: list[str] = []
    rows, _ = runner.run_sweep(checked, tmp_path / "rows.jsonl", lines.append)
    assert answers.asked == [*RATIOS, 0.8, 0.7, 0.6, 0.6, 0.7, 0.8, 0.8, 0.7, 0.6]
    assert any(line.startswith("3 of 4 cases compete and run 4 times, in turn; about ") for line in lines)
    first = rows[0]["runs"]["seconds"]
    assert first == pytest.approx([10.1, 10.7, 10.8, 11.3])
    assert rows[0]["seconds"] == pytest.approx(10.75)
    assert rows[0]["stages"]["match"]["seconds"] == pytest.approx(10.75)
    assert rows[0]["seconds_low"] < 10.75 < rows[0]["seconds_high"]
    assert rows[0]["runs"]["count"] == 4
    assert "runs" not in rows[3]
    # The same command runs nothing again; a higher number of repeats adds runs.
    asked = len(answers.asked)
    assert runner.run_sweep(checked, tmp_path / "rows.jsonl", print)[0] == rows
    assert len(answers.asked) == asked
    more = checked_of(grid=[{"matching.ratio": RATIOS}], repeats=5)
    runner.run_sweep(more, tmp_path / "rows.jsonl", print)
    assert answers.asked[asked:] == [0.6, 0.7, 0.8]


@pytest.mark.parametrize("stop_after", range(0, 13, 3))
def test_a_sweep_stopped_in_any_turn_goes_on_there(answers: Answers, tmp_path: Path, stop_after: int) -> None:
    checked = checked_of(grid=[{"matching.ratio": RATIOS}], repeats=4)
    answers.stop_after = stop_after
    with pytest.raises(KeyboardInterrupt):
        runner.run_sweep(checked, tmp_path / "rows.jsonl", print)
    answers.stop_after = 10**6
    rows, _ = runner.run_sweep(checked, tmp_path / "rows.jsonl", print)
    assert answers.asked == [*RATIOS, 0.8, 0.7, 0.6, 0.6, 0.7, 0.8, 0.8, 0.7, 0.6]
    assert [row.get("runs", {}).get("count") for row in rows] == [4, 4, 4, None]


def test_a_failed_repeat_costs_only_itself(answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = checked_of(grid=[{"matching.ratio": [0.6]}], repeats=3)

    def fails_second(module: str, job: dict[str, Any], limits: Limits) -> tuple[dict[str, Any], str]:
        answer = answers(module, job, limits)
        return ({}, "no memory") if len(answers.asked) == 2 else answer

    monkeypatch.setattr(limited_process, "run_alone", fails_second)
    (row,), _ = runner.run_sweep(checked, tmp_path / "rows.jsonl", print)
    assert row["status"] == "ok"
    assert row["runs"]["count"] == 2
    assert row["runs"]["seconds"] == [pytest.approx(10.1), None, pytest.approx(10.3)]
    (row,), _ = runner.run_sweep(checked, tmp_path / "rows.jsonl", print, retry=True)
    assert row["runs"]["count"] == 3


def test_rows_of_other_sources_are_kept_apart(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = checked_of(grid=[{"matching.ratio": [0.6, 0.7]}])
    before, others = runner.run_sweep(checked, tmp_path / "rows.jsonl", print)
    assert others == []
    monkeypatch.setattr("s2fast.sweeps.running.source_hash", lambda: "other")
    after, others = runner.run_sweep(checked, tmp_path / "rows.jsonl", print)
    assert others == before
    assert [row["label"] for row in after] == [row["label"] for row in before]


def test_a_case_that_ran_beside_others_is_run_again_to_be_timed(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = checked_of(grid=[{"matching.ratio": [0.6, 0.7]}])

    def alone_too(
        module: str, job: dict[str, Any], limits: Limits, children: object = None
    ) -> tuple[dict[str, Any], str]:
        Path(job["out"]).mkdir(parents=True, exist_ok=True)
        return answers(module, job, limits)

    monkeypatch.setattr("s2fast.sweeps.parallel.run_alone", alone_too)
    rows, _ = runner.run_sweep(checked, tmp_path / "rows.jsonl", print, workers=2)
    assert [row["seconds"] for row in rows] == [None, None]
    assert [row["cpu_s"] for row in rows] == [1.0, 1.0]
    assert "seconds" not in rows[0]["stages"]["match"]
    asked = len(answers.asked)
    runner.run_sweep(checked, tmp_path / "rows.jsonl", print, workers=2)
    assert len(answers.asked) == asked
    rows, others = runner.run_sweep(checked, tmp_path / "rows.jsonl", print)
    assert len(answers.asked) == asked + 2
    assert all(row["seconds"] > 0 for row in rows)
    assert others == []
    # What was timed need not be run again.
    runner.run_sweep(checked, tmp_path / "rows.jsonl", print, workers=2)
    assert len(answers.asked) == asked + 2


def test_a_worker_with_another_working_directory_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(_module: str, job: dict[str, Any], _limits: Limits) -> tuple[dict[str, Any], str]:
        asked.append(job)
        return {}, "no reason"

    monkeypatch.setattr(limited_process, "run_alone", answer)
    monkeypatch.setattr(runner, "compile_kernels", lambda _: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes").mkdir()
    sweep = SweepFile(name="test")
    data = Dataset(["scenes", "s3://bucket/scene.tif"], None, "scenes")
    runner.run_sweep(Checked(sweep, cases_of(sweep), data), Path("rows.jsonl"), print)
    (job,) = asked
    assert job["scenes"] == [str(tmp_path / "scenes"), "s3://bucket/scene.tif"]
    assert (job["regions"], job["truth"]) == (None, str(tmp_path / "scenes"))
    assert Path(job["out"]).is_relative_to(tmp_path)
    assert Path(job["kept"]).is_relative_to(tmp_path)


def test_repeats_and_cases_side_by_side_exclude_each_other() -> None:
    sweep = SweepFile.model_validate({"name": "test", "repeats": 3})
    for how in (How(workers=2), How(scheduler="tcp://nowhere:1"), How(workers=2, repeats=4)):
        with pytest.raises(ConfigError, match=r"repeats = [34] measures seconds, which cases side by side disturb"):
            how.applied(sweep)
    assert How(workers=2, repeats=1).applied(sweep).repeats == 1
    assert How().applied(sweep).repeats == 3


def test_side_by_side_every_stage_is_computed_once_and_after_what_it_needs(tmp_path: Path) -> None:
    grid = {
        "matching.ratio": [0.8, 0.9],
        "ingest.halo_px": [0, 64],
        "features.threshold": [0.001, 0.0003],
        "verification.nulls": [0, 1],
    }
    cases = cases_of(checked_of(grid=[grid]).sweep)
    found, folders = origins(cases), SideBySide(tmp_path, cases)
    # One case reads for each of the two ways to read, and so on.
    shares = [
        0 if origin is None else max(d for d in (1, 2, 3) if cases[at].stages[:d] == cases[origin].stages[:d])
        for at, origin in enumerate(found)
    ]
    assert [shares.count(depth) for depth in range(4)] == [2, 2, 4, 8]
    waves = folders.waves()
    assert sorted(itertools.chain(*waves)) == list(range(16))
    when = {at: number for number, wave in enumerate(waves) for at in wave}
    assert all(origin is None or when[origin] < when[at] for at, origin in enumerate(found))


def test_a_folder_begins_with_the_shared_stages_and_leaves_the_others_alone(tmp_path: Path) -> None:
    cases = cases_of(checked_of(grid=[{"matching.ratio": [0.8, 0.9]}]).sweep)
    folders = SideBySide(tmp_path, cases)
    first = folders.out(0)
    assert not first.exists()
    (first / "store").mkdir(parents=True)
    (first / "store" / "tile").write_text("grey")
    folders.charge(0, {"ingest": stage(5.0), "match": stage(1.0)})
    folders.done(0, failed=False)
    second = folders.out(1)
    assert (second / "store" / "tile").read_text() == "grey"
    # A run folder's files are replaced, not changed.
    (second / "new").write_text("other")
    (second / "new").replace(second / "store" / "tile")
    assert (first / "store" / "tile").read_text() == "grey"
    costs = folders.charge(1, {"match": stage(2.0)})
    assert (costs["ingest"]["shared"], costs["match"]["shared"], costs["match"]["seconds"]) == (True, False, 2.0)
    folders.done(1, failed=False)
    assert not second.exists()


def test_columns_keep_every_run(answers: Answers, tmp_path: Path) -> None:
    checked = checked_of(grid=[{"matching.ratio": [0.6]}], repeats=3)
    (row,), _ = runner.run_sweep(checked, tmp_path / "rows.jsonl", print)
    (flat,) = columns([row])
    assert json.loads(flat["runs.seconds"]) == row["runs"]["seconds"]
    assert flat["runs.count"] == 3
