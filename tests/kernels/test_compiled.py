"""Compiled code is kept on disk under a key of its sources, and kernels compile if it cannot be kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import s2fast_kernels

pytestmark = pytest.mark.slow

PROGRAM = """
import logging
logging.basicConfig()
from doubled import one, two
print(one(3), two(4))
"""

FACTOR = "FACTOR = 2\n"

MODULE = """
from factor import FACTOR
from s2fast_kernels.compiled import njit

@njit(nogil=True)
def one(value):
    return FACTOR * value

@njit("(i8,)", nogil=True)
def two(value):
    return FACTOR * one(value)
"""

FOLDER = "from s2fast_kernels.compiled import cache_folder; print(cache_folder())"


def python(folder: Path, program: str, **changed: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), **changed}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)


def run(folder: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    (folder / "doubled.py").write_text(MODULE)
    (folder / "factor.py").write_text(FACTOR)
    return python(folder, PROGRAM, **changed)


def test_compilation_without_a_cache_folder(tmp_path: Path) -> None:
    told = run(tmp_path, NUMBA_CACHE_DIR="/proc/no")  # where nobody may write, not even the super-user
    assert told.stdout == "6 16\n"
    assert told.stderr.count("compiled kernels cannot be kept in /proc/no/compiled-") == 1
    assert "NUMBA_CACHE_DIR" in told.stderr


def test_code_is_kept_until_another_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert (told.stdout, told.stderr) == ("6 16\n", "")
    assert len(list((tmp_path / "cache").rglob("*.nbi"))) == 2
    kept = sorted((tmp_path / "cache").rglob("*.nbc"))
    assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stdout == "6 16\n"
    assert sorted((tmp_path / "cache").rglob("*.nbc")) == kept
    # Of another length: Python would take its own compiled file of the same second and length for that of this text.
    monkeypatch.setitem(globals(), "FACTOR", "FACTOR = 1 + 2\n")
    assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stdout == "9 36\n"


def test_the_folder_depends_on_the_processor_and_all_files(tmp_path: Path) -> None:
    shutil.copytree(Path(s2fast_kernels.__file__).parent, tmp_path / "s2fast_kernels")
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    before = python(tmp_path, FOLDER, **cache).stdout
    assert python(tmp_path, FOLDER, **cache).stdout == before
    folders = [before, python(tmp_path, FOLDER, **cache, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2").stdout]
    for file in ("hamming_top2/reference.py", "new.py"):
        with (tmp_path / "s2fast_kernels" / file).open("a") as stream:
            stream.write("# changed\n")
        folders.append(python(tmp_path, FOLDER, **cache).stdout)
    assert len(set(folders)) == 4


def test_the_folder_without_a_variable(tmp_path: Path) -> None:
    """Code lies beside the package if this folder is writable, or has the code; otherwise in the user's folder."""
    package = tmp_path / "s2fast_kernels"
    shutil.copytree(Path(s2fast_kernels.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    variables = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "user"), "PYTHONDONTWRITEBYTECODE": "1"}
    beside = Path(python(tmp_path, FOLDER, **variables).stdout.strip())
    assert beside.parent == package / "__pycache__"
    assert beside.is_dir()
    shutil.rmtree(package / "__pycache__")
    (package / "__pycache__").write_text("")  # a file: no folder can be made here, not even by the super-user
    own = Path(python(tmp_path, FOLDER, **variables).stdout.strip())
    assert (own.parent, own.name) == (tmp_path / "user" / "s2fast", beside.name)


def test_a_module_is_compiled_for_its_declared_signatures(tmp_path: Path) -> None:
    """A later call finds the code under the types of its arguments: nothing new is written."""
    cache = tmp_path / "cache"
    (tmp_path / "doubled.py").write_text(MODULE)
    (tmp_path / "factor.py").write_text(FACTOR)
    ask = "from s2fast_kernels import compiled; print(compiled.is_compiled('doubled')); "
    make = ask + "compiled.compile_module('doubled'); print(compiled.is_compiled('doubled'))"
    assert python(tmp_path, make, NUMBA_CACHE_DIR=str(cache)).stdout == "False\nTrue\n"
    kept = sorted(cache.rglob("*.nb?"))
    assert kept
    assert python(tmp_path, ask + PROGRAM, NUMBA_CACHE_DIR=str(cache)).stdout == "True\n6 16\n"
    assert sorted(cache.rglob("*.nb?")) == kept
    (tmp_path / "factor.py").write_text("FACTOR = 3\n")
    assert python(tmp_path, ask, NUMBA_CACHE_DIR=str(cache)).stdout == "False\n"
