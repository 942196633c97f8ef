"""Kernels compile even if numba finds no cache folder."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging
logging.basicConfig()
from doubled import one, two
print(one(3), two(4))
"""

MODULE = """
from s2fast_kernels.compiled import njit

@njit(nogil=True)
def one(value):
    return 2 * value

@njit(nogil=True)
def two(value):
    return 2 * one(value)
"""


def run(folder: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    (folder / "doubled.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), **changed}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)


def test_compilation_without_a_cache_folder(tmp_path: Path) -> None:
    # The super-user may write everywhere: numba is told to look only where nobody may.
    nowhere = {"NUMBA_CACHE_DIR": "/proc/no", "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    told = run(tmp_path, **nowhere)
    assert told.stdout == "6 16\n"
    assert told.stderr.count("no writable folder to cache compiled kernels") == 1
    assert "NUMBA_CACHE_DIR" in told.stderr


def test_compilation_with_a_cache_folder(tmp_path: Path) -> None:
    told = run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert (told.stdout, told.stderr) == ("6 16\n", "")
    assert len(list((tmp_path / "cache").rglob("*.nbi"))) == 2
