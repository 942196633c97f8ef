"""A run folder in an object store: the same bytes as a local one, whatever the store answers on the way."""

from __future__ import annotations

import hashlib
import itertools
import re
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pandas as pd
import pytest

import s2fast
from s2fast import cli
from s2fast.config import Regions, load_config
from s2fast.errors import ConfigError, InputError, RunFolderError
from s2fast.files import object_storage
from s2fast.files.open_storage import open_bucket, open_storage
from s2fast.folder.check import find_damage
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import load_regions
from tests.archives import Archive
from tests.s3 import Fault, Proxy, nothing, s3_server

pytestmark = pytest.mark.slow

BUCKET = "runs"
RETRIES = 4


def run(archive: Archive, out: Path | str, **options: Any) -> RunRecord:
    opencv = {"features.backend": "opencv", "matching.mode": "exhaustive", "matching.backend": "opencv"}
    opencv |= {"features.upsample": 1, "features.max_per_scene": 1000}
    settings = load_config(overrides={"ingest.halo_px": 64, **opencv})
    # Both dates of one tile: a run small enough to make many of.
    return run_stages(Job(settings, sorted(archive.scenes.rglob("T36UXA*.jp2")), archive.regions, out), **options)


@pytest.fixture(scope="module")
def local(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "out"
    run(archive, out)
    return out


@pytest.fixture(scope="module")
def server() -> Iterator[Proxy]:
    with s3_server(BUCKET) as proxy:
        yield proxy


@pytest.fixture
def s3(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # With keys in the environment and moto's boto3 beside it, rasterio makes a session of boto3 for every `Env`.
    monkeypatch.setattr("rasterio.session.boto3", None)
    quick = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=20), "base": 2}
    monkeypatch.setattr(object_storage, "RETRY", {"max_retries": RETRIES, "backoff": quick})
    open_bucket.cache_clear()
    server.fate = nothing
    server.seen.clear()
    server.faults.clear()
    yield server
    server.fate = nothing
    open_bucket.cache_clear()


def local_digests(out: Path) -> dict[str, str]:
    files = (
        path
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "run.log", "report.html")
    )
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def object_digests(out: str) -> dict[str, str]:
    store = obstore.store.from_url(out, client_options=object_storage.CLIENT)
    names = sorted(item["path"] for batch in obstore.list(store) for item in batch)
    return {
        name: hashlib.sha256(bytes(obstore.get(store, name).bytes())).hexdigest()
        for name in names
        if name not in ("run.json", "run.log", "report.html")
    }


