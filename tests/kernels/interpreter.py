"""Run a file of Triton tests on a CUDA device where there is one, and always under Triton's interpreter.

Triton decides when it is imported whether it interprets, so the interpreter runs the file in a process of its own.
"""

import os
import subprocess
import sys

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

on_a_device = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(),
    reason="no CUDA device; test_under_the_interpreter runs these",
)

not_interpreted = pytest.mark.skipif(INTERPRETED, reason="is this very run")


def assert_passes_interpreted(file: str, skipped: int) -> None:
    """Run a file under the interpreter; no test may fail, and only `skipped` of them may be skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{skipped} skipped" in run.stdout, run.stdout
