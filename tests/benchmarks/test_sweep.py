"""Sweeps: grids expand in the order that shares most work, rows are kept, failures are rows, the page is complete."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.datasets import DataSpec
from benchmarks.sweep import command, runner
from benchmarks.sweep.grid import Plot, SweepFile, cases_of, load_sweep
from benchmarks.sweep.page import front_of, page, table
from benchmarks.sweep.pareto import front
from s2fast.errors import ConfigError
from s2fast.pipeline import STAGES
from tests.archives import Archive

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


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
        ({"kind": "hamming", "case": [{"queries": 3}]}, "unknown queries; known: backend, n, m, segments"),
    ],
)
def test_a_wrong_key_or_value_stops_a_sweep_before_it_runs(parts: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        cases_of(sweep_of(**parts))


@pytest.mark.parametrize(
    ("text", "told"), [("name = ", "not valid TOML"), ('name = "x"\nnonsense = 1', "nonsense"), (None, "cannot read")]
)
def test_a_wrong_file_is_one_line_and_exit_code_2(
    text: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.toml"
    if text is not None:
        path.write_text(text)
    assert command.main([str(path), "--cache", str(tmp_path), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("sweep_*.toml")), ids=lambda path: path.stem)
def test_the_ready_sweeps_can_be_planned(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cases = cases_of(load_sweep(path))
    assert len(cases) >= 7
    assert command.main([str(path), "--plan", "--cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("\n") == 1 + len(cases)


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(points)
def test_the_front_is_what_nothing_beats(found: list[tuple[int, int]]) -> None:
    costs, gains = [cost for cost, _ in found], [gain for _, gain in found]
    beaten = {
        at
        for at, (cost, gain) in enumerate(found)
        if any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in found)
    }
    kept = front(costs, gains)
    assert sorted(kept) == sorted(set(range(len(found))) - beaten)
    assert [costs[at] for at in kept] == sorted(costs[at] for at in kept)


@pytest.fixture
def scenes(archive: Archive, tmp_path: Path) -> DataSpec:
    return DataSpec(kind="folder", folder=str(archive.scenes), pattern=["**/*T36UXA*_TCI.jp2"])


def test_a_sweep_shares_stages_goes_on_and_notes_failures(
    scenes: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(
        data=scenes.model_dump(),
        base={"regions.mode": "none", "matching.mode": "exhaustive"},
        grid=[{"matching.ratio": [0.8, 0.9]}],
        case=[{"kernel.core_px": 300, "run.workers": 2}],
    )
    messages: list[str] = []
    rows = runner.run_sweep(sweep, tmp_path / "rows.jsonl", tmp_path, messages.append)
    first, second, failed = rows
    assert (first["status"], second["status"], failed["status"]) == ("ok", "ok", "failed")
    assert failed["reason"] == "ValueError: kernel.core_px needs a single process: set run.workers = 1"
    assert failed["seconds"] is None
    # The second case found the first one's features, and is charged with what they cost.
    shared = {name for name, stage in second["stages"].items() if stage["shared"]}
    assert shared == {"ingest", "extract"}
    # Pairs are verified while they are matched.
    assert set(second["stages"]) == set(STAGES) - {"verify"}
    assert second["stages"]["extract"]["seconds"] == first["stages"]["extract"]["seconds"] > 0
    assert second["counts"]["good_matches"] > first["counts"]["good_matches"] > 0
    assert first["counts"]["comparisons"] == second["counts"]["comparisons"]
    assert first["peak_mb"] > 50
    assert {"commit", "dirty", "source", "config", "data", "environment", "took_s"} <= set(first)
    assert messages[-1].startswith("3 of 3, failed")

    # Stopped after the first case, in the middle of the next one's line: that case and those after it run again.
    lines = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text(lines[0] + lines[1][:100])
    ran: list[dict[str, Any]] = []

    def answer(job: dict[str, Any], limit_s: float) -> tuple[dict[str, Any], str]:
        ran.append(job)
        return {}, "no reason"

    monkeypatch.setattr(runner, "_answer", answer)
    again = runner.run_sweep(sweep, tmp_path / "rows.jsonl", tmp_path, messages.append)
    assert again[0] == first
    assert len(ran) == 2
    assert len(runner.run_sweep(sweep, tmp_path / "rows.jsonl", tmp_path, messages.append)) == 3
    assert len(ran) == 2
    runner.run_sweep(sweep, tmp_path / "rows.jsonl", tmp_path, messages.append, retry=True)
    assert len(ran) == 4
    # Other sources are another case.
    monkeypatch.setattr(runner, "tree_hash", lambda _root: "other")
    runner.run_sweep(sweep, tmp_path / "rows.jsonl", tmp_path, messages.append)
    assert len(ran) == 7


def test_a_case_that_takes_too_long_or_is_killed_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"kind": "hamming", "backend": "numba", "n": 10, "m": 10, "segments": 1}
    assert runner._answer(job, limit_s=0.01) == ({}, "took longer than 0 s and was killed")
    monkeypatch.setattr(runner.sys, "executable", "false")
    assert runner._answer(job, limit_s=10) == ({}, "exit code 1")


def test_a_search_is_checked_timed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        'name = "search"\nkind = "hamming"\n[data]\nkind = "none"\n[[grid]]\nn = [65]\nm = [257]\nsegments = [1, 3]\n'
        'backend = ["numba"]\n[[case]]\nbackend = "nonsense"\n[[plot]]\ngain = "quality.rate_1e9_per_s"\n'
    )
    assert command.main([str(path), "--cache", str(tmp_path), "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "unknown backend 'nonsense'" in printed.out
    assert "3 cases, 0 done before" in printed.err
    frame = pd.read_parquet(tmp_path / "search.parquet")
    assert frame["status"].tolist() == ["ok", "ok", "failed"]
    assert frame["set.segments"].tolist()[:2] == [1, 3]
    assert (frame["counts.comparisons"][:2] == 65 * 257).all()
    assert (frame["quality.rate_1e9_per_s"][:2] > 0).all()
    assert (frame["quality.times_opencv"][:2] > 0).all()
    assert json.loads(frame["config"][0])["n"] == 65


ROWS: list[dict[str, Any]] = [
    {"label": "a", "status": "ok", "reason": "", "seconds": 1.0, "peak_mb": 5.0, "quality.true_matches": 5},
    {"label": "b<&>", "status": "ok", "reason": "", "seconds": 2.0, "peak_mb": 5.0, "quality.true_matches": 4},
    {"label": "c", "status": "failed", "reason": "out of <memory>", "seconds": None},
    {"label": "d", "status": "ok", "reason": "", "seconds": 3.0, "peak_mb": 9.0, "quality.true_matches": 9},
]


class Wellformed(HTMLParser):
    """Checks that what is opened is closed, and notes what would be fetched."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        names = {name: value or "" for name, value in attrs}
        if tag in ("script", "link", "img", "iframe", "image"):
            self.fetched.append(tag)
        self.fetched += [
            value for name, value in names.items() if name in ("src", "href") and not value.startswith("#")
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network() -> None:
    text = page(sweep_of(plot=[{}, {"cost": "peak_mb"}, {"gain": "quality.unknown"}]), ROWS)
    parser = Wellformed()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert parser.fetched == []
    assert "url(http" not in text
    assert "@import" not in text
    assert parser.tags.count("svg") == 2
    assert parser.tags.count("tr") == 1 + len(ROWS)
    assert "b&lt;&amp;&gt;" in text
    assert "out of &lt;memory&gt;" in text
    assert "No case has both seconds and quality.unknown." in text
    # The numbers beside the points are text, so that they can be found in the page.
    assert all(re.search(rf"<text[^>]*>{number}</text>", text) for number in (1, 2, 4))


def test_the_front_is_marked() -> None:
    best = front_of(ROWS, Plot())
    assert best == {0, 3}
    lines = re.findall(r'<tr class="(\w*)"', table(ROWS, best))
    assert lines == ["front", "", "failed", "front"]
    shown = command.terminal_table(sweep_of(), ROWS).splitlines()
    assert [line.endswith("* front") for line in shown] == [False, True, False, False, True]
    assert shown[3].endswith("out of <memory>")


def test_figures_are_written_as_people_read_them() -> None:
    from benchmarks.sweep.page import cell

    assert [cell(value) for value in (None, float("nan"), 0.12345, 12345.6, 1234567, "x", np.float64(2).item())] == [
        "", "", "0.1235", "12,346", "1,234,567", "x", "2",
    ]  # fmt: skip
