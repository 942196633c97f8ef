"""The benchmark of tuning: its grid, and what it counts as cost."""

from __future__ import annotations

import threading
from pathlib import Path

from benchmarks.bench_tune import GRID, cost_s, grid, searched_grid
from s2fast.config import Config
from s2fast.tuning.space import Settings, value_of
from s2fast.tuning.trials import Answered, Trial, Trials


def test_the_grid_begins_with_the_defaults_and_grows_by_whole_grids() -> None:
    cases = list(grid(GRID))
    assert cases[0] == {}
    assert all(case not in cases[:at] for at, case in enumerate(cases))
    for settings in range(1, len(GRID) + 1):
        inner = cases[: 2**settings]
        assert {key for case in inner for key in case} == set(list(GRID)[:settings])
    assert len(cases) == 3 * 2 * 3 * 3 * 2
    assert {key: values[0] for key, values in GRID.items()} == {key: value_of(Config(), key) for key in GRID}


def test_stages_kept_from_another_trial_cost_nothing() -> None:
    rows = [{"stages": {"ingest": {"cpu_s": 2.0}, "match": {"cpu_s": 1.0}}}, {"stages": {"match": {"cpu_s": 0.5}}}, {}]
    assert cost_s([Trial(row) for row in rows]) == 3.5


def test_a_grid_ends_once_it_has_cost_the_budget(tmp_path: Path) -> None:
    def run(settings: Settings, half: str, limit_s: float) -> Answered:
        assert half == "choose"
        assert 0 < limit_s < threading.TIMEOUT_MAX
        right = settings == {"features.threshold": 0.001}
        answer = {"verified": 1, "pairs": 2, "error_px": 0.01, "unrelated_verified": 0, "wrong_shifts": 0,
                  "null_verified": 0}  # fmt: skip
        return {"answer": answer, "pairs": [[True, 0.01], [right, 0.01]], "stages": {"match": {"cpu_s": 2.0}}}, ""

    trials = Trials(tmp_path / "trials.jsonl", run, 60, "here")
    best, number, cost = searched_grid(trials, 5, lambda _: None)
    assert (best.settings, number, cost) == ({"features.threshold": 0.001}, 3, 6.0)
