"""Corrected scenes, against images moved by known amounts with GDAL alone."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
from rasterio.transform import Affine, from_origin
from rasterio.vrt import WarpedVRT

import s2fast
from s2fast.align import aligned
from s2fast.errors import InputError
from s2fast.results import Run
from tests.archives import ORIGINS, PIXEL_M, UTM36, safe_path, textured, write_scene
from tests.command_line import s2fast as command

pytestmark = pytest.mark.slow

SIDE = 480
MARGIN = 20
TILE = "36UYA"
DAYS = {"20190427": (0, 0), "20190507": (0, 0), "20190517": (2, -1), "20190527": (-3, 2)}
"""How far the ground of each date is moved: pixels right and down. Most dates are not moved."""

LONE = "20190606"
"""Date of a scene that shows other ground."""


def scene_id(day: str) -> str:
    return f"S2A_{day}T083601_T{TILE}"


@dataclass(frozen=True)
class Moved:
    """A run over scenes whose ground was moved."""

    archive: Path
    out: Path
    truth: dict[str, npt.NDArray[np.uint8]]
    """Pixels of each scene before the ground was moved, on the tile's grid; 0 where they were not written."""

    def source(self, day: str) -> Path:
        return safe_path(self.archive, TILE, f"{day}T083601")

    @property
    def run(self) -> Run:
        return s2fast.open_run(self.out)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """Move the pixels under an unchanged geotransform: a feature then appears 10 m per pixel further."""
    folder = tmp_path_factory.mktemp("moved")
    rng = np.random.default_rng(5)
    ground = textured(rng, (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN))
    truth = {}
    for day, (right, down) in {**DAYS, LONE: (0, 0)}.items():
        seen = textured(rng, ground.shape) if day == LONE else ground
        seen = np.clip(seen + rng.normal(0, 3, ground.shape), 1, 255).astype(np.uint8)
        pixels = seen[MARGIN - down : MARGIN - down + SIDE, MARGIN - right : MARGIN - right + SIDE]
        write_scene(safe_path(folder / "archive", TILE, f"{day}T083601"), np.stack([pixels] * 3), ORIGINS[TILE])
        truth[day] = seen[MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE]
    s2fast.run({"features.upsample": 1}, scenes=folder / "archive", out=folder / "out")
    return Moved(folder / "archive", folder / "out", truth)


def on_grid(path: Path) -> npt.NDArray[np.uint8]:
    """Read a raster at the pixels of the tile's grid, each from the nearest pixel."""
    grid = from_origin(*ORIGINS[TILE], PIXEL_M, PIXEL_M)
    with rasterio.open(path) as dataset, WarpedVRT(
        dataset, crs=UTM36, transform=grid, width=SIDE, height=SIDE
    ) as warped:  # fmt: skip
        return np.asarray(warped.read(1))


