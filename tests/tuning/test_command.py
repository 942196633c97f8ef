"""The command: bad input, the split of scenes, and a whole search on a small archive."""

from __future__ import annotations

import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna")

import s2fast
from s2fast import cli
from s2fast.config import Config
from s2fast.errors import ConfigError, InputError
from s2fast.planning import Job, plan
from s2fast.tuning.command import Wanted, split_scenes, tune
from tests.archives import textured, write_scene


def scenes(folder: Path, dates: int, side: int = 96) -> Path:
    rng = np.random.default_rng(2)
    ground = textured(rng, (side, side)).astype(float)
    for month in range(1, dates + 1):
        seen = ground * (1 - month / 40) + rng.normal(0, 1, ground.shape)
        path = folder / f"T36UXA_2019{month:02}05T083601_TCI.tif"
        write_scene(path, np.clip(seen, 1, 255).astype(np.uint8))
    return folder


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--scenes", "IN/none"], "none"),
        (["--scenes", "IN", "--minutes", "0"], "--minutes is 0, must be above 0"),
        (["--scenes", "IN", "--set", "verification.enabled=false"], "verification.enabled is false"),
        (["--scenes", "IN"], "needs two scenes or more, got 1"),
        (["--scenes", "IN", "--set", "matching.ratoi=1"], "did you mean 'matching.ratio'?"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes(tmp_path / "in", 1)
    given = [argument.replace("IN", str(tmp_path / "in")) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["s2fast", "tune", *given, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_scenes_without_common_ground_are_told_before_anything_is_written(tmp_path: Path) -> None:
    place = scenes(tmp_path / "in", 1)
    far = textured(np.random.default_rng(3), (96, 96))
    write_scene(place / "T36UYA_20190205T083601_TCI.tif", far, (600_000.0, 5_000_000.0))
    with pytest.raises(InputError, match="no two of the 2 scenes"):
        tune(Wanted(Config(), [str(place)], None, 1), tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_scenes_are_split_by_date_or_if_few_by_ground(tmp_path: Path) -> None:
    many = plan(Job(Config(), [scenes(tmp_path / "many", 8)], None, tmp_path / "x"))
    split = split_scenes(many, 3)
    some, others = ({str(item) for item in split[half][0]} for half in ("choose", "report"))
    assert len(some) == len(others) == 3
    assert not some & others
    few = plan(Job(Config(), [scenes(tmp_path / "few", 3)], None, tmp_path / "y"))
    assert [part for _, part in split_scenes(few, 8).values()] == ["upper", "lower"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"minutes": 0}, "minutes is 0, must be above 0"),
        ({"few": 1}, "few is 1, must be between 2 and 100"),
        ({"overrides": {"matching.ratoi": 1}}, "did you mean 'matching.ratio'"),
        ({"config": Config(), "profile": "fast"}, "overrides and profile do not go with a Config"),
        ({}, "no two of the 2 scenes.*, few of s2fast tune"),
    ],
)
def test_python_is_told_of_its_parameters(given: dict[str, Any], told: str, tmp_path: Path) -> None:
    place = scenes(tmp_path / "in", 1)
    far = textured(np.random.default_rng(3), (96, 96))
    write_scene(place / "T36UYA_20190205T083601_TCI.tif", far, (600_000.0, 5_000_000.0))
    with pytest.raises(s2fast.S2FastError, match=told) as caught:
        s2fast.tune(scenes=place, out=tmp_path / "out", **given)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_search_of_a_few_seconds_keeps_its_budget_and_goes_on(tmp_path: Path) -> None:
    """Whole processes, on five scenes whose ground is split: ten pairs."""
    lines: list[str] = []
    place = str(scenes(tmp_path / "in", 5, 300))
    own = tmp_path / "out" / "work" / "own.txt"
    own.parent.mkdir(parents=True)
    own.write_text("a user's file")
    for minutes in (0.3, 1, 4):  # a busy machine needs longer for the defaults
        with suppress(ConfigError):
            wanted = Wanted(Config(), [place], None, minutes)
            tuned = tune(wanted, tmp_path / "out", lines.append)
            break
    assert tuned.choose is not None
    # The defaults run first, in an empty folder: all stages have a cost of their own.
    assert {"ingest", "extract", "match"} <= set(tuned.choose[0].row["stages"])
    made = [line.partition(": making ")[0] for line in lines if ": making " in line]
    assert made == ["the half to choose on", "the other half"]
    assert tuned.choose[0].cpu_s
    assert tomllib.loads((tmp_path / "out" / "tuned.toml").read_text()) is not None
    assert own.read_text() == "a user's file"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"work", "copies", "trials.jsonl", "tuned.toml"}
    before = (tmp_path / "out" / "trials.jsonl").read_text()
    again = s2fast.tune(scenes=place, minutes=minutes, out=tmp_path / "out", log=lines.append)
    assert (tmp_path / "out" / "trials.jsonl").read_text().startswith(before)
    assert again.choose is not None
    assert again.choose[0].row == tuned.choose[0].row


def test_control_c_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: Wanted, out: str, state: list[str]) -> None:
        state.append(f"the finished trials are kept in {out}/trials.jsonl")
        raise KeyboardInterrupt

    monkeypatch.setattr("s2fast.tuning.command.print_tuned", stopped)
    monkeypatch.setattr(sys, "argv", ["s2fast", "tune", "--scenes", str(tmp_path), "--out", "OUT"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130
    told = "s2fast: stopped; the finished trials are kept in OUT/trials.jsonl; the same command continues from there\n"
    assert capsys.readouterr().err == told
