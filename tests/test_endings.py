"""How commands end: with one line after an interrupt or an unexpected error, and without a reader."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s2fast.errors import RunFolderError
from tests.archives import Archive
from tests.command_line import assert_one_line, s2fast
from tests.forked import forked_command
from tests.judged import Judged

CONFIG = "configs/default.toml"


def test_interrupt_prints_the_command_that_continues(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("s2fast.pipeline.run_stages", interrupted)
    assert s2fast(monkeypatch, "run", CONFIG, "--scenes", archive.scenes, "--out", tmp_path / "out") == 130
    assert "the same command continues from there" in capsys.readouterr().err


@pytest.mark.slow
def test_run_keeps_a_log(one_tile: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    arguments = ("ingest", CONFIG, "--scenes", one_tile.scenes, "--out", out)
    assert s2fast(monkeypatch, *arguments) == 0
    first = (out / "run.log").read_text()
    assert f"s2fast ingest {CONFIG}" in first
    assert "ingest: 2 to do, 0 up to date" in first
    # Its own process: the tests have taken over logging in this one.
    told = tmp_path / "told"
    for verbose in (False, True):
        process = forked_command(told, *arguments, *["-v"] * verbose)
        process.join()
        assert process.exitcode == 0
        assert ("info: s2fast" in told.read_text()) == verbose
    both = (out / "run.log").read_text()
    assert both.startswith(first)
    assert "ingest: 0 to do, 2 up to date" in both

    def fails(*_: object) -> None:
        raise RunFolderError("no room")

    monkeypatch.setattr("s2fast.stages.extract.extract_unit", fails)
    assert s2fast(monkeypatch, "extract", *arguments[1:]) == 2
    assert "ended with an error: no room" in (out / "run.log").read_text()


@pytest.mark.slow
def test_interrupted_run_stops_at_once_and_continues(
    one_tile: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", CONFIG, "--scenes", str(one_tile.scenes), "--out", str(tmp_path / "out"), "--workers", "2"]
    written = tmp_path / "told"
    process = forked_command(written, *arguments, before=os.setsid)
    assert process.pid
    while process.is_alive() and "\ningest: 2 done" not in f"\n{written.read_text() if written.exists() else ''}":
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    process.join(60)
    told = written.read_text()
    assert process.exitcode == 130, told
    assert "s2fast: stopped; completed results are kept" in told
    assert f"s2fast {' '.join(arguments)}" in told
    assert "Traceback" not in told
    assert "leaked" not in told
    assert s2fast(monkeypatch, *arguments[:-2]) == 0
    assert "ingest: nothing to do, 2 up to date" in capsys.readouterr().err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupt_does_not_wait_for_what_runs(sent: signal.Signals, code: int) -> None:
    # A lock nobody frees stands for a kernel that takes long: the main thread never gets to a handler of its own. Under
    # nohup the tests themselves ignore SIGHUP, and what they start inherits that.
    program = (
        "import signal, threading\n"
        "from s2fast.work.interrupt import exiting_on_interrupt\n"
        f"signal.signal({sent:d}, signal.default_int_handler if {sent:d} == signal.SIGINT else signal.SIG_DFL)\n"
        "lock = threading.Lock()\n"
        "lock.acquire()\n"
        "with exiting_on_interrupt('go on with: this'):\n"
        "    print('ready', flush=True)\n"
        "    lock.acquire()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        try:
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, told) == (code, "\ngo on with: this\n")


def test_temporary_files_go_with_a_process_that_is_stopped(tmp_path: Path) -> None:
    program = (
        "import threading\n"
        "from s2fast.files.temporary import make_folder\n"
        "from s2fast.work.interrupt import exiting_on_interrupt\n"
        "lock = threading.Lock()\n"
        "lock.acquire()\n"
        "with exiting_on_interrupt('stopped'):\n"
        "    (make_folder() / 'copy.tif').write_bytes(b'1')\n"
        "    print('ready', flush=True)\n"
        "    lock.acquire()\n"
    )

    def started() -> subprocess.Popen[str]:
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True, env=environment)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    def ended(process: subprocess.Popen[str], sent: signal.Signals) -> None:
        process.send_signal(sent)
        process.communicate(timeout=60)

    ended(started(), signal.SIGINT)
    assert list(tmp_path.iterdir()) == []
    ended(started(), signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    other = started()
    held = set(tmp_path.iterdir()) - {left}
    for folder in (left, *held):
        os.utime(folder, (0, 0))  # as if they were old
    ended(started(), signal.SIGINT)
    assert set(tmp_path.iterdir()) == held  # what a killed process left is gone, what a running one has is not
    ended(other, signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_a_run_under_nohup_goes_on_when_the_terminal_closes() -> None:
    program = (
        "import os, signal\n"
        "from s2fast.work.interrupt import exiting_on_interrupt\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with exiting_on_interrupt('stopped'):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('done')\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, "done\n", "")


@pytest.mark.slow
def test_a_busy_machine_ends_without_a_word() -> None:
    program = (
        "import asyncio, sys, time\n"
        "from zarr.core.sync import _get_loop, sync\n"
        "import s2fast.raster.zarr_array\n"
        "sync(asyncio.sleep(0))\n"
        "_get_loop().call_soon_threadsafe(time.sleep, 2)\n"  # its thread is not scheduled
        "sys.exit(3)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (3, "", "")


def s2fast_process(redirections: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line from a shell that closes or redirects its streams."""
    words = shlex.join([sys.executable, "-m", "s2fast.cli", *map(str, arguments)])
    script = f"{words} {redirections}; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirections", "code", "said"),
    [
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("| true", 1, ""),
        (">/dev/full", 2, "s2fast: error: cannot write to standard output: No space left on device\n"),
    ],
)
def test_listing_to_a_closed_or_full_stream(judged: Judged, redirections: str, code: int, said: str) -> None:
    told = s2fast_process(redirections, "pairs", judged.plain)
    assert (told.returncode, told.stderr) == (code, said)