def inner(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return pixels[5:-5, 5:-5]


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and modification time of every file."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("form", ["vrt", "cog", "resampled"])
@pytest.mark.parametrize("reference", ["median", scene_id("20190427")])
def test_what_was_moved_comes_back(moved: Moved, tmp_path: Path, form: str, reference: str) -> None:
    before = digests(moved.archive)
    table = moved.run.align(tmp_path, form=form, reference=reference).set_index("scene_id")
    assert digests(moved.archive) == before
    assert table["aligned"].tolist() == [True] * len(DAYS) + [False]
    assert table.loc[scene_id(LONE), "reason"] == "not verified"
    for day, (right, down) in DAYS.items():
        row = table.loc[scene_id(day)]
        path = tmp_path / row["files"]
        # Half of the scenes are not moved, so neither reference is. The ground's pixels are moved back exactly.
        np.testing.assert_allclose([row["add_x_m"], row["add_y_m"]], [-10.0 * right, 10.0 * down], atol=0.5)
        if form == "resampled":
            difference = cv2.absdiff(inner(on_grid(path)), inner(moved.truth[day]))
            assert np.median(difference) <= 2
        else:
            np.testing.assert_array_equal(inner(on_grid(path)), inner(moved.truth[day]))
            with rasterio.open(path) as aligned, rasterio.open(moved.source(day)) as source:
                np.testing.assert_array_equal(aligned.read(), source.read())
                assert aligned.transform @ ~source.transform == pytest.approx(
                    Affine.translation(row["add_x_m"], row["add_y_m"]), abs=1e-6
                )
    assert not list(tmp_path.glob(".*"))


def test_a_wrong_sign_would_be_seen(moved: Moved) -> None:
    day, (right, down) = "20190517", DAYS["20190517"]
    with rasterio.open(moved.source(day)) as source:
        for sign, equal in ((-1, True), (1, False)):
            back = Affine.translation(sign * 10 * right, -sign * 10 * down) @ source.transform
            with WarpedVRT(
                source, src_transform=back, src_crs=UTM36, crs=UTM36, width=SIDE, height=SIDE,
                transform=source.transform,
            ) as warped:  # fmt: skip
                assert np.array_equal(inner(warped.read(1)), inner(moved.truth[day])) == equal


@pytest.mark.parametrize("form", ["vrt", "cog", "resampled"])
def test_a_second_call_changes_nothing(moved: Moved, tmp_path: Path, form: str) -> None:
    moved.run.align(tmp_path, form=form)
    before = digests(tmp_path)
    assert len(before) == len(DAYS) + 3
    moved.run.align(tmp_path, form=form)
    assert digests(tmp_path) == before
    # Another reference moves every scene, so every raster is written anew.
    moved.run.align(tmp_path, form=form, reference=scene_id("20190527"))
    changed = [name for name, found in digests(tmp_path).items() if found != before[name]]
    assert len(changed) == len(DAYS) + 3


def test_outputs_say_what_was_done(moved: Moved, tmp_path: Path) -> None:
    table = moved.run.align(tmp_path, form="cog").set_index("scene_id")
    row = table.loc[scene_id("20190517")]
    with rasterio.open(tmp_path / row["files"]) as dataset:
        tags = dataset.tags()
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert float(tags["S2FAST_OFFSET_X_M"]) == pytest.approx(row["offset_x_m"], abs=1e-4)
    assert float(tags["S2FAST_OFFSET_Y_M"]) == pytest.approx(row["offset_y_m"], abs=1e-4)
    assert float(tags["S2FAST_OFFSET_ERROR_M"]) == pytest.approx(row["offset_error_m"], abs=1e-4)
    added = f"added {row['add_x_m']:.4f} m to x (east), {row['add_y_m']:.4f} m to y (north)"
    assert tags["S2FAST_CORRECTION"] == added
    assert tags["S2FAST_REFERENCE"] == f"median of {TILE}"
    assert tags["S2FAST_RUN"] == moved.run.record.history.tables_key
    assert f"s2fast {s2fast.__version__}" in tags["S2FAST_VERSIONS"]
    on_map = geopandas.read_parquet(tmp_path / "alignment.parquet")
    in_text = pd.read_csv(tmp_path / "alignment.csv", keep_default_na=False, na_values={"add_x_m": ""})
    assert on_map["scene_id"].tolist() == in_text["scene_id"].tolist() == moved.run.scene_ids
    assert on_map["reason"].tolist() == in_text["reason"].tolist() == [""] * len(DAYS) + ["not verified"]
    assert on_map.crs == "EPSG:4326"
    assert on_map.geometry.is_valid.all()


def test_an_offset_relative_to_a_scene_has_the_error_of_a_difference(moved: Moved, tmp_path: Path) -> None:
    reference = scene_id("20190517")
    table = moved.run.align(tmp_path, reference=reference).set_index("scene_id")
    assert table.loc[reference, ["offset_x_m", "offset_y_m", "offset_error_m"]].tolist() == [0, 0, 0]
    scenes = moved.run.scenes().set_index("scene_id")
    other = scene_id("20190527")
    np.testing.assert_allclose(
        table.loc[other, "offset_x_m"],
        scenes.loc[other, "offset_x_m"] - scenes.loc[reference, "offset_x_m"],
        rtol=1e-6,
    )
    assert table.loc[other, "offset_error_m"] > scenes.loc[other, "offset_error_m"]


def test_the_command_names_what_it_leaves_out(
    moved: Moved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "align", moved.out, "--to", tmp_path / "to") == 3
    told = capsys.readouterr()
    assert told.out == f"4 of 5 scenes aligned: {tmp_path}/to/alignment.html, alignment.csv\n"
    assert told.err.splitlines()[-1] == f"s2fast: left out: {scene_id(LONE)}: not verified"
    page = (tmp_path / "to/alignment.html").read_text("utf-8")
    assert "left out, not verified: no pair of the scene is verified" in page
    # What an earlier call wrote and is no longer right does not stay.
    assert len(list((tmp_path / "to").glob("*.vrt"))) == 4
    assert command(monkeypatch, "align", moved.out, "--to", tmp_path / "to", "--max-error", "0.001") == 3
    lines = capsys.readouterr().err.splitlines()
    assert sum("above the limit 0.001 m" in line for line in lines) == 4
    assert not list((tmp_path / "to").glob("*.vrt"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "atuo"], "--model is 'atuo': it must be one of shift, similarity, affine, grid, auto"),
        (["--as", "jpeg"], "--as is 'jpeg': it must be one of vrt, cog, resampled"),
        (["--resampling", "best"], "--resampling is 'best': it must be one of bilinear, cubic, lanczos"),
        (["--reference", "nobody"], "no scene 'nobody'; the nearest: "),
        (["--reference", scene_id(LONE)], f"{scene_id(LONE)} cannot be the reference: not verified"),
        (["--to", "s3://bucket/prefix"], "is not on disk"),
        (["--to", "{file}"], "cannot write to the folder"),
        (["--to", "/proc/aligned"], "cannot write to the folder /proc/aligned"),
    ],
)
def test_wrong_input_ends_in_one_line(
    moved: Moved, tmp_path: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "file").write_bytes(b"")
    arguments = [text.replace("{file}", str(tmp_path / "file")) for text in arguments]
    to = [] if "--to" in arguments else ["--to", str(tmp_path / "to")]
    assert command(monkeypatch, "align", moved.out, *arguments, *to) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file"]


