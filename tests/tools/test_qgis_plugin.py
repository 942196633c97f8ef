"""The QGIS plugin, as far as it needs no QGIS: how it calls the command, and what it asks of it."""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest
import typer

import s2fast
from s2fast.cli import app

FOLDER = Path(__file__).parents[2] / "packaging/qgis/s2fast_qgis"


@pytest.fixture(scope="module")
def command() -> ModuleType:
    spec = importlib.util.spec_from_file_location("s2fast_qgis_command", FOLDER / "command.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


LEFT_OUT = ["s2fast: some scenes or polygons were left out, see above"]


@pytest.mark.parametrize(("code", "more"), [(0, []), (1, []), (3, LEFT_OUT)])
def test_what_is_printed_is_passed_on(command: ModuleType, code: int, more: list[str]) -> None:
    program = f"import sys; print('ingest: 1 of 4'); print('s2fast: warning: w', file=sys.stderr); sys.exit({code})"
    told = list(command.lines(python(program), lambda: False))
    assert sorted(told) == sorted(["ingest: 1 of 4", "s2fast: warning: w", *more])
    assert [command.percent(line) for line in ("ingest: 1 of 4", "4 scenes", "x: 0 of 0")] == [25.0, None, None]


def test_an_error_is_the_last_line_of_the_command(command: ModuleType) -> None:
    program = "import sys; print('s2fast: error: no scenes: name another folder'); sys.exit(2)"
    with pytest.raises(command.CommandError, match=r"^no scenes: name another folder$"):
        list(command.lines(python(program), lambda: False))
    with pytest.raises(command.CommandError, match="ended with exit code 2"):
        list(command.lines(python("import sys; sys.exit(2)"), lambda: False))
    with pytest.raises(command.CommandError, match="install s2fast, or set its path"):
        command.found("no-such-command")


def test_a_cancelled_command_is_ended(command: ModuleType) -> None:
    cancelled = threading.Event()
    told = command.lines(python("import time; print('ready', flush=True); time.sleep(60)"), cancelled.is_set)
    start = time.monotonic()
    assert next(told) == "ready"
    cancelled.set()
    with pytest.raises(command.CommandError, match="cancelled"):
        next(told)
    assert time.monotonic() - start < 50


def test_the_command_gets_no_libraries_of_qgis(command: ModuleType) -> None:
    given = {"PATH": "/bin", "HOME": "/home", "PYTHONPATH": "/usr/share/qgis/python", "GDAL_DATA": "x", "PROJ_LIB": "x"}
    assert command.environment(given) == {"PATH": "/bin", "HOME": "/home"}


def test_the_plugin_fits_the_command() -> None:
    metadata = (FOLDER / "metadata.txt").read_text("utf-8")
    assert f"version={s2fast.__version__}\n" in metadata
    text = (FOLDER / "algorithms.py").read_text("utf-8")
    group = typer.main.get_command(app)
    classes = re.split(r"\nclass ", text)[2:]
    called = {}
    for one in classes:
        if name := re.search(r'arguments = \["(\w+)"|_call\(\["(\w+)"', one):
            called[name[1] or name[2]] = set(re.findall(r'"(--[\w-]+)"', one))
    assert called.keys() == {"run", "align", "index", "find"}
    for name, options in called.items():
        known = {option for parameter in group.commands[name].params for option in parameter.opts}  # type: ignore[attr-defined]
        assert options
        assert options <= known
