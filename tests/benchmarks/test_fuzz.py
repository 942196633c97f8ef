"""The fuzz benchmark: what counts as a fault, and a few trials of every kind."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import fuzz, fuzz_names, fuzz_writes

pytestmark = pytest.mark.slow

NAMES = ("\x1b]0;owned\x07", "a\nb", "=HYPERLINK(1)", "../a", "</script>a")


def test_a_few_trials_of_every_kind_end_in_a_result_or_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = fuzz.main(["--trials", str(3 * len(fuzz.KINDS)), "--names", "500"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert [line.split()[1] for line in printed.splitlines()] == [f"kind={kind}" for kind in (*fuzz.KINDS, "names")]


def test_names_stay_names() -> None:
    assert fuzz_names.faults(3000, 7) == []


@pytest.mark.parametrize(
    ("name", "replacement", "where"),
    [
        ("legible", str, "terminal"),
        ("identifier", str, "id"),
        ("identifier", str, "CSV"),
        ("PublicFormatter", logging.Formatter, "log"),
        ("assembled", lambda *parts: f"<script>{parts[1]}</script>", "page"),
    ],
)
def test_what_escapes_is_found(monkeypatch: pytest.MonkeyPatch, name: str, replacement: object, where: str) -> None:
    monkeypatch.setattr(fuzz_names, name, replacement)
    found = fuzz_names._faults([ascii(name)[1:-1] if where == "page" else name for name in NAMES])
    assert any(line.startswith(f"{where}: ") for line in found)


@pytest.mark.parametrize(
    ("ends", "fault"),
    [
        (lambda: None, ""),
        (lambda: sys.exit(2), ""),
        (lambda: sys.exit(4), "exit code 4"),
        (lambda: sys.exit("error"), "exit code 1"),
        (lambda: 1 / 0, "traceback"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "crash, SIGKILL"),
    ],
)
def test_faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: object, fault: str) -> None:
    monkeypatch.setattr(fuzz, "command_line", ends)
    _, _, wrong = fuzz._wait(*fuzz._start(["pairs"], tmp_path / "printed"))
    assert wrong == fault


WRITES: dict[str, Callable[[Path], object]] = {
    "beside, by Python": lambda folder: (folder.parent / "new").write_text("x"),
    "in the undamaged job": lambda folder: (folder.parent / "intact/settings.toml").open("a").close(),
    "a folder": lambda folder: (folder / "scenes/new").mkdir(),
    "a link": lambda folder: (folder.parent / "new").symlink_to(folder),
    "moved": lambda folder: (folder / "out/a").rename(folder.parent / "new"),
    "removed": lambda folder: (folder / "scenes/a.tif").unlink(),
    "by another process": lambda folder: subprocess.run(["touch", str(folder / "scenes/a.tif")], check=True),
    "beside, by another process": lambda folder: subprocess.run(["touch", str(folder.parent / "new")], check=True),
    "a temporary file that remains": lambda _: tempfile.mkstemp(),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_outside_the_run_folder_are_seen(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("intact/settings.toml", "trial/scenes/a.tif", "trial/out/a"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("x")
    folder = tmp_path / "trial"

    def inside() -> None:
        (folder / "out/b").write_text("x")
        (folder / "picture.png").write_text("x")
        with tempfile.TemporaryDirectory() as temporary:
            Path(temporary, "a").write_text("x")

    for act, seen in ((inside, False), (lambda: WRITES[name](folder), True)):
        before = fuzz_writes.around(folder)
        monkeypatch.setattr(fuzz, "command_line", act)
        assert fuzz._wait(*fuzz._start(["pairs"], folder / "printed"))[2] == ""
        assert bool(fuzz_writes.outside(folder, before)) is seen


def test_a_trial_without_end_is_a_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fuzz, "command_line", lambda: os.read(os.pipe()[0], 1))
    monkeypatch.setattr(fuzz, "_MOST_SECONDS", 0.5)
    _, _, wrong = fuzz._wait(*fuzz._start(["pairs"], tmp_path / "printed"))
    assert wrong == "hang"