def test_objects_are_the_files_of_a_local_run(
    archive: Archive,
    local: Path,
    s3: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = f"s3://{BUCKET}/plain"
    run(archive, out)
    assert object_digests(out) == local_digests(local)
    found, wanted = s2fast.open_run(out), s2fast.open_run(local)
    pd.testing.assert_frame_equal(found.pairs(), wanted.pairs())
    pd.testing.assert_frame_equal(found.similarity(), wanted.similarity())
    pd.testing.assert_frame_equal(found.matches(*found.scene_ids), wanted.matches(*wanted.scene_ids))
    assert found.scenes().crs == "EPSG:4326"
    np.testing.assert_array_equal(
        found.features(found.scene_ids[0]).descriptors, wanted.features(wanted.scene_ids[0]).descriptors
    )
    picture = tmp_path / "pair.png"
    for arguments in (["pairs", out, "--format", "csv"], ["show", out, *found.scene_ids, "-o", str(picture)]):
        monkeypatch.setattr(sys, "argv", ["s2fast", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
    assert found.scene_ids[0] in capsys.readouterr().out
    assert picture.stat().st_size > 10_000

    s3.seen.clear()
    again = run(archive, out)
    assert {name: stage.done for name, stage in again.history.stages.items()} == {
        name: stage.done for name, stage in found.record.history.stages.items()
    }
    written = {path.rpartition("/")[2] for method, path in s3.seen if method in ("PUT", "DELETE")}
    assert written == {"run.json", "run.lock"}, "a second run computes nothing"


def test_a_bad_day_changes_nothing(archive: Archive, local: Path, s3: Proxy) -> None:
    kinds: list[Fault] = ["500", "503", "slow", "cut answer", "cut request", "lost answer"]
    turn = itertools.cycle(kinds)
    s3.fate = lambda number, _: next(turn) if number % 5 == 0 else None
    out = f"s3://{BUCKET}/bad-day"
    run(archive, out)
    assert set(s3.faults) == set(kinds)
    s3.fate = nothing
    assert object_digests(out) == local_digests(local)


@pytest.mark.parametrize(("fault", "after"), [("500", 3), ("403", 40), ("cut request", 50)])
def test_a_store_that_fails_for_good_is_one_line_and_the_rest_is_done_later(
    archive: Archive, local: Path, s3: Proxy, fault: Fault, after: int
) -> None:
    out = f"s3://{BUCKET}/fails-{fault.replace(' ', '-')}-{after}"
    s3.fate = lambda number, _: fault if number > after else None
    with pytest.raises(RunFolderError) as told:
        run(archive, out)
    assert out in str(told.value) or f"fails-{fault.replace(' ', '-')}-{after}" in str(told.value)
    assert "run again" in str(told.value)
    assert "\n" not in str(told.value)
    s3.fate = nothing
    complete = {
        name
        for name in (item.scene.scene_id for item in s2fast.open_run(local).record.usable)
        if RunFolder(out).tile_key(name)
    }
    s3.seen.clear()
    after_all = run(archive, out)
    assert object_digests(out) == local_digests(local)
    assert after_all.history.stages["ingest"].kept >= len(complete)
    rewritten = {name for name in complete for method, path in s3.seen if method == "PUT" and f"{name}/grey" in path}
    assert not rewritten, "what was complete is not computed again"


@pytest.mark.parametrize("place", ["features/descriptors/c/0/0", "pairs/", "/zarr.json"])
def test_a_body_cut_short_and_passed_off_as_whole_is_told(
    archive: Archive, s3: Proxy, place: str, local: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = f"s3://{BUCKET}/lies-{place.replace('/', '-')}"
    done, following = (
        (["ingest", "extract", "match"], "verify") if place == "pairs/" else (["ingest", "extract"], "match")
    )
    run(archive, out, stages=done)
    s3.fate = lambda _, request: "lie" if request.startswith("GET") and place in request else None
    with caplog.at_level("WARNING"), pytest.raises(RunFolderError, match="run (extract|match) first"):
        run(archive, out, stages=[following])
    assert re.search(rf"{place}\S* is damaged \(.*\): it is recomputed", caplog.text)
    assert "lie" in s3.faults
    s3.fate = nothing
    run(archive, out)
    assert object_digests(out) == local_digests(local)


def test_damaged_objects_are_found_and_computed_again(archive: Archive, local: Path, s3: Proxy) -> None:
    out = f"s3://{BUCKET}/damaged"
    run(archive, out)
    folder = RunFolder(out)
    assert not list(find_damage(folder))
    time.sleep(1.1)  # a store counts whole seconds
    names = sorted(folder.list_files())
    xy, grey, matches = (next(n for n in names if part in n) for part in ("/xy/c/", "/grey/c/", "matches/"))
    folder.write(xy, folder.read(grey))
    folder.remove(grey)
    folder.write(matches, folder.read(matches)[:-1])
    found = {error.finding for error in find_damage(folder)}
    assert {finding.partition(" ")[0] for finding in found} == {f"{out}/{name}" for name in (xy, grey, matches)}
    with pytest.raises(RunFolderError, match="is damaged"):
        s2fast.open_run(out).matches(*s2fast.open_run(out).scene_ids)
    run(archive, out)
    assert object_digests(out) == local_digests(local)


@pytest.mark.usefixtures("forked_workers")
def test_workers_write_to_the_store_themselves(archive: Archive, local: Path, s3: Proxy) -> None:
    out = f"s3://{BUCKET}/workers"
    run(archive, out, workers=2)
    assert object_digests(out) == local_digests(local)


def test_absent_bucket_and_package_are_told(
    archive: Archive, s3: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(RunFolderError, match="NoSuchBucket|404 Not Found"):
        run(archive, "s3://nowhere/out")
    open_bucket.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ConfigError, match=r"pip install 's2fast\[s3\]'"):
        run(archive, f"s3://{BUCKET}/out")


def test_addresses_of_no_object_store_are_told_without_secrets() -> None:
    for address in ("s3://bucket/out?sig=Zq7k1x", "https://me:Zq7k1x@h/out"):
        with pytest.raises(ConfigError, match="object store") as told:
            open_storage(address)
        assert "Zq7k1x" not in str(told.value)


def test_polygons_from_the_store(archive: Archive, s3: Proxy) -> None:
    there = f"s3://{BUCKET}/polygons/regions.geojson"
    open_storage(f"s3://{BUCKET}/polygons").write("regions.geojson", archive.regions.read_bytes())
    file = RegionFile.at(there)
    assert (str(file), file.content) == (
        f"s3://{BUCKET}/polygons/regions.geojson",
        RegionFile.at(archive.regions).content,
    )
    assert len(load_regions(file, Regions()).shapes) == 2
    with pytest.raises(InputError, match=r"cannot read the regions file s3://.*/nowhere\.geojson"):
        RegionFile.at(there.replace("regions.geojson", "nowhere.geojson"))
