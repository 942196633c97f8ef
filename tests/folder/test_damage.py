"""Bits inverted, files cut, emptied, exchanged and removed: reading fails, and a run recomputes them.

A few trials by default; ``S2FAST_DAMAGE=175 pytest tests/folder/test_damage.py`` makes as many as asked.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg

import s2fast
import s2fast.model
from s2fast import cli
from s2fast.config import load_config
from s2fast.errors import DamageError, InputError, RunFolderError
from s2fast.folder.check import find_damage
from s2fast.folder.run_folder import SCENES, RunFolder
from s2fast.folder.sealed_groups import SEAL, group_file
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.results import Run
from tests.archives import Archive
from tests.folder.test_resume import SETTINGS, run
from tests.test_pipeline import digests

pytestmark = pytest.mark.slow

TRIALS = int(os.environ.get("S2FAST_DAMAGE", "12"))


@pytest.fixture(scope="module")
def finished(one_tile: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    run(one_tile, out)
    return out


def turn_bit(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = draw.randrange(8 * len(data))
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)


def rot(path: Path, draw: random.Random) -> None:
    """A bit turned without a trace in the file's entry."""
    entry = path.stat()
    turn_bit(path, draw)
    os.utime(path, ns=(entry.st_atime_ns, entry.st_mtime_ns))