def test_a_target_that_becomes_read_only_is_told_in_one_line(
    moved: Moved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        assert command(monkeypatch, "align", moved.out, "--to", tmp_path / "to") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == f"s2fast: error: cannot write {tmp_path}/to/alignment.parquet: Read-only file system"
    assert not list((tmp_path / "to").iterdir())


def test_other_files_are_never_overwritten(moved: Moved, tmp_path: Path) -> None:
    other = tmp_path / f"{scene_id('20190517')}_TCI.vrt"
    other.write_text("mine")
    with pytest.raises(InputError, match="exists and is no raster, or a damaged one"):
        moved.run.align(tmp_path)
    assert other.read_text() == "mine"
    raster = tmp_path / f"{scene_id('20190517')}_TCI.tif"
    shutil.copy(moved.source("20190517"), raster)
    with pytest.raises(InputError, match="was not written by s2fast align"):
        moved.run.align(tmp_path, form="cog")
    assert raster.read_bytes() == moved.source("20190517").read_bytes()


def test_an_output_with_a_damaged_header_is_written_again(
    moved: Moved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    moved.run.align(tmp_path, form="cog")
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    zeroed, emptied, gone = (tmp_path / f"{scene_id(day)}_TCI.tif" for day in [*DAYS][:3])
    zeroed.write_bytes(bytes(64) + zeroed.read_bytes()[64:])
    emptied.write_bytes(b"")
    assert command(monkeypatch, "align", moved.out, "--to", tmp_path, "--as", "cog") == 3
    assert [record.getMessage().split(" is damaged")[0] for record in caplog.records] == [str(zeroed), str(emptied)]
    again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert again.keys() == whole.keys()
    assert rasterio.open(zeroed).checksum(1) == rasterio.open(moved.source("20190427")).checksum(1)
    # The output of a scene that is left out does not stay, even if it is damaged.
    gone.write_bytes(b"II*\0")
    assert command(monkeypatch, "align", moved.out, "--to", tmp_path, "--as", "cog", "--max-error", "0.001") == 3
    assert not list(tmp_path.glob("*.tif"))
    # Without the table, it may be anyone's.
    zeroed.write_bytes(bytes(64))
    (tmp_path / "alignment.csv").unlink()
    assert command(monkeypatch, "align", moved.out, "--to", tmp_path, "--as", "cog") == 2
    assert f"{zeroed} exists and is no raster, or a damaged one: remove it" in capsys.readouterr().err
    assert zeroed.read_bytes() == bytes(64)


@pytest.fixture
def copied(moved: Moved, tmp_path: Path) -> Moved:
    """The same archive and run, to be changed; the run knows the archive by its old path."""
    shutil.copytree(moved.archive, tmp_path / "kept", copy_function=shutil.copy2)
    return moved


def test_a_source_that_vanished_or_changed_is_left_out(copied: Moved, tmp_path: Path) -> None:
    gone, changed = copied.source("20190517"), copied.source("20190527")
    copied.run.align(tmp_path / "to")
    try:
        gone.unlink()
        os.utime(changed)
        table = copied.run.align(tmp_path / "to").set_index("scene_id")
    finally:
        for path in (gone, changed):
            shutil.copy2(tmp_path / "kept" / path.relative_to(copied.archive), path)
    assert "No such file" in table.loc[scene_id("20190517"), "reason"]
    assert "has changed since the run began" in table.loc[scene_id("20190527"), "reason"]
    assert table["aligned"].sum() == 2
    assert len(list((tmp_path / "to").glob("*.vrt"))) == 2


@pytest.mark.parametrize("form", ["vrt", "cog", "resampled"])
def test_an_interrupted_call_leaves_no_half_file(
    moved: Moved, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: object, offset: object, target: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(aligned, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            moved.run.align(tmp_path, form=form)
    assert not list(tmp_path.iterdir())
    # What a killed process leaves is removed by the next call; a live process's file stays.
    here = f".partial-{platform.node()}"
    dead, alive = tmp_path / f"{here}-999999999-x.tif.ovr.tmp", tmp_path / f"{here}-{os.getppid()}-x.tif"
    for path in (dead, alive):
        path.write_bytes(b"half")
    moved.run.align(tmp_path, form=form)
    assert not dead.exists()
    assert alive.exists()


@pytest.mark.parametrize("form", ["vrt", "resampled"])
def test_other_bands_move_with_their_scene(moved: Moved, tmp_path: Path, form: str) -> None:
    days = [*DAYS][1:]
    classes = np.random.default_rng(1).choice(np.array([0, 4, 9], np.uint8), (SIDE // 2, SIDE // 2))
    added = [moved.source(day).with_name(f"T{TILE}_{day}T083601_SCL.jp2") for day in days]
    try:
        for path in added:
            # GDAL opens by content: a GeoTIFF under the name that the product would have.
            with rasterio.open(
                path, "w", driver="GTiff", width=SIDE // 2, height=SIDE // 2, count=1, dtype="uint8", crs=UTM36,
                transform=from_origin(*ORIGINS[TILE], 2 * PIXEL_M, 2 * PIXEL_M),
            ) as dataset:  # fmt: skip
                dataset.write(classes, 1)
        table = moved.run.align(tmp_path, form=form, bands=["tci", "SCL"]).set_index("scene_id")
    finally:
        for path in added:
            path.unlink()
    assert "no SCL in the product of" in table.loc[scene_id("20190427"), "reason"]
    assert table["aligned"].sum() == len(days)
    suffix = ".vrt" if form == "vrt" else ".tif"
    for day in days:
        names = [f"{scene_id(day)}_{band}{suffix}" for band in ("TCI", "SCL")]
        assert table.loc[scene_id(day), "files"] == " ".join(names)
        with rasterio.open(tmp_path / names[0]) as image, rasterio.open(tmp_path / names[1]) as mask:
            assert mask.res == (20, 20)
            assert mask.shape == (SIDE // 2, SIDE // 2)
            assert (mask.transform.c, mask.transform.f) == (image.transform.c, image.transform.f)
            if form == "resampled":
                assert set(np.unique(mask.read())) == {0, 4, 9}
                assert (image.transform.c, image.transform.f) == ORIGINS[TILE]
