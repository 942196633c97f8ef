"""The table and the page of a sweep: complete, without network, and clear about which case is best at what."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from s2fast.sweeps.columns import SHOWN, best_of, cell
from s2fast.sweeps.grid import Plot, SweepFile
from s2fast.sweeps.page import front_of, page, table
from s2fast.sweeps.pareto import front
from s2fast.sweeps.text import terminal_table

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


def test_the_best_are_marked_and_noise_decides_nothing() -> None:
    columns = {column.title: best_of(ROWS, column) for column in SHOWN}
    # b is 4 % slower than a: as fast. All need the same memory, which tells nothing.
    assert columns["seconds"] == {0, 1}
    assert columns["peak MB"] == set()
    assert columns["verified pairs"] == {3}
    assert columns["verified nulls"] == {0, 1}
    assert columns["closure [m]: median, 95 % (triples)"] == {0, 3}
    assert front_of(ROWS, Plot()) == {0, 3}
    cells = re.findall(r"<td class='best'>([^<]*)", table(ROWS))
    assert "41 of 45, 91.1 %" in cells
    assert "30 of 45, 66.7 %" not in cells
    shown = terminal_table(sweep_of(), ROWS).splitlines()
    assert [line.endswith("* front") for line in shown[:5]] == [False, True, False, False, True]
    assert shown[3].endswith("out of <memory>")
    assert "  seconds                              1: #1 a; #2 b<&>" in shown
    assert "  verified pairs                       41 of 45, 91.1 %: #4 d" in shown
    assert shown[-1] == "  all about equal                      peak MB: 500"


def test_a_value_that_rests_on_little_is_not_the_best() -> None:
    (column,) = (column for column in SHOWN if column.name == "found.closure_m")
    few, many = {"label": "few", **found(9, closure=0.1)}, {"label": "many", **found(41, closure=2.0)}
    assert best_of([few, many], column) == {1}
    assert column.cell(few) == "0.1, 0.4 (27)"
    assert best_of([{**few, "found.triples": 62}, many], column) == {0}


def test_equal_gains_are_told_beside_the_plot() -> None:
    told = "All cases are equal in verified pairs (30)"
    assert told in page(sweep_of(), [ROWS[0], {**ROWS[0], "label": "e", "seconds": 9.0}])
    assert told not in page(sweep_of(), ROWS)


def test_nulls_are_shown_with_their_interval() -> None:
    (column,) = (column for column in SHOWN if column.name == "found.null_pct")
    assert column.cell(ROWS[0]) == "0 of 45 (≤ 7.9 %)"
    assert column.cell(ROWS[3]) == "1 of 45 (0.056 to 8.9 %)"
    assert column.cell(ROWS[2]) == ""


def test_figures_are_written_as_people_read_them() -> None:
    assert [cell(value) for value in (None, float("nan"), 0.12345, 12345.6, 1234567, "x", np.float64(2).item())] == [
        "", "", "0.1235", "12,346", "1,234,567", "x", "2",
    ]  # fmt: skip