def cut(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def zero(path: Path, draw: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path, draw: random.Random) -> None:
    os.truncate(path, 0)


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def exchange(path: Path, draw: random.Random) -> None:
    """The file of another scene or block, whole in itself, or another of its kind."""
    others = [other for other in path.parents[5 if "store.zarr" in path.parts else 0].rglob(path.name) if other != path]
    others = [other for other in others if other.is_file() and other.read_bytes() != path.read_bytes()]
    shutil.copyfile(draw.choice(others) if others else __file__, path)


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (turn_bit, rot, cut, zero, empty, remove, exchange)


def kind_of(name: str) -> str:
    """Sort files by what they are."""
    parts = name.split("/")
    return parts[0] if parts[0] != "store.zarr" else "/".join(part for part in parts[3:] if not part.isdigit()) or name


def trials(out: Path, count: int) -> Iterator[tuple[str, Callable[[Path, random.Random], None]]]:
    """Draw (file, damage) so that every kind of file and every damage has its turn."""
    draw = random.Random(4096)
    kinds: dict[str, list[str]] = {}
    for name in [*sorted(digests(out)), "run.json", "report.html"]:
        kinds.setdefault(kind_of(name), []).append(name)
    names = draw.sample(sorted(kinds), len(kinds))
    for number in range(count):
        # The damages move on by one whenever all kinds had their turn.
        yield draw.choice(kinds[names[number % len(names)]]), DAMAGES[(number + number // len(names)) % len(DAMAGES)]


def readings(out: Path) -> dict[str, Callable[[], Any]]:
    """All that can be asked of a run."""
    scenes = [path.name for path in sorted((out / SCENES).iterdir()) if path.is_dir()] or ["none"]
    folder = RunFolder(out)
    asked: dict[str, Callable[[], Any]] = {
        name: lambda name=name: getattr(Run(out), name)() for name in ("pairs", "similarity", "scenes")
    }
    asked["names"] = lambda: Run(out).scene_ids
    for number, scene in enumerate(scenes):
        asked[f"features of {scene}"] = lambda scene=scene: [
            getattr(Run(out).features(scene), name) for name in s2fast.model.Features.__slots__
        ]
        for name in ("grey", "valid", "clear", "tile"):
            asked[f"{name} of {scene}"] = lambda name=name, scene=scene: getattr(folder, name)(scene)
        for train in scenes[number + 1 :]:
            asked[f"{scene} and {train}"] = lambda query=scene, train=train: Run(out).matches(query, train)
    asked["picture"] = lambda: picture(out, *scenes[:2])
    return asked


def picture(out: Path, query: str, train: str) -> np.ndarray:
    figure = Run(out).show(query, train, view="masked")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba()).copy()
    plt.close(figure)
    return pixels


def assert_same(got: Any, wanted: Any, told: str) -> None:
    if isinstance(wanted, pd.DataFrame):
        pd.testing.assert_frame_equal(got, wanted, obj=told)
    elif isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(got, wanted, err_msg=told)
    elif isinstance(wanted, list) and wanted and isinstance(wanted[0], np.ndarray):
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=told)
    else:
        assert got == wanted, told


@pytest.fixture(scope="module")
def truth(finished: Path) -> dict[str, Any]:
    return {name: read() for name, read in readings(finished).items()}


@pytest.mark.parametrize("number", range(TRIALS))
def test_damage_is_never_read_and_always_mended(
    number: int,
    one_tile: Archive,
    finished: Path,
    truth: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, harm = list(trials(finished, TRIALS))[number]
    told = f"{harm.__name__}: {name}"
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    harm(out / name, random.Random(told))
    for reading, read in readings(out).items():
        with suppress(RunFolderError, InputError):
            assert_same(read(), truth[reading], f"{told}: {reading}")
    findings = [error.finding for error in find_damage(RunFolder(out))]
    assert any(name.partition("/")[0] in finding for finding in findings), told
    if harm is rot:
        monkeypatch.setattr(sys, "argv", ["s2fast", "check", str(out)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
    run(one_tile, out)
    assert not list(find_damage(RunFolder(out))), told
    assert digests(out) == digests(finished), told
    assert_same(Run(out).pairs(), truth["pairs"], told)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("workers", [1, 2])
def test_damage_that_a_stage_meets_is_computed_again(
    workers: int, one_tile: Archive, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = load_config(overrides={**SETTINGS, "matching.ratio": 0.8})
    places = [one_tile.scenes], one_tile.regions
    run_stages(Job(changed, *places, tmp_path / "fresh"))
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    chunk = next((out / SCENES).glob("*/features/xy/c/0/0"))
    rot(chunk, random.Random(0))
    run_stages(Job(changed, *places, out), workers=workers)
    assert f"{chunk} is damaged (its checksum is wrong): it is recomputed" in caplog.text
    assert digests(out) == digests(tmp_path / "fresh")


@pytest.mark.parametrize(
    "wrong", [{"transform": [0.0, 0.0, 6e5, 0.0, -10.0, 5e6]}, {"full_shape": "512"}, {"crs": None}, {"stretch": [1.0]}]
)
def test_attributes_that_no_tile_has_are_damage(finished: Path, tmp_path: Path, wrong: dict[str, object]) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    folder = RunFolder(str(out))
    (scene_id,) = s2fast.open_run(out).scene_ids[:1]
    path = f"{SCENES}/{scene_id}"
    (out / path / SEAL).write_bytes(group_file({**folder.groups.finished(path), **wrong}))
    with pytest.raises(DamageError, match="another version of s2fast wrote it"):
        RunFolder(str(out)).tile(scene_id)


def test_a_lost_record_is_written_anew_for_the_same_job_only(one_tile: Archive, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for lose in (Path.unlink, Path.touch):
        lose(out / "run.json")
        with pytest.raises(RunFolderError, match="name another out"):
            run_stages(Job(load_config(overrides=SETTINGS), [one_tile.scenes], None, out))
        with pytest.raises(RunFolderError, match=r"holds no run|run.json is damaged"):
            s2fast.open_run(out)
    run(one_tile, out)
    assert digests(out) == digests(finished)


def test_zarr_alone_sees_a_turned_bit(finished: Path, tmp_path: Path) -> None:
    """Whoever reads the arrays without us has the chunks' own checksums."""
    group = next((finished / SCENES).glob("*/features"))
    copy = tmp_path / "xy"
    shutil.copytree(group / "xy", copy)
    np.testing.assert_array_equal(
        zarr.open_array(copy, mode="r")[...], RunFolder(finished).positions(group.parent.name)
    )
    turn_bit(copy / "c" / "0" / "0", random.Random(0))
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(copy, mode="r")[...]
