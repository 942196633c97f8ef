"""Hostile names through every command and every output: nothing controls a terminal, forges a line or is a formula."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sqlite3
import unicodedata
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from s2fast.commands.app import GROUPS
from s2fast.files.legible import legible
from s2fast.folder.checksums import checksum, sealed, unsealed
from tests.archives import textured, write_scene
from tests.command_line import s2fast
from tests.stac_server import item

HOSTILE = "\x1b]0;owned\x07\u202egnp.=é\nforged $x_{$y\x9b31m<b>[red]%s{0}"
"""A folder: every path in a message contains its name."""

SCENES = ("\x1b[2Ja", "=HYPERLINK(1)", "$x_{$y", "b\nforged line", "\u202egnp")
"""Files of scenes."""

CONTROLS = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

TEXTS = (".csv", ".json", ".jsonl", ".html", ".js", ".svg", ".txt", ".log", ".toml", ".geojson", ".lock")
"""Endings of files that people and programs read as text."""

SETTINGS = """
[features]
backend = "opencv"
upsample = 1
threshold = 0.0003
upright = false
[matching]
mode = "exhaustive"
[ingest]
halo_px = 32
"""

SWEEP = """
[[grid]]
"matching.ratio" = [0.8]
"regions.layer" = ["\\u001b]0;owned\\u0007"]
"""


@dataclass(frozen=True)
class Place:
    """A hostile folder with an archive, settings and polygons, a finished run, and one that a stranger has changed."""

    folder: Path
    said: str
    """What the run printed."""

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


def illegible(text: str, *, but: str = "\n") -> list[str]:
    """Return the characters of a text that control a terminal, or have no meaning."""
    return sorted({c for c in text if unicodedata.category(c) in CONTROLS and c not in but})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("hostile") / HOSTILE
    rng = np.random.default_rng(0)
    ground = textured(rng, (320, 320)).astype(np.float32)
    for number, name in enumerate(SCENES):
        grey = np.clip(ground * (1 - 0.1 * number) + rng.normal(0, 2, ground.shape), 1, 255).astype(np.uint8)
        write_scene(folder / "scenes" / f"{name}.tif", np.stack([grey] * 3))
    (folder / "scenes" / "\x1b[31mbroken\n.tif").write_bytes(b"")
    (folder / "regions.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (folder / "settings.toml").write_text(SETTINGS)
    for name in ("sweep", "sweep\x1b"):
        (folder / f"{name}.toml").write_text(SWEEP)
    (folder / "items.json").write_text(json.dumps(item("\x1b]0;owned\x07=\u202e", "scenes/none.tif")))
    return Place(folder, "")


def run_of(place: Place) -> list[str]:
    return ["run", place["settings.toml"], "--scenes", place["scenes"], "--out", place["out"], "-v"]


def stolen(place: Place) -> Path:
    """Copy the run, with other texts in its tables and its record, as a stranger would."""
    out = place.folder / "stolen"
    shutil.copytree(place.folder / "out", out)
    record = unsealed(json.loads((out / "run.json").read_text("utf-8")))
    evil = "=HYPERLINK(1)\x1b]0;owned\x07\u202e$x_{$\n"
    for name in ("pairs.parquet", "scenes.parquet"):
        table: Any = (
            pd.read_parquet(out / name) if name == "pairs.parquet" else __import__("geopandas").read_parquet(out / name)
        )
        for column in ("verdict", "model", "mask", "correction", "source", "platform", "datum"):
            if column in table:
                table[column] = evil
        table.to_parquet(out / name)
        data = (out / name).read_bytes()
        record["tables"][name] = checksum(data)
    record["problems"] = {evil: evil}
    record["warnings"], record["noticed"] = [evil], [evil]
    record["machine"]["processor"] = record["versions"]["s2fast"] = evil
    (out / "run.json").write_text(json.dumps(sealed(record)))
    return out


def commands(place: Place) -> dict[str, list[list[str]]]:
    """Return the arguments of every command: one that succeeds where that takes little time, and one that fails."""
    out, stranger, missing = place["out"], place["stolen"], place["missing"]
    a, b = "HYPERLINK", "x_{"
    stages = {
        name: [[name, place["settings.toml"], "--scenes", place["scenes"], "--out", out]]
        for name in GROUPS["Single stages"]
    }
    return {
        **stages,
        "run": [
            [*run_of(place)[:-1], "--dry-run"],
            ["run", "--scenes", place["scenes"], "--out", place["other"], "--regions", place["regions.geojson"]],
            ["run", missing, "--scenes", missing, "--out", out],
            ["run", "--scenes", missing, "--out", out, "--set", "\x1b.a=1"],
        ],
        "pairs": [
            *(["pairs", folder, "--format", form] for folder in (out, stranger) for form in ("table", "csv", "json")),
            *(["pairs", stranger, "-o", place[f"written/pairs.{ending}"]] for ending in ("csv", "json", "txt")),
            ["pairs", missing], ["pairs", out, "--scene", "\x1b"], ["pairs", out, "--columns", "\x1b"],
            ["pairs", out, "\x1b]0;owned\x07"], ["pairs", "--\x1b", out],
        ],
        "scenes": [
            *(["scenes", folder, "--format", form] for folder in (out, stranger) for form in ("table", "csv", "json")),
            ["scenes", stranger, "-o", place["written/scenes.csv"]], ["scenes", missing],
        ],
        "show": [
            ["show", out, a, b, "-o", place["written/pair.svg"], "--dpi", "30"],
            ["show", stranger, a, b, "-o", place["written/other.svg"], "--dpi", "30"],
            ["show", out, "\x1b", b, "-o", place["written/none.svg"]],
        ],
        "displacement": [
            ["displacement", out, a, b, "-o", place["written/\x1bshift.tif"]],
            ["displacement", out, a, "\x1b", "-o", missing],
        ],
        "align": [
            ["align", out, "--to", place["aligned"], "--check"],
            ["align", stranger, "--to", place["aligned_2"], "--max-error", "0.0000001"],
            ["align", out, "--to", place["aligned"], "--reference", missing],
        ],
        "stac": [["stac", out, "--to", place["stac"], "--aligned", place["aligned"]], ["stac", missing, "--to", out]],
        "check": [["check", out], ["check", missing], ["check", stranger]],
        "index": [["index", out, "--to", place["index"]], ["index", missing, "--to", place["index"]]],
        "find": [
            ["find", place["index"], place[f"scenes/{SCENES[2]}.tif"], "-o", place["written/found.svg"]],
            ["find", place["index"], place[f"scenes/{SCENES[1]}.tif"], "--format", "json",
             "-o", place["written/found.geojson"]],
            ["find", place["index"], missing], ["find", missing, missing],
        ],
        "config": [["config"], ["config", "--profile", "\x1b"]],
        "sweep": [
            ["sweep", place["sweep.toml"], "--scenes", place["scenes"], "--out", place["sweeps"], "--dry-run"],
            ["sweep", place["sweep\x1b.toml"], "--out", place["sweeps"]],
            ["sweep", missing, "--out", place["sweeps"]],
        ],
        "tune": [["tune", "--scenes", missing, "--out", place["tuned"]],
                 ["tune", missing, "--scenes", place["scenes"]]],
        "fetch": [
            ["fetch", place["items.json"], "--to", place["fetched"], "--dry-run"],
            ["fetch", place["items.json"], "--to", place["fetched"]], ["fetch", missing, "--dry-run"],
        ],
        "synth": [["synth", place["synth"], "--size", "-1"], ["synth", place["synth"], "--tiles", "\x1b"]],
        "demo": [["demo", "--out", place["settings.toml"]]],
        "doctor": [["doctor"]],
    }  # fmt: skip


@pytest.mark.slow
def test_every_command_prints_and_writes_names_as_text(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: dict[str, str] = {}

    def command(words: list[str]) -> int:
        code = s2fast(monkeypatch, *words)
        captured = capsys.readouterr()
        text = captured.out + captured.err
        said[" ".join(words)] = text
        assert "please report it" not in text, text
        return code

    assert command(run_of(place)) == 3
    stolen(place)
    (place.folder / "written").mkdir()
    walked = commands(place)
    assert set(walked) == {name for names in GROUPS.values() for name in names}
    codes = {name: [command(words) for words in calls] for name, calls in walked.items()}
    assert not [name for name, found in codes.items() if not set(found) <= {0, 1, 2, 3}]
    done = {name for name, found in codes.items() if {0, 3} & set(found)}
    for name in ("run", "pairs", "scenes", "show", "displacement", "align", "stac", "check", "index", "sweep", "fetch"):
        assert name in done, "".join(text for words, text in said.items() if words.startswith(name))
    assert {words: illegible(text) for words, text in said.items() if illegible(text)} == {}
    assert [text for text in said.values() if re.search(r"^forged", text, re.MULTILINE)] == []
    lists = [text for words, text in said.items() if "--format csv" in words]
    assert lists
    assert [cell for text in lists for row in csv.reader(text.splitlines()) for cell in row if formula(cell)] == []

    files = [path for path in place.folder.rglob("*") if path.is_file() and "scenes" not in path.parts[-3:]]
    written = [path for path in files if path.suffix in TEXTS and path.parent != place.folder]
    assert len(written) > 20
    for path in written:
        shown = legible(str(path.relative_to(place.folder)))
        if "stolen" in shown and path.suffix in (".json", ".csv", ".html", ".js", ".log"):
            continue  # as the stranger wrote it
        text = path.read_text("utf-8")
        assert illegible(text, but="\n\t\r") == [], shown
        if path.suffix == ".csv":
            cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
            assert [cell for cell in cells if formula(cell)] == [], shown
    for path in (path for path in files if path.suffix == ".gpkg" and "stolen" not in path.parts):
        assert [text for text in texts_of(path) if illegible(text, but="\n\t\r")] == []


def formula(cell: str) -> bool:
    """Return whether a spreadsheet would compute a cell, which is no number."""
    return bool(re.match(r"\s*[=+\-@]", cell)) and not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", cell)


def texts_of(path: Path) -> list[str]:
    """Return all texts of a GeoPackage."""
    with closing(sqlite3.connect(path)) as base:
        names = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [
            row for name in names if not name.startswith("rtree") for row in base.execute(f'SELECT * FROM "{name}"')
        ]
    return [value for row in rows for value in row if isinstance(value, str)]
