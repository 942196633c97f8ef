"""The table of `s2fast pairs`."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from rich import box
from rich.console import Console
from rich.table import Table

from s2fast.report.listing import print_pairs, print_scenes


@pytest.fixture
def pairs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "query": ["S2A_20180810T083601_T36UXA", "S2B_20180825T083549_T36UXA"],
            "train": ["short", "S2B_20180904T083549_T36UXA"],
            "n_query": [7, 12345],
            "similarity_pct": [100.0, 0.125],
            "n_inliers": pd.array([3, None], "Int64"),
            "n_witnesses": pd.array([None, None], "Int64"),
            "dx_m": [-1.005, np.nan],
            "verified": pd.array([True, None], "boolean"),
            "verdict": ["verified", None],
        }
    )


def table(pairs: pd.DataFrame) -> str:
    """Draw the table with Rich."""
    drawn = Table(box=box.SIMPLE_HEAD, caption=f"{len(pairs)} pairs", caption_justify="left")
    shown = [name for name in pairs if not pairs[name].isna().all()]
    for name in shown:
        is_text = name in ("query", "train", "verdict")
        drawn.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for row in pairs[shown].itertuples(index=False):
        cells = ["" if pd.isna(value) else value for value in row]
        drawn.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells))
    sink = io.StringIO()
    Console(file=sink, width=240).print(drawn)
    return sink.getvalue()


def test_table_is_as_rich_draws_it(pairs: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs(pairs, "table")
    assert capsys.readouterr().out == table(pairs)
    print_pairs(pairs[:0], "table")
    assert capsys.readouterr().out == "0 pairs\n"


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [250, 128, 127, 80, 40, 5])
def test_table_fits_the_terminal(pairs: pd.DataFrame, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((columns, 20)))
    monkeypatch.setattr(sys, "stdout", terminal)
    print_pairs(pairs, "table")
    lines = terminal.getvalue().splitlines()
    # One character per column, and the blanks between them, is the least.
    assert {len(line) for line in lines} == {min(128, max(columns, 8 + 7 * 3 + 4))}
    assert ("…" in terminal.getvalue()) == (columns < 128)
    if columns == 80:
        assert lines[3].split() == ["S2A_20…", "short", "7", "100.00", "3", "-1.00", "True", "verified"]


def test_scenes_are_listed_with_the_sign_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    scenes = geopandas.GeoDataFrame(
        {
            "scene_id": ["S2A_20180810T083601_T36UXA", "S2B_20180825T083549_T36UXA"],
            "offset_x_m": [3.214, np.nan],
            "offset_y_m": [-0.5, np.nan],
            "verdict": ["verified", "not verified"],
            "correction": ["move 3.21 m west, 0.50 m north", ""],
        },
        geometry=[shapely.Point(0, 0)] * 2,
    )
    print_scenes(scenes, "table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split(maxsplit=4)[1:] == ["3.21", "-0.50", "verified", "move 3.21 m west, 0.50 m north  "]
    assert lines[4].split() == ["S2B_20180825T083549_T36UXA", "not", "verified"]
    assert lines[6].rstrip() == "2 scenes"
    assert "correction is the opposite" in lines[7]
    print_scenes(scenes[1:], "table")
    assert "opposite" not in capsys.readouterr().out
    print_scenes(scenes.assign(datum=["median of 36UXA", ""]), "table")
    assert capsys.readouterr().out.splitlines()[-1] == "Datum: median of 36UXA."
    print_scenes(scenes, "csv")
    assert capsys.readouterr().out.splitlines()[0] == "scene_id,offset_x_m,offset_y_m,verdict,correction"
    print_scenes(scenes, "json")
    assert json.loads(capsys.readouterr().out)[0]["offset_x_m"] == 3.214
