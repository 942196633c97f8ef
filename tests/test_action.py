"""The performance check as an action: its script passes options on and hands on code and report."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".github" / "actions" / "performance" / "check.sh"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the action runs on Linux")


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_script_of_the_action(tmp_path: Path, code: int) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > arguments\necho "# report" >> "$7"\nexit {code}\n')
    python.chmod(0o755)
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
