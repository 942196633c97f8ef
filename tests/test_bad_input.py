"""Bad input: one line and exit code 2, or a scene or polygon left out and exit code 3."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from tests.archives import Archive, safe_path, write_archive, write_regions, write_scene
from tests.command_line import assert_one_line, s2fast
from tests.judged import Judged

pytestmark = pytest.mark.slow

CONFIG = "configs/default.toml"


BAD_INPUT = {
    "no scenes": ({"scenes": "empty"}, "no scenes found under"),
    "no such folder": ({"scenes": "nowhere"}, "no such file or folder"),
    "regions missing": ({"regions": "nowhere.geojson"}, "cannot read the regions file"),
    "regions empty": ({"regions": "empty.geojson"}, "holds no polygons"),
    "regions without CRS": ({"regions": "plain.shp"}, "has no CRS: declare it, for example with --set regions.crs"),
    "regions elsewhere": ({"regions": "far.geojson"}, "meets a scene"),
    "unknown key": ({"set": "matching.ratoi=0.7"}, "did you mean 'matching.ratio'?"),
    "wrong type": ({"set": "matching.ratio=high"}, "matching.ratio = 'high'"),
    "unknown backend": ({"set": "matching.backend=abacus"}, "unknown backend 'abacus'"),
    "unknown device": ({"set": "compute.device=gpu"}, "compute.device = 'gpu'"),
    "absent device": ({"set": "compute.device=cuda:99"}, "there is no device 'cuda:99'"),
    "two keys in one": ({"set": "matching.ratio=0.5\nmatching.mutual=false"}, "sets more than one key"),
    "infinite": ({"set": "regions.buffer_m=inf"}, "regions.buffer_m = inf"),
    "strange CRS": (
        {"set": 'regions.crs=LOCAL_CS["x"]'},
        "is no CRS of a map, but a local, vertical or geocentric one",
    ),
    "config missing": ({"config": "nowhere.toml"}, "cannot read the configuration"),
    "config unknown key": ({"config": "wrong.toml"}, "unknown key 'matching.ratoi'; did you mean 'matching.ratio'?"),
    "no scheduler": ({"scheduler": "tcp://127.0.0.1:1"}, "no Dask scheduler answers"),
    "not a run folder": ({"out": "empty.geojson"}, "is not a run folder"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_exit_2_and_writes_nothing(
    case: str, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, said = BAD_INPUT[case]
    monkeypatch.setattr("s2fast.work.executors.CONNECT_S", 0.5)
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


def test_a_polygon_left_out_is_exit_3(
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = json.loads(archive.regions.read_text())
    told["features"].append({"type": "Feature", "properties": {"id": 9}, "geometry": None})
    regions = tmp_path / "regions.geojson"
    regions.write_text(json.dumps(told))
    arguments = ("ingest", CONFIG, "--scenes", archive.scenes, "--regions", regions, "--out", tmp_path / "out")
    assert s2fast(monkeypatch, *arguments, "--strict") == 2
    assert_one_line(capsys.readouterr().err, "rows that cannot be used: fid 9: no geometry")
    assert s2fast(monkeypatch, *arguments, "--dry-run") == 3
    assert "regions.geojson: 1 of 3 rows left out: fid 9: no geometry" in caplog.text
    caplog.clear()
    assert s2fast(monkeypatch, *arguments) == 3
    assert "regions.geojson: 1 of 3 rows left out: fid 9: no geometry" in caplog.text
    rows = json.loads((tmp_path / "out/run.json").read_text())["region_rows"]
    assert rows == {
        "layers": {"regions": 3}, "used": 2, "mended": {}, "outside": [], "dropped": {"fid 9": "no geometry"}
    }  # fmt: skip


def test_another_jobs_folder_is_refused(
    archive: Archive, judged: Judged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, "run", CONFIG, "--scenes", archive.scenes, "--out", judged.plain) == 2
    assert_one_line(capsys.readouterr().err, "holds another job's run")


def test_skipped_scene_is_named_and_exit_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_archive(tmp_path / "archive")
    write_scene(safe_path(archive.scenes, "36UXA", "20190502T083601"), np.full((256, 256), 9, np.uint8), crs=None)
    arguments = ("run", CONFIG, "--scenes", archive.scenes, "--regions", archive.regions, "--out", tmp_path / "out")
    assert s2fast(monkeypatch, *arguments, "--dry-run") == 3
    assert "S2A_20190502T083601_T36UXA" in "".join(capsys.readouterr())
    assert not (tmp_path / "out").exists()
    assert s2fast(monkeypatch, *arguments) == 3
    told = capsys.readouterr()
    assert "1 scene skipped: S2A_20190502T083601_T36UXA" in told.err
    assert told.out.startswith("4 scenes, 6 pairs")
    assert s2fast(monkeypatch, *arguments, "--strict") == 2
    assert_one_line(capsys.readouterr().err, "has no CRS")


def test_unwritable_picture_and_missing_run_are_reported(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")
    assert s2fast(monkeypatch, "show", judged.plain, *names, "-o", tmp_path / "no" / "pair.png") == 2
    assert_one_line(capsys.readouterr().err, "cannot write the picture")
    if Path("/dev/full").exists():
        (full := tmp_path / "full.pdf").symlink_to("/dev/full")
        assert s2fast(monkeypatch, "show", judged.plain, *names, "-o", full) == 2
        assert_one_line(capsys.readouterr().err, "No space left on device")
    assert s2fast(monkeypatch, "show", judged.plain, names[0], "S2A_2019", "-o", tmp_path / "pair.png") == 2
    assert_one_line(capsys.readouterr().err, "'S2A_2019' fits 4 scenes")
    assert s2fast(monkeypatch, "pairs", tmp_path) == 2
    assert_one_line(capsys.readouterr().err, "holds no run")
