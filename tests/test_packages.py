"""Wheel and sdist: what they hold, and that the wheel works without the repository."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import s2fast
from hatch_build import with_absolute_links

ROOT = Path(__file__).parents[1]
PROFILES = ("default", "fast", "notebook")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Build wheel and sdist as the release does."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_REPOSITORY", "somebody/s2fast")
        yield tuple(Path(*builder(str(ROOT)).build(directory=str(folder))) for builder in (WheelBuilder, SdistBuilder))  # type: ignore[misc]


@pytest.mark.slow
def test_the_wheel_is_complete(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        packaged = {
            path.relative_to(ROOT / folder).as_posix()
            for folder, package in ((".", "s2fast"), ("kernels", "s2fast_kernels"))
            for path in (ROOT / folder / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert packaged == {name for name in names if not name.startswith(f"s2fast-{s2fast.__version__}.dist-info/")}
        assert {"s2fast/py.typed", "s2fast_kernels/py.typed"} <= names
        assert {name.partition("/")[0].partition("-")[0] for name in names} == {"s2fast", "s2fast_kernels"}
        for name in PROFILES:
            # A link would be unpacked as the text of its target.
            assert wheel.read(f"s2fast/profiles/{name}.toml") == (ROOT / "configs" / f"{name}.toml").read_bytes()
        metadata = wheel.read(f"s2fast-{s2fast.__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {s2fast.__version__}\n" in metadata
    assert "\nProject-URL: Source, https://github.com/somebody/s2fast\n" in metadata
    assert "](https://github.com/somebody/s2fast/raw/main/docs/report.jpg)" in metadata
    assert "](docs/" not in metadata


@pytest.mark.slow
def test_the_profiles_of_an_sdist_are_files(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as sdist:
        for name in PROFILES:
            member = sdist.getmember(f"s2fast-{s2fast.__version__}/s2fast/profiles/{name}.toml")
            assert member.isfile()
        action = ".github/actions/performance/check.sh"
        for name in ("hatch_build.py", "CITATION.cff", "Makefile", "mkdocs.yml", "examples/all_pairs.ipynb", action):
            assert sdist.getmember(f"s2fast-{s2fast.__version__}/{name}").isfile()


@pytest.mark.slow
def test_the_wheel_works_without_the_repository(built: tuple[Path, Path], tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for code, said in (
        ("import s2fast; print(s2fast.__file__)", str(site / "s2fast" / "__init__.py")),
        ("import s2fast_kernels; print(s2fast_kernels.__path__[0])", str(site / "s2fast_kernels")),
    ):
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == said
    command = [sys.executable, "-m", "s2fast.cli", "config", "--profile", "notebook"]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == (ROOT / "configs" / "notebook.toml").read_text("utf-8")


def test_links_of_the_description_are_absolute() -> None:
    text = "![a](docs/a.png) [b](CHANGELOG.md), [c](https://c.org) and [d](#d)"
    assert with_absolute_links(text, "https://x/y") == (
        "![a](https://x/y/raw/main/docs/a.png) [b](https://x/y/blob/main/CHANGELOG.md), [c](https://c.org) and [d](#d)"
    )


def test_the_conda_recipe_asks_for_the_same_packages() -> None:
    recipe = (ROOT / "packaging" / "conda" / "recipe.yaml").read_text("utf-8")
    listed = set(re.findall(r"^    - (.*)$", recipe.partition("\n  run:\n")[2].partition("\ntests:")[0], re.MULTILINE))
    names = {"matplotlib": "matplotlib-base", "opencv-python-headless": "py-opencv", "torch": "pytorch"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {"python >=${{ python_min }}"}
    for requirement in project["dependencies"]:
        name, versions = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        wanted.add(f"{names.get(name, name)} {versions}")
    assert listed == wanted


def test_the_lock_holds_all_that_ci_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["cluster"], *extras["docs"]]
    names = {canonicalize_name(Requirement(text).name) for text in wanted} - {"s2fast"}
    locked = re.findall(
        r"^([\w.-]+)==.*\\\n +--hash=sha256:", (ROOT / "packaging/test.lock").read_text("utf-8"), re.MULTILINE
    )
    assert names <= set(map(canonicalize_name, locked))
