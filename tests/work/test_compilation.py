"""Missing kernels are compiled in processes of their own: the default job then finds all it calls."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import s2fast
import s2fast_kernels
from s2fast.config import load_config
from s2fast.pipeline import _compiled_modules
from s2fast.tools import doctor
from s2fast.work import compilation
from s2fast.work.compilation import (
    EXHAUSTIVE_MODULES,
    FIND_MODULES,
    MODULES,
    SYNTH_MODULES,
    AnnouncedCompilation,
    Compilation,
)
from s2fast.work.progress import Progress
from s2fast_kernels import compiled
from tests import command_line
from tests.archives import Archive
from tests.indexed import Indexed

PATIENCE_S = 60.0

CONFIG = Path(__file__).parents[2] / "configs" / "default.toml"

RUN = """
import sys
from numba.core import event, sigutils
from numba.core.dispatcher import Dispatcher
from s2fast.cli import main
from s2fast_kernels import compiled

class Compiled(event.Listener):
    def on_start(self, event):
        print("compiled here:", event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass

event.register("numba:compile", Compiled())
sys.argv = ["s2fast", *sys.argv[1:]]
try:
    main()
finally:
    declared = {
        dispatcher: [sigutils.normalize_signature(signature)[0] for signature in signatures]
        for functions in compiled._declared.values() for dispatcher, signatures in functions
    }
    called = 0
    for name in [name for name in sys.modules if name.startswith("s2fast")]:
        for function in vars(sys.modules[name]).values():
            for types in function.overloads if isinstance(function, Dispatcher) else ():
                called += 1
                if types not in declared.get(function, ()):
                    print("not declared:", function.py_func.__name__, types)
    print("functions called:", called)
"""
"""Runs a command; prints what this process compiles, and what it calls with types that no declared signature names."""

BEGIN = """
import sys
from s2fast.work.compilation import MODULES, Compilation
compilation = Compilation(MODULES, 2)
print(*(process.pid for process in compilation._processes), flush=True)
sys.stdin.readline()
"""


class Lines(Progress):
    """Keeps what is printed."""

    def __init__(self) -> None:
        self.printed: list[str] = []

    def print_line(self, text: str) -> None:
        self.printed.append(text)


def python(program: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start a program that imports what this process imports."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended, but was not waited for, does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_all_modules_with_declared_signatures_are_listed() -> None:
    declared = set()
    for package in (s2fast, s2fast_kernels):
        root = Path(str(package.__file__)).parent
        for path in root.rglob("*.py"):
            if re.search(r'^@(njit|compiled_for)\(\s*f?["\'(]', path.read_text("utf-8"), re.MULTILINE):
                declared.add(".".join(path.relative_to(root.parent).with_suffix("").parts))
    assert declared == {*MODULES, *EXHAUSTIVE_MODULES, *FIND_MODULES, *SYNTH_MODULES}
    for modules in (MODULES, EXHAUSTIVE_MODULES, FIND_MODULES, SYNTH_MODULES):
        assert len(set(modules)) == len(modules)


def assert_compiles_nothing(output: str) -> None:
    assert re.search(r"^functions called: [1-9]\d*$", output, re.MULTILINE), output
    assert "compiled here" not in output
    assert "not declared" not in output


def almost_new(folder: Path) -> None:
    """Copy what is compiled by now, see conftest.py, without one module's code, and with no module marked as done.

    To compile everything once more takes half a minute on one core.
    """
    package, missing = "akaze-", "numba_detect."
    copied = shutil.copytree(compiled.cache_folder(), folder / compiled.cache_folder().name)
    removed = [path for path in copied.glob(f"{package}*/*") if path.name.startswith(missing)]
    assert removed
    for path in [*removed, *copied.rglob("*.done")]:
        path.unlink()


@pytest.mark.slow
def test_the_default_job_of_a_new_machine(archive: Archive, tmp_path: Path) -> None:
    """The first run announces the compilation; this process compiles nothing, and computes what later runs compute."""
    outs = [tmp_path / "first", tmp_path / "second"]
    told = []
    almost_new(tmp_path / "cache")
    for out in outs:
        arguments = ["run", CONFIG, "--scenes", archive.scenes, "--regions", archive.regions, "--out", out]
        process = python(RUN, *arguments, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert_compiles_nothing(output)
        told.append(errors)
    total = len(MODULES)
    assert f"compiling kernels, once for this machine: {total} modules\n" in told[0]
    assert f"compile: {total} done in " in told[0]
    assert f"compile: {total} to do" in (outs[0] / "run.log").read_text()
    assert "compil" not in told[1]
    first, second = (pd.read_parquet(out / "pairs.parquet") for out in outs)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert first["verified"].any()


@pytest.mark.slow
def test_find_compiles_nothing_beside_its_modules(indexed: Indexed, archive: Archive) -> None:
    """Those are compiled by now; see conftest.py."""
    picture = next(archive.scenes.rglob("*_TCI.jp2"))
    process = python(RUN, "find", indexed.index, picture)
    output, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, "")
    assert ": found in " in output
    assert_compiles_nothing(output)


@pytest.mark.slow
def test_find_and_lists_announce_the_compilation(
    indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = []

    class Announced(AnnouncedCompilation):
        def __init__(self, progress: Progress, threads: int = 0, modules: Iterable[str] = MODULES) -> None:
            announced.append(tuple(modules))
            super().__init__(progress, threads, modules)

    monkeypatch.setattr(compilation, "AnnouncedCompilation", Announced)
    picture = tmp_path / "even.png"
    cv2.imwrite(str(picture), np.full((100, 100), 9, np.uint8))
    command_line.s2fast(monkeypatch, "find", indexed.index, picture)
    command_line.s2fast(monkeypatch, "index", indexed.out, "--to", tmp_path / "index", "--lists")
    assert announced == [FIND_MODULES, EXHAUSTIVE_MODULES]


def test_nothing_happens_if_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compilation.missing_modules() == []  # see conftest.py
    monkeypatch.setattr(subprocess, "Popen", None)
    lines = Lines()
    announced = AnnouncedCompilation(lines)
    announced.wait()
    announced.close()
    assert lines.printed == []


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled."""
    monkeypatch.setattr(compiled, "is_compiled", lambda _: False)


@pytest.mark.usefixtures("missing")
def test_a_folder_that_is_not_writable_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled, "is_kept", lambda: False)
    monkeypatch.setattr(compiled, "_warned", False)
    lines = Lines()
    for _ in range(2):
        AnnouncedCompilation(lines).wait()
        compiled.warn_unkept("No space left on device")  # of the first function that is compiled
    assert lines.printed == []
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert str(compiled.cache_folder()) in warning.getMessage()
    assert "set NUMBA_CACHE_DIR to a writable folder" in warning.getMessage()
    (line,) = (finding for finding in doctor.examine() if finding.topic == "kernels")
    assert (line.fine, "is not writable" in line.result) == (True, True)
    assert line.remedy == "set NUMBA_CACHE_DIR to a writable folder"


