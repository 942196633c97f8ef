"""The benchmark of tuning: its grid, and what it counts as cost."""

from __future__ import annotations

from benchmarks.bench_tune import GRID, cost_s, grid
from s2fast.config import Config
from s2fast.tuning.space import value_of
from s2fast.tuning.trials import Trial


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
