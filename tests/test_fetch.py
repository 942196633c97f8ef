"""Scenes are searched, downloaded, continued after every kind of stop, and used as they are where they came from."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import s2fast as package
from s2fast.archive.find import find_scenes
from s2fast.config import Ingest
from s2fast.errors import InputError, SceneError
from s2fast.fetching import download as downloading
from s2fast.fetching.query import EARTH_SEARCH, Wanted, box_around, parse_box, search_address
from s2fast.files.ranges import FileRanges
from s2fast.files.source import Source
from s2fast.masks.lookup import find_mask
from tests.archives import textured, write_scene
from tests.command_line import assert_one_line, s2fast
from tests.stac_server import SECRET, StacServer, item, serving

pytest.importorskip("pystac")

BOX = ("--bbox", "34.2,50.2,34.8,50.8")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StacServer]:
    with serving(tmp_path / "server") as running:
        for number, day in enumerate(("20190606", "20190805", "20190904")):
            name = f"S2A_36UXA_{day}_0_L2A"
            path = running.folder / name / "TCI.tif"
            write_scene(path, textured(np.random.default_rng(number), (160, 160)))
            write_scene(path.with_name("SCL.tif"), np.full((160, 160), 4, np.uint8))
            running.items.append(
                item(name, f"{running.address}/{name}/TCI.tif", **{
                    "datetime": f"{day[:4]}-{day[4:6]}-{day[6:]}T08:36:01Z", "eo:cloud_cover": 40.0 - 10 * number,
                    "s2:product_type": "S2MSI2A",
                })
            )  # fmt: skip
        yield running


def options(server: StacServer, archive: Path, *more: object) -> list[object]:
    return ["fetch", "--api", f"{server.address}/api?token=tok3nWord", *BOX, "--to", archive, "--quiet", *more]


@pytest.mark.slow
def test_fetched_scenes_are_those_of_the_server(
    server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    assert s2fast(monkeypatch, *options(server, archive)) == 0
    out = capsys.readouterr().out
    assert f"s2fast run --scenes {archive / 'items.json'} --out OUT" in out
    assert "tok3nWord" not in out + (archive / "items.json").read_text()
    there = find_scenes([Source.of(item["assets"]["visual"]["href"]) for item in server.items]).scenes
    for place in (archive, archive / "items.json"):
        scenes = find_scenes([place]).scenes
        assert [scene.sensing_time.date() for scene in scenes] == [  # type: ignore[union-attr]
            scene.sensing_time.date()  # type: ignore[union-attr]
            for scene in there
        ]
        for scene, remote in zip(scenes, server.items, strict=True):
            assert scene.source.path.read_bytes() == (server.folder / remote["id"] / "TCI.tif").read_bytes()  # type: ignore[union-attr]
            mask = find_mask(scene, Ingest())
            assert mask is not None
            assert mask.kind == "scl"
    named = find_scenes([archive / "items.json"]).scenes
    assert [scene.scene_id for scene in named] == [item["id"] for item in server.items]
    assert [scene.cloud_cover_pct for scene in named] == [40, 30, 20]
    assert {(scene.tile, scene.platform, scene.level, scene.baseline) for scene in named} == {
        ("36UXA", "S2A", "L2A", 207)
    }

    server.asked.clear()
    assert s2fast(monkeypatch, *options(server, archive)) == 0
    # What is there is not requested again.
    assert not [path for path in server.asked if "TCI" in path]
    assert not list(archive.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "days"),
    [
        (["--max-cloud", "30"], ["20190805", "20190904"]), (["--limit", "1"], ["20190904"]),
        (["--tile", "T36uxa"], ["20190606", "20190805", "20190904"]),
    ],
)  # fmt: skip
def test_only_what_is_wanted(
    server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], days: list[str]
) -> None:
    assert s2fast(monkeypatch, *options(server, tmp_path / "archive", *asked)) == 0
    assert sorted(path.name.split("_")[2] for path in (tmp_path / "archive").iterdir() if path.is_dir()) == days


@pytest.mark.slow
def test_from_python(server: StacServer, tmp_path: Path) -> None:
    asked = {
        "bbox": (34.2, 50.2, 34.8, 50.8),
        "api": f"{server.address}/api?token=tok3nWord",
        "max_cloud": 30,
        "progress": False,
    }
    planned = package.fetch(**asked, dry_run=True)
    assert planned.items is None
    assert planned.scenes()["cloud_pct"].tolist() == [30, 20]
    assert (planned.scenes()["megabytes"] == 1).all()
    shutil.rmtree(server.folder / planned.scene_ids[0])
    fetched = package.fetch(**asked, to=tmp_path / "archive")
    assert fetched.scene_ids == planned.scene_ids[1:]
    assert list(fetched.left_out) == planned.scene_ids[:1]
    assert fetched.items == tmp_path / "archive" / "items.json"
    assert [scene.scene_id for scene in find_scenes([fetched.items]).scenes] == fetched.scene_ids
    again = package.fetch(planned_document(fetched.items), to=tmp_path / "archive", dry_run=True)
    assert "on this machine already" in next(iter(again.left_out.values()))


def planned_document(items: Path | None) -> Path:
    assert items is not None
    return items


def test_dry_run_writes_nothing(
    server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, *options(server, tmp_path / "archive", "--dry-run")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("S2A_36UXA_20190606_0_L2A  1 MB  40 % clouds")
    assert lines[-1].startswith("3 scenes, of which 3 to fetch: ")
    assert not (tmp_path / "archive").exists()


@pytest.mark.slow
def test_a_missing_file_costs_its_scene_only(
    server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = server.folder / "S2A_36UXA_20190805_0_L2A"
    shutil.move(lost, tmp_path / "aside")
    assert s2fast(monkeypatch, *options(server, tmp_path / "archive")) == 3
    assert "S2A_36UXA_20190805_0_L2A is left out" in capsys.readouterr().err
    assert len(find_scenes([tmp_path / "archive" / "items.json"]).scenes) == 2
    shutil.move(tmp_path / "aside", lost)
    assert s2fast(monkeypatch, *options(server, tmp_path / "archive")) == 0
    assert len(find_scenes([tmp_path / "archive" / "items.json"]).scenes) == 3


@pytest.mark.slow
def test_a_killed_download_continues(server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies after some parts leaves them; the next asks only for the rest, and the file is equal."""
    dies = """
import os, sys
from s2fast.files.web import WebRanges
from s2fast.fetching import download
download._PART_BYTES, download._THREADS = 4096, 1
read, count = WebRanges.read, [0]
def failing(self, offset, length):
    count[0] += length == 4096
    if count[0] == 4:
        os._exit(9)
    return read(self, offset, length)
WebRanges.read = failing
sys.argv = ["s2fast", *sys.argv[1:]]
from s2fast.cli import main
main()
"""
    archive = tmp_path / "archive"
    command = [sys.executable, "-c", dies, *map(str, options(server, archive, "--limit", 1))]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 9
    (partial,) = archive.rglob("*.part")
    assert partial.stat().st_size == 3 * 4096
    assert find_scenes_or_none(archive) == []
    asked: list[int] = []
    read = downloading._part

    def noted(ranges: Any, source: Source, offset: int, length: int) -> bytes:
        asked.append(offset)
        return read(ranges, source, offset, length)

    monkeypatch.setattr(downloading, "_part", noted)
    assert s2fast(monkeypatch, *options(server, archive, "--limit", 1)) == 0
    name = "S2A_36UXA_20190904_0_L2A"
    assert 3 * 4096 in asked
    assert (archive / name / "TCI.tif").read_bytes() == (server.folder / name / "TCI.tif").read_bytes()
    assert not list(archive.rglob("*.part"))


