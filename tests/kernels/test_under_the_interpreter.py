"""Tests of Triton kernels pass under Triton's interpreter, which needs no device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

TESTS = Path(__file__).parents[1]
FILES = [
    path for path in sorted(TESTS.rglob("test_*.py")) if "\nfrom tests.kernels.interpreter" in path.read_text("utf-8")
]

NOT_INTERPRETED = 4
"""Tests of these files that the interpreter skips: each says why."""


@pytest.mark.slow
@pytest.mark.longest
def test_all_pass() -> None:
    """Triton decides when it is imported whether it interprets: one process of its own for all files."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, FILES)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{NOT_INTERPRETED} skipped" in run.stdout, run.stdout
    assert len(FILES) == 4
