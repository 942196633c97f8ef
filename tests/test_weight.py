"""What is imported when: counted modules, since seconds depend on the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.archives import Archive

HEAVY = {
    "cv2", "dask", "distributed", "faiss", "geopandas", "kornia", "matplotlib", "numba", "numpy", "obstore", "optuna",
    "pandas", "pyarrow", "pydantic", "rasterio", "rich", "scipy", "shapely", "torch", "triton", "xarray", "zarr",
}  # fmt: skip
RARE = {
    "dask", "distributed", "faiss", "kornia", "matplotlib", "obstore", "optuna", "torch", "triton", "xarray", "zarr"
}  # fmt: skip
"""Packages that a default run on a CPU does not need."""


def imported(code: str) -> tuple[int, set[str]]:
    """Run code in a new interpreter; return how many modules it imports, and their packages."""
    command = f"import sys; before = set(sys.modules)\n{code}\nprint('\\n', *(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    modules = run.stdout.splitlines()[-1].split()
    return len(modules), {module.partition(".")[0] for module in modules}


def calling(*arguments: str) -> str:
    """Return code that calls the command."""
    return f"""
sys.argv = ["s2fast", *{arguments!r}]
from s2fast.cli import main
try:
    main()
except SystemExit:
    pass
"""


def test_import_is_light() -> None:
    modules, packages = imported("import s2fast")
    assert not packages & HEAVY
    assert modules <= 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "most"),
    [(("--help",), 330), (("--version",), 270), (("run", "--help"), 430), (("config",), 280), (("fetch",), 290)],
)
def test_help_is_light(arguments: tuple[str, ...], most: int) -> None:
    modules, packages = imported(calling(*arguments))
    # Typer draws help with rich; options are checked by the settings' own types.
    assert packages & HEAVY <= {"pydantic", "rich"}
    assert modules <= most


@pytest.mark.slow
def test_a_run_on_a_cpu_imports_nothing_that_it_does_not_need(one_tile: Archive, tmp_path: Path) -> None:
    code = f"""
import s2fast
config = {{"compute.device": "cpu"}}
run = s2fast.run(config, scenes={str(one_tile.scenes)!r}, out={str(tmp_path / "out")!r}, progress=False)
run.pairs()
"""
    _, packages = imported(code)
    assert "rasterio" in packages
    assert not packages & RARE
