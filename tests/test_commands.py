"""The commands: their help, their options, and what they list, foresee and draw."""

import io
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.main import get_command

from s2fast import cli
from s2fast.commands.app import GROUPS, app, only_asked
from s2fast.work.streams import on_terminal
from tests.archives import Archive
from tests.command_line import assert_one_line, s2fast
from tests.judged import Judged
from tests.test_pipeline import digests

COMMANDS = [name for names in GROUPS.values() for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_shows_no_types_and_cuts_no_metavar(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert s2fast(monkeypatch, *filter(None, [command]), "-h") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if re.search(r"<\w+>|\[\[|\bHT\b", line)]
    # A metavar that does not fit goes on in the next line, which then has text before that of the help.
    table = [line.strip("│ ") for line in lines if line.startswith("│")]
    metavars = {option.metavar for option in app_parameters(command) if option.metavar}
    for metavar in metavars:
        assert any(metavar in line for line in table), metavar


def app_parameters(command: str) -> list[Any]:
    """Return the parameters of a command."""
    group = typer.main.get_command(cli.app)
    return (group.commands[command] if command else group).params


def test_every_command_is_in_a_group() -> None:
    group = typer.main.get_command(cli.app)
    assert sorted(group.commands) == sorted(COMMANDS)


def test_short_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert s2fast(monkeypatch, "-V") == 0
    version = capsys.readouterr().out
    assert s2fast(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == version
    assert version.startswith("s2fast ")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("s2fast", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == version


@pytest.mark.slow
def test_profiles_are_printed_and_used_outside_a_checkout(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[1]
    monkeypatch.chdir(tmp_path)
    for name in ("default", "fast", "notebook"):
        assert s2fast(monkeypatch, "config", "--profile", name) == 0
        assert capsys.readouterr().out == (root / "configs" / f"{name}.toml").read_text("utf-8")
    arguments = ("ingest", "--scenes", archive.scenes, "--out", tmp_path / "out", "--quiet")
    assert s2fast(monkeypatch, *arguments, "--profile", "notebook", "--set", "ingest.reduction=1") == 0
    assert capsys.readouterr().err == ""
    config = json.loads((tmp_path / "out" / "run.json").read_text())["config"]
    assert (config["matching"]["ratio"], config["ingest"]["reduction"]) == (0.8, 1)
    assert s2fast(monkeypatch, "ingest", "notebook", *arguments[1:]) == 2
    assert_one_line(capsys.readouterr().err, "it is a profile: write --profile notebook")


@pytest.mark.slow
def test_dry_run_says_what_would_be_done_and_writes_nothing(
    archive: Archive,
    judged: Judged,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finished = judged.plain
    settings = [f"--set={key}" for key in ("matching.mode=exhaustive", "matching.mutual=false")]
    settings += ["--set=verification.enabled=false", "--dry-run"]
    arguments = ("run", "--scenes", archive.scenes, "--regions", archive.regions, *settings, "--out")
    assert s2fast(monkeypatch, *arguments, tmp_path / "new") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 scenes: 2 of 36UXA, 2 of 36UYA; run folder ")
    assert "match    6 pairs to do" in lines
    assert any(
        re.fullmatch(r"memory   at most [1-9]\d* MiB per worker \(compute.budget_mb = 2048\)", line) for line in lines
    )
    assert any(re.match(r"time     about \d+ s of one core", line) for line in lines)
    assert lines[-1] == "dry run: nothing was written"
    assert not (tmp_path / "new").exists()
    before = digests(finished)
    assert s2fast(monkeypatch, *arguments, finished) == 0
    told = capsys.readouterr().out
    assert "verify   nothing to do, 6 up to date" in told
    assert "memory" not in told
    # Another ratio needs no new features; another threshold does.
    assert s2fast(monkeypatch, *arguments, finished, "--set", "matching.ratio=0.7") == 0
    told = capsys.readouterr().out
    assert "extract  nothing to do, 4 up to date" in told
    assert "match    6 pairs to do" in told
    assert s2fast(monkeypatch, *arguments, finished, "--set", "features.threshold=0.002") == 0
    told = capsys.readouterr().out
    assert "ingest   nothing to do, 4 up to date" in told
    assert "extract  4 scenes to do" in told
    assert digests(finished) == before
    assert s2fast(monkeypatch, *arguments, finished, "--set", "compute.budget_mb=128") == 0
    assert s2fast(monkeypatch, *arguments, tmp_path / "new", "--set", "matching.ratio=2") == 2


def test_lists_are_filtered_sorted_and_written(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pairs.csv"
    options = ("--scene", "0427 uxa", "--sort=-n_good", "--limit", 2, "--columns", "query,train,n_good", "-o", file)
    assert s2fast(monkeypatch, "pairs", judged.out, *options) == 0
    assert capsys.readouterr().out == f"{file}\n"
    rows = pd.read_csv(file)
    assert list(rows.columns) == ["query", "train", "n_good"]
    assert len(rows) == 2
    assert (rows[["query", "train"]] == "S2A_20190427T083601_T36UXA").any(axis=1).all()
    assert rows["n_good"].is_monotonic_decreasing
    assert s2fast(monkeypatch, "pairs", judged.out, "--tile", "36UXB") == 2
    assert_one_line(capsys.readouterr().err, "no tile '36UXB'; there are 36UXA, 36UYA")
    assert s2fast(monkeypatch, "scenes", judged.out, "--since", "2019-06", "--format", "csv") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_show_draws_many_pairs(
    judged: Judged, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    options = ("--verified", "--limit", 1, "--to", folder, "--format", ending, "--dpi", 40, "--layout", "matches")
    assert s2fast(monkeypatch, "show", judged.out, *options) == 0
    (picture,) = folder.iterdir()
    assert capsys.readouterr().out == f"{picture}\n"
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert picture.read_bytes().startswith(starts[ending])
    assert picture.suffix == f".{ending}"


def test_show_names_what_is_missing(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        (["20190427 UXA"], "name QUERY and TRAIN"),
        (["20190427 UXA", "20190606 UXA"], "name it with -o FILE.png, FILE.pdf or FILE.svg"),
        ([], "or draw many with --verified --to DIR"),
        (["20190427 UXA", "20190606 UXA", "-o", "a.png", "--masked", "--original"], "exclude each other"),
        (["20190427 UXA", "20190606 UXA", "-o", tmp_path / "a.doc"], "must end in .png, .pdf or .svg"),
        (["20190427 UXA", "20190606 UXA", "-o", "a.png", "--verified"], "leave out QUERY and TRAIN"),
        (["--verified", "--to", tmp_path / "many", "-o", "a.png"], "leave out -o"),
    ):
        assert s2fast(monkeypatch, "show", judged.out, *arguments) == 2
        assert_one_line(capsys.readouterr().err, said)


def test_show_says_that_no_pair_is_verified(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, "show", judged.plain, "--verified", "--to", tmp_path / "many") == 0
    assert "warning: no picture was drawn: none of the pairs chosen is verified" in capsys.readouterr().err


def test_only_the_command_that_is_asked_for_is_built() -> None:
    every = list(get_command(app).commands)
    for name in every:
        with only_asked(["--version", name, "run"]):
            assert list(get_command(app).commands) == [name]
    for arguments in ([], ["--help"], ["pars"]):
        with only_asked(arguments):
            assert list(get_command(app).commands) == every
    assert len(app.registered_commands) == len(every)


class Terminal(io.StringIO):
    """A terminal, by what it says."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_breaks_no_word_and_a_pipe_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address, word = "/data/" + 50 * "x", "S2A_20160212T084052_T36UYA"
    text = f"s2fast: warning: clouds were not judged in\n  {word}, {word}: give masks to {address}"
    assert on_terminal(text, io.StringIO(), "    ") == text
    shown = on_terminal(text, Terminal(), "    ").split("\n")
    assert shown[0] == "s2fast: warning: clouds were not judged"
    assert shown[1:3] == ["    in", f"  {word},"]
    assert [line for line in shown if len(line) > 40] == [f"    {address}"]
    assert " ".join(" ".join(shown).split()) == " ".join(text.split())
    error = "left out: S2A_20160212: error 4.92 m above"
    for width in (35, 36, 37):
        monkeypatch.setenv("COLUMNS", f"{width}")
        assert "4.92 m" in on_terminal(error, Terminal(), "  ")
    # An indent of more than half of the width is cut.
    monkeypatch.setenv("COLUMNS", "30")
    assert max(map(len, on_terminal(error, Terminal(), " " * 20).split("\n"))) <= 30
