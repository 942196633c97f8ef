"""A run folder from a stranger: nothing in it runs code, leads outside or is written through a link."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2fast.errors import DamageError, RunFolderError, SceneError
from s2fast.files.local_storage import PARTIAL
from s2fast.folder.checksums import checksum, sealed, unsealed
from s2fast.folder.record import RUN_JSON
from s2fast.folder.run_folder import SCENES, RunFolder
from s2fast.folder.sealed_groups import SEAL, group_file
from s2fast.folder.whole_chunks import described
from s2fast.results import Run
from tests.folders import put_scene, some_features
from tests.judged import Judged

SCENE = "S2A_20160830T083602_T36UYA"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = RunFolder(tmp_path / "out")
    put_scene(folder, SCENE, some_features(rng.uniform(0, 200, (9, 2)), np.zeros((9, 8), np.uint64)))
    return tmp_path / "out"


def change(out: Path, group: str, array: str, **fields: Any) -> None:
    """Change the description of an array, and all checksums with it, as a stranger would."""
    path = out / group / array / "zarr.json"
    data = json.dumps({**json.loads(path.read_bytes()), **fields}).encode()
    path.write_bytes(data)
    attributes = copy.deepcopy(RunFolder(out).groups.attributes(group))
    attributes["files"][f"{array}/zarr.json"] = (len(data), checksum(data))
    (out / group / SEAL).write_bytes(group_file(attributes))


FIELDS = {
    "pickled objects": {"data_type": "object"},
    "text": {"data_type": "variable_length_utf8"},
    "another codec": {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
    "a codec more": {"codecs": [{"name": name} for name in ("bytes", "zstd", "crc32c", "gzip")]},
    "an older format": {"zarr_format": 2},
    "a transformer": {"storage_transformers": [{"name": "any"}]},
    "huge": {"shape": [1 << 40, 2]},
    "huge chunks": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1 << 40, 2]}}},
    "negative": {"shape": [-9, 2]},
    "fractions": {"shape": [9.5, 2]},
    "no list": {"shape": "9"},
    "no numbers": {"shape": None},
    "other ranks": {"shape": [9, 2, 1]},
    "filled with text": {"fill_value": "NaN"},
    "filled with a list": {"fill_value": [0]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_arrays_that_are_not_ours_are_not_read(out: Path, name: str) -> None:
    change(out, f"{SCENES}/{SCENE}/features", "xy", **FIELDS[name])
    with pytest.raises(DamageError, match="describes|declares|shape|dimensions|fill value"):
        RunFolder(out).features(SCENE)
    change(out, f"{SCENES}/{SCENE}", "valid", **FIELDS[name])
    with pytest.raises(DamageError, match="describes|declares|shape|dimensions|fill value"):
        RunFolder(out).valid(SCENE)


def test_more_values_than_stored_are_damage(out: Path) -> None:
    grid = {"name": "regular", "configuration": {"chunk_shape": [5, 2]}}
    change(out, f"{SCENES}/{SCENE}/features", "xy", chunk_grid=grid)
    with pytest.raises(DamageError, match="xy"):
        RunFolder(out).features(SCENE)


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{}", b"[" * 100_000, b'{"shape": [1]}', b"\xff"])
def test_what_describes_no_array_is_one_line(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        described(data)


@pytest.mark.parametrize("scene", ["../../../etc", "..", "", "a/b", "a\\b", "/etc", "a\x00"])
def test_ids_are_no_paths(out: Path, scene: str) -> None:
    for read in (RunFolder(out).features, RunFolder(out).grey, RunFolder(out).tile):
        with pytest.raises(RunFolderError, match="it is a path"):
            read(scene)


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["A:0", "PROJCS[", 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_a_crs_that_is_none_aligns_nothing(judged: Judged, tmp_path: Path, crs: str) -> None:
    out = shutil.copytree(judged.out, tmp_path / "out")
    run = unsealed(json.loads((out / RUN_JSON).read_text()))
    run["scenes"][0]["raster"]["crs_wkt"] = crs
    (out / RUN_JSON).write_text(json.dumps(sealed(run)))
    with pytest.raises(SceneError, match="is no CRS of a map: make the run, index or file that has it again"):
        Run(out).align(tmp_path / "aligned")


@pytest.mark.parametrize("name", ["../victim", "/etc/passwd", "a/../../victim", "a\x00"])
def test_names_do_not_lead_outside(out: Path, name: str) -> None:
    for act in (RunFolder(out).read, RunFolder(out).remove, lambda name: RunFolder(out).write(name, b"")):
        with pytest.raises(RunFolderError, match="leads out of"):
            act(name)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (folder := tmp_path / "victim").mkdir()
    (folder / "file").write_text("mine")
    return folder


def to_link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


ACTS: list[Callable[[RunFolder, str], object]] = [
    lambda folder, name: folder.write(f"{name}/file", b"theirs"),
    lambda folder, name: folder.write(f"{name}/new/file", b"theirs"),
    lambda folder, name: folder.remove(f"{name}/file"),
    lambda folder, name: folder.read(f"{name}/file"),
    lambda folder, name: folder.names(name),
]


@pytest.mark.slow
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("linked", ["good", f"{SCENES}/{SCENE}", PARTIAL])
def test_nothing_is_done_through_a_link(out: Path, victim: Path, linked: str, act: Any) -> None:
    to_link(out / linked, victim)
    with pytest.raises(RunFolderError, match="is a link"):
        act(RunFolder(out), linked)
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"file": "mine"}


def test_a_linked_file_is_not_read_and_is_replaced(out: Path, victim: Path) -> None:
    to_link(out / "run.json", victim / "file")
    with pytest.raises(RunFolderError, match="is a link"):
        RunFolder(out).read("run.json")
    RunFolder(out).write("run.json", b"ours")
    assert (out / "run.json").read_bytes() == b"ours"
    assert (victim / "file").read_text() == "mine"


def test_links_to_folders_are_removed_not_emptied(out: Path, victim: Path) -> None:
    to_link(out / "good", victim)
    RunFolder(out).remove("good")
    assert not (out / "good").exists()
    assert (victim / "file").exists()


def test_old_files_of_a_linked_folder_are_not_swept(out: Path, victim: Path) -> None:
    os.utime(victim / "file", (0, 0))
    to_link(out / PARTIAL, victim)
    with pytest.raises(RunFolderError, match="is a link"):
        RunFolder(out).sweep()
    assert (victim / "file").exists()


def test_chunks_are_not_read_through_links(out: Path, victim: Path) -> None:
    path = out / SCENES / SCENE / "valid"
    shutil.move(path, victim / "valid")
    path.symlink_to(victim / "valid")
    with pytest.raises(RunFolderError, match="is a link"):
        RunFolder(out).valid(SCENE)


def test_pipes_do_not_hang(out: Path) -> None:
    os.mkfifo(out / "run.json")
    with pytest.raises(RunFolderError, match="it is no file"):
        RunFolder(out).read("run.json")


@pytest.mark.parametrize("through", ["link", "pipe"])
def test_chunks_that_are_pipes_do_not_hang(out: Path, through: str) -> None:
    chunk = out / SCENES / SCENE / "valid" / "c" / "0" / "0"
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.unlink(missing_ok=True)
    if through == "pipe":
        os.mkfifo(chunk)
    else:
        os.mkfifo(out.parent / "pipe")
        chunk.symlink_to(out.parent / "pipe")
    with pytest.raises(RunFolderError, match="is a link" if through == "link" else "is no file"):
        RunFolder(out).valid(SCENE)


def test_the_folder_itself_may_be_a_link(out: Path) -> None:
    (out.parent / "link").symlink_to(out)
    folder = RunFolder(out.parent / "link")
    folder.write("a", b"1")
    assert (out / "a").read_bytes() == b"1"
    assert len(folder.features(SCENE)) == 9
