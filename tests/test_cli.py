"""The command line: what it prints, its exit codes, one line for everything wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import rasterio

from s2fast.commands.running import STAGE_COMMANDS
from s2fast.folder.record import load_record
from s2fast.folder.run_folder import RunFolder
from s2fast.report.listing import print_pairs
from tests.archives import Archive
from tests.command_line import assert_one_line, s2fast
from tests.forked import forked_command
from tests.judged import VERDICTS, Judged, every_verdict, replace_block
from tests.test_pipeline import digests

CONFIG = "configs/default.toml"


@pytest.fixture(scope="module")
def finished(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "out"
    told = out.with_name("told")
    arguments = ("run", CONFIG, "--scenes", archive.scenes, "--regions", archive.regions, "--out", out)
    process = forked_command(told, *arguments)
    process.join()
    assert process.exitcode == 0, told.read_text()
    assert "match: 6 done in" in told.read_text()
    assert "\n4 scenes, 6 pairs, " in told.read_text()
    return out


@pytest.mark.slow
def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['s2fast', '--help']\n"
        "from s2fast import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'cv2', 'rasterio', 'geopandas', 'pandas', 'numba', 'faiss', 'zarr', 'pydantic'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    assert "run" in told.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        *STAGE_COMMANDS,
        "sweep",
        "config",
        "tune",
        "pairs",
        "scenes",
        "align",
        "check",
        "show",
        "displacement",
        "synth",
        "demo",
        "doctor",
    ],
)
def test_every_command_has_help_with_an_example(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, command, "--help") == 0
    assert f"Example: s2fast {command}" in capsys.readouterr().out


@pytest.mark.slow
def test_pairs_prints_table_csv_and_json(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, "pairs", finished, "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    values = [row["similarity_pct"] for row in rows]
    assert len(rows) == 6
    assert values == sorted(values, reverse=True)
    middle = values[2]
    assert s2fast(monkeypatch, "pairs", finished, "--min-similarity", middle, "--format", "csv") == 0
    upper = capsys.readouterr().out.splitlines()
    assert s2fast(monkeypatch, "pairs", finished, "--max-similarity", middle, "--format", "csv") == 0
    lower = capsys.readouterr().out.splitlines()
    assert len(upper) + len(lower) == 6 + 2
    assert len(upper) == 1 + sum(value >= middle for value in values) < 7
    assert s2fast(monkeypatch, "pairs", finished, "--tile", "36UYA") == 0
    table = capsys.readouterr().out
    assert "1 of 6 pairs" in table
    assert "S2A_20190427T083601_T36UYA" in table
    assert "36UXA" not in table


@pytest.fixture(scope="module")
def fooled(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run as it would be if every trial at a wrong place had been verified; it needs its report."""
    out = tmp_path_factory.mktemp("fooled") / "out"
    shutil.copytree(finished, out)
    run = RunFolder(out)
    for block in set(run.verified.rows()["block"]):
        rows, matches = run.verified.read([block])
        at = rows.column_names.index("null_verified")
        replace_block(run, block, rows.set_column(at, rows.schema.field(at), rows["null_trials"]), matches)
    record = load_record(run)
    assert record is not None
    record.history.tables_key = ""
    record.save(run)
    return out


