"""The table and the page of a sweep: complete, without network, and clear about which case is best at what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2fast.errors import ConfigError, InputError
from s2fast.page import assembly
from s2fast.sweeps.columns import SHOWN, best_of, cell, front_of, plots_of
from s2fast.sweeps.comparison import changes, earlier_runs, load_earlier
from s2fast.sweeps.effects import effects
from s2fast.sweeps.grid import Plot, SweepFile
from s2fast.sweeps.page import page
from s2fast.sweeps.page_data import Finished, payload
from s2fast.sweeps.text import terminal_table
from tests.sweeps.finished import GRID_ROWS, finished_sweep


def found(verified: int, nulls: int = 0, closure: float | None = 2.0) -> dict[str, Any]:
    return {
        "found.verified_pairs": verified, "found.pairs_with_ground": 45, "found.verified_pct": 100 * verified / 45,
        "found.null_trials": 45, "found.null_verified": nulls, "found.null_pct": 100 * nulls / 45,
        "found.null_low_pct": 0.056 * nulls, "found.null_high_pct": 7.87 + nulls,
        "found.closure_m": closure, "found.closure_95_m": closure and 4 * closure, "found.triples": 3 * verified,
    }  # fmt: skip


ROWS: list[dict[str, Any]] = [
    {"label": "a", "status": "ok", "reason": "", "seconds": 1.0, "peak_mb": 500.0, **found(30)},
    {"label": "b<&>", "status": "ok", "reason": "", "seconds": 1.04, "peak_mb": 500.0, **found(29, closure=3.0)},
    {"label": "c", "status": "failed", "reason": "out of <memory>", "seconds": None},
    {"label": "d", "status": "ok", "reason": "", "seconds": 3.0, "peak_mb": 510.0, **found(41, nulls=1)},
]


def sweep_of(**parts: Any) -> SweepFile:
    return SweepFile.model_validate({"name": "test", **parts})


def test_the_page_is_one_file_that_needs_no_network() -> None:
    text = page(Finished(sweep_of(plot=[{}, {"cost": "peak_mb"}, {"gain": "quality.unknown"}]), ROWS))
    assert "default-src 'none'" in text
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?!data:)", text) == []
    assert "@import" not in text
    assert "url(http" not in text
    # What a row says cannot end the element that holds the data.
    assert "out of \\u003cmemory>" in text
    assert text.count("</script>") == 2
    # A page contains a copy of the library, and the library's licence asks to come with it.
    assert "Permission is hereby granted" in text
    assert len(assembly.asset("uPlot.iife.min.js")) < 52_000
    assert len(text) < 130_000


def test_the_page_offers_every_front_of_a_cost_and_a_gain() -> None:
    held = payload(Finished(sweep_of(plot=[{}, {"cost": "counts.keypoints", "gain": "quality.unknown"}]), ROWS))
    assert held["fronts"]["seconds|found.verified_pairs"] == [0, 3]
    assert held["fronts"]["peak_mb|found.verified_pairs"] == [3]
    assert "counts.keypoints|quality.unknown" not in held["fronts"]
    assert [plot["cost"] for plot in held["plots"]] == ["seconds", "counts.keypoints"]


def test_cases_that_were_not_timed_are_plotted_over_processor_time() -> None:
    rows = [{**row, "seconds": None, "cpu_s": 2.0} for row in ROWS]
    assert [plot.cost for plot in plots_of(rows, [Plot(), Plot(cost="peak_mb")])] == ["cpu_s", "peak_mb"]
    assert [plot.cost for plot in plots_of(ROWS, [Plot()])] == ["seconds"]


def test_each_setting_by_itself_is_the_mean_over_equal_others() -> None:
    by_key = {effect.setting: effect for effect in effects(GRID_ROWS, ["seconds", "found.verified_pairs"])}
    assert set(by_key) == {"ingest.contrast", "features.threshold"}
    contrast = by_key["ingest.contrast"]
    assert (contrast.values, contrast.groups) == (("none", "clahe"), 3)
    assert contrast.means["found.verified_pairs"] == (15.0, 36.0)
    threshold = by_key["features.threshold"]
    assert (threshold.values, threshold.groups) == (("0.001", "0.0003", "0.0001"), 2)
    assert threshold.means["found.verified_pairs"] == (20.5, 25.5, 30.5)
    # A single case beside the grid has a value with nothing to compare; a failed one has not run.
    alone = {**GRID_ROWS[0], "label": "alone", "set.features.threshold": 0.5}
    failed = {**GRID_ROWS[0], "status": "failed", "set.features.threshold": 0.7}
    (again,) = (
        effect for effect in effects([*GRID_ROWS, alone, failed], ["seconds"]) if effect.setting == "features.threshold"
    )
    assert (again.values, again.left_out) == (("0.001", "0.0003", "0.0001"), ("0.5",))


def test_a_sweep_is_held_against_another_within_the_noise() -> None:
    before = [
        {**row, "seconds": 1.05 * row["seconds"], "found.verified_pairs": row["found.verified_pairs"] - at}
        for at, row in enumerate(GRID_ROWS)
    ]
    found = changes(GRID_ROWS, before[::-1])
    assert [change.index for change in found] == list(range(6))
    assert all(change.by["seconds"] == 0 for change in found)
    assert [change.by["found.verified_pairs"] for change in found] == list(range(6))
    slower = [{**row, "seconds": 2 * row["seconds"]} for row in GRID_ROWS]
    assert all(change.by["seconds"] == -GRID_ROWS[change.index]["seconds"] for change in changes(GRID_ROWS, slower))
    # A version that did not know a setting has other configurations, and equal labels.
    old = [{**row, "config": "{}"} for row in GRID_ROWS]
    assert len(changes(GRID_ROWS, old)) == 6
    assert changes(GRID_ROWS, [{**row, "config": "{}", "label": "other"} for row in GRID_ROWS]) == []


def test_other_rows_are_told_by_what_ran() -> None:
    rows: list[dict[str, Any]] = [
        {"case": "1", "source": "a", "version": "0.1", "environment": {"time": "2026-01-02T03:04:05"}},
        {"case": "2", "source": "a", "version": "0.1", "environment": {"time": "2026-01-02T03:05:05"}},
        {"case": "3", "source": "b", "commit": "0123456789abcdef", "dirty": True},
    ]
    assert [earlier.name for earlier in earlier_runs(rows)] == [
        "commit 0123456789ab with changes,  (1 case)", "s2fast 0.1, 2026-01-02 03:05 (2 cases)",
    ]  # fmt: skip


def test_a_missing_file_to_compare_with_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no sweep .*/other\.jsonl: name the \.jsonl of another sweep with against"):
        load_earlier(tmp_path / "other.html")
    (tmp_path / "other.jsonl").write_text("")
    with pytest.raises(InputError, match="holds no rows"):
        load_earlier(tmp_path / "other.parquet")


def test_the_pairs_about_which_cases_differ_are_kept(tmp_path: Path) -> None:
    held = payload(finished_sweep(tmp_path))
    pairs = held["pairs"]
    assert pairs["pairs"] == [["a", "c"], ["b", "c"]]
    assert pairs["total"] == 2
    assert set(pairs["scenes"]) == {"a", "b", "c"}
    assert [pairs["cases"][at]["verified"] for at in range(6)] == [[0, 0], [0, 0], [0, 1], [1, 1], [1, 1], [1, 1]]
    assert payload(Finished(sweep_of(), GRID_ROWS))["pairs"] is None


def test_settings_without_numbers_are_no_axis() -> None:
    from s2fast.sweeps.checks import check_cases

    plot, grid = [{"cost": "set.ingest.contrast"}], [{"ingest.contrast": ["none", "clahe"]}]
    with pytest.raises(ConfigError, match="'set.ingest.contrast' has values that are no numbers, such as 'none'"):
        check_cases(sweep_of(plot=plot, grid=grid))


def test_the_table_fits_its_terminal_and_is_whole_in_a_pipe() -> None:
    sweep = sweep_of()
    whole = terminal_table(sweep, GRID_ROWS).splitlines()
    assert max(map(len, whole)) > 120
    assert len(whole[0].split("  ")) > 8
    for width in (80, 60, 132):
        text = terminal_table(sweep, GRID_ROWS, width)
        lines = text.splitlines()
        assert max(map(len, lines)) <= width
        # Every cell and every case is there.
        for row in GRID_ROWS:
            assert row["label"].split(", ")[0] in text
        for column in SHOWN:
            assert all(column.cell(row) in text for row in GRID_ROWS)
        starts = [line for line in lines if line.lstrip().startswith("#  ")]
        assert len(starts) >= 2
    assert "\n".join(whole) == terminal_table(sweep, GRID_ROWS, 1000)
    assert sum(line.endswith("* front") for line in terminal_table(sweep, GRID_ROWS, 80).splitlines()) == len(
        front_of(GRID_ROWS, Plot())
    )


def test_the_best_are_marked_and_noise_decides_nothing() -> None:
    columns = {column.title: best_of(ROWS, column) for column in SHOWN}
    # b is 4 % slower than a: as fast. All need the same memory, which tells nothing.
    assert columns["seconds"] == {0, 1}
    assert columns["peak MiB"] == set()
    assert columns["verified pairs"] == {3}
    assert columns["verified nulls"] == {0, 1}
    assert columns["closure [m]: median, 95 % (triples)"] == {0, 3}
    assert front_of(ROWS, Plot()) == [0, 3]
    held = payload(Finished(sweep_of(), ROWS))
    at = [column["title"] for column in held["columns"]].index("verified pairs")
    assert [(row["texts"][at], row["best"][at]) for row in held["rows"]] == [
        ("30 of 45, 66.7 %", False), ("29 of 45, 64.4 %", False), ("", False), ("41 of 45, 91.1 %", True),
    ]  # fmt: skip
    shown = terminal_table(sweep_of(), ROWS).splitlines()
    assert [line.endswith("* front") for line in shown[:5]] == [False, True, False, False, True]
    assert shown[3].endswith("out of <memory>")
    assert "  seconds                              1.00: #1 a; #2 b<&>" in shown
    assert "  verified pairs                       41 of 45, 91.1 %: #4 d" in shown
    assert shown[-1].split(maxsplit=3)[:3] == ["all", "about", "equal"]
    assert shown[-1].endswith("  peak MiB: 500.0 to 510.0, no more apart than their noise")


def test_a_value_that_rests_on_little_is_not_the_best() -> None:
    (column,) = (column for column in SHOWN if column.name == "found.closure_m")
    few, many = {"label": "few", **found(9, closure=0.1)}, {"label": "many", **found(41, closure=2.0)}
    assert best_of([few, many], column) == {1}
    assert column.cell(few) == "0.100, 0.400 (27)"
    assert best_of([{**few, "found.triples": 62}, many], column) == {0}


def test_nulls_are_shown_with_their_interval() -> None:
    (column,) = (column for column in SHOWN if column.name == "found.null_pct")
    assert column.cell(ROWS[0]) == "0 of 45 (≤ 7.9 %)"
    assert column.cell(ROWS[3]) == "1 of 45 (0.056 to 8.9 %)"
    assert column.cell(ROWS[2]) == ""


def test_figures_are_written_as_people_read_them() -> None:
    assert [cell(value) for value in (None, float("nan"), 0.12345, 12345.6, 1234567, "x", np.float64(2).item())] == [
        "", "", "0.1235", "12,346", "1,234,567", "x", "2.000",
    ]  # fmt: skip


def test_a_plots_own_cost_has_a_front_with_every_gain() -> None:
    """Also a cost of which more is better, which is no cost of other plots."""
    sweep = sweep_of(plot=[{"cost": "found.agreeing_pct", "gain": "found.null_trials"}])
    fronts = payload(Finished(sweep, GRID_ROWS))["fronts"]
    for cost in ("found.agreeing_pct", "seconds"):
        for gain in ("found.null_trials", "found.verified_pairs"):
            assert f"{cost}|{gain}" in fronts
