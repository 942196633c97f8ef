"""Options of the commands: lists, files to write, limits, and options that exclude each other."""

import sys
from pathlib import Path
from typing import Any

import pytest

from s2fast.commands.app import words
from s2fast.errors import InputError
from s2fast.results import Run
from tests.command_line import assert_one_line, s2fast
from tests.judged import Judged

UXA = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")


def test_lists_may_have_blanks(judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert words(" TCI, B02,,B03 ") == ["TCI", "B02", "B03"]
    got: dict[str, Any] = {}

    def taken(*_: Any, **options: Any) -> None:
        got.update(options)
        sys.exit(0)

    monkeypatch.setattr(Run, "align", taken)
    s2fast(monkeypatch, "align", judged.out, "--to", tmp_path / "aligned", "--bands", "TCI, B02 ")
    assert got["bands"] == ["TCI", "B02"]
    monkeypatch.setattr("s2fast.synth.synth", taken)
    s2fast(monkeypatch, "synth", tmp_path / "archive", "--tiles", "36UXA, 36UYA")
    assert got["tiles"] == ["36UXA", "36UYA"]


@pytest.mark.parametrize(
    ("command", "name", "wanted"),
    [
        (["pairs"], "pairs.xlsx", ".csv, .json, .parquet or .txt"),
        (["pairs", "--format", "csv"], "pairs.png", ".csv, .json, .parquet or .txt"),
        (["scenes"], "scenes.tif", ".csv, .json, .parquet or .txt"),
        (["show", *UXA], "pair.jpg", ".png, .pdf or .svg"),
        (["show", *UXA], "pair", ".png, .pdf or .svg"),
        (["displacement", *UXA], "shift.txt", ".tif or .tiff"),
        (["displacement", *UXA], "shift.csv", ".tif or .tiff"),
        (["find", "picture.png"], "where.csv", ".geojson, .tif, .tiff, .png, .pdf or .svg"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_file_of_another_format_is_refused_before_anything_is_read(
    command: list[str],
    name: str,
    wanted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / name
    assert s2fast(monkeypatch, command[0], tmp_path / "no run", *command[1:], "-o", file) == 2
    assert_one_line(capsys.readouterr().err, f"cannot write {file}: the name must end in {wanted}")
    assert not file.exists()


def test_raster_of_another_format_is_refused_in_python(judged: Judged, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the name must end in \.tif or \.tiff"):
        Run(judged.out).displacement(*UXA, 640).save(tmp_path / "shift.png")
    assert not (tmp_path / "shift.png").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--layout", "displacement", "--masked"], "--masked and --layout displacement exclude each other"),
        (["--layout", "pair", "--original"], "--original and --layout pair exclude each other"),
        (["--layout", "pair", "--inliers-only"], "--inliers-only and --layout pair exclude each other"),
        (["--masked", "--original"], "--masked and --original exclude each other"),
        (["--format", "pdf"], "--format, --tile and --limit draw many pairs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "refused",
)
def test_options_of_pictures_that_exclude_each_other(
    judged: Judged,
    options: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert s2fast(monkeypatch, "show", judged.out, *UXA, "-o", tmp_path / "pair.png", *options) == 2
    assert_one_line(capsys.readouterr().err, named)
    assert not (tmp_path / "pair.png").exists()


def test_views_that_a_layout_does_not_have_are_refused_in_python(judged: Judged) -> None:
    with pytest.raises(InputError, match='view="masked" and layout="displacement" exclude each other'):
        Run(judged.out).show(*UXA, layout="displacement", view="masked")
    with pytest.raises(InputError, match='inliers_only and layout="pair" exclude each other'):
        Run(judged.out).show(*UXA, layout="pair", inliers_only=True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--dates", "0"], "--dates"),
        (["--size", "5"], "--size"),
        (["--seed", "-1"], "--seed"),
        (["--tiles", "36UXA,99XYZ"], "99XYZ"),
        (["--tiles", ","], "--tiles"),
        ([], "is not an empty folder"),
    ],
    ids=" ".join,
)
def test_archive_that_cannot_be_made_is_refused_before_progress_is_shown(
    options: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    assert s2fast(monkeypatch, "synth", tmp_path if not options else tmp_path / "archive", *options) == 2
    told = capsys.readouterr()
    assert named in told.err
    assert "to do" not in told.out + told.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_archive_is_made_with_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("s2fast.synth.archive._write_scene", lambda *_: {})
    assert s2fast(monkeypatch, "synth", tmp_path / "archive", "--size", "256", "--dates", "2") == 0
    told = capsys.readouterr().err
    assert "synth: 4 to do" in told
    assert "synth: 4 done" in told