@pytest.mark.slow
def test_run_with_verified_null_trials_warns_everywhere(
    archive: Archive, fooled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (CONFIG, "--scenes", archive.scenes, "--regions", archive.regions, "--out", fooled)
    told = "6 of 6 null trials were verified"
    for command in ("report", "run"):
        # The second finds everything done, and warns all the same.
        assert s2fast(monkeypatch, command, *arguments) == 0
        streams = capsys.readouterr()
        assert streams.err.splitlines()[-1].startswith(f"s2fast: warning: {told}")
        assert told not in streams.out
    record = json.loads((fooled / "run.json").read_text())
    low = record["null_rate"].pop("low")
    assert record["null_rate"] == {"trials": 6, "verified": 6, "rate": 1.0, "high": 1.0}
    # All of n: the lower end is (1 - 0.95) / 2 to the power of 1 / n.
    assert low == pytest.approx(0.025 ** (1 / 6))
    assert [warning.startswith(told) for warning in record["warnings"]] == [True]
    assert told in (fooled / "run.log").read_text()
    assert told in (fooled / "report.html").read_text("utf-8")
    for form in ("table", "csv", "json"):
        assert s2fast(monkeypatch, "pairs", fooled, "--format", form) == 0
        streams = capsys.readouterr()
        assert streams.err.splitlines() == [f"s2fast: warning: {record['warnings'][0]}"]
        assert told not in streams.out


@pytest.mark.slow
def test_run_without_verified_null_trials_does_not_warn(
    archive: Archive, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((finished / "run.json").read_text())
    assert (record["counts"]["null_trials"], record["counts"]["null_verified"]) == (6, 0)
    assert record["null_rate"] == {
        "trials": 6, "verified": 0, "rate": 0.0, "low": 0.0, "high": pytest.approx(1 - 0.025 ** (1 / 6))
    }  # fmt: skip
    assert record["warnings"] == []
    assert s2fast(
        monkeypatch, "report", CONFIG, "--scenes", archive.scenes, "--regions", archive.regions, "--out", finished
    ) == 0  # fmt: skip
    assert "warning" not in capsys.readouterr().err
    assert s2fast(monkeypatch, "pairs", finished) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_pairs_shows_what_is_known_and_leaves_the_rest_blank(
    judged: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    print_pairs(every_verdict(judged))
    lines = capsys.readouterr().out.splitlines()
    assert "n_witnesses" in lines[1]
    assert "rotation_deg" in lines[1]
    assert not [line for line in lines if "…" in line]
    assert not [line for line in lines if "nan" in line or "<NA>" in line]
    for verdict in VERDICTS:
        assert sum(line.rstrip().endswith(f"  {verdict}") for line in lines) == 1, verdict
    print_pairs(pd.read_parquet(judged.plain / "pairs.parquet"))
    assert "n_witnesses" not in capsys.readouterr().out


@pytest.mark.slow
def test_show_writes_a_picture(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "pair.png"
    names = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")
    assert s2fast(monkeypatch, "show", finished, *names, "-o", picture) == 0
    image = cv2.imread(str(picture))
    assert image.shape[0] > image.shape[1] > 1000
    # Inliers are blue, outliers orange; OpenCV reads blue first.
    lines = sum((np.abs(image.astype(int) - bgr).max(axis=2) < 30).sum() for bgr in ((233, 180, 86), (0, 159, 230)))
    assert lines > 2000, "no match lines"


def test_doctor_lists_what_can_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert s2fast(monkeypatch, "doctor") == 0
    told = capsys.readouterr().out
    for topic in ("cores", "JPEG 2000", "GPU", "akaze: opencv", "hamming_top2: auto"):
        assert topic in told


def test_cv2_without_akaze_names_the_package_to_remove(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(cv2, "AKAZE")
    arguments = ("--scenes", archive.scenes, "--out", tmp_path / "out", "--set", "features.backend=opencv")
    assert s2fast(monkeypatch, "run", CONFIG, *arguments) == 2
    assert_one_line(capsys.readouterr().err, "pip uninstall -y opencv-python")
    assert not (tmp_path / "out").exists()


def test_without_a_command_the_first_steps_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch) == 0
    told = capsys.readouterr().out
    commands = re.findall(r"^  s2fast (\w+)", told, re.MULTILINE)
    assert commands == ["doctor", "demo", "run", "pairs", "show", "config", "sweep"]
    assert max(map(len, told.splitlines())) <= 80
    assert s2fast(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("s2fast ")


@pytest.mark.slow
def test_shell_completes_commands(tmp_path: Path) -> None:
    asked = {"_S2FAST_COMPLETE": "complete_bash", "COMP_WORDS": "s2fast d", "COMP_CWORD": "1"}
    program = "import sys; sys.argv = ['s2fast']; from s2fast import cli; cli.app(prog_name='s2fast')"
    told = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["demo", "doctor", "displacement"]


@pytest.mark.slow
def test_show_accepts_views_and_crops(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")
    pictures = set()
    for options in (
        ["--masked"],
        ["--original"],
        ["--masked", "--inliers-only", "--matches", "3"],
        ["--original", "--crop", "100,50,200,100"],
    ):
        assert s2fast(monkeypatch, "show", judged.out, *names, "-o", tmp_path / "pair.png", *options) == 0
        pictures.add((tmp_path / "pair.png").read_bytes())
    assert len(pictures) == 4
    capsys.readouterr()
    assert s2fast(monkeypatch, "show", judged.out, *names, "-o", tmp_path / "pair.png", "--crop", "1,2,3") == 2
    assert_one_line(capsys.readouterr().err, "write COL,ROW,WIDTH,HEIGHT")
    assert s2fast(monkeypatch, "show", judged.plain, *names, "-o", tmp_path / "pair.png", "--inliers-only") == 2
    assert_one_line(capsys.readouterr().err, "run verify first")


def test_displacement_writes_a_raster(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")
    assert s2fast(monkeypatch, "displacement", judged.out, *names, "-o", tmp_path / "a.tif", "--cell", "640") == 0
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert (raster.count, raster.shape) == (3, (8, 8))
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert s2fast(monkeypatch, "displacement", judged.out, *names, "-o", tmp_path / "no" / "a.tif") == 2
    assert_one_line(capsys.readouterr().err, "cannot write the raster")


def test_pairs_lists_verified_ones(
    judged: Judged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, "pairs", judged.out, "--verified", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert 0 < len(rows) == pd.read_parquet(judged.out / "pairs.parquet")["verified"].sum()
    assert s2fast(monkeypatch, "pairs", judged.out, "--verified") == 0
    assert "dx_m" in capsys.readouterr().out


@pytest.mark.slow
def test_check_lists_what_is_damaged(
    archive: Archive,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    assert s2fast(monkeypatch, "check", out) == 0
    assert "no damage found" in capsys.readouterr().out
    chunk = next((out / "store.zarr" / "scenes").glob("*/features/descriptors/c/0/0"))
    chunk.unlink()
    matches = next((out / "matches").iterdir())
    matches.write_bytes(matches.read_bytes()[:-1])
    os.truncate(out / "run.gpkg", 100)
    assert s2fast(monkeypatch, "check", out) == 1
    told = capsys.readouterr()
    assert sorted(told.out.splitlines()) == sorted(
        [
            f"{chunk} is damaged (it is missing)",
            f"{matches} is damaged (its checksum is wrong)",
            f"{out}/run.gpkg is damaged (its checksum is wrong)",
        ]
    )
    assert told.err == "s2fast: 3 damaged: run again to recompute them\n"
    arguments = ("run", CONFIG, "--scenes", archive.scenes, "--regions", archive.regions, "--out", out)
    assert s2fast(monkeypatch, *arguments) == 0
    assert s2fast(monkeypatch, "check", out) == 0
    assert digests(out) == digests(finished)
    for nothing in (tmp_path / "nothing", archive.scenes):
        assert s2fast(monkeypatch, "check", nothing) == 2
        assert "holds no run" in capsys.readouterr().err


@pytest.mark.slow
def test_synth_and_run_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    assert s2fast(monkeypatch, "synth", archive, "--size", 512, "--dates", 2) == 0
    truth = json.loads((archive / "truth.json").read_text())
    assert truth
    arguments = ("--scenes", archive, "--regions", archive / "regions.geojson", "--out", out)
    assert s2fast(monkeypatch, "run", CONFIG, *arguments) == 0
    assert len((out / "pairs.csv").read_text().splitlines()) == 1 + 6
