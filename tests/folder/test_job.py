"""Which job a run folder belongs to: a refusal names what differs, and a job may grow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from s2fast.config import load_config
from s2fast.errors import RunFolderError, cli_wording
from s2fast.folder.job import JobInputs
from s2fast.folder.record import RunRecord
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from tests.archives import Archive

SETTINGS = {"ingest.halo_px": 64, "features.upsample": 1, "features.max_per_scene": 300}


def ingested(scenes: list[Path], regions: Path | None, out: Path) -> RunRecord:
    return run_stages(Job(load_config(overrides=SETTINGS), scenes, regions, out), stages=["ingest"])


def files_of(archive: Archive) -> list[Path]:
    return sorted(archive.scenes.rglob("*.jp2"))


@pytest.mark.parametrize(
    ("places", "regions", "told"),
    [
        (["/a"], "/p.gpkg", "with --scenes /a and no --regions; now with --regions /p.gpkg"),
        (["/b"], None, "with --scenes /a and no --regions; now with --scenes /b"),
        (["/b"], "/p.gpkg", "with --scenes /a and no --regions; now with --scenes /b and with --regions /p.gpkg"),
    ],
)
def test_what_differs_is_named(places: list[str], regions: str | None, told: str) -> None:
    now, before = JobInputs(places=places, regions=regions), JobInputs(places=["/a"], regions=None)
    assert not now.continues(before)
    with cli_wording():
        assert now.unlike(before) == told


def test_of_many_places_the_first_are_named() -> None:
    many = [f"/{number:03}.tif" for number in range(1000)]
    told = JobInputs(places=many[10:], regions="/p").unlike(JobInputs(places=many, regions="/p"))
    assert told.endswith("and regions /p; now without scenes /000.tif, /001.tif, /002.tif, /003.tif, /004.tif, ...")
    assert len(told) < 200


@pytest.mark.parametrize("stored", [None, {}, [], {"places": 5}, {"places": [3], "regions": None}, "text"])
def test_a_folder_that_stores_no_job_is_of_none(stored: object) -> None:
    assert JobInputs.stored(stored) is None


@pytest.mark.slow
def test_a_job_grows_by_the_scenes_that_are_added_and_does_not_shrink(archive: Archive, tmp_path: Path) -> None:
    files = files_of(archive)
    out = tmp_path / "out"
    ingested(files[:2], None, out)
    grown = ingested([files[3], *files[:2]], None, out)
    assert (grown.history.stages["ingest"].done, grown.history.stages["ingest"].kept) == (1, 2)
    with pytest.raises(RunFolderError, match=f"now without scenes {files[3]}: name another out"):
        ingested(files[:2], None, out)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_folder_without_a_legible_record_is_known_by_its_store(damage: str, archive: Archive, tmp_path: Path) -> None:
    files = files_of(archive)
    out = tmp_path / "out"
    ingested(files[:1], None, out)
    if damage == "missing":
        (out / "run.json").unlink()
    else:
        (out / "run.json").write_text("{")
    for scenes, regions in ((files[1:2], None), (files[:1], archive.regions)):
        with pytest.raises(RunFolderError, match=r"holds another job's run, with scenes .*\.jp2 and no regions; now"):
            ingested(scenes, regions, out)
    assert ingested(files[:1], None, out).history.stages["ingest"].kept == 1
    shutil.rmtree(out / "store.zarr")
    (out / "run.json").write_text("{")
    with pytest.raises(RunFolderError, match="run.json is damaged .*: name another out"):
        ingested(files[:1], None, out)
