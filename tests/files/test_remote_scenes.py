"""Scenes on an S3 server and on a web server, read as the file on disk is."""

import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import s2fast
from s2fast.archive.find import find_scenes
from s2fast.archive.identity import identity
from s2fast.config import Ingest, load_config
from s2fast.errors import InputError, SceneError
from s2fast.files.objects import ObjectRanges
from s2fast.files.source import Source
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Window
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.raster import reader
from s2fast.raster.reader import open_raster
from tests.archives import Archive

BUCKET = "scenes"

BANDS = Ingest(grey="opencv")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of an S3 server of our own."""
    moto_server = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket, with the environment everything that talks to S3 reads."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    made = boto3.resource("s3").Bucket(BUCKET)
    made.create()
    yield made
    made.objects.all().delete()
    made.delete()


def upload(bucket: Any, archive: Archive, prefix: str) -> list[str]:
    """Put an archive's scenes into a bucket; their addresses."""
    paths = sorted(archive.scenes.rglob("*_TCI.jp2"))
    for path in paths:
        bucket.upload_file(str(path), f"{prefix}/{path.relative_to(archive.scenes)}", {"ACL": "public-read"})
    return [f"s3://{BUCKET}/{prefix}/{path.relative_to(archive.scenes)}" for path in paths]


@pytest.mark.slow
def test_a_scene_on_s3_is_the_scene_on_disk(bucket: Any, archive: Archive) -> None:
    address = upload(bucket, archive, "same")[0]
    local = sorted(archive.scenes.rglob("*_TCI.jp2"))[0]
    for settings in (Ingest(), Ingest(reduction=2, decode="reduced"), Ingest(grey="opencv")):
        with open_raster(Source.of(address), settings) as remote, open_raster(local, settings) as on_disk:
            assert remote.raster == on_disk.raster
            for window in (Window(0, 0, 512, 512), Window(256, 0, 256, 256)):
                for got, wanted in zip(remote.read(window), on_disk.read(window), strict=True):
                    np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
