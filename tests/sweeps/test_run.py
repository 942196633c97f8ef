"""Sweeps that run: shared stages, failures as rows, resuming after any stop, and one line for every wrong input."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import s2fast
from s2fast import cli
from s2fast.errors import InputError
from s2fast.pipeline import STAGES
from s2fast.sweeps import limited_process, runner
from s2fast.sweeps.columns import KNOWN, shown_columns
from s2fast.sweeps.kept_pairs import MOST_LINES, read_pairs, read_pictures
from s2fast.sweeps.limited_process import Limits
from s2fast.sweeps.results import load_all, run_checked
from s2fast.sweeps.rows import only_writer, read_rows
from tests.archives import ORIGINS, Archive, safe_path, textured, write_scene
from tests.sweeps.in_process import cases_in_this_process

pytestmark = pytest.mark.slow

GRID = """
base.regions.mode = "none"
base.matching.mode = "exhaustive"
base.features.upsample = 1
[[grid]]
matching.ratio = [0.8, 0.9]
"""


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["s2fast", "sweep", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(GRID)
    return path


def test_a_sweep_shares_stages_goes_on_and_notes_failures(
    one_tile: Archive, sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checked,) = load_all([sweep_file], [str(one_tile.scenes)])
    path, messages = tmp_path / "rows.jsonl", []
    (first, second), _ = runner.run_sweep(checked, path, messages.append)
    assert (first["status"], second["status"]) == ("ok", "ok")
    # The second case found the first one's features, and is charged with what they cost.
    assert {name for name, stage in second["stages"].items() if stage["shared"]} == {"ingest", "extract"}
    # Pairs are verified while they are matched.
    assert set(second["stages"]) == set(STAGES) - {"verify"}
    assert second["stages"]["extract"]["seconds"] == first["stages"]["extract"]["seconds"] > 0
    assert second["found"]["good_matches"] > first["found"]["good_matches"] > 0
    assert first["counts"]["comparisons"] == second["counts"]["comparisons"] > 0
    assert first["peak_mb"] > 50
    assert {"version", "source", "config", "data", "environment", "took_s"} <= set(first)
    assert "2 cases, 0 done before; roughly" in messages[0]
    assert messages[-1].startswith("2 of 2, ")
    assert not (tmp_path / "rows.work").exists()

    # Stopped after the first case, in the middle of the next one's line: that case runs again.
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:100])
    ran: list[dict[str, Any]] = []

    def no_answer(_module: str, job: dict[str, Any], _limits: Limits) -> tuple[dict[str, Any], str]:
        ran.append(job)
        return {}, "no reason"

    monkeypatch.setattr(limited_process, "run_alone", no_answer)
    again, _ = runner.run_sweep(checked, path, messages.append)
    assert again[0] == first
    assert (again[1]["status"], again[1]["reason"], again[1]["seconds"]) == ("failed", "no reason", None)
    assert len(ran) == 1
    runner.run_sweep(checked, path, messages.append)
    assert len(ran) == 1
    runner.run_sweep(checked, path, messages.append, retry=True)
    assert len(ran) == 2
    # A full disk says nothing about a case, and its lines are kept.
    kept = path.read_text()
    full = "cannot write /a: No space left on device; free disk space there and run again: complete results are kept"
    with monkeypatch.context() as patch:
        patch.setattr(limited_process, "run_alone", lambda *_: ({}, full))
        with pytest.raises(InputError, match=full):
            runner.run_sweep(checked, path, messages.append, retry=True)
        patch.setattr(Path, "write_text", lambda *_: pytest.fail("the rows are written anew"))
        path.write_bytes(f"{kept}{lines[1][:9]}".encode())
        assert len(read_rows(path)) == len(kept.splitlines())
    assert path.read_text() == kept
    # Other sources are another case.
    monkeypatch.setattr("s2fast.sweeps.running.source_hash", lambda: "other")
    runner.run_sweep(checked, path, messages.append)
    assert len(ran) == 4


def test_a_changed_scene_is_another_case(one_tile: Archive, sweep_file: Path, tmp_path: Path) -> None:
    scenes = shutil.copytree(one_tile.scenes, tmp_path / "scenes")
    (before,) = load_all([sweep_file], [str(scenes)])
    (same,) = load_all([sweep_file], [str(scenes)])
    file = next(scenes.rglob("*_TCI.jp2"))
    os.utime(file, ns=(0, 0))
    (after,) = load_all([sweep_file], [str(scenes)])
    assert before.identity == same.identity != after.identity


def test_a_case_that_takes_too_long_or_is_killed_is_a_row_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, body in {
        "sleeps": "import time\ntime.sleep(60)", "dies": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "ends": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "fails": "raise ValueError('no\\nreason')", "exits": "import sys\nsys.exit(1)",
        "grows": "import time\nheld = bytearray(400 << 20)\ntime.sleep(60)",
        "breeds": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import grows; grows.main()'])",
        # Slow to read: what was not read when the process is looked at must arrive, too.
        "answers": "import json, os, sys, time\ntime.sleep(1.5)\njob = json.loads(sys.stdin.read())\n"
        "print(json.dumps({'length': len(job['given']), 'threads': [os.environ['OMP_NUM_THREADS'], job['threads']]}))",
    }.items():  # fmt: skip
        (tmp_path / f"{name}.py").write_text("def main():\n" + "\n".join(f"    {line}" for line in body.split("\n")))
    monkeypatch.syspath_prepend(tmp_path)
    limits = Limits(300)
    assert limited_process.run_alone("sleeps", {}, Limits(0.5)) == ({}, "took longer than 0.5 s and was killed")
    assert limited_process.run_alone("dies", {}, limits) == ({}, "killed by signal 9: out of memory, most likely")
    assert limited_process.run_alone("ends", {}, limits) == ({}, "killed by signal 15")
    assert limited_process.run_alone("fails", {}, limits) == ({}, "reason")
    assert limited_process.run_alone("exits", {}, limits) == ({}, "exit code 1")
    assert limited_process.run_alone("grows", {}, Limits(300, memory_mb=300)) == (
        {}, "needed more than 300 MiB of memory and was killed"
    )  # fmt: skip
    assert limited_process.run_alone("breeds", {}, Limits(300, memory_mb=300))[1].startswith("needed more than 300 MiB")
    gone = str(tmp_path / "gone")
    assert limited_process.run_alone("sleeps", {}, Limits(300, folder=gone)) == (
        {},
        "stopped, since the sweep has ended",
    )
    answered = limited_process.run_alone("answers", {"given": "x" * 200_000}, Limits(300, memory_mb=3000, threads=3))
    assert answered == ({"length": 200_000, "threads": ["3", 3]}, "")


def test_two_sweeps_do_not_write_one_file(archive: Archive, sweep_file: Path, tmp_path: Path) -> None:
    (checked,) = load_all([sweep_file], [str(archive.scenes)])
    with only_writer(tmp_path / "rows.jsonl"), pytest.raises(InputError, match="another sweep is writing"):
        runner.run_sweep(checked, tmp_path / "rows.jsonl", print)


def test_the_table_needs_no_truth_and_no_column_is_empty(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = tmp_path / "scenes"
    ground = textured(np.random.default_rng(3), (512, 512)).astype(np.float32)
    for number in range(4):
        noise = np.random.default_rng(number).normal(0, 4, ground.shape)
        pixels = np.clip(ground + noise, 1, 255).astype(np.uint8)
        write_scene(safe_path(scenes, "36UXA", f"2019042{number}T083601"), pixels, ORIGINS["36UXA"])
    path = tmp_path / "mine.toml"
    path.write_text("[[grid]]\nfeatures.max_per_scene = [2000, 100]")
    with cases_in_this_process():
        assert command(monkeypatch, path, "--scenes", scenes, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].split()[:3] == ["#", "case", "seconds"]
    assert "6 of 6, 100 %" in printed.out
    assert printed.out.splitlines()[-1].startswith(f"{tmp_path / 'out' / 'mine'}.html")
    frame = pd.read_parquet(tmp_path / "out" / "mine.parquet")
    rows = frame.astype(object).to_dict("records")
    shown = {column.name for column in shown_columns(rows)}
    assert {
        "seconds", "cpu_s", "peak_mb", "counts.keypoints", "found.good_matches", "found.verified_pairs",
        "found.null_pct", "found.stated_error_m", "found.closure_m", "found.agreeing_pct",
    } == shown  # fmt: skip
    assert all(not frame[name].isna().any() for name in shown)
    assert frame["found.triples"].tolist() == [4, 4]
    assert (frame["found.closure_m"].astype(float) <= frame["found.closure_95_m"].astype(float)).all()
    # Fewer keypoints say less about the shift, and the table shows it.
    assert frame["found.stated_error_m"][1] > frame["found.stated_error_m"][0]
    assert {name for name in frame if name.startswith(("found.", "counts."))} <= set(KNOWN)
    # Of each case's pairs the verdicts are kept, with matches to draw: here both ends lie at the same place.
    kept = read_pairs(tmp_path / "out" / "mine.jsonl", str(frame["case"][0]))
    assert kept is not None
    assert kept["verified"].tolist() == [True] * 6
    for packed in kept["lines"]:
        ends = np.frombuffer(packed, "<u2").reshape(-1, 4) / 65535 * 512
        assert len(ends) == MOST_LINES
        assert np.abs(ends[:, :2] - ends[:, 2:]).max() < 3
        assert np.ptp(ends[:, 0]) > 100
    pictures = read_pictures(tmp_path / "out" / "mine.jsonl")
    assert len(pictures) == 4
    assert all((shown["rows"], shown["cols"]) == (512, 512) for shown in pictures.values())
    assert all(shown["picture"].startswith("data:image/jpeg;base64,") for shown in pictures.values())
    # What a killed sweep has not finished is removed.
    with subprocess.Popen(["true"]) as ended:
        pass
    (tmp_path / "out" / "mine.pairs" / f".partial-{platform.node()}-{ended.pid}-12ab.parquet").touch()
    # From Python, the same rows without running anything again.
    lines: list[str] = []
    again = s2fast.sweep(path, scenes=scenes, out=tmp_path / "out", log=lines.append)
    assert again["case"].tolist() == frame["case"].tolist()
    assert lines == ["mine: 2 cases, 2 done before"]
    assert len(list((tmp_path / "out" / "mine.pairs").iterdir())) == 3


def test_a_truth_beside_the_scenes_is_used(one_tile: Archive, tmp_path: Path) -> None:
    scenes = shutil.copytree(one_tile.scenes, tmp_path / "scenes")
    (checked,) = load_all([{}], [str(scenes)])
    names = sorted({Path(place).name for place in map(str, scenes.rglob("*_TCI.jp2"))})
    ids = [f"S2A_{name[7:22]}_T{name[1:6]}" for name in names]
    assert checked.dataset.truth is None
    (scenes / "truth.json").write_text(json.dumps({"scenes": [{"scene_id": name, "shift_m": [0, 0]} for name in ids]}))
    (checked,) = load_all([{"grid": [{"matching.ratio": [0.9]}]}], [str(scenes)])
    with cases_in_this_process():
        (row,) = run_checked(checked, tmp_path, print).rows
    assert row["quality"]["false_verifications"] == 0
    assert row["quality"]["verified_pairs"] == row["found"]["verified_pairs"] > 0


@pytest.mark.parametrize(
    ("text", "scenes", "told"),
    [
        (GRID, "", "no scenes given: name a folder with --scenes"),
        (GRID, "absent", "absent"),
        ("[data]\nfolder = 'gone'", "", "no folder {folder}/gone"),
        (GRID, "one", "needs two scenes or more, got 1"),
        (GRID, "apart", "no two of the 2 scenes show common ground"),
        ("[[grid]]\nmatching.ration = [1]", "scenes", "did you mean 'matching.ratio'?"),
        ("[[grid]]\nfeatures.threshold = [-1]", "scenes", "features.threshold = -1: input should be greater than 0"),
        ("[[plot]]\ncost = 'second'", "scenes", "cost = 'second' is no column; the nearest are seconds"),
        ("[[case]]\nmatching.pairs = 'file'\nmatching.pairs_file = 'no.csv'", "scenes", "cannot read {folder}/no.csv"),
        (
            "[data]\nkind = 'real'",
            "",
            "known: folder; `python -m benchmarks sweep`, in a clone of the repository, knows it",
        ),
        (GRID, "false", "{folder}/false/truth.json must hold"),
        (GRID, "lacking", "{folder}/lacking/truth.json has no displacement of"),
    ],
)
@pytest.mark.parametrize("plan", [(), ("--dry-run",)])
def test_a_wrong_input_is_one_line_before_the_first_case(
    text: str,
    scenes: str,
    told: str,
    plan: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pixels = textured(np.random.default_rng(0), (64, 64))
    places = {"one": [0], "apart": [0, 200_000], "scenes": [0, 0], "false": [0, 0], "lacking": [0, 0]}.get(scenes, [])
    for number, away in enumerate(places):
        write_scene(tmp_path / scenes / f"{number}.tif", pixels, (600_000.0 + away, 5_600_040.0))
    if scenes in ("false", "lacking"):
        (tmp_path / scenes / "truth.json").write_text({"false": "[]", "lacking": '{"scenes": []}'}[scenes])
    file = tmp_path / "mine.toml"
    file.write_text(text)
    given = ("--scenes", tmp_path / scenes) if scenes else ()
    assert command(monkeypatch, file, *given, "--out", tmp_path / "out", *plan) == 2
    error = capsys.readouterr().err
    assert error.startswith("s2fast: error: ")
    assert told.format(folder=tmp_path) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_plan_lists_the_cases_and_their_time(
    archive: Archive,
    sweep_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, sweep_file, "--scenes", archive.scenes, "--out", tmp_path / "out", "--dry-run") == 0
    head, *cases = capsys.readouterr().out.splitlines()
    assert head.startswith("mine: 2 cases; roughly ")
    assert cases == ["  ratio 0.8", "  ratio 0.9"]
    assert not (tmp_path / "out").exists()
