"""A reference that is held fixed: an image from outside, or a scene; and one datum for tiles of one pass."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin

import s2fast
from s2fast.align import aligned
from s2fast.archive.find import find_scenes
from s2fast.archive.listing import Looking
from s2fast.archive.reference import with_reference
from s2fast.errors import InputError
from s2fast.results import Run
from tests.archives import ORIGINS, PIXEL_M, UTM36, safe_path, textured, write_scene
from tests.command_line import s2fast as command

pytestmark = pytest.mark.slow

SIDE, MARGIN, APART = 480, 20, 384
"""Pixels: side of a tile, ground around both tiles, distance of the tiles' origins."""

MOVED = {
    "S2A_20190427T083601_T36UXA": (2, -1), "S2A_20190507T083601_T36UXA": (-1, 1), "S2A_20190517T083601_T36UXA": (0, 2),
    "S2A_20190517T083601_T36UYA": (0, 2), "S2A_20190527T083601_T36UYA": (3, 0),
}  # fmt: skip
"""How far the ground of each scene is moved: pixels right and down. One pass shows both tiles."""


@dataclass(frozen=True)
class Strip:
    """Two tiles, an image from outside that shows both, and a run without a reference."""

    folder: Path

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def ortho(self) -> Path:
        return self.folder / "ortho.tif"

    def run(self, out: str, **options: object) -> Run:
        return s2fast.run(scenes=self.archive, out=self.folder / out, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def strip(tmp_path_factory: pytest.TempPathFactory) -> Strip:
    found = Strip(tmp_path_factory.mktemp("strip"))
    rng = np.random.default_rng(11)
    ground = textured(rng, (SIDE + 2 * MARGIN, APART + SIDE + 2 * MARGIN))
    for name, (right, down) in MOVED.items():
        tile, time = name[-5:], name[4:19]
        seen = np.clip(ground + rng.normal(0, 3, ground.shape), 1, 255).astype(np.uint8)
        row, col = MARGIN - down, MARGIN - right + (APART if tile == "36UYA" else 0)
        pixels = seen[row : row + SIDE, col : col + SIDE]
        write_scene(safe_path(found.archive, tile, time), np.stack([pixels] * 3), ORIGINS[tile])
    west, north = ORIGINS["36UXA"]
    seen = np.clip(ground + rng.normal(0, 3, ground.shape), 1, 255).astype(np.uint8)
    write_scene(found.ortho, seen, (west - MARGIN * PIXEL_M, north + MARGIN * PIXEL_M))
    return found


def metres(names: list[str]) -> pd.DataFrame:
    """The true offsets of scenes, east and north [m]."""
    return pd.DataFrame([(10.0 * MOVED[name][0], -10.0 * MOVED[name][1]) for name in names], names, ["x", "y"])


def found_of(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("scene_id")[["offset_x_m", "offset_y_m"]].set_axis(["x", "y"], axis=1)


def test_two_tiles_of_one_pass_have_one_datum(strip: Strip, tmp_path: Path) -> None:
    run = strip.run("plain")
    scenes = run.scenes()
    assert scenes["datum"].tolist() == ["median of 36UXA, 36UYA"] * len(MOVED)
    wanted = metres(scenes["scene_id"].tolist())
    np.testing.assert_allclose(found_of(scenes), wanted - wanted.median(), atol=0.6)
    # A scene of one tile can be the reference of the other.
    reference = "S2A_20190427T083601_T36UXA"
    table = run.align(tmp_path, reference=reference)
    np.testing.assert_allclose(found_of(table), wanted - wanted.loc[reference], atol=0.6)
    assert table["aligned"].all()
    assert table["reference"].unique().tolist() == [reference]
    # The pass that both tiles show has no seam after alignment, as it had none before.
    one, other = table[table["scene_id"].str.contains("20190517")][["add_x_m", "add_y_m"]].to_numpy()
    np.testing.assert_allclose(one, other, atol=0.3)


def test_a_reference_from_outside_is_matched_and_held_fixed(
    strip: Strip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    strip.run("plain")
    run = strip.run("plain", reference=strip.ortho)
    # It adds its own scene and pairs to a run without it.
    stages = run.record.history.stages
    assert [stages[name].done for name in ("ingest", "extract", "match")] == [1, 1, len(MOVED)]
    assert (run.record.found.reference, run.record.found.outside) == ("ortho", True)
    scenes = run.scenes().set_index("scene_id")
    assert scenes.loc["ortho", ["verdict", "correction", "datum"]].tolist() == ["reference", "held fixed", "ortho"]
    assert set(scenes["datum"]) == {"ortho"}
    names = [name for name in scenes.index if name != "ortho"]
    np.testing.assert_allclose(found_of(scenes.reset_index()).loc[names], metres(names), atol=0.6)

    # Aligned are the scenes, not the reference; its file names it, and so does nothing.
    assert command(monkeypatch, "align", run.folder, "--to", tmp_path / "a") == 0
    assert capsys.readouterr().out == f"5 of 5 scenes aligned: {tmp_path}/a/alignment.html, alignment.csv\n"
    table = pd.read_csv(tmp_path / "a" / "alignment.csv")
    assert table["scene_id"].tolist() == names
    np.testing.assert_allclose(table[["add_x_m", "add_y_m"]], -metres(names), atol=0.6)
    with rasterio.open(tmp_path / "a" / table["files"][0]) as dataset:
        assert dataset.tags()["S2FAST_REFERENCE"] == "ortho"
    again = run.align(tmp_path / "b", reference=str(strip.ortho))
    assert again["add_x_m"].tolist() == pytest.approx(table["add_x_m"].tolist())
    assert again["files"].tolist() == table["files"].tolist()

    # Without the reference's pixels the scenes are checked with each other, and a warning says so.
    prove = aligned.prove

    def vanished(*arguments: object) -> object:
        strip.ortho.rename(hidden)
        return prove(*arguments)  # type: ignore[arg-type]

    hidden = strip.ortho.with_suffix(".hidden")
    with monkeypatch.context() as patched:
        patched.setattr(aligned, "prove", vanished)
        with caplog.at_level("WARNING", "s2fast"):
            checked = run.align(tmp_path / "b", check=True)
    hidden.rename(strip.ortho)
    assert checked["aligned"].all()
    assert not checked["checked_with"].str.contains("ortho").any()
    assert f"the reference cannot be checked: {strip.ortho}: " in caplog.text
    assert caplog.text.rstrip().endswith("scenes were compared with each other")

    # The median is still to be had, and is that of the scenes.
    table = run.align(tmp_path / "c", reference="median")
    assert set(table["reference"]) == {"median of 36UXA, 36UYA"}
    np.testing.assert_allclose(found_of(table), metres(names) - metres(names).median(), atol=0.6)

    # Without it, the run is that of before, and nobody is told that it has vanished.
    capsys.readouterr()
    assert strip.run("plain").scene_ids == names
    assert "no longer exists" not in capsys.readouterr().err


def test_a_run_may_compare_with_the_reference_only(strip: Strip) -> None:
    only = {"matching.pairs": "reference"}
    run = strip.run("only", reference="S2A_20190517T083601_T36UXA", overrides=only)
    pairs = run.pairs()
    assert len(pairs) == len(MOVED) - 1
    assert (pairs[["query", "train"]] == "S2A_20190517T083601_T36UXA").any(axis=1).all()
    scenes = run.scenes()
    wanted = metres(scenes["scene_id"].tolist())
    known = scenes["offset_x_m"].notna().to_numpy()
    # Those of the other tile are compared in the strip that both show.
    assert known[scenes["tile"] == "36UXA"].all()
    np.testing.assert_allclose(
        found_of(scenes)[known], (wanted - wanted.loc["S2A_20190517T083601_T36UXA"])[known], atol=0.8
    )
    with pytest.raises(InputError, match=r'pairs = "reference" needs a reference: name one with reference'):
        strip.run("none", overrides=only)
    assert not (strip.folder / "none").exists()


def write_elsewhere(path: Path) -> None:
    write_scene(path, np.full((300, 300), 90, np.uint8), (300000.0, 5000000.0))


def write_ungeoreferenced(path: Path) -> None:
    write_scene(path, np.full((300, 300), 90, np.uint8), crs=None)


def write_folder(path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write_scene(path / name, np.full((300, 300), 90, np.uint8))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (None, "neither a file nor a scene of the run has this name"),
        (write_elsewhere, "the reference ref shares no ground with any scene: it shows 45.112° N 30.477° E, "),
        (write_ungeoreferenced, "the reference cannot be used: "),
        (lambda path: path.write_text("no raster"), "the reference cannot be used: "),
        (write_folder, "it holds 2 images; name one"),
        (Path.mkdir, "it holds no images; name one"),
    ],
)
def test_a_wrong_reference_ends_in_one_line(
    strip: Strip, tmp_path: Path, make: object, told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / ("ref.tif" if make not in (write_folder, Path.mkdir) else "ref")
    if make:
        make(path)  # type: ignore[operator]
    (tmp_path / "c.toml").write_text("")
    arguments = ["--scenes", strip.archive, "--reference", path, "--out", tmp_path / "out"]
    assert command(monkeypatch, "run", tmp_path / "c.toml", *arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert str(path.stem) in lines[0]
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_part_of_an_id_names_a_scene_as_everywhere(
    strip: Strip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = find_scenes([strip.archive]).scenes
    same, reference = with_reference(scenes, "2019-05-17 uya", (), Looking())
    assert (same, reference.scene_id) == (list(scenes), "S2A_20190517T083601_T36UYA")
    with pytest.raises(InputError, match="'20190517' fits 2 scenes, '20190517 UXA', '20190517 UYA'"):
        with_reference(scenes, "20190517", (), Looking())
    write_scene(tmp_path / "20190427", np.full((300, 300), 90, np.uint8))
    monkeypatch.chdir(tmp_path)
    assert with_reference(scenes, "20190427", (), Looking())[1].scene_id == "20190427"


def test_a_file_that_was_not_matched_is_named_with_the_way_to_match_it(strip: Strip, tmp_path: Path) -> None:
    run = strip.run("plain")
    with pytest.raises(InputError, match=r"ortho\.tif was not matched in this run: repeat the command `s2fast run`"):
        run.align(tmp_path / "to", reference=str(strip.ortho))
    assert not (tmp_path / "to").exists()


def test_a_reference_of_the_same_name_as_a_scene_replaces_none(strip: Strip) -> None:
    # The same acquisition, made by somebody else: no product of the archive is left out for it, nor the other way.
    path = strip.folder / "theirs" / "S2A_MSIL1C_20190427T083601_N0500_R021_T36UXA_20230101T000000_TCI.tif"
    (own,) = strip.archive.rglob("T36UXA_20190427T083601_TCI.jp2")
    with rasterio.open(own) as source:
        grid = from_origin(ORIGINS["36UXA"][0] + 30, ORIGINS["36UXA"][1], PIXEL_M, PIXEL_M)
        path.parent.mkdir()
        with rasterio.open(
            path, "w", driver="GTiff", height=SIDE, width=SIDE, count=3, dtype="uint8", crs=UTM36, transform=grid
        ) as copy:
            copy.write(source.read())
    run = strip.run("theirs_out", reference=path)
    name = "S2A_20190427T083601_T36UXA"
    assert run.record.reference == f"{name}_reference"
    assert not run.record.found.superseded
    scenes = run.scenes().set_index("scene_id")
    # Its pixels are the scene's, 30 m further east.
    assert scenes.loc[name, "offset_x_m"] == pytest.approx(-30, abs=0.6)
    assert json.loads(run.folder.read("run.json"))["reference"] == f"{name}_reference"
