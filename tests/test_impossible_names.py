"""Names that a file system does not take, or that lead nowhere, end in one short line wherever one may be given."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import s2fast as package
from s2fast.archive.find import find_scenes
from s2fast.archive.names import naming
from s2fast.config import Ingest
from s2fast.errors import InputError, S2FastError, SceneError
from s2fast.fetching.download import plan
from s2fast.files.places import exists, is_file, is_folder
from s2fast.files.source import Source
from s2fast.model import Scene
from s2fast.raster.reader import open_raster
from s2fast.regions.contents import check_xml
from s2fast.regions.file import RegionFile
from s2fast.sweeps.comparison import load_earlier
from s2fast.sweeps.data import load_truth
from s2fast.sweeps.results import load_all
from s2fast.sweeps.running import absolute
from s2fast.synth import synth
from tests.archives import Archive, textured, write_scene
from tests.command_line import s2fast
from tests.indexed import Indexed
from tests.judged import Judged
from tests.stac_server import item

pytestmark = pytest.mark.slow

LONGEST = 700
"""Characters of a message; paths of the tests' folder take many."""

NAMES = {
    "long": "a" * 300, "longer": "a" * 5000, "letters of two bytes": "я" * 200, "deep": "a/" * 2500 + "a",
    "in a new folder": "new/" + "a" * 4000, "through a file": "scene.tif/x", "a circle": "circle",
    "through a circle": "circle/x", "closed": "closed/x", "a scheme of no store": f"ftp://{'a' * 5000}",
    "a zip": f"zip://{'a' * 5000}.zip!/{'b' * 5000}",
}  # fmt: skip
"""Names of files and folders, in the folder of the test, and addresses."""

TEXTS = NAMES | {"half a character": "\ud800", "a zero byte": "a\0"}
"""Those that Python may be given, but no command."""


@dataclass(frozen=True)
class Place:
    """A folder with a scene, a link that leads in a circle, and what else commands need."""

    folder: Path
    words: dict[str, str]
    """Arguments of commands: a finished run and two of its scenes, an archive, and an index."""


