"""The file of a sweep: grids expand in the order that shares most work, and everything wrong is one line."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from s2fast.errors import ConfigError, S2FastError
from s2fast.sweeps.checks import Checked, check_cases
from s2fast.sweeps.data import Dataset
from s2fast.sweeps.grid import SweepFile, cases_of, load_sweep


def sweep_of(**parts: Any) -> SweepFile:
    return SweepFile.model_validate({"name": "test", **parts})


def test_a_grid_is_every_combination_and_cases_come_beside_it() -> None:
    sweep = sweep_of(
        base={"features.upright": False},
        grid=[{"matching.ratio": [0.8, 0.7], "features.threshold": [0.001, 0.0003]}],
        case=[
            {"matching.ratio": 0.6},
            {"matching.ratio": 0.8, "features.threshold": 0.001},
            {"matching.ratio": 0.7, "run.workers": 1},
        ],
    )
    cases = cases_of(sweep)
    # The last two are in the grid already: what is a default need not be messages.
    assert len(cases) == 5
    assert all(case.config.features.upright is False for case in cases)
    found = {(case.config.matching.ratio, case.config.features.threshold) for case in cases}
    assert found == {(0.8, 0.001), (0.7, 0.001), (0.8, 0.0003), (0.7, 0.0003), (0.6, 0.0003)}


def test_every_stages_result_is_computed_once() -> None:
    # Named in the worst order: what changes the first stage fastest.
    keys = {
        "matching.ratio": [0.8, 0.85, 0.9],
        "ingest.contrast": ["none", "clahe"],
        "ingest.halo_px": [0, 64],
        "run.workers": [1, 2],
    }
    cases = cases_of(sweep_of(grid=[keys]))
    assert len(cases) == 24
    for depth, distinct in ((1, 2 * 2), (2, 2 * 2 * 2), (3, 24)):
        prefixes = [(case.folder_name, *case.stages[:depth]) for case in cases]
        changes = 1 + sum(before != after for before, after in pairwise(prefixes))
        assert changes == len(set(prefixes)) == distinct


def test_settings_that_only_change_costs_do_not_share_a_folder() -> None:
    cases = cases_of(sweep_of(grid=[{"matching.backend": ["numba", "faiss"]}, {"compute.threads": [1, 2]}]))
    assert len({case.folder_name for case in cases}) == 4
    shared = cases_of(sweep_of(grid=[{"matching.ratio": [0.8, 0.9], "features.octaves": [3, 4]}]))
    assert len({case.folder_name for case in shared}) == 1


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"grid": [{"matching.ration": [0.8]}]}, "did you mean 'matching.ratio'"),
        ({"case": [{"matching.ratio": 3}]}, "matching.ratio = 3"),
        ({"case": [{"run.workers": -1}]}, "run.workers = -1"),
        ({"case": [{"matching.backend": "cuda"}]}, "case backend cuda: unknown backend 'cuda'"),
        ({"plot": [{"cost": "nonsense"}]}, "plot 1: cost = 'nonsense' is no column"),
        ({"plot": [{}, {"gain": "verified_pair"}]}, "plot 2: gain = 'verified_pair' is no column; the nearest are"),
    ],
)
def test_a_wrong_key_value_or_column_stops_a_sweep_before_it_runs(parts: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        check_cases(sweep_of(**parts))
    assert "\n" not in str(caught.value)


def test_the_nearest_columns_are_those_meant() -> None:
    for name, meant in (
        ("verified_pair", "found.verified_pairs"),
        ("peak_mib", "peak_mb"),
        ("closure", "found.closure_m"),
    ):
        with pytest.raises(ConfigError, match=re.escape(meant)):
            check_cases(sweep_of(plot=[{"gain": name}]))
    check_cases(sweep_of(grid=[{"matching.ratio": [0.8]}], plot=[{"cost": "set.matching.ratio", "gain": "cpu_s"}]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("grid = ", "not valid TOML"),
        ("nonsense = 1", "nonsense"),
        ("[grid]\n'matching.ratio' = [0.8]", "grid: one table, wanted a list of tables: write [[grid]]"),
        ("[[grid]]\n'matching.ratio' = []", "matching.ratio has no values"),
        ("[[grid]]\n'matching.ratio' = 0.8", "grid.0.matching.ratio: Input should be a valid list"),
        ("name = '../x'", "is not a file name"),
        ("[data]\nkind = 'real'", "data.kind: unknown kind 'real'; known: folder"),
        (None, "cannot read"),
    ],
)
def test_a_wrong_file_is_one_line(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(S2FastError, match=re.escape(told)) as caught:
        load_sweep(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_needs_neither_a_name_nor_quotes_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "base.matching.pairs = 'file'\nbase.matching.pairs_file = 'pairs.csv'\n[data]\nfolder = 'scenes'\n"
        "[[grid]]\nmatching.ratio = [0.8, 0.9]\n'features.octaves' = [3]"
    )
    sweep = load_sweep(path)
    assert sweep.name == "mine"
    assert sweep.data.folder == str(tmp_path / "scenes")
    assert sweep.grid == [{"matching.ratio": [0.8, 0.9], "features.octaves": [3]}]
    assert {case.config.matching.pairs_file for case in cases_of(sweep)} == {str(tmp_path / "pairs.csv")}


def test_the_forecast_counts_each_shared_stage_once() -> None:
    def forecast(*grids: dict[str, list[Any]], scenes: int = 2) -> float:
        sweep = sweep_of(grid=list(grids))
        checked = Checked(sweep, cases_of(sweep), Dataset([]), pixels=[(10_980, 10_980)] * scenes)
        return checked._seconds(checked.cases)

    ratios = [0.5 + number / 100 for number in range(40)]
    one, many = forecast(), forecast({"matching.ratio": ratios})
    # Forty cases share reading and extraction, and each starts a process.
    assert one < many < 10 * one
    assert forecast({"features.threshold": [0.1 + ratio for ratio in ratios]}) > 2 * many
    assert forecast({"matching.ratio": ratios}, scenes=20) > 3 * many


@pytest.mark.slow
def test_ten_thousand_cases_are_counted_in_hours() -> None:
    sweep = sweep_of(
        grid=[
            {
                "matching.ratio": [0.5 + n / 1000 for n in range(100)],
                "features.threshold": [n / 1e5 for n in range(1, 101)],
            }
        ]
    )
    checked = Checked(sweep, check_cases(sweep), Dataset([]), pixels=[(1_024, 1_024)] * 10)
    assert len(checked.cases) == 10_000
    assert re.fullmatch(r"; roughly \d+ h 0 min to go", checked.forecast(checked.cases))


def test_the_example_of_the_page_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text("utf-8")
    (example,) = (part.partition("```")[0] for part in text.split("```toml\n")[1:] if "[[plot]]" in part)
    path = tmp_path / "sweep.toml"
    path.write_text(example)
    assert len(check_cases(load_sweep(path))) == 9


def test_a_huge_grid_is_refused_before_it_is_expanded() -> None:
    ratios = [number / 100_000 for number in range(1, 100_000)]
    huge = [{"matching.ratio": ratios, "features.threshold": ratios, "features.max_per_scene": ratios}]
    with pytest.raises(ConfigError, match=r"999,970,000,300,000 cases are more than max_cases = 10000: .* raise max_c"):
        cases_of(sweep_of(grid=huge, case=[{}]))
    small = {"grid": [{"matching.ratio": [0.7, 0.8]}, {"features.octaves": [3]}], "case": [{"features.octaves": 2}]}
    assert len(cases_of(sweep_of(**small, max_cases=4))) == 4
    with pytest.raises(ConfigError, match=r"sweep test: 4 cases are more than max_cases = 3"):
        cases_of(sweep_of(**small, max_cases=3))
