"""Options of the commands: lists, files to write, limits, and options that exclude each other."""

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from s2fast import cli  # noqa: F401  adds the commands
from s2fast.commands.app import FORMER, app, in_todays_words, words
from s2fast.config import load_config
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


@pytest.mark.slow
@pytest.mark.parametrize("place", ["s3://bucket/", "gs://bucket/", "/vsis3/bucket/"])
@pytest.mark.parametrize(
    "command",
    [
        "pairs OUT -o PLACEp.csv", "show OUT a b -o PLACEp.png", "show OUT --verified --to PLACEmany",
        "displacement OUT a b -o PLACEd.tif", "find IN x.png -o PLACEx.tif", "align OUT --to PLACEal",
        "stac OUT --to PLACEcat", "synth PLACEarchive --size 256",
        "demo --out PLACEdemo", "fetch --bbox 1,1,2,2 --dates 2019 --to PLACEarchive",
    ],
)  # fmt: skip
def test_what_is_written_on_disk_only_is_not_sent_to_an_address(
    command: str,
    place: str,
    judged: Judged,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = command.replace("PLACE", place).replace("OUT", str(judged.out)).replace(" a b ", f" {' '.join(UXA)} ")
    assert s2fast(monkeypatch, *words.split()) == 2
    assert_one_line(capsys.readouterr().err, f"cannot write {place}")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"layout": "pairs"}, "layout is 'pairs': it must be one of all, pair, matches, displacement"),
        ({"view": "grey"}, "view is 'grey': it must be one of all, masked, original"),
        ({"matches": -1}, "matches is -1, must be at least 0"),
        ({"dpi": 0}, "dpi is 0, must be above 0"),
    ],
)
def test_values_that_pictures_do_not_have_are_refused_in_python(
    given: dict[str, Any], told: str, judged: Judged
) -> None:
    with pytest.raises(InputError, match=told):
        Run(judged.out).show(*UXA, **given)


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


SPELLINGS = [
    ("pairs OUT --from 2018 --to=2019", "pairs OUT --since 2018 --until=2019"),
    ("scenes OUT --from=2018 --to 2019", "scenes OUT --since=2018 --until 2019"),
    ("show OUT --verified --out DIR", "show OUT --verified --to DIR"),
    ("show OUT --verified --out=DIR", "show OUT --verified --to=DIR"),
    ("find INDEX a.png --json", "find INDEX a.png --format json"),
    ("sweep a.toml --out DIR --plan", "sweep a.toml --out DIR --dry-run"),
    ("tune --scenes DIR --config a.toml", "tune a.toml --scenes DIR"),
    ("tune --config=a.toml --scenes DIR", "tune a.toml --scenes DIR"),
]


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the arguments of a command, parsed as the command line does."""
    group = get_command(app)
    context = group.make_context("s2fast", list(words))
    name, command, rest = group.resolve_command(context, list(words))
    found: dict[str, Any] = command.make_context(name, rest, parent=context).params
    return found


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["config", "--profile", "fest"], "Invalid value for '--profile': 'fest' is not one of 'default', "),
        (["run", "--scenes", "IN", "--out", "OUT", "--set", "matching.ratoi=1"], "--set: unknown key 'matching.ratoi'"),
        (["run", "--scenes", "IN", "--out", "OUT", "--set", "ratio=1"], "--set: unknown key 'ratio'"),
        (["fetch", "--tile", "36UXX9", "--to", "OUT"], "--tile is '36UXX9': wanted an MGRS tile, such as 36UYA"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistyped_value_is_named_as_it_was_typed(
    command: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    given = [word.replace("IN", str(tmp_path / "in")).replace("OUT", str(tmp_path / "out")) for word in command]
    assert s2fast(monkeypatch, *given) == 2
    assert said in " ".join(capsys.readouterr().err.replace("\u2502", " ").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("former", "today"), SPELLINGS, ids=lambda text: text)
def test_former_spellings_mean_the_same_and_are_not_shown(former: str, today: str) -> None:
    assert parsed(former.split()) == parsed(today.split())
    name = former.split()[0]
    shown = {option for parameter in get_command(app).commands[name].params for option in parameter.opts}
    assert shown.isdisjoint(FORMER[name])


def test_all_former_spellings_are_tried() -> None:
    tried = {(former.split()[0], word.split("=")[0]) for former, _ in SPELLINGS for word in former.split()}
    assert {(name, option) for name, options in FORMER.items() for option in options} <= tried


def test_words_after_two_hyphens_are_left_alone() -> None:
    assert in_todays_words("find", ["INDEX", "--", "--json"]) == ["INDEX", "--", "--json"]


def test_destination_has_one_name() -> None:
    """--to names a new folder, in every command that has it; results that a later call goes on in are --out."""
    helps = {
        (name, option): parameter.help
        for name, command in get_command(app).commands.items()
        for parameter in command.params
        for option in parameter.opts
        if option in ("--to", "--out")
    }
    assert {name for name, option in helps if option == "--to"} == {"align", "fetch", "index", "show", "stac"}
    assert all("folder" in (text or "").lower() for text in helps.values())


def test_tune_takes_settings_as_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    got: list[Any] = []
    monkeypatch.setattr("s2fast.tuning.command.print_tuned", lambda wanted, *_: got.append(wanted.base))
    settings = tmp_path / "mine.toml"
    settings.write_text("[matching]\nratio = 0.7\n")
    given = ("tune", settings, "--profile", "notebook", "--scenes", tmp_path)
    assert s2fast(monkeypatch, *given) == 0, capsys.readouterr().err
    assert got == [load_config(settings, profile="notebook")]
