from __future__ import annotations

import base64
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pytest

from s2fast import examples
from s2fast.examples import aligned_stack, all_pairs
from s2fast.examples.script import run_script
from tests.archives import ORIGINS, Archive, safe_path, textured, write_scene


@pytest.mark.slow
def test_all_pairs_prints_both_tables_and_draws(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    all_pairs.main(str(archive.scenes), str(archive.regions), str(tmp_path / "out"))
    told = capsys.readouterr().out
    above, below = (int(line.split(": ")[1].split()[0]) for line in told.splitlines() if line.endswith(" pairs"))
    assert above + below == 6
    assert told.count("bits differ") == 3
    assert len(list(tmp_path.glob("*.png"))) == 1
    assert Path(told.splitlines()[-1].partition(": ")[2]).is_file()


@pytest.mark.slow
def test_an_aligned_stack_differs_less_between_dates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(8)
    ground = textured(rng, (420, 420))
    for day, (right, down) in {"20190427": (0, 0), "20190507": (0, 0), "20190517": (2, -1)}.items():
        seen = ground[10 - down : 410 - down, 10 - right : 410 - right] + rng.normal(0, 3, (400, 400))
        pixels = np.clip(seen, 1, 255)
        path = safe_path(tmp_path / "archive", "36UYA", f"{day}T083601")
        write_scene(path, np.stack([pixels.astype(np.uint8)] * 3), ORIGINS["36UYA"])
    aligned_stack.main(str(tmp_path / "archive"), str(tmp_path / "out"))
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 5
    sizes, before, after = re.fullmatch(
        r"36UYA: (.*), standard deviation over time ([\d.]+) before, ([\d.]+) after", told[-1]
    ).groups()  # type: ignore[union-attr]
    assert sizes == "{'time': 3, 'y': 400, 'x': 400}"
    # The noise of three dates remains, a deviation of 3 grey values; one scene moved by two pixels adds to it.
    assert float(after) < 3.0 < 2 * float(after) < float(before)


class Refused(Protocol):
    def __call__(self, name: str, *arguments: object) -> str: ...


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that runs an example as a script and returns the one line with which it is refused."""

    def run(name: str, *arguments: object) -> str:
        module = f"s2fast.examples.{name}"
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [name, *map(str, arguments)])
            patch.delitem(sys.modules, module)
            with pytest.raises(SystemExit) as ended:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
        told, line = capsys.readouterr()
        assert (ended.value.code, told, line.count("\n")) == (2, "", 1), line
        return line

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"), [("aligned_stack", "ARCHIVE OUT"), ("all_pairs", "ARCHIVE POLYGONS.geojson OUT")]
)
def test_an_example_without_arguments_shows_its_usage(name: str, arguments: str, refused: Refused) -> None:
    wanted = len(arguments.split())
    line = f"got 0 arguments, wanted {wanted}; usage: python -m s2fast.examples.{name} {arguments}"
    assert refused(name) == f"s2fast: error: {line}\n"
    assert "got 4 arguments" in refused(name, "a", "b", "c", "d")


def test_every_example_is_refused_in_one_line() -> None:
    names = {path.stem for path in Path(examples.__path__[0]).glob("*.py")} - {"__init__", "script"}
    assert names == {"aligned_stack", "all_pairs"}, "add it to the tests around this one"


@pytest.mark.slow
def test_a_folder_without_scenes_ends_an_example_in_one_line(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "empty").mkdir()
    assert "no scenes found under" in refused("aligned_stack", tmp_path / "empty", tmp_path / "out")
    assert "no scenes found under" in refused("all_pairs", tmp_path / "empty", tmp_path / "no.json", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_an_example_names_the_packages_it_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(print, "s2fast.examples.none", "A", packages=["numpy", "no_such"], argv=["a"]) == 2
    assert capsys.readouterr() == ("", "s2fast: error: the example needs no_such: pip install no_such\n")
    assert run_script(print, "s2fast.examples.none", "A", argv=["--help"]) == 0
    assert capsys.readouterr() == ("usage: python -m s2fast.examples.none A\n", "")


def outputs(notebook: Path) -> list[tuple[str, list[float], tuple[int, ...]]]:
    """Return what a notebook's cells show: their words, their numbers, and the sizes of their pictures [px]."""
    found = []
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            text, size = "".join(output.get("text", [])), ()
            if "data" in output:
                picture = np.frombuffer(base64.b64decode(output["data"]["image/png"]), np.uint8)
                size = cv2.imdecode(picture, cv2.IMREAD_COLOR).shape[:2]
            numbers = [float(number) for number in re.findall(r"(?<!\w)-?\d+\.?\d*(?!\w)", text)]
            # Columns widen with their numbers.
            words = " ".join(re.sub(r"(?<!\w)-?\d+\.?\d*(?!\w)", "#", text).split())
            found.append((words, numbers, size))
    return found


@pytest.mark.slow
def test_notebooks_show_what_they_say(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-m", "tests.notebooks", tmp_path], cwd=root, check=True)
    stored = sorted((root / "examples").glob("*.ipynb"))
    assert len(stored) == 2
    for path in stored:
        shown, again = outputs(path), outputs(tmp_path / path.name)
        assert [words for words, _, _ in again] == [words for words, _, _ in shown]
        assert sum(bool(size) for _, _, size in shown) == 1
        for (words, numbers, size), (_, others, other_size) in zip(shown, again, strict=True):
            # Another OpenJPEG, or another processor, may move a keypoint; a font a picture's margin.
            np.testing.assert_allclose(others, numbers, rtol=0.05, atol=0.3, err_msg=words)
            np.testing.assert_allclose(other_size, size, atol=10)
