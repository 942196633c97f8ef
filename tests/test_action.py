"""The performance check as an action: its steps run as on a runner, and hand on code and report.

`python -m tests.action_steps` runs them with the real check.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.action_steps import ACTION, run_steps

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".github" / "actions" / "performance" / "check.sh"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the action runs on Linux")


def stand_in(path: Path, code: int) -> Path:
    """Write an interpreter that notes its arguments, writes a report and ends with a code."""
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > arguments\necho "# report" >> "$7"\nexit {code}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/**/*.yml")), ids=lambda path: path.name)
def test_workflows_are_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_steps_of_the_action(tmp_path: Path, code: int) -> None:
    checkout, runner = tmp_path / "checkout", tmp_path / "runner"
    (checkout / ACTION).mkdir(parents=True)
    for name in ("action.yml", "check.sh"):
        (checkout / ACTION / name).write_bytes((ROOT / ACTION / name).read_bytes())
    python = stand_in(tmp_path / "python", code)
    # Without valgrind the first step would install it.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valgrind").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "valgrind").chmod(0o755)
    inputs = {"base": "v1", "python": str(python), "options": "--quick", "comment": "7", "token": "t0ken"}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    assert run_steps(checkout, runner, inputs, search_path=path) == code
    report = runner / "performance.md"
    assert (checkout / "arguments").read_text().splitlines() == [
        *("-m", "benchmarks", "check", "--base", "v1", "--markdown", str(report), "--quick")
    ]
    # A failed check is commented on too.
    for name in ("performance.md", "summary.md", "comment.md"):
        assert (runner / name).read_text() == "# report\n", name
    arguments = (runner / "comment.md.arguments").read_text().split()
    assert arguments == ["pr", "comment", "7", "--edit-last", "--create-if-none", "--body-file", str(report)]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_script_of_the_action(tmp_path: Path, code: int) -> None:
    python = stand_in(tmp_path / "python", code)
    names = {name: str(tmp_path / name) for name in ("REPORT", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    (tmp_path / "REPORT").write_text("an old report\n")
    environment = {
        **os.environ,
        **names,
        "BASE": "main",
        "OPTIONS": "--quick",
        "PYTHON_OF_CHECK": str(python),
        "DESCRIPTION": "A change.\r\naccept: run: arrays*\r\naccept: import of s2fast\r\nnot accept: this",
    }
    run = subprocess.run([SCRIPT], cwd=tmp_path, env=environment, check=False)
    assert run.returncode == code
    assert (tmp_path / "arguments").read_text().splitlines() == [
        *("-m", "benchmarks", "check", "--base", "main"),
        *("--markdown", names["REPORT"], "--quick", "--accept", "run: arrays*", "--accept", "import of s2fast"),
    ]
    assert (tmp_path / "REPORT").read_text() == (tmp_path / "GITHUB_STEP_SUMMARY").read_text() == "# report\n"
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == f"report={names['REPORT']}\n"
