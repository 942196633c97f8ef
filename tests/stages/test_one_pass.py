"""What a stage leaves in memory is used by the next: features are extracted from tiles, and matches verified, unread.

Results equal those of stages that read them from the run folder.
"""

import io
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s2fast.config import load_config
from s2fast.files.source import Source
from s2fast.folder.pair_blocks import PairBlocks
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.masks.kinds import SHAPES
from s2fast.masks.lookup import FoundMask
from s2fast.model import Raster
from s2fast.pipeline import STAGES, run_stages
from s2fast.planning import Job, plan
from s2fast.stages import extract, ingest
from s2fast.stages.forecast import forecast
from s2fast.work.progress import PlainProgress
from s2fast.work.thread_limits import thread_limit
from s2fast_kernels.machine import MIB
from tests.archives import Archive
from tests.stages.test_second_look import PLAIN, assert_same, block
from tests.test_pipeline import digests

pytestmark = pytest.mark.slow

SETTINGS = {
    "ingest.halo_px": 64,
    "features.backend": "opencv",
    "features.upsample": 1,
    "features.max_per_scene": 1000,
    "verification.nulls": 2,
}

LARGE = Raster((4097, 8192), (1024, 1024), "", (10, 0, 0, 0, -10, 0), luma=True)


def run(archive: Archive, out: Path, **options: object) -> RunRecord:
    overrides = SETTINGS | options.pop("settings", {})  # type: ignore[operator]
    return run_stages(Job(load_config(overrides=overrides), [archive.scenes], archive.regions, out), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, which must read neither tiles nor matches back."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairBlocks, "read", None)
        for name in ("grey", "valid_source", "missing"):
            patch.setattr(RunFolder, name, None)
        # The report makes its thumbnails from the tiles.
        record = run(archive, out, stages=["ingest", "extract", "match", "verify"])
    record = run(archive, out)
    stages = record.history.stages
    assert [(stages[name].done, stages[name].kept) for name in ("ingest", "extract")] == [(4, 0), (4, 0)]
    assert [(stages[name].done, stages[name].kept) for name in ("match", "verify")] == [(6, 0), (6, 0)]
    assert stages["ingest"].seconds > 0
    assert stages["extract"].seconds > 0
    return out


def test_stage_by_stage_writes_the_same_files(archive: Archive, whole: Path, tmp_path: Path) -> None:
    for stage in STAGES:
        record = run(archive, tmp_path / "out", stages=[stage])
    assert digests(tmp_path / "out") == digests(whole)
    assert (record.history.stages["verify"].done, record.history.stages["verify"].kept) == (6, 0)


@pytest.mark.parametrize("lost", [["verified"], ["pairs"], ["verified", "matches"], ["good"], ["pairs", "verified"]])
def test_what_is_lost_is_done_again_and_the_rest_is_kept(
    archive: Archive, whole: Path, tmp_path: Path, lost: list[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    for name in lost:
        next((out / name).iterdir()).unlink()
    before = digests(out)
    run(archive, out)
    after = digests(out)
    assert after == digests(whole)
    assert before.items() <= after.items()


def test_a_whole_run_in_workers_writes_the_same_files(archive: Archive, whole: Path, tmp_path: Path) -> None:
    run(archive, tmp_path / "out", workers=2)
    assert digests(tmp_path / "out") == digests(whole)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_every_backend_of_matching_writes_the_same_files(
    archive: Archive, whole: Path, tmp_path: Path, backend: str
) -> None:
    record = run(archive, tmp_path / "out", settings={"matching.backend": backend})
    assert record.history.stages["match"].backend == backend
    assert digests(tmp_path / "out") == digests(whole)


def test_the_plain_steps_give_the_same_verdicts(whole: Path) -> None:
    rule, pairs = block(whole, load_config(overrides=SETTINGS))
    verdicts = rule.verdicts(pairs)
    assert {verdict.verified for verdict, _ in verdicts} == {True, False}
    assert_same(replace(rule, steps=PLAIN).verdicts(pairs), verdicts)


def test_progress_says_where_the_verdicts_were_made(archive: Archive, tmp_path: Path) -> None:
    shown = io.StringIO()
    run(archive, tmp_path / "out", progress=PlainProgress(shown))
    lines = shown.getvalue().splitlines()
    assert "extract: 4 done while they were ingested, 0 up to date" in lines
    assert "match: 6 to do" in lines
    assert "verify: 6 done while they were matched, 0 up to date" in lines
    run(archive, tmp_path / "out", progress=PlainProgress(shown))
    assert "extract: nothing to do, 4 up to date" in shown.getvalue()
    assert "verify: nothing to do, 6 up to date" in shown.getvalue()


def test_a_new_scene_is_extracted_at_once_and_others_from_the_store(
    archive: Archive, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    first, second = sorted(path.name for path in (out / "store.zarr/scenes").iterdir() if path.is_dir())[:2]
    shutil.rmtree(out / "store.zarr/scenes" / first)
    shutil.rmtree(out / "store.zarr/scenes" / second / "features")
    record = run(archive, out)
    assert (record.history.stages["ingest"].done, record.history.stages["extract"].done) == (1, 2)
    assert digests(out) == digests(whole)


@pytest.mark.parametrize("extracts", [True, False])
def test_small_scenes_are_extracted_at_once(
    archive: Archive, whole: Path, tmp_path: Path, extracts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracting, both, limits = extract.extract_unit, threading.Barrier(2), []

    def meeting(*given: Any) -> None:
        both.wait(60)
        limits.append(thread_limit())
        extracting(*given)

    monkeypatch.setattr(extract, "extract_unit", meeting)
    settings = {"compute.threads": 2}
    for stages in [["ingest", "extract"]] if extracts else [["ingest"], ["extract"]]:
        run(archive, tmp_path, stages=stages, settings=settings)
    assert limits == [1] * 4
    assert thread_limit() != 1
    store = {name: found for name, found in digests(whole).items() if name.startswith("store.zarr")}
    assert {name: digests(tmp_path)[name] for name in store} == store


def test_scenes_at_once_are_predicted_and_fit_into_the_budget(archive: Archive, tmp_path: Path) -> None:
    record = plan(Job(load_config(overrides=SETTINGS), [archive.scenes], None, tmp_path))
    units = [ingest.Unit(item, "key") for item in record.usable]
    number, needed = ingest.at_once(units, record, 2)
    assert number == 2
    assert needed >= 2 * extract.predicted_bytes(record.usable[0], record.config, 1)
    assert ingest.at_once(units, record, 9)[0] == len(units)
    folder, stages = RunFolder(tmp_path), ["ingest", "extract"]
    assert forecast(record, folder, stages, 1, 2).memory_mb == needed // MIB
    assert forecast(record, folder, stages, 2, 1).memory_mb < needed // MIB
    budget = record.config.compute.model_copy(update={"budget_mb": needed // MIB - 1})
    config = record.config.model_copy(update={"compute": budget})
    tight = replace(record, asked=record.asked.model_copy(update={"config": config}))
    large = [replace(unit, item=unit.item.model_copy(update={"raster": LARGE})) for unit in units]
    polygons = FoundMask(kind=SHAPES, source=Source.local(tmp_path / "a.gpkg"), identity="1")
    masked = [replace(unit, item=unit.item.model_copy(update={"mask": polygons})) for unit in units]
    alone = ((units[:1], record, 2), (units, record, 1), (units, tight, 2), (large, record, 2), (masked, record, 2))
    for given in alone:
        assert ingest.at_once(*given) == (1, 0)


def test_without_memory_for_it_tiles_are_read_back(archive: Archive, whole: Path, tmp_path: Path) -> None:
    """The prediction of an extraction is 26.7 MiB, and 32 KiB more with the tile in memory."""
    shown = io.StringIO()
    config = load_config(overrides=SETTINGS)
    tight = config.model_copy(update={"compute": config.compute.model_copy(update={"budget_mb": 26})})
    job = Job(tight, [archive.scenes], archive.regions, tmp_path / "out")
    run_stages(job, stages=["ingest", "extract"], progress=PlainProgress(shown))
    run(archive, tmp_path / "out")
    assert "extract: 4 to do" in shown.getvalue().splitlines()
    assert digests(tmp_path / "out") == digests(whole)