@pytest.fixture(scope="module")
def place(archive: Archive, judged: Judged, indexed: Indexed, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("impossible")
    write_scene(folder / "scene.tif", np.stack([textured(np.random.default_rng(0), (96, 96))] * 3))
    (folder / "circle").symlink_to("circle")
    (folder / "items.json").write_text(json.dumps(item("a", "scene.tif")))
    (folder / "sweep.toml").write_text('[[grid]]\n"matching.ratio" = [0.8]\n')
    query, train, *_ = package.open_run(judged.out).scene_ids
    paths = {"OUT": str(judged.out), "INDEX": str(indexed.index), "SCENES": str(archive.scenes)}
    return Place(folder, paths | {"QUERY": query, "TRAIN": train})


@pytest.fixture
def here(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Work in a copy of the folder, in which one may not search the folder "closed"."""
    shutil.copytree(place.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for module, name in (
        *((os, name) for name in ("stat", "lstat", "open", "scandir", "listdir", "mkdir", "replace", "unlink")),
        (io, "open"),
    ):
        monkeypatch.setattr(module, name, closing(getattr(module, name)))
    return Place(tmp_path, place.words)


def closing(act: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the operating system that refuses paths in a folder "closed": for root, none is closed."""

    def refusing(*arguments: Any, **options: Any) -> Any:
        path = arguments[0] if arguments else "."
        if isinstance(path, (str, os.PathLike)) and "closed" in Path(path).parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return act(*arguments, **options)

    return refusing


RUN = ["--scenes", "scene.tif"]

COMMANDS = {
    "run --scenes": ["run", "--scenes", "NAME", "--out", "made"],
    "run --scenes, dry": ["run", "--dry-run", "--scenes", "NAME", "--out", "made"],
    "run --regions": ["run", *RUN, "--regions", "NAME", "--out", "made"],
    "run --reference": ["run", *RUN, "--reference", "NAME", "--out", "made"],
    "run --out": ["run", *RUN, "--out", "NAME"],
    "run --out, dry": ["run", "--dry-run", *RUN, "--out", "NAME"],
    "run CONFIG": ["run", "NAME", *RUN, "--out", "made"],
    "run ingest.trust": ["run", *RUN, "--out", "circle", "--set", "ingest.trust=['NAME']"],
    "run ingest.mask_file": [
        "run", *RUN, "--out", "made", "--set", "ingest.mask=file", "--set", "ingest.mask_file='NAME'"
    ],
    "run matching.pairs_file": [
        "run", *RUN, "--out", "made", "--set", "matching.pairs=file", "--set", "matching.pairs_file='NAME'"
    ],
    "pairs": ["pairs", "NAME"],
    "pairs -o": ["pairs", "OUT", "-o", "NAME.csv"],
    "scenes": ["scenes", "NAME"],
    "scenes -o": ["scenes", "OUT", "-o", "NAME.parquet"],
    "show": ["show", "NAME", "QUERY", "TRAIN", "-o", "pair.png"],
    "show -o": ["show", "OUT", "QUERY", "TRAIN", "-o", "NAME.png"],
    "show --to": ["show", "OUT", "--verified", "--to", "NAME"],
    "show --trust": ["show", "OUT", "QUERY", "TRAIN", "-o", "circle/x.png", "--trust", "NAME"],
    "displacement": ["displacement", "NAME", "QUERY", "TRAIN", "-o", "shift.tif"],
    "displacement -o": ["displacement", "OUT", "QUERY", "TRAIN", "-o", "NAME.tif"],
    "align": ["align", "NAME", "--to", "aligned"],
    "align --to": ["align", "OUT", "--to", "NAME"],
    "align --reference": ["align", "OUT", "--to", "aligned", "--reference", "NAME"],
    "align --trust": ["align", "OUT", "--to", "circle/x", "--trust", "NAME"],
    "stac": ["stac", "NAME", "--to", "catalogue"],
    "stac --to": ["stac", "OUT", "--to", "NAME"],
    "stac --aligned": ["stac", "OUT", "--to", "catalogue", "--aligned", "NAME"],
    "check": ["check", "NAME"],
    "index": ["index", "NAME", "--to", "index"],
    "index --to": ["index", "OUT", "--to", "NAME"],
    "find": ["find", "NAME", "scene.tif"],
    "find PICTURE": ["find", "INDEX", "NAME"],
    "find -o": ["find", "INDEX", "scene.tif", "-o", "NAME.png"],
    "find --trust": ["find", "INDEX", "scene.tif", "--trust", "NAME", "-o", "circle/x.tif"],
    "sweep": ["sweep", "NAME", *RUN, "--out", "sweeps"],
    "sweep --scenes": ["sweep", "sweep.toml", "--scenes", "NAME", "--out", "sweeps"],
    "sweep --regions": ["sweep", "sweep.toml", "--scenes", "SCENES", "--regions", "NAME", "--out", "sweeps"],
    "sweep --out": ["sweep", "sweep.toml", "--scenes", "SCENES", "--out", "NAME"],
    "sweep --against": ["sweep", "sweep.toml", *RUN, "--against", "NAME", "--out", "sweeps"],
    "tune": ["tune", "NAME", *RUN, "--out", "tuned"],
    "tune --scenes": ["tune", "--scenes", "NAME", "--out", "tuned"],
    "tune --regions": ["tune", *RUN, "--regions", "NAME", "--out", "tuned"],
    "tune --out": ["tune", "--scenes", "SCENES", "--out", "NAME"],
    "fetch": ["fetch", "NAME", "--to", "fetched"],
    "fetch items": ["fetch", "NAME.json", "--to", "fetched"],
    "fetch --to": ["fetch", "items.json", "--to", "NAME"],
    "fetch --regions": ["fetch", "--regions", "NAME", "--to", "fetched"],
    "synth": ["synth", "NAME", "--size", "256"],
    "demo": ["demo", "--out", "NAME"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(
    command: str, here: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, name in NAMES.items():
        words = here.words | {"NAME": name}
        arguments = [re.sub("|".join(words), lambda found, w=words: w[found[0]], word) for word in COMMANDS[command]]
        if kind == "a circle" and any("NAME." in word for word in COMMANDS[command]):
            continue  # "circle.csv" is none
        code = s2fast(monkeypatch, *arguments)
        told = capsys.readouterr().err
        lines = [line for line in told.splitlines() if "error:" in line]
        assert (code, len(lines)) == (2, 1), (kind, told)
        assert "unexpected" not in told, kind
        assert len(lines[0]) < LONGEST, kind


CALLS: dict[str, Callable[[str, dict[str, str]], object]] = {
    "run": lambda name, _: package.run(scenes=name, out="made"),
    "run of several": lambda name, _: package.run(scenes=["scene.tif", name], out="made"),
    "run of a path": lambda name, _: package.run(scenes=Path(name), out="made"),
    "regions": lambda name, _: package.run(scenes="scene.tif", regions=name, out="made"),
    "reference": lambda name, _: package.run(scenes="scene.tif", reference=name, out="made"),
    "out": lambda name, _: package.run(scenes="scene.tif", out=name),
    "config": lambda name, _: package.load_config(name),
    "trust": lambda name, paths: package.open_run(paths["OUT"] + "/none", trust=[name]),
    "open_run": lambda name, _: package.open_run(name),
    "save": lambda name, paths: (
        package.open_run(paths["OUT"]).displacement(paths["QUERY"], paths["TRAIN"]).save(f"{name}.tif")
    ),
    "align": lambda name, paths: package.open_run(paths["OUT"]).align(name),
    "stac": lambda name, paths: package.open_run(paths["OUT"]).stac("catalogue", name),
    "index": lambda name, _: package.index(name, to="index"),
    "index of several": lambda name, paths: package.index([paths["OUT"], name], to="index"),
    "find": lambda name, _: package.find(name, "scene.tif"),
    "find a picture": lambda name, paths: package.find(paths["INDEX"], name),
    "sweep": lambda name, _: package.sweep(name, scenes="scene.tif", out="sweeps"),
    "data of a sweep": lambda name, _: load_all([{"data": {"folder": name}}]),
    "pattern of a sweep": lambda name, _: load_all([{"data": {"folder": ".", "pattern": [name]}}]),
    "pairs of a sweep": lambda name, paths: load_all(
        [{"base": {"matching.pairs": "file", "matching.pairs_file": name}}], [paths["SCENES"]]
    ),
    "name of a sweep": lambda name, _: load_all([{"name": name}], ["scene.tif"]),
    "kind of data": lambda name, _: load_all([{"data": {"kind": name}}]),
    "against": lambda name, _: package.sweep({}, scenes="scene.tif", out="sweeps", against=[name]),
    "truth": lambda name, _: load_truth(name),
    "tune": lambda name, _: package.tune(scenes=name, out="tuned"),
    "fetch": lambda name, _: package.fetch(name, to="fetched"),
    "synth": lambda name, _: synth(Path(name), size=256),
    "scenes": lambda name, _: find_scenes([name]),
    "polygons": lambda name, _: RegionFile.at(name),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls(call: str, here: Place) -> None:
    for kind, name in TEXTS.items():
        if call == "save" and kind == "a circle":
            continue
        with pytest.raises(S2FastError) as caught:
            CALLS[call](name, here.words)
        assert 0 < len(str(caught.value)) < LONGEST, kind
        assert "\n" not in str(caught.value), kind


NAMED = {kind: NAMES[kind] for kind in ("long", "longer", "deep", "through a file", "a circle", "through a circle")} | {
    "a query": "s3://bucket/scene.tif?a=b", "a password": "s3://user:word@bucket/scene.tif",
}  # fmt: skip
"""Names that a file may hold."""


@pytest.mark.parametrize("kind", NAMED)
def test_what_a_virtual_raster_or_a_catalogue_names_leaves_out_that_scene_alone(kind: str, here: Place) -> None:
    name = NAMED[kind]
    gdal = name.replace("s3://", "/vsis3/")
    source = f'<SimpleSource><SourceFilename relativeToVRT="0">{gdal}</SourceFilename></SimpleSource>'
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    size = 'rasterXSize="96" rasterYSize="96"'
    (here.folder / "virtual.vrt").write_text(f"<VRTDataset {size}>{band}</VRTDataset>")
    with pytest.raises(SceneError) as caught, open_raster(Source.of("virtual.vrt")):
        pass
    assert len(str(caught.value)) <= S2FastError.MOST_CHARACTERS
    links = [{"rel": "item", "href": href} for href in (name, "items.json")]
    (here.folder / "catalogue.json").write_text(
        json.dumps({"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": links})
    )
    found = find_scenes(["catalogue.json"])
    assert [scene.source.posix.name for scene in found.scenes] == ["scene.tif"]
    assert len(found.left_out) == 1


@pytest.mark.parametrize("kind", ["long", "longer", "deep", "through a file", "a circle", "through a circle"])
def test_what_a_schema_includes_is_not_there_or_is_named(kind: str, here: Place) -> None:
    (here.folder / "a.gml").write_text("<FeatureCollection/>")
    (here.folder / "a.xsd").write_text(f'<schema><include schemaLocation="{NAMES[kind]}"/></schema>')
    with pytest.raises(InputError, match="circle") if "circle" in kind else nullcontext():
        check_xml(here.folder / "a.gml")


@pytest.mark.parametrize(
    "content", [b"\xff\n", b"[1]\n", b"[" * 100_000 + b"\n", b'{"case": [], "status": ""}\n',
                b'{"case": "", "status": "", "round": "2"}\n', b'{"case": "", "status": "", "round": 9000000000}\n'],
    ids=range(6),
)  # fmt: skip
def test_another_sweep_that_is_none_is_named(content: bytes, here: Place) -> None:
    (here.folder / "other.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"other\.jsonl"):
        load_earlier(here.folder / "other.jsonl")


def test_addresses_may_be_long() -> None:
    address = f"https://example.org/scene.tif?token={'a' * 5000}"
    assert Source.of(address).url == Source.of(Path(address)).url.replace("https:/e", "https://e") == address
    assert absolute(address) == address


def test_a_folder_of_fetched_scenes_that_is_closed_is_named(here: Place) -> None:
    source = Source.of("https://example.org/scene.tif")
    with pytest.raises(InputError, match="cannot read closed/"):
        plan([Scene.of(source, naming(source))], Path("closed"), Ingest())


def test_a_name_that_another_system_takes_is_opened(here: Place) -> None:
    """A run folder may come from a system that takes longer names."""
    assert Source.parsed("a" * 5000).path == Path("a" * 5000)


def test_a_message_is_cut_in_its_middle() -> None:
    text = f"cannot read {'a' * 5000}: get it again"
    told = str(SceneError(text))
    assert len(told) == S2FastError.MOST_CHARACTERS
    assert told.startswith("cannot read a")
    assert told.endswith("a: get it again")
    assert str(SceneError(text[:2000])) == text[:2000]


def test_what_may_not_be_searched_is_neither_there_nor_absent(here: Place) -> None:
    for ask in (exists, is_file, is_folder):
        for path in ("closed/x", "circle"):
            with pytest.raises(InputError, match=f"cannot read {path}: (Permission denied|Too many levels)"):
                ask(path)
        assert not any(map(ask, ("none", "a" * 5000, "scene.tif/x", "a\0", "\ud800")))
    assert [exists("scene.tif"), is_file("scene.tif"), is_folder("scene.tif"), is_folder(".")] == [True, True, False, 1]