def find_scenes_or_none(place: Path) -> list[str]:
    try:
        return [scene.scene_id for scene in find_scenes([place]).scenes]
    except InputError:
        return []


def test_a_file_that_changed_begins_again(server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "S2A_36UXA_20190904_0_L2A"
    stale = tmp_path / "archive" / name / "TCI.tif.0badc0de.part"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another version")
    assert s2fast(monkeypatch, *options(server, tmp_path / "archive", "--limit", 1)) == 0
    assert (stale.parent / "TCI.tif").read_bytes() == (server.folder / name / "TCI.tif").read_bytes()
    assert not stale.exists()


def test_signed_items_of_a_document(
    server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scene(server.folder / "signed" / "B04.tif", textured(np.random.default_rng(5), (96, 96)))
    document = tmp_path / "mine" / "items.json"
    document.parent.mkdir()
    signed = item("one", f"{server.address}/signed/B04.tif?{SECRET}", key="B04")
    document.write_text(json.dumps({"type": "FeatureCollection", "features": [signed]}))
    trust = ("--set", f'ingest.trust=["{server.address}/"]')
    assert s2fast(monkeypatch, "fetch", document, "--to", tmp_path / "archive", "-q", *trust) == 0
    (scene,) = find_scenes([tmp_path / "archive" / "items.json"]).scenes
    assert (scene.scene_id, scene.asset) == ("one", "B04")
    kept = (tmp_path / "archive" / "items.json").read_text() + capsys.readouterr().out
    assert SECRET not in kept


def test_a_server_that_fails_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_PAUSES_S", (0.0, 0.0))
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    source = Source.of("https://example.org/file")
    answers = iter([SceneError("cut off"), b"", b"0123456789"])

    class Failing(FileRanges):
        def read(self, offset: int, length: int) -> bytes:
            del offset, length
            answer = next(answers)
            if isinstance(answer, SceneError):
                raise answer
            return answer

    # More than was asked for is not taken.
    assert downloading._part(Failing(path, 0, 10), source, 0, 4) == b"0123"
    answers = iter([SceneError("cut off")] * 3)
    with pytest.raises(SceneError, match="cut off"):
        downloading._part(Failing(path, 0, 10), source, 0, 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "x"], "what to fetch is missing"), (["--bbox", "1,2,3"], "wanted WEST,SOUTH,EAST,NORTH"),
        ([*BOX], "the folder is missing"), (["items.json", *BOX, "--to", "x"], "says itself where to look"),
        ([*BOX, "--regions", "x", "--to", "x"], "leave out one of them"),
        ([*BOX, "--api", "ftp://x", "--to", "x"], "wanted the address of a STAC API"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, "fetch", *arguments) == 2
    assert_one_line(capsys.readouterr().err, said)


@pytest.mark.slow
def test_a_full_disk_and_a_foreign_items_file(
    server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    with monkeypatch.context() as patch:
        patch.setattr(downloading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())  # type: ignore[attr-defined]
        assert s2fast(monkeypatch, *options(server, archive)) == 2
    assert_one_line(capsys.readouterr().err, "its disk has 0 MB")
    (archive / "items.json").write_text('{"mine": 1}')
    assert s2fast(monkeypatch, *options(server, archive)) == 2
    assert_one_line(capsys.readouterr().err, "is not the item collection that s2fast fetch writes")
    assert (archive / "items.json").read_text() == '{"mine": 1}'


def test_without_options_it_says_where_scenes_are_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, "fetch") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("Copernicus Data Space", "Earth Search", "Kaggle", "ARCHIVE/"))


def test_addresses_of_searches(tmp_path: Path) -> None:
    wanted = Wanted("36UYA", 20.0)
    assert search_address(f"{EARTH_SEARCH}/", "c", (34.2, 50, 34.8, 50.4), "2019-06/2019-09", wanted) == (
        f"{EARTH_SEARCH}/search?collections=c&bbox=34.2,50,34.8,50.4&datetime=2019-06/2019-09&query="
        "%7B%22grid:code%22:%7B%22eq%22:%22MGRS-36UYA%22%7D,%22eo:cloud_cover%22:%7B%22lte%22:20.0%7D%7D"
    )
    assert search_address("http://h/v1?token=t", "c", None, "", Wanted()) == "http://h/v1/search?token=t&collections=c"
    for text in ("1,2,3,2", "1,2,1,3", "181,0,182,1", "a,b,c,d", "1,2,nan,3", "0,-91,1,0"):
        with pytest.raises(InputError):
            parse_box(text)
    square = {"type": "Polygon", "coordinates": [[[34, 50], [35, 50], [35, 51], [34, 51], [34, 50]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": square}
    (tmp_path / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert box_around(tmp_path / "r.geojson") == pytest.approx((34, 50, 35, 51))
