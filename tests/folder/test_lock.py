"""One writer per run folder, on one or several hosts; the lock of a dead owner is taken over.

A few starts by default; ``S2FAST_STARTS=50 pytest tests/folder/test_lock.py`` makes as many as asked.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s2fast.config import load_config
from s2fast.errors import RunFolderError
from s2fast.files import object_storage
from s2fast.files.open_storage import open_bucket
from s2fast.files.storage import LOCK
from s2fast.folder import lock
from s2fast.folder.lock import Lock, Owner
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import Job, run_stages
from tests.archives import Archive
from tests.folder.test_resume import SETTINGS, run
from tests.forked import forked_command
from tests.s3 import Proxy, nothing, s3_server
from tests.test_pipeline import digests

pytestmark = pytest.mark.slow

STARTS = int(os.environ.get("S2FAST_STARTS", "6"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
BEING_WRITTEN = r"s2fast: error: \S+ is being written by process \d+ on \S+ since \d\d:\d\d: run again later"

HOLDER = """
import sys, time
from s2fast.folder.lock import Lock
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import Job, run_stages
lock = Lock(RunFolder(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


def command(archive: Archive, out: Path, **changed: Any) -> list[str]:
    options = [f"--set={name}={value}" for name, value in {**SETTINGS, **changed}.items()]
    places = ["--scenes", str(archive.scenes), "--regions", str(archive.regions), "--out", str(out)]
    return ["run", "configs/default.toml", *places, *options]


def run_with(ratio: float, archive: Archive, out: Path) -> None:
    config = load_config("configs/default.toml", overrides={**SETTINGS, "matching.ratio": ratio})
    run_stages(Job(config, [archive.scenes], archive.regions, out))


def test_starts_at_any_time_leave_one_writer_and_whole_results(archive: Archive, tmp_path: Path) -> None:
    """Same and different settings, some of them killed: one line each, and what the last run leaves is right."""
    draw = random.Random(42)
    alone = {ratio: tmp_path / f"alone {ratio}" for ratio in (0.8, 0.85)}
    begun = time.monotonic()
    for ratio, out in alone.items():
        run_with(ratio, archive, out)
    took_s = (time.monotonic() - begun) / len(alone)
    out = tmp_path / "shared"
    started = {}
    for number in range(STARTS):
        errors = tmp_path / f"errors {number}"
        process = forked_command(errors, *command(archive, out, **{"matching.ratio": draw.choice(list(alone))}))
        started[errors] = process
        time.sleep(draw.uniform(0, took_s))
        if number % 4 == 3:
            process.kill()
    for errors, process in started.items():
        process.join(300)
        told = errors.read_text() if errors.exists() else ""
        assert "Traceback" not in told
        assert process.exitcode in (0, 2, -signal.SIGKILL), told
        if process.exitcode == 2:
            assert re.fullmatch(BEING_WRITTEN, told.splitlines()[-1])
    assert any(process.exitcode == 0 for process in started.values())
    for ratio, undisturbed in alone.items():
        run_with(ratio, archive, out)
        assert digests(out) == digests(undisturbed)


def owner_elsewhere(silent_s: float) -> Owner:
    owner = Owner.this_process()
    return replace(owner, host="far-away", machine="another", since=1_700_000_000.0, beat=time.time() - silent_s)


def test_a_living_owner_is_named_and_a_killed_one_replaced(tmp_path: Path) -> None:
    program = [sys.executable, "-c", HOLDER, tmp_path]
    with subprocess.Popen(program, env=ENVIRONMENT, stdout=-1, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        living_then_killed(holder, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("alive", [True, False])
def test_an_owner_whose_clock_is_ahead_is_watched(alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    left = owner_elsewhere(-3600)
    (tmp_path / LOCK).write_bytes(left.to_bytes())

    def wait(_: float) -> None:
        if alive:
            (tmp_path / LOCK).write_bytes(replace(left, beat=left.beat + 15).to_bytes())

    monkeypatch.setattr(lock.time, "sleep", wait)
    with closing(Lock(RunFolder(tmp_path))) as mine:
        if alive:
            with pytest.raises(RunFolderError, match="far-away .*, last seen 0 s ago"):
                mine.acquire()
        else:
            mine.acquire()


def living_then_killed(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=rf"is being written by process {holder.pid} on \S+ since \d\d:\d\d:"):
        Lock(RunFolder(tmp_path)).acquire()
    holder.kill()
    # Not waited for: a zombie writes no more.
    deadline = time.monotonic() + 60
    while lock._start_time(holder.pid) != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with closing(Lock(RunFolder(tmp_path))) as taken:
        taken.acquire()


@pytest.mark.parametrize(
    ("left", "alive"),
    [
        (lambda: owner_elsewhere(0).to_bytes(), True),
        (lambda: owner_elsewhere(lock.STALE_S + 1).to_bytes(), False),
        (lambda: replace(Owner.this_process(), started="1").to_bytes(), False),  # the id was given anew
        (lambda: Owner.this_process().to_bytes(), False),  # of this process, but no lock of it
        (lambda: b"{", False),
        (lambda: b"[1]", False),
        (lambda: b"", False),
    ],
)
def test_whose_lock_counts(left: Any, alive: bool, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(left())
    with closing(Lock(RunFolder(tmp_path))) as mine:
        if alive:
            with pytest.raises(RunFolderError, match="on far-away since 22:13 of 2023-11-1.*last seen . s ago"):
                mine.acquire()
        else:
            mine.acquire()
    assert (tmp_path / LOCK).exists() == alive


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with closing(Lock(RunFolder(tmp_path))) as first:
        first.acquire()
        with pytest.raises(RunFolderError, match=f"process {os.getpid()} on"):
            Lock(RunFolder(tmp_path)).acquire()
    with closing(Lock(RunFolder(tmp_path))) as second:
        second.acquire()


def test_an_owner_shows_that_it_is_alive_and_yields_when_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with closing(Lock(RunFolder(tmp_path))) as mine:
        mine.acquire()
        first = Owner.read((tmp_path / LOCK).read_bytes())
        assert first
        deadline = time.monotonic() + 60
        while (beaten := Owner.read((tmp_path / LOCK).read_bytes())) == first:
            assert time.monotonic() < deadline
        assert beaten
        assert (beaten.token, beaten.since) == (first.token, first.since)
        mine.confirm()
        monkeypatch.setattr(lock, "BEAT_S", 600)
        time.sleep(0.2)
        another = owner_elsewhere(0)
        RunFolder(tmp_path).write(LOCK, another.to_bytes())
        with pytest.raises(RunFolderError, match="was taken over by process"):
            mine.confirm()
    found = Owner.read((tmp_path / LOCK).read_bytes())
    assert found
    assert found.token == another.token


def test_only_one_of_many_takes_a_dead_owners_lock(tmp_path: Path) -> None:
    for _ in range(20):
        (tmp_path / LOCK).write_bytes(owner_elsewhere(lock.STALE_S + 1).to_bytes())
        assert_one_wins(str(tmp_path))


def assert_one_wins(address: str, contenders: int = 4) -> None:
    locks = [Lock(RunFolder(address)) for _ in range(contenders)]
    ready = threading.Barrier(contenders)
    won = []

    def contend(mine: Lock) -> None:
        ready.wait()
        try:
            mine.acquire()
        except RunFolderError:
            return
        won.append(mine)

    threads = [threading.Thread(target=contend, args=(mine,)) for mine in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    won[0].close()


@pytest.fixture(scope="module")
def server() -> Any:
    with s3_server("locks") as proxy:
        yield proxy


@pytest.fixture
def s3(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    open_bucket.cache_clear()
    server.fate, server.ignores = nothing, ()
    yield server
    server.fate, server.ignores = nothing, ()
    open_bucket.cache_clear()


@pytest.mark.parametrize("ignores", [(), ("If-None-Match", "If-Match")], ids=["conditions", "no conditions"])
def test_object_stores_hold_locks_too(s3: Proxy, ignores: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    s3.ignores = ignores
    monkeypatch.setattr(object_storage, "SETTLE_S", 1.0)
    out = f"s3://locks/{'un' if ignores else ''}conditional"
    assert_one_wins(out)
    assert RunFolder(out).is_empty()
    with closing(Lock(RunFolder(out))) as mine:
        mine.acquire()
        assert RunFolder(out).is_empty(), "a lock alone makes no run folder"
        with pytest.raises(RunFolderError, match=f"{out} is being written by process {os.getpid()} on"):
            Lock(RunFolder(out)).acquire()
    RunFolder(out).write(LOCK, owner_elsewhere(0).to_bytes())
    with pytest.raises(RunFolderError, match="on far-away"):
        Lock(RunFolder(out)).acquire()
    RunFolder(out).write(LOCK, owner_elsewhere(lock.STALE_S + 1).to_bytes())
    with closing(Lock(RunFolder(out))) as mine:
        mine.acquire()


def test_a_refused_start_leaves_no_trace(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(archive, out)
    before = digests(out)
    with closing(Lock(RunFolder(out))) as mine:
        mine.acquire()
        with pytest.raises(RunFolderError, match="is being written by"):
            run(archive, out)
        assert {*digests(out)} - {*before} == {LOCK}
    assert digests(out) == before