@pytest.mark.slow
@pytest.mark.usefixtures("missing")
def test_a_failure_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines()
    AnnouncedCompilation(lines, modules=("s2fast.no_such_module",)).wait()
    assert lines.printed == ["compiling kernels, once for this machine: 1 module"]
    (warning,) = caplog.records
    assert "s2fast.no_such_module" in warning.getMessage()


def test_processes_end_with_the_compilation() -> None:
    started = Compilation(["s2fast.no_such_module"] * 8, 2)
    pids = [process.pid for process in started._processes]
    assert len(pids) == 2
    started.close()
    assert not any(map(is_running, pids))
    assert all(process.returncode is not None for process in started._processes)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    parent = python(BEGIN, NUMBA_CACHE_DIR=str(tmp_path))
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        parent.send_signal(number)
        parent.communicate(timeout=PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


@pytest.mark.parametrize(
    ("done", "text"),
    [(0, "not yet compiled for this processor: the first run does it"), (2, f"2 of {len(MODULES)} compiled"), (99, "")],
)
def test_doctor_names_the_folder(done: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "is_compiled", lambda module: module in MODULES[:done])
    (line,) = (finding for finding in doctor.examine() if finding.topic == "kernels")
    assert (line.fine, line.mark) == (True, "ok")
    assert (text or f"{len(MODULES)} of {len(MODULES)} compiled for this processor") in line.result
    assert f"in {compiled.cache_folder()}" in line.result
    assert line.remedy == ("s2fast doctor --compile" if text else "")


def test_only_what_the_settings_call_is_compiled() -> None:
    def modules(**overrides: object) -> set[str]:
        return set(_compiled_modules(load_config(overrides={k.replace("__", "."): v for k, v in overrides.items()})))

    akaze = {module for module in MODULES if ".akaze." in module}
    window = {"s2fast_kernels.window_matches.numba_cpu"}
    assert modules() == set(MODULES)
    assert modules(features__backend="opencv") == set(MODULES) - akaze
    assert modules(matching__mode="exhaustive", verification__enabled=False) == akaze | set(EXHAUSTIVE_MODULES)
    assert modules(features__backend="opencv", verification__enabled=False) == window