def test_each_tile_is_one_request(bucket: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one pass over the tiles' headers, which a file of four tiles has four of."""
    address = upload(bucket, archive, "tiles")[0]
    requests: list[tuple[int, int]] = []
    read = ObjectRanges.read

    def noted(self: ObjectRanges, offset: int, length: int) -> bytes:
        requests.append((offset, length))
        return read(self, offset, length)

    monkeypatch.setattr(ObjectRanges, "read", noted)
    with open_raster(Source.of(address)) as remote:
        assert len(requests) == 1
        requests.clear()
        remote.read(Window(0, 0, 512, 512))
        assert [length for _, length in requests].count(12) == 4
        assert len(requests) == 8
        requests.clear()
        remote.read(Window(256, 0, 256, 512))
        assert len(requests) == 2


@pytest.mark.slow
def test_a_second_run_asks_for_no_header(
    bucket: Any, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other polygons need other tiles; where these lie is known."""
    addresses = upload(bucket, archive, "again")

    def ingested(out: Path, buffer_m: float) -> RunFolder:
        config = load_config(overrides={"regions.buffer_m": buffer_m, "ingest.halo_px": 0})
        run_stages(Job(config, addresses, archive.regions, out), stages=["ingest"])
        return RunFolder(out)

    ingested(tmp_path / "out", 0)
    requests: list[tuple[int, int]] = []
    read = ObjectRanges.read

    def noted(self: ObjectRanges, offset: int, length: int) -> bytes:
        requests.append((offset, length))
        return read(self, offset, length)

    with monkeypatch.context() as patched:
        patched.setattr(ObjectRanges, "read", noted)
        patched.setattr(reader, "open_dataset", None)
        second = ingested(tmp_path / "out", 50)
    scene_ids = sorted(path.name for path in (tmp_path / "out/store.zarr/scenes").iterdir() if path.is_dir())
    assert len(scene_ids) == len(addresses)
    assert len(requests) == sum(second.tile(scene_id).windows_read for scene_id in scene_ids)
    fresh = ingested(tmp_path / "fresh", 50)
    for scene_id in scene_ids:
        np.testing.assert_array_equal(second.grey(scene_id), fresh.grey(scene_id))
        np.testing.assert_array_equal(second.valid(scene_id), fresh.valid(scene_id))
    # A damaged index, or one of another version of the file, is not used.
    for file in (tmp_path / "out/tile_indexes").iterdir():
        file.write_text(file.read_text().replace('"start": ', '"start": 1'))
    again = ingested(tmp_path / "out", 100)
    bucket.upload_file(str(sorted(archive.scenes.rglob("*_TCI.jp2"))[1]), addresses[0].removeprefix(f"s3://{BUCKET}/"))
    wanted = ingested(tmp_path / "fresh", 100)
    assert (again.grey(scene_ids[0]) != wanted.grey(scene_ids[0])).any()
    changed = ingested(tmp_path / "out", 100)
    for scene_id in scene_ids:
        np.testing.assert_array_equal(changed.grey(scene_id), wanted.grey(scene_id))


@pytest.mark.slow
def test_a_server_that_fails_between_tiles_is_an_error(
    bucket: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = upload(bucket, archive, "gone")[0]
    with open_raster(Source.of(address)) as remote:
        bucket.objects.filter(Prefix="gone").delete()
        with pytest.raises(SceneError, match="cannot be read from the server") as caught:
            remote.read(Window(0, 0, 256, 256))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_zip_on_s3_is_read_in_place(bucket: Any, archive: Archive, tmp_path: Path) -> None:
    local = sorted(archive.scenes.rglob("*_TCI.jp2"))[0]
    with zipfile.ZipFile(tmp_path / "product.zip", "w") as opened:
        opened.write(local, "in/TCI.jp2")
    bucket.upload_file(str(tmp_path / "product.zip"), "zipped/product.zip")
    path = Source.of(f"/vsizip//vsis3/{BUCKET}/zipped/product.zip/in/TCI.jp2")
    with open_raster(path, BANDS) as remote, open_raster(local, BANDS) as on_disk:
        np.testing.assert_array_equal(remote.read(Window(0, 0, 512, 512))[0], on_disk.read(Window(0, 0, 512, 512))[0])
        before = identity(path)
    bucket.put_object(Key="zipped/product.zip", Body=b"another")
    assert identity(path) != before


@pytest.mark.slow
def test_a_run_from_s3_is_the_run_from_disk(bucket: Any, archive: Archive, tmp_path: Path) -> None:
    addresses = upload(bucket, archive, "run")
    settings = load_config(overrides={"ingest.halo_px": 64, "features.upsample": 1})
    run_stages(Job(settings, [archive.scenes], archive.regions, tmp_path / "disk"))
    run_stages(Job(settings, addresses, archive.regions, tmp_path / "s3"))
    got, wanted = s2fast.open_run(tmp_path / "s3"), s2fast.open_run(tmp_path / "disk")
    pd.testing.assert_frame_equal(got.pairs(), wanted.pairs())
    first, second = wanted.scene_ids[:2]
    pd.testing.assert_frame_equal(got.matches(first, second), wanted.matches(first, second))
    assert {item.scene.source.name for item in got.record.found.scenes} == {
        address.replace("s3://", "/vsis3/") for address in addresses
    }
    again = run_stages(Job(settings, addresses, archive.regions, tmp_path / "s3"))
    assert again.history.stages["ingest"] == got.record.history.stages["ingest"]


def test_a_changed_object_is_another_version(bucket: Any) -> None:
    path = Source.of(f"s3://{BUCKET}/version/a.tif")
    bucket.put_object(Key="version/a.tif", Body=b"one")
    before = identity(path)
    assert before == identity(path)
    assert before.startswith("a.tif 3 ")
    bucket.put_object(Key="version/a.tif", Body=b"two")
    assert identity(path) != before


@pytest.mark.slow
def test_missing_source_is_a_one_line_error(bucket: Any, archive: Archive, tmp_path: Path) -> None:
    addresses = upload(bucket, archive, "some")
    missing = f"s3://{BUCKET}/some/T36UYA_20180101T083601_TCI.jp2"
    with pytest.raises(SceneError, match=r"s3://scenes/some/T36UYA_20180101T083601_TCI\.jp2"):
        identity(Source.of(missing))
    record = run_stages(Job(load_config(), [*addresses, missing], None, tmp_path / "out"), stages=["ingest"])
    assert list(record.history.problems) == ["S2_20180101T083601_T36UYA"]
    assert "\n" not in record.history.problems["S2_20180101T083601_T36UYA"]


@pytest.mark.parametrize("place", ["s3://bucket/folder", "s3://bucket/a.zip", "/vsizip//vsis3/bucket/a.zip"])
def test_servers_are_not_searched(place: str) -> None:
    with pytest.raises(InputError, match="folders and zips on a server are not searched"):
        find_scenes([place])


def test_an_unreachable_server_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    path = Source.of("s3://nowhere/a.tif")
    with pytest.raises(SceneError, match="cannot be opened"), open_raster(path):
        pass


@pytest.mark.slow
def test_a_scene_on_a_web_server(server: str, bucket: Any, archive: Archive) -> None:
    upload(bucket, archive, "web")
    local = sorted(archive.scenes.rglob("*_TCI.jp2"))[0]
    path = Source.of(f"{server}/{BUCKET}/web/{local.relative_to(archive.scenes)}")
    with open_raster(path) as remote, open_raster(local) as on_disk:
        assert remote.raster == on_disk.raster
        window = Window(256, 0, 256, 256)
        np.testing.assert_array_equal(remote.read(window)[0], on_disk.read(window)[0])
        assert identity(path).startswith(f"{local.name} {local.stat().st_size} ")
