"""Killed at any point, out of room, scenes gone: a run that is started again ends as if nothing had happened.

Six kills by default; ``S2FAST_KILLS=50 pytest tests/folder/test_resume.py`` makes as many as asked.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import s2fast
from s2fast import cli
from s2fast.config import load_config
from s2fast.errors import RunFolderError, SceneError
from s2fast.files import local_storage, replacing
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.stages.keys import tile_key
from s2fast.work.progress import Bar, Progress
from tests.archives import Archive, write_archive
from tests.forked import forked, forked_command
from tests.test_pipeline import digests

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("S2FAST_KILLS", "6"))
UNITS = {"ingest": 4, "extract": 4, "match": 6, "verify": 6}
SETTINGS = {
    "ingest.halo_px": 64,
    "features.backend": "opencv",
    "matching.mode": "exhaustive",
    "matching.backend": "opencv",
    "features.upsample": 1,
    "features.max_per_scene": 1000,
}
"""What loads fastest, for the many processes that are killed."""


def run(archive: Archive, out: Path | str, *, strict: bool = False, **options: Any) -> RunRecord:
    return run_stages(Job(load_config(overrides=SETTINGS), [archive.scenes], archive.regions, out, strict), **options)


def run_until(point: int, archive: Archive, out: str, counted: Path) -> None:
    """Run, and be killed before the file operation of that number; else write how many there were.

    Each opening, renaming, removing or making of a file or folder below `out` is one; the hook is called before it.
    """
    operations = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal operations
        counts = event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.scandir")
        if counts and arguments and str(arguments[0]).startswith(out):
            operations += 1
            if operations == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    run(archive, out)
    counted.write_text(str(operations))


def run_killed_at(point: int, archive: Archive, out: Path, counted: Path) -> int | None:
    """Run in a process of its own that is killed before its file operation of that number; return its exit code."""
    process = forked(run_until, point, archive, str(out), counted)
    process.join(300)
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run(archive, out)
    return out


def complete_units(out: Path, like: Path) -> dict[str, set[str]]:
    """Name the units a killed run left complete, by stage."""
    folder = RunFolder(out)
    scenes = [path.name for path in (like / "store.zarr/scenes").iterdir() if path.is_dir()]
    wanted = RunFolder(like)
    return {
        "ingest": {name for name in scenes if folder.tile_key(name) == wanted.tile_key(name)},
        "extract": {name for name in scenes if folder.features_key(name) == wanted.features_key(name)},
        "match": set(folder.matched.rows()["key"]),
        "verify": set(folder.verified.rows()["key"]),
    }


def times(out: Path, complete: dict[str, set[str]]) -> dict[Path, int]:
    """When the files of the complete units were last written."""
    places = [out / "store.zarr/scenes" / name / part for name in complete["ingest"] for part in ("grey", "valid")]
    places += [out / "store.zarr/scenes" / name / "features" for name in complete["extract"]]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    for stage, folder in (("match", "pairs"), ("verify", "verified")):
        if complete[stage]:
            files += (out / folder).iterdir()
    return {path: path.stat().st_mtime_ns for path in files}


def test_killed_anywhere_ends_as_if_undisturbed(archive: Archive, undisturbed: Path, tmp_path: Path) -> None:
    counted = tmp_path / "points"
    assert run_killed_at(-1, archive, tmp_path / "whole", counted) == 0
    points = int(counted.read_text())
    assert points > 100
    draw = random.Random(20160830)
    # One point from each stretch of the run, so that few kills, too, fall on all stages.
    for number in range(KILLS):
        point = draw.randint(1 + points * number // KILLS, points * (number + 1) // KILLS)
        out = tmp_path / f"killed at {point}"
        assert run_killed_at(point, archive, out, counted) == -signal.SIGKILL
        complete = complete_units(out, undisturbed) if (out / "run.json").exists() else {}
        before = times(out, complete) if complete else {}
        noted = set(json.loads((out / "run.json").read_text())["stages"]) if complete else set()
        record = run(archive, out)
        told = f"killed at file operation {point} of {points}"
        assert digests(out) == digests(undisturbed), told
        assert {path: path.stat().st_mtime_ns for path in before} == before, told
        for stage in set(complete) - noted:
            assert record.history.stages[stage].kept == len(complete[stage]), told
            assert record.history.stages[stage].done == UNITS[stage] - len(complete[stage]), told
        assert not (out / local_storage.PARTIAL).exists(), told


@contextmanager
def at_stage(name: str, action: Any) -> Iterator[Progress]:
    """Do something when a stage is about to start."""

    class Interfering(Progress):
        @contextmanager
        def stage(self, stage: str, todo: int, kept: int) -> Iterator[Bar]:  # noqa: ARG002  the contract's
            if stage == name:
                action()
            yield Bar()

    yield Interfering()


def test_dead_writers_files_are_swept_and_live_ones_left(tmp_path: Path) -> None:
    partial = tmp_path / local_storage.PARTIAL
    partial.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = platform.node()
    dead, live, far, far_dead = (
        partial / name for name in (f"{here}-{ended.pid}-a", f"{here}-{os.getpid()}-b", "far-away-1-c", "far-away-1-d")
    )
    for path in (dead, live, far, far_dead):
        path.touch()
    long_ago = time.time() - 2 * replacing.ABANDONED_S
    os.utime(far_dead, (long_ago, long_ago))
    RunFolder(tmp_path).sweep()
    assert sorted(partial.iterdir()) == sorted([live, far])
    live.unlink()
    far.unlink()
    RunFolder(tmp_path).sweep()
    assert not partial.exists()


def test_a_second_writer_of_a_unit_harms_nothing(archive: Archive, undisturbed: Path, tmp_path: Path) -> None:
    """A worker thought dead goes on writing while another does its unit again, and is then killed halfway."""
    out = tmp_path / "out"
    record = run(archive, out, stages=["ingest"])
    item = record.usable[0]
    folder = RunFolder(out)
    key = tile_key(item, record.config, record.regions)
    folder.tile_writer(item.scene.scene_id, key, (512, 512), (256, 256), valid_outside=False)
    assert folder.tile_key(item.scene.scene_id) == key
    run(archive, out)
    assert digests(out) == digests(undisturbed)
    # A tile of other settings is gone before its key could vouch for what is no longer there.
    folder.tile_writer(item.scene.scene_id, "another", (512, 512), (256, 256), valid_outside=False)
    assert folder.tile_key(item.scene.scene_id) is None
    assert not (out / "store.zarr/scenes" / item.scene.scene_id / "features").exists()


@pytest.mark.parametrize(
    "where",
    ["s2fast.stages.match.match_unit", "s2fast.stages.verify.verify_unit", "s2fast.report.outputs.similarity_matrix"],
)
def test_interrupted_change_of_settings_does_not_pass_for_finished(
    where: str, archive: Archive, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    changed = load_config(overrides={**SETTINGS, "matching.ratio": 0.8})
    with monkeypatch.context() as patch:
        patch.setattr(where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_stages(Job(changed, [archive.scenes], archive.regions, out))
    with pytest.raises(RunFolderError, match="no finished run"):
        s2fast.open_run(out).pairs()
    run(archive, out)
    assert digests(out) == digests(undisturbed)


@pytest.mark.parametrize(("stage", "rows", "matches"), [("match", "pairs", "good"), ("verify", "verified", "matches")])
def test_pairs_without_their_matches_are_not_whole(
    archive: Archive,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    rows: str,
    matches: str,
) -> None:
    out = tmp_path / "out"
    run(archive, out, stages=["ingest", "extract"])
    with monkeypatch.context() as patch:
        write = RunFolder.write
        patch.setattr(
            RunFolder,
            "write",
            lambda self, name, data: interrupted() if name.startswith(f"{matches}/") else write(self, name, data),
        )
        with pytest.raises(KeyboardInterrupt):
            run(archive, out)
    assert not RunFolder(out).names(rows)
    run(archive, out)
    # All pairs of four scenes are one block.
    (lost,) = (out / matches).iterdir()
    lost.unlink()
    assert run(archive, out).history.stages[stage].done == 6
    assert digests(out) == digests(undisturbed)


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def command(archive: Archive, out: Path) -> list[str]:
    options = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    places = ["--scenes", str(archive.scenes), "--regions", str(archive.regions), "--out", str(out)]
    return ["run", "configs/default.toml", *places, *options]


def s2fast_exit(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["s2fast", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def allow_small_files() -> None:
    """Let no file grow beyond this: the larger chunks do not fit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_no_room_is_one_line_exit_2_and_resumes(archive: Archive, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = tmp_path / "told"
    process = forked_command(told, *command(archive, out), before=allow_small_files)
    process.join(300)
    lines = [line for line in told.read_text().splitlines() if "error:" in line]
    assert process.exitcode == 2
    assert len(lines) == 1
    assert "File too large; free disk space there and run again" in lines[0]
    assert "Traceback" not in told.read_text()
    assert not (out / local_storage.PARTIAL).exists()
    run(archive, out)
    assert digests(out) == digests(undisturbed)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device; free disk space"),
        (errno.EROFS, "Read-only file system; choose a folder that is writable"),
    ],
)
@pytest.mark.parametrize("after", [0, 30])
def test_a_failing_disk_is_one_line_exit_2(
    number: int,
    said: str,
    after: int,
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written = 0
    write_bytes = Path.write_bytes

    def failing(path: Path, data: bytes) -> int:
        nonlocal written
        written += 1
        if written > after:
            raise OSError(number, os.strerror(number))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    assert s2fast_exit(monkeypatch, *command(archive, tmp_path / "out")) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("error:") == 1
    assert "Traceback" not in told


def test_scene_that_vanishes_or_changes_while_running_is_named(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive")
    vanishing, changing = sorted(archive.scenes.rglob("T36UXA*.jp2"))

    def meddle() -> None:
        vanishing.unlink()
        os.utime(changing, ns=(1, 1))

    with at_stage("ingest", meddle) as progress:
        record = run(archive, tmp_path / "out", progress=progress)
    told = sorted(record.history.problems.values())
    assert len(told) == 2
    assert any(str(vanishing) in line for line in told)
    assert any(f"{changing} has changed since the run began: run again" in line for line in told)
    assert len(record.usable) == 2
    again = run(archive, tmp_path / "out")
    assert not again.history.problems
    assert len(again.usable) == 3


def test_scene_that_vanishes_or_changes_between_stages_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_archive(tmp_path / "archive")
    vanishing, changing = sorted(archive.scenes.rglob("T36UXA*.jp2"))
    out = tmp_path / "out"
    run(archive, out, stages=["ingest"])
    vanishing.unlink()
    for stage in ("extract", "match"):
        assert s2fast_exit(monkeypatch, stage, *command(archive, out)[1:]) == 3
        assert "1 scene skipped: S2A_20190427T083601_T36UXA" in capsys.readouterr().err
        assert "no longer exists: restore it" in next(iter(run(archive, out, stages=[stage]).history.problems.values()))
    os.utime(changing, ns=(1, 1))
    assert s2fast_exit(monkeypatch, "extract", *command(archive, out)[1:]) == 2
    assert "S2A_20190606T083601_T36UXA" in (told := capsys.readouterr().err)
    assert "run ingest first" in told
    assert not run(archive, out).history.problems


def test_strict_stops_at_a_scene_that_changed(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive")
    changing = next(archive.scenes.rglob("T36UXA*.jp2"))
    with (
        at_stage("ingest", lambda: os.utime(changing, ns=(1, 1))) as progress,
        pytest.raises(SceneError, match="has changed since the run began"),
    ):
        run(archive, tmp_path / "out", progress=progress, strict=True)
