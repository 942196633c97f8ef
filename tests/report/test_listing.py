"""The table of `s2fast pairs`."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from rich import box
from rich.console import Console
from rich.table import Table

from s2fast.errors import InputError
from s2fast.files.legible import counted
from s2fast.report.listing import Listing, print_pairs, print_scenes


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
    drawn = Table(box=box.SIMPLE_HEAD, caption=counted(len(pairs), "pair"), caption_justify="left")
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
    print_pairs(pairs)
    assert capsys.readouterr().out == table(pairs)
    print_pairs(pairs[:0])
    assert capsys.readouterr().out == "0 pairs\n"


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    """Replace standard output by a terminal of this width."""
    terminal = Terminal()
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((columns, 20)))
    monkeypatch.setattr(sys, "stdout", terminal)
    return terminal


def test_terminal_shows_short_ids_and_leaves_columns_out(pairs: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    # All columns take 43 characters, and the least blanks between them 10.
    for columns, heads in {
        120: ["query", "train", "sim.", "%", "inliers", "east", "m", "verdict"],
        53: ["query", "train", "sim.", "%", "inliers", "east", "m", "verdict"],
        52: ["query", "train", "sim.", "%", "east", "m", "verdict"],
        43: ["query", "train", "east", "m", "verdict"],
    }.items():
        terminal = on_terminal(monkeypatch, columns)
        print_pairs(pairs)
        lines = terminal.getvalue().splitlines()
        assert lines[1].split() == heads, columns
        assert lines[3].split()[:2] == ["20180810", "short"]
        assert lines[4].split()[:2] == ["20180825", "20180904"]
        assert max(map(len, lines[:5])) <= columns
        assert ("too narrow for" in lines[6]) == (columns < 53)
        assert "…" not in terminal.getvalue()


def test_columns_are_named_by_fragments(pairs: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs(pairs.assign(dy_m=[3.0, np.nan]), Listing("csv", ["que", "sim", "shift_m"]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "query,similarity_pct,shift_m"
    assert lines[1].endswith(f"100.0,{np.hypot(1.005, 3.0):.9f}")
    with pytest.raises(InputError, match="column 'n_' may be n_query, n_inliers or n_witnesses"):
        print_pairs(pairs, Listing(columns=["n_"]))
    with pytest.raises(InputError, match="no column 'similarty'; did you mean similarity_pct"):
        print_pairs(pairs, Listing(columns=["similarty"]))


def test_a_column_that_was_named_is_listed_though_it_is_empty(
    pairs: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = pairs.assign(dy_m=np.nan)
    print_pairs(empty, Listing(columns=["query", "dy_m"]))
    assert capsys.readouterr().out.splitlines()[1].split() == ["query", "dy_m"]
    print_pairs(empty)
    assert "dy_m" not in capsys.readouterr().out.splitlines()[1].split()


def test_numbers_that_round_to_zero_have_no_sign(pairs: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs(pairs.assign(dx_m=[-8.9e-16, -0.001]))
    told = capsys.readouterr().out
    assert told.count("0.00") == 3  # with 100.00
    assert "-0.00" not in told


@pytest.mark.parametrize("ending", ["csv", "json", "parquet", "txt"])
def test_a_list_is_written_by_the_ending_of_its_file(pairs: pd.DataFrame, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"pairs.{ending}"
    print_pairs(pairs, Listing(file=file))
    if ending == "txt":
        assert "n_inliers" in file.read_text("utf-8")
        return
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[ending](file)
    assert read["query"].tolist() == pairs["query"].tolist()
    assert list(read.columns) == list(pairs.columns)


def test_files_that_cannot_be_written_are_one_line(pairs: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.csv, \.json, \.parquet or \.txt"):
        print_pairs(pairs, Listing(file=tmp_path / "pairs.xlsx"))
    with pytest.raises(InputError, match="cannot write"):
        print_pairs(pairs, Listing(file=tmp_path / "none" / "pairs.csv"))


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
    print_scenes(scenes)
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split(maxsplit=4)[1:] == ["3.21", "-0.50", "verified", "move 3.21 m west, 0.50 m north  "]
    assert lines[4].split() == ["S2B_20180825T083549_T36UXA", "not", "verified"]
    assert lines[6].rstrip() == "2 scenes"
    assert "correction is the opposite" in lines[7]
    print_scenes(scenes[1:])
    assert "opposite" not in capsys.readouterr().out
    print_scenes(scenes.assign(datum=["median of 36UXA", ""]))
    assert capsys.readouterr().out.splitlines()[-1] == "Datum: median of 36UXA."
    print_scenes(scenes, Listing("csv"))
    assert capsys.readouterr().out.splitlines()[0] == "scene_id,offset_x_m,offset_y_m,verdict,correction"
    print_scenes(scenes, Listing("json"))
    assert json.loads(capsys.readouterr().out)[0]["offset_x_m"] == 3.214