@pytest.mark.slow
@pytest.mark.parametrize("redirections", [">&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | true"])
def test_a_run_does_not_need_a_reader(one_tile: Archive, tmp_path: Path, redirections: str) -> None:
    out = tmp_path / "out"
    opencv = "--set=features.backend=opencv"
    told = s2fast_process(redirections, "ingest", CONFIG, "--scenes", one_tile.scenes, "--out", out, opencv)
    assert (told.returncode, told.stderr) == (0, "")
    assert "ingest: ended after" in (out / "run.log").read_text()


@pytest.mark.slow
def test_a_current_folder_that_was_removed_is_told(tmp_path: Path) -> None:
    (gone := tmp_path / "gone").mkdir()
    command = f'cd "{gone}"; rmdir "{gone}"; exec "{sys.executable}" -m s2fast pairs OUT'
    root = Path(__file__).resolve().parents[1]
    paths = os.pathsep.join([str(root), str(root / "kernels")])
    told = subprocess.run(
        ["sh", "-c", command], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert_one_line(told.stderr, "the current folder has been removed")


def test_a_terminal_that_lacks_letters_shows_their_numbers() -> None:
    script = "from s2fast.work.streams import open_missing_streams; open_missing_streams(); print('caf\u00e9')"
    for encoding, shown in (("ascii", b"caf\\xe9\n"), ("utf-8", "café\n".encode())):
        told = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
            check=True,
        )
        assert told.stdout == shown


@pytest.mark.slow
def test_unexpected_error_is_one_line_that_names_its_log(
    archive: Archive,
    judged: Judged,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("what nobody thought of\nand more of it")

    monkeypatch.setattr("s2fast.stages.ingest.ingest_unit", fails)
    out = tmp_path / "out"
    assert s2fast(monkeypatch, "run", CONFIG, "--scenes", archive.scenes, "--out", out) == 2
    assert_one_line(capsys.readouterr().err, f"; please report it with {out}/run.log")
    assert "Traceback" in (out / "run.log").read_text()
    assert "in fails" in (out / "run.log").read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("s2fast.results.Run.pairs", fails)
    assert s2fast(monkeypatch, "pairs", judged.plain) == 2
    (log,) = tmp_path.glob("s2fast-*.log")
    assert_one_line(capsys.readouterr().err, f"; please report it with {log}")
    assert "in fails" in log.read_text()
