"""The command line: what it prints, its exit codes, one line for everything wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import geopandas
import numpy as np
import pytest
import shapely

from s2fast import cli
from tests.archives import Archive, safe_path, write_archive, write_regions, write_scene

CONFIG = "configs/default.toml"


def s2fast(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["s2fast", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def finished(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "out"
    command = [sys.executable, "-m", "s2fast.cli", "run", CONFIG, "--scenes", archive.scenes, "--regions"]
    told = subprocess.run([*command, archive.regions, "--out", out], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("4 scenes, 6 pairs, ")
    assert "match: 6 done in" in told.stderr
    return out


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


@pytest.mark.parametrize("command", [*cli.STAGE_COMMANDS, "pairs", "show", "synth", "demo", "doctor"])
def test_every_command_has_help_with_an_example(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, command, "--help") == 0
    assert f"Example: s2fast {command}" in capsys.readouterr().out


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
    assert "1 pairs" in table
    assert "S2A_20190427T083601_T36UYA" in table
    assert "36UXA" not in table
    assert s2fast(monkeypatch, "pairs", finished, "--verified") == 0
    assert "0 pairs" in capsys.readouterr().out


def test_show_writes_a_picture(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "pair.png"
    names = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")
    assert s2fast(monkeypatch, "show", finished, *names, "-o", picture) == 0
    image = cv2.imread(str(picture))
    assert image.shape[0] > image.shape[1] > 1000
    orange = (np.abs(image.astype(int) - (0, 159, 230)).max(axis=2) < 30).sum()
    assert orange > 2000, "no match lines"


def test_doctor_says_what_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert s2fast(monkeypatch, "doctor") == 0
    told = capsys.readouterr().out
    for topic in ("cores", "JPEG 2000", "GPU", "akaze: opencv", "hamming_top2: auto"):
        assert topic in told


def test_cv2_without_akaze_says_what_to_remove(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(cv2, "AKAZE")
    arguments = ("--scenes", archive.scenes, "--out", tmp_path / "out", "--set", "features.backend=opencv")
    assert s2fast(monkeypatch, "run", CONFIG, *arguments) == 2
    assert_one_line(capsys.readouterr().err, "pip uninstall -y opencv-python")
    assert not (tmp_path / "out").exists()


def assert_one_line(stderr: str, said: str) -> None:
    lines = [line for line in stderr.splitlines() if "error:" in line]
    assert len(lines) == 1, stderr
    assert said in lines[0]
    assert "Traceback" not in stderr


BAD_INPUT = {
    "no scenes": ({"scenes": "empty"}, "no scenes found under"),
    "no such folder": ({"scenes": "nowhere"}, "no such file or folder"),
    "regions missing": ({"regions": "nowhere.geojson"}, "cannot read the regions file"),
    "regions empty": ({"regions": "empty.geojson"}, "holds no polygons"),
    "regions without CRS": ({"regions": "plain.shp"}, "has no CRS; say which it is with --set regions.crs"),
    "regions elsewhere": ({"regions": "far.geojson"}, "meets a scene"),
    "unknown key": ({"set": "matching.ratoi=0.7"}, "did you mean 'matching.ratio'?"),
    "wrong type": ({"set": "matching.ratio=high"}, "matching.ratio = 'high'"),
    "unknown backend": ({"set": "matching.backend=abacus"}, "unknown backend 'abacus'"),
    "two keys in one": ({"set": "matching.ratio=0.5\nmatching.mutual=false"}, "sets more than one key"),
    "infinite": ({"set": "regions.buffer_m=inf"}, "regions.buffer_m = inf"),
    "strange CRS": ({"set": 'regions.crs=LOCAL_CS["x"]'}, "cannot be brought into the scenes"),
    "config missing": ({"config": "nowhere.toml"}, "cannot read the configuration"),
    "config unknown key": ({"config": "wrong.toml"}, "unknown key 'matching.ratoi'; did you mean 'matching.ratio'?"),
    "no scheduler": ({"scheduler": "tcp://127.0.0.1:1"}, "no Dask scheduler answers"),
    "not a run folder": ({"out": "empty.geojson"}, "is no run folder"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_exit_2_and_writes_nothing(
    case: str, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, said = BAD_INPUT[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "wrong.toml").write_text("[matching]\nratoi = 0.8\n")
    write_regions(tmp_path / "far.geojson", [shapely.box(9e5, 9e5, 9.1e5, 9.1e5)])
    plain = geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32636")
    plain.to_file(tmp_path / "plain.shp")
    (tmp_path / "plain.prj").unlink()
    before = sorted(tmp_path.rglob("*"))

    scenes = tmp_path / changed["scenes"] if "scenes" in changed else archive.scenes
    regions = tmp_path / changed["regions"] if "regions" in changed else archive.regions
    config = tmp_path / changed["config"] if "config" in changed else CONFIG
    arguments = ["--scenes", scenes, "--regions", regions, "--out", tmp_path / changed.get("out", "out")]
    for option in ("set", "scheduler"):
        if option in changed:
            arguments += [f"--{option}", changed[option]]
    assert s2fast(monkeypatch, "run", config, *arguments) == 2
    assert_one_line(capsys.readouterr().err, said)
    assert sorted(tmp_path.rglob("*")) == before


def test_another_jobs_folder_is_refused(
    archive: Archive, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, "run", CONFIG, "--scenes", archive.scenes, "--out", finished) == 2
    assert_one_line(capsys.readouterr().err, "holds another job's run")


def test_interrupt_says_that_the_run_goes_on(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("s2fast.pipeline.run_stages", interrupted)
    assert s2fast(monkeypatch, "run", CONFIG, "--scenes", archive.scenes, "--out", tmp_path / "out") == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_skipped_scene_is_named_and_exit_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_archive(tmp_path / "archive")
    write_scene(safe_path(archive.scenes, "36UXA", "20190502T083601"), np.full((256, 256), 9, np.uint8), crs=None)
    arguments = ("run", CONFIG, "--scenes", archive.scenes, "--regions", archive.regions, "--out", tmp_path / "out")
    assert s2fast(monkeypatch, *arguments) == 3
    told = capsys.readouterr()
    assert "1 scenes skipped: S2A_20190502T083601_T36UXA" in told.err
    assert told.out.startswith("4 scenes, 6 pairs")
    assert s2fast(monkeypatch, *arguments, "--strict") == 2
    assert_one_line(capsys.readouterr().err, "has no CRS")


def test_unwritable_picture_and_missing_run_are_told(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")
    assert s2fast(monkeypatch, "show", finished, *names, "-o", tmp_path / "no" / "pair.png") == 2
    assert_one_line(capsys.readouterr().err, "cannot write the picture")
    assert s2fast(monkeypatch, "show", finished, names[0], "S2A_2019", "-o", tmp_path / "pair.png") == 2
    assert_one_line(capsys.readouterr().err, "no scene 'S2A_2019'")
    assert s2fast(monkeypatch, "pairs", tmp_path) == 2
    assert_one_line(capsys.readouterr().err, "holds no run")


def test_synth_and_run_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    assert s2fast(monkeypatch, "synth", archive, "--size", 512, "--dates", 2) == 0
    truth = json.loads((archive / "truth.json").read_text())
    assert truth
    arguments = ("--scenes", archive, "--regions", archive / "regions.geojson", "--out", out)
    assert s2fast(monkeypatch, "run", CONFIG, *arguments) == 0
    assert len((out / "pairs.csv").read_text().splitlines()) == 1 + 6
    shutil.rmtree(out)
    assert s2fast(monkeypatch, "run", CONFIG, *arguments, "--workers", 2) == 0
    assert len((out / "pairs.csv").read_text().splitlines()) == 1 + 6
