"""The environment of all tests, and of the processes that they start; read before NumPy is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from _pytest.doctest import DoctestModule

# As the command line does: systems of a hundred unknowns take many times the CPU time on several threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Threads of OpenMP that have nothing to do sleep: where others want the cores, they would wait for each other in loops,
# with five times the CPU time in torch's many short operations.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Images of containers often set it; each of the many processes that tests start would compile all of s2fast.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples only in files that have some: one in nine, and none of the tests."""
    found = yield
    if file_path.suffix != ".py" or b">>>" in file_path.read_bytes():
        return found
    return [collector for collector in found if not isinstance(collector, DoctestModule)]
